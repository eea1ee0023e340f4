"""How fast the encoder is: `python tests/benchmarks/bench_forward.py [--rounds N] [--threads N]`, in the project's root.

Forward: LoRAT-B-224 merged at batch 1, against timm's plain ViT-B/16 over the same 320 tokens (256 x 320 pixels, no class
token), both fp32. They are measured in turn, the order changing from round to round; what counts is the median over rounds
of the same-round ratio, for a shared machine's pace changes from minute to minute; with one thread also that of processor
time, which leaves out the rounds' waiting for other processes.

timm's model has no head, so the row without the head is the like-for-like one.

Training: a step of LoRAT-B-224 under LoRA against full fine-tuning: seconds, and bytes by tensors (weights, gradients and
AdamW's moments, saved activations), which do not depend on the allocator, and by the process's peak. By products alone, the
ratio of time in a block's linear layers of width D is (24 D + 54 r) / 36 D = 0.79 with rank r = 64 in each of them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import Tensor

from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import TrackerSpec, replace
from trackablate.trackers.variants import VARIANTS

WARM_UP = 3
MIB = 2**20


def say(line: str) -> None:
    """One line to the terminal."""
    sys.stdout.write(f"{line}\n")


def inputs(spec: TrackerSpec, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Template and search images 0..255 and the template's mask."""
    template, search = (torch.rand(batch, 3, s, s) * 255 for s in (spec.crop.template_size, spec.crop.search_size))
    mask = torch.zeros(batch, 64, dtype=torch.bool)
    mask[:, 27:29] = True
    return template, search, mask


def forwards() -> dict[str, Callable[[], object]]:
    """What is compared, each a call without arguments; the first is what the others are measured against."""
    spec = replace(VARIANTS["lorat-b-224"], pretrained="none")
    images, plain_image = inputs(spec, 1), torch.rand(1, 3, 256, 320)
    plain = timm.create_model(
        "vit_base_patch16_224", img_size=(256, 320), class_token=False, global_pool="", num_classes=0
    ).eval()
    merged = merge(build(spec)).eval()
    whole = merge(build(spec)).eval()
    whole.encoder.lean = False  # type: ignore[union-attr]
    unmerged = build(spec).eval()
    encoder = merged._encode
    assert callable(encoder)
    return {
        "timm ViT-B, 320 tokens": lambda: plain(plain_image),
        "LoRAT-B-224 merged, without the head": lambda: encoder(*images, 1.0),
        "LoRAT-B-224 merged": lambda: merged(*images),
        "LoRAT-B-224 merged, nothing left out": lambda: whole(*images),
        "LoRAT-B-224 unmerged": lambda: unmerged(*images),
    }


Seconds = dict[str, list[float]]
"""Of each call in each round."""


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> tuple[Seconds, Seconds]:
    """Each call's wall time in each round, and its thread's processor time."""
    wall: Seconds = {name: [] for name in calls}
    processor: Seconds = {name: [] for name in calls}
    for number in range(WARM_UP + rounds):
        order = list(calls) if number % 2 else list(calls)[::-1]
        for name in order:
            started, worked = time.perf_counter(), time.thread_time()
            calls[name]()
            if number >= WARM_UP:
                wall[name].append(time.perf_counter() - started)
                processor[name].append(time.thread_time() - worked)
    return wall, processor


def ratios(seconds: Seconds) -> dict[str, float]:
    """Median over rounds of each call's seconds by those of the first in the same round."""
    first = next(iter(seconds.values()))
    return {n: statistics.median(s / f for s, f in zip(row, first, strict=True)) for n, row in seconds.items()}


class Step:
    """One training step of a tracker, and what its tensors take."""

    def __init__(self, spec: TrackerSpec, batch: int) -> None:
        torch.manual_seed(0)
        self.model: OneStreamTracker = build(replace(spec, pretrained="none")).train()
        self.images = inputs(spec, batch)
        self.truth = torch.tensor([[0.3, 0.35, 0.6, 0.7]] * batch)
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=1e-4)
        self.saved = 0

    def __call__(self) -> None:
        """Forward, backward, update."""
        seen: set[int] = {p.untyped_storage().data_ptr() for p in self.model.parameters()}
        self.saved = 0

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                self.saved += storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            terms = self.model(*self.images, self.truth)
        assert isinstance(terms, dict)
        self.optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def bytes(self) -> tuple[int, int, int]:
        """Of the weights; of gradients and AdamW's moments; of the activations that the last step saved."""
        weights = sum(p.nbytes for p in self.model.parameters())
        moments = [v for state in self.optimizer.state.values() for v in state.values()]
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return weights, sum(t.nbytes for t in [*moments, *gradients]), self.saved


def report_forward(rounds: int) -> None:
    """Print the forward's table."""
    with torch.inference_mode():
        wall, processor = interleaved(forwards(), rounds)
    of_processor = ratios(processor) if torch.get_num_threads() == 1 else {}
    for name, ratio in ratios(wall).items():
        worked = f", of processor time {of_processor[name]:.3f}" if of_processor else ""
        say(f"{name:40} median {1000 * statistics.median(wall[name]):7.1f} ms  ratio {ratio:.3f}{worked}")


def report_training(rounds: int, batch: int) -> None:
    """Print the training step's table; full fine-tuning first, LoRA's ratios to it."""
    steps = {name: Step(VARIANTS[name], batch) for name in ("full-b-224", "lorat-b-224")}
    seconds, processor = interleaved(dict(steps), rounds)
    totals: dict[str, int] = {}
    for name, step in steps.items():
        weights, updates, saved = step.bytes()
        totals[name] = weights + updates + saved
        say(
            f"{name:12} median {statistics.median(seconds[name]):6.2f} s/step  weights {weights / MIB:5.0f}  "
            f"gradients and moments {updates / MIB:5.0f}  activations {saved / MIB:5.0f}  sum {totals[name] / MIB:5.0f} MiB"
        )
    wall, worked = (ratios(kind)["lorat-b-224"] for kind in (seconds, processor))
    tensors = totals["lorat-b-224"] / totals["full-b-224"]
    say(f"LoRA / full: time {wall:.2f}, processor time {worked:.2f}, tensors {tensors:.2f}")


def report_peak(steps: int, batch: int) -> None:
    """Print the peak resident memory of training in a process of its own, with large blocks mapped one by one: glibc keeps
    freed blocks otherwise, and keeps more of LoRA's."""
    peaks: dict[str, float] = {}
    for name in ("full-b-224", "lorat-b-224"):
        code = (
            f"from bench_forward import *; step = Step(VARIANTS[{name!r}], {batch})\n"
            f"for _ in range({steps}): step()\n"
            "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"  # ru_maxrss starts as the parent's
        )
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        peaks[name] = int(done.stdout) / 1024
        say(f"{name:12} peak of the process {peaks[name]:.0f} MiB")
    say(f"LoRA / full: peak of the process {peaks['lorat-b-224'] / peaks['full-b-224']:.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="rounds of the forward")
    parser.add_argument("--steps", type=int, default=4, help="rounds of the training step; 0: leave it out")
    parser.add_argument("--batch", type=int, default=2, help="pairs in a training step")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    report_forward(asked.rounds)
    if asked.steps:
        report_training(asked.steps, asked.batch)
        report_peak(asked.steps, asked.batch)


if __name__ == "__main__":
    main()
