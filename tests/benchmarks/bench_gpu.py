"""What a GPU does with the project: correctness, rates, memory, speed, loading, and a study from end to end.

    nox -s gpu            or, from a checkout alone:  PYTHONPATH=src python tests/benchmarks/bench_gpu.py --out gpu

It takes at most `--minutes`: what finds no time left is left out, and the table says so. It prints a table, and writes
gpu.json and gpu.html. On a machine without a GPU it does the same on the CPU, with small batches, to try the script.
"""

import argparse
import html
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from bench_training import measure, one_step, recipe, say

from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.harness.costing.devices import device_name
from trackablate.harness.costing.macs import paper_scale
from trackablate.harness.costing.peaks import model_flops, published_peak
from trackablate.harness.spec import Precision, Recipe
from trackablate.harness.tracking.device_cost import speed_of
from trackablate.harness.tracking.fixed_shapes import FixedShapes, forward_of, network_tracker
from trackablate.harness.training.engine import allow_tf32
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.inference import NetworkTracker, track_one_by_one
from trackablate.trackers.model import build
from trackablate.trackers.spec import FullFineTuning, TrackerSpec, replace
from trackablate.trackers.variants import VARIANTS

LITTLE = 5e9
"""Bytes that hold no step of 128 pairs of LoRAT-B-224."""
FAMILIES = ("lorat-b-224", "ostrack-256-ce", "detrack-ce")
SECTIONS = ("correct", "training", "memory", "tracking", "graphs", "whole", "loading", "compiled", "compiled_tracking")
Row = dict[str, Any]


class Bench:
    """The device, the sizes that suit it, and the time that is left."""

    def __init__(self, device: torch.device, minutes: float) -> None:
        self.device, self.until = device, time.monotonic() + 60 * minutes
        self.gpu = device.type == "cuda"
        self.batch, self.seconds = (128, 6.0) if self.gpu else (2, 1.0)
        self.peak = published_peak(device_name(device))

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.until - time.monotonic()

    def correct(self) -> Iterator[Row]:
        """Each family's boxes and losses on the device, against the CPU's, in float32."""
        allow_tf32(False)
        for name in FAMILIES:
            found = []
            for device in (torch.device("cpu"), self.device):
                torch.manual_seed(0)
                model = build(VARIANTS[name], pretrained=False)  # a new one: batch normalisation remembers
                inputs = pairs(model.spec, 2, model.encoder.template_side**2)
                model.to(device)
                moved = [tensor.to(device) for tensor in inputs]
                torch.manual_seed(1)
                losses = model.train()(*moved, 0.5)
                with torch.inference_mode():
                    seen = model.eval()(*moved[:3])
                found.append([*(float(value.detach()) for value in losses.values()), *seen.boxes.flatten().tolist()])
            gap = max(abs(a - b) / max(1.0, abs(a)) for a, b in zip(*found, strict=True))
            yield {"what": f"{name}: largest relative difference to the CPU", "value": f"{gap:.1e}", "ok": gap < 1e-2}

    def training(self) -> Iterator[Row]:
        """Steps of LoRA and full fine-tuning, pairs at hand, the batch at once or in published parts."""
        asked: list[tuple[str, bool, Precision, int]] = [
            (f"lorat-{size}-224", full, "fp16" if self.gpu else "fp32", self.batch)
            for size in ("l", "b", "g")
            for full in (False, True)
        ]
        asked += [(name, True, "fp32", min(64, self.batch)) for name in FAMILIES[1:]]
        for name, full, precision, at_once in asked if self.gpu else asked[2:3]:
            spec = replace(VARIANTS[name], adaptation=FullFineTuning()) if full else VARIANTS[name]
            for parts in dict.fromkeys((at_once, min(16, at_once))):
                if self.left() < 40:
                    return
                try:
                    rate, peak = self.rate(spec, precision, parts)
                except torch.OutOfMemoryError:
                    yield {"what": f"train {name}", "value": f"out of memory with {parts} pairs at once"}
                    continue
                size = paper_scale(spec)
                flops = model_flops(size.macs, size.params, size.trainable_params) * rate
                mfu = flops / self.peak.tflops / 1e12 if self.peak else None
                used = f", MFU {100 * mfu:.0f} %" if mfu else ""
                how = f"{'full' if full else 'LoRA'}, {precision}, {parts} of {self.batch} at once"
                yield {
                    "what": f"train {name} ({how})",
                    "value": f"{rate:.3g} pairs/s, {peak:.1f} GB allocated{used}",
                    "pairs_per_second": rate,
                    "mfu": mfu,
                    "gigabytes": peak,
                    "driver_gigabytes": self.held(),
                }
                break

    def compiled(self) -> Iterator[Row]:
        """LoRA's steps with compiled blocks, which take a minute to compile."""
        for name in ("lorat-l-224", "lorat-b-224") if self.gpu else ():
            if self.left() > 150:
                how = recipe(self.batch, self.batch, "fp16").model_copy(update={"compile": True})
                rate, peak = self.measured(VARIANTS[name], how)
                value = f"{rate:.3g} pairs/s, {peak:.1f} GB allocated"
                yield {"what": f"train {name} (LoRA, fp16, compiled)", "value": value, "pairs_per_second": rate}

    def memory(self) -> Iterator[Row]:
        """One step that this process's memory does not hold, with --fit-memory."""
        spec, how = VARIANTS["lorat-b-224"], recipe(self.batch, self.batch, "fp16" if self.gpu else "fp32")
        if self.gpu:
            total = torch.cuda.get_device_properties(self.device).total_memory
            torch.cuda.set_per_process_memory_fraction(LITTLE / total, self.device)
        try:
            cost = one_step(build(spec, pretrained=False).to(self.device).train(), how, self.device)
        finally:
            if self.gpu:
                torch.cuda.set_per_process_memory_fraction(1.0, self.device)
                torch.cuda.empty_cache()
        used = cost.pairs_at_once or self.batch
        value = f"{used} of {self.batch} pairs at a time" + (f" in {LITTLE / 1e9:g} GB" if self.gpu else "")
        yield {"what": "a step with --fit-memory", "value": value, "ok": used < self.batch or not self.gpu}

    def rate(self, spec: TrackerSpec, precision: Precision, parts: int) -> tuple[float, float]:
        """Return pairs per second and the peak memory in GB."""
        return self.measured(spec, recipe(self.batch, parts, precision))

    def measured(self, spec: TrackerSpec, how: Recipe) -> tuple[float, float]:
        """Return the same for a recipe."""
        try:
            model = build(spec, pretrained=False).to(self.device).train()
            return measure(model, how, self.device, self.seconds)
        finally:
            model = None  # type: ignore[assignment]
            if self.gpu:
                torch.cuda.empty_cache()

    def held(self) -> float | None:
        """Return the memory that the driver says is taken, in GB."""
        if not self.gpu:
            return None
        free, total = torch.cuda.mem_get_info(self.device)
        return (total - free) / 1e9

    def tracking(self) -> Iterator[Row]:
        """Frames per second at batch 1, with crop and box, and of 64 targets together."""
        for name in ("lorat-b-224", "lorat-l-224", *FAMILIES[1:]) if self.gpu else FAMILIES[:1]:
            if self.left() < 30:
                return
            alone = speed_of(self.tracker(name), self.device)["fps"]
            together = self.together(VARIANTS[name], 64 if self.gpu else 4)
            yield {
                "what": f"track {name} (fp32)",
                "value": f"{alone:.3g} frames/s at batch 1, {together:.3g} together ({together / alone:.1f} times)",
                "fps": alone,
                "fps_together": together,
            }

    def graphs(self) -> Iterator[Row]:
        """Frames per second at batch 1 of the network as it is and as a CUDA graph, and that both find the same boxes."""
        asked: list[tuple[str, Precision]] = [(n, p) for n in ("lorat-b-224", "lorat-l-224") for p in ("fp32", "fp16")]
        asked += [(name, "fp32") for name in FAMILIES[1:]]
        for name, precision in asked if self.gpu else [(FAMILIES[0], "fp32")]:
            if self.left() < 30:
                return
            yield self.compared(name, precision, self.tracker(name, precision, compile=self.gpu))

    def compiled_tracking(self) -> Iterator[Row]:
        """The same with a network that torch's compiler makes, in a CUDA graph."""
        for name in ("lorat-b-224", "lorat-l-224") if self.gpu else ():
            if self.left() > 120:
                tracker = self.tracker(name, "fp16")
                made = torch.compile(tracker.find, fullgraph=True, dynamic=False)
                tracker.find, tracker.few_shapes = FixedShapes(made, self.device), True
                row = self.compared(name, "fp16", tracker)
                yield row | {"what": row["what"] + ", made by torch's compiler"}

    def compared(self, name: str, precision: Precision, made: NetworkTracker) -> Row:
        """Compare a tracker with the same network as it is."""
        plain = self.tracker(name, precision)
        fps, made_fps = (speed_of(tracker, self.device)["fps"] for tracker in (plain, made))
        clip = make_sequence("source", 1, length=20, split="val")
        (one,), (other,) = (list(track_one_by_one(tracker, [clip])) for tracker in (plain, made))
        gap, how = float(abs(one.boxes - other.boxes).max()), forward_of(made)
        return {
            "what": f"track {name} ({precision}), {how}",
            "value": f"{made_fps:.3g} frames/s at batch 1, eager {fps:.3g}; boxes differ by {gap:.2g} px at most",
            "fps": made_fps,
            "fps_eager": fps,
            "pixels": gap,
            "ok": how == ("CUDA graph" if self.gpu else "eager"),
        }

    def tracker(self, name: str, precision: Precision = "fp32", *, compile: bool = False) -> NetworkTracker:
        """Return a tracker with the same random weights each time."""
        torch.manual_seed(0)
        model = build(VARIANTS[name], pretrained=False)
        merge(model)
        return network_tracker(model, self.device, precision, compile=compile)

    def together(self, spec: TrackerSpec, count: int) -> float:
        """Return the frames per second of many targets in one batch."""
        tracker = self.tracker(spec.name)
        image = torch.randint(0, 256, (480, 640, 3), dtype=torch.uint8).numpy()
        box = torch.tensor([300.0, 200.0, 60.0, 40.0], dtype=torch.float64).numpy()
        rows = [(tracker.target((image, box), box), image) for _ in range(count)]
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            tracker.follow(list(rows))  # its boxes come to the CPU: it waits
            taken.append(time.perf_counter() - started)
        return count / statistics.median(taken[1:])

    def loading(self) -> Iterator[Row]:
        """Training pairs from JPEG on one core."""
        if self.left() > 60:
            done = self.run([str(Path(__file__).with_name("bench_pairs.py")), "--seconds", "3"])
            for line in filter(None, done.stdout.splitlines()):
                yield {"what": "pairs per second and core", "value": line.strip(), "ok": done.returncode == 0}

    def whole(self) -> Iterator[Row]:
        """Runs from end to end, with loader processes, fp16 and everything else that a training has here."""
        command = ["-m", "trackablate.harness"]
        device = ["--profile", "smoke", "--device", "cuda" if self.gpu else "cpu"]
        half = ["--set", "recipe.precision=fp16"] if self.gpu else []
        many = ["--gpus-per-run", str(torch.cuda.device_count() if self.gpu else 2)]
        asked = {
            "run table3 at smoke": ["run", "table3", *device, "--out", "out"],
            "train lorat-b-224 at smoke, fp16, 2 loader processes, 60 steps": [
                *("train", "lorat-b-224", *device, *half, "--set", "recipe.steps=60", "--loader-workers", "2")
            ],
            "the same, shared by all GPUs": [
                *("train", "lorat-b-224", *device, *half, "--set", "recipe.steps=40", *many)
            ],
        }
        with tempfile.TemporaryDirectory() as folder:
            for what, words in asked.items():
                if self.left() < 60:
                    return
                started = time.perf_counter()
                done = self.run([*command, *words, "--store", str(Path(folder, "store"))], Path(folder))
                problem = "" if done.returncode == 0 else f", status {done.returncode}: {done.stderr.strip()[-300:]}"
                value = f"{time.perf_counter() - started:.0f} s{problem}"
                yield {"what": what, "value": value, "ok": done.returncode == 0}

    def run(self, words: list[str], folder: Path = Path()) -> subprocess.CompletedProcess[str]:
        """Run the project's Python in a folder, as long as time is left."""
        where = os.pathsep.join(filter(None, [str(Path("src").absolute()), os.environ.get("PYTHONPATH")]))
        limit, environment = max(10.0, self.left()), os.environ | {"PYTHONPATH": where}
        command = [sys.executable, "-P", *words]
        try:
            return subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", "it was stopped because no time was left")


def pairs(spec: TrackerSpec, count: int, tokens: int) -> list[torch.Tensor]:
    """Return random pairs: template, search, mask and true boxes."""
    torch.manual_seed(0)
    images = [torch.rand(count, 3, s, s) * 255 for s in (spec.crop.template_size, spec.crop.search_size)]
    truth = torch.tensor([[0.3, 0.3, 0.6, 0.7]]).repeat(count, 1)
    return [*images, torch.ones(count, tokens, dtype=torch.bool), truth]


def page(title: str, rows: list[Row]) -> str:
    """Return the rows as a page."""
    cells = [(html.escape(row["what"]), html.escape(row["value"]), row.get("ok", True)) for row in rows]
    bad = ' style="background:#fdd"'
    lines = "".join(
        f'<tr{"" if ok else bad}><th scope="row" align="left">{what}</th><td>{value}</td></tr>\n'
        for what, value, ok in cells
    )
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    return f'{head}<body style="font:16px sans-serif"><h1>{html.escape(title)}</h1><table>\n{lines}</table></body></html>\n'


def main() -> int:
    """Measure, print and write. Returns 1 if something is not right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    asked = parser.parse_args()
    bench = Bench(torch.device(asked.device), asked.minutes)
    title = f"{device_name(bench.device)}, torch {torch.__version__}"
    say(title)
    rows: list[Row] = []
    for section in asked.only:
        made: Callable[[], Iterator[Row]] = getattr(bench, section)
        begun = len(rows)
        for row in made():
            rows.append(row)
            say(f"{'' if row.get('ok', True) else 'WRONG  '}{row['what']}: {row['value']}")
        if bench.left() < 60 or len(rows) == begun:
            rows.append({"what": section, "value": "left out or cut short: no time was left"})
            say(f"{section}: left out or cut short: no time was left")
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "gpu.json").write_text(json.dumps({"device": title, "rows": rows}, indent=1), encoding="utf-8")
    (asked.out / "gpu.html").write_text(page(title, rows), encoding="utf-8")
    say(f"written: {asked.out / 'gpu.json'}, {asked.out / 'gpu.html'}")
    return 0 if all(row.get("ok", True) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
