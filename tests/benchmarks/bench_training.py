"""Ways to compute a training step, against each other in one process: pairs per second and peak memory.

    python tests/benchmarks/bench_training.py --variant lorat-l-224 --batch 128 --precision fp16

The ways: full fine-tuning; LoRA by peft's modules; LoRA as the project computes it, in parts of 16 as published and all at
once; the same with compiled blocks; and the pretrained layers alone, frozen, as the limit that no LoRA can pass. Ratios are
to the first. Pairs are random and at hand: loading is measured elsewhere.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trackablate.harness.record import TrainingCost
from trackablate.harness.spec import Precision, Recipe
from trackablate.harness.training.engine import compiled_blocks, computing_in, make_accelerator
from trackablate.harness.training.learning_rates import parameter_groups
from trackablate.harness.training.step import State, TrainingInProgress, TrainingSetup, take_step
from trackablate.trackers.adaptation import lora
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import FrozenBackbone, FullFineTuning, TrackerSpec, replace
from trackablate.trackers.variants import VARIANTS

PUBLISHED = 16


def recipe(batch: int, at_once: int, precision: Precision) -> Recipe:
    """Return a recipe whose steps all have the same, small rate."""
    rates = {"lr_backbone": 1e-6, "lr_new": 1e-6, "weight_decay": 0.0, "warmup_steps": 0}
    return Recipe.model_validate(
        rates | {"steps": 10_000, "batch_size": batch, "micro_batch": at_once, "precision": precision}
    )


def batch_of(spec: TrackerSpec, pairs: int, tokens: int, device: torch.device) -> Any:
    """Return random pairs."""
    torch.manual_seed(0)
    sizes = {"template": spec.crop.template_size, "search": spec.crop.search_size}
    images = {n: torch.randint(0, 256, (pairs, 3, s, s), dtype=torch.uint8, device=device) for n, s in sizes.items()}
    corner = torch.rand(pairs, 2, device=device) * 0.5
    truth = torch.cat([corner, corner + 0.2 + torch.rand(pairs, 2, device=device) * 0.2], dim=1)
    return images | {"truth": truth, "mask": torch.ones(pairs, tokens, dtype=torch.bool, device=device)}


def measure(model: OneStreamTracker, how: Recipe, device: torch.device, seconds: float) -> tuple[float, float]:
    """Return pairs per second (median over steps) and the peak memory in GB, 0 on a CPU."""
    batch = batch_of(model.spec, how.batch_size, model.encoder.template_side**2, device)
    unused: Any = None
    job = TrainingSetup(model, how, unused, unused, 0, Path("none"), device, lambda _: None, model.loss_divisor)
    accelerator = make_accelerator(device, how.precision)
    optimizer: Any = torch.optim.AdamW(parameter_groups(model, how), fused=True)
    state = State(0, [], TrainingCost())
    taken: list[float] = []
    with computing_in(model, how.precision), compiled_blocks(model, wanted=how.compile):
        _, optimizer = accelerator.prepare(model, optimizer)
        training = TrainingInProgress(job, accelerator, optimizer, state)
        until = time.perf_counter() + seconds
        while len(taken) < 3 or time.perf_counter() < until:
            if len(taken) == 2 and device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            started = time.perf_counter()
            losses = take_step(training, batch)
            assert bool(torch.isfinite(losses["total"]))  # waits for the device
            taken.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
    return how.batch_size / statistics.median(taken[2:]), peak


def one_step(model: OneStreamTracker, how: Recipe, device: torch.device) -> TrainingCost:
    """Take one step in as large parts as memory holds, and return what that was."""
    batch = batch_of(model.spec, how.batch_size, model.encoder.template_side**2, device)
    unused: Any = None
    job = TrainingSetup(model, how, unused, unused, 0, Path("none"), device, lambda *_: None, model.loss_divisor)
    job = dataclasses.replace(job, parts_are_free=model.parts_are_free, fit_memory=True)
    accelerator, state = make_accelerator(device, how.precision), State(0, [], TrainingCost())
    optimizer: Any = torch.optim.AdamW(parameter_groups(model, how), fused=True)
    with computing_in(model, how.precision):
        _, optimizer = accelerator.prepare(model, optimizer)
        assert bool(torch.isfinite(take_step(TrainingInProgress(job, accelerator, optimizer, state), batch)["total"]))
    return state.cost


def ways(
    spec: TrackerSpec, batch: int, precision: Precision
) -> dict[str, tuple[Callable[[], OneStreamTracker], Recipe]]:
    """Return for each way how its model is built, and its recipe."""
    published, whole = recipe(batch, min(PUBLISHED, batch), precision), recipe(batch, batch, precision)

    def by_peft() -> OneStreamTracker:
        ours, lora._replace_peft = lora._replace_peft, lambda blocks: None  # type: ignore[assignment]
        try:
            return build(spec, pretrained=False)
        finally:
            lora._replace_peft = ours

    return {
        "full, at once": (lambda: build(replace(spec, adaptation=FullFineTuning()), pretrained=False), whole),
        "LoRA by peft, in parts": (by_peft, published),
        "LoRA by peft, at once": (by_peft, whole),
        "LoRA, in parts": (lambda: build(spec, pretrained=False), published),
        "LoRA, at once": (lambda: build(spec, pretrained=False), whole),
        "LoRA, at once, compiled": (lambda: build(spec, pretrained=False), whole.model_copy(update={"compile": True})),
        "frozen, at once": (lambda: build(replace(spec, adaptation=FrozenBackbone()), pretrained=False), whole),
    }


def compare(spec: TrackerSpec, batch: int, precision: Precision, device: torch.device, seconds: float) -> None:
    """Print a line for each way."""
    first = 0.0
    for name, (make, how) in ways(spec, batch, precision).items():
        try:
            rate, peak = measure(make().to(device).train(), how, device, seconds)
        except torch.OutOfMemoryError:
            say(f"{spec.name:14} {name:26} out of memory")
            continue
        finally:
            if device.type == "cuda":
                torch.cuda.empty_cache()
        first = first or rate
        say(f"{spec.name:14} {name:26} {rate:8.1f} pairs/s  ratio {rate / first:5.2f}  peak {peak:6.2f} GB")


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def tracking(spec: TrackerSpec, device: torch.device, seconds: float) -> None:
    """Print forwards per second at batch 1 of the merged model, in float32 and under autocast."""
    model = build(spec, pretrained=False).eval().to(device)
    merge(model)
    batch = batch_of(spec, 1, model.encoder.template_side**2, device)
    images: list[Tensor] = [batch["template"].float(), batch["search"].float(), batch["mask"]]
    for name, half in (("float32", False), ("fp16 autocast", True)):
        with torch.inference_mode(), torch.autocast(device.type, torch.float16, enabled=half):
            taken: list[float] = []
            until = time.perf_counter() + seconds
            while len(taken) < 5 or time.perf_counter() < until:
                started = time.perf_counter()
                model(*images)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                taken.append(time.perf_counter() - started)
        say(f"{spec.name:14} forward at batch 1, {name:14} {1 / statistics.median(taken[3:]):7.1f} per second")


def main() -> None:
    """Compare what was asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", default=["lorat-b-224"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each way, after warming up")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    say(f"{torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'}, torch {torch.__version__}")
    for name in asked.variant:
        compare(VARIANTS[name], asked.batch, asked.precision, device, asked.seconds)
        tracking(VARIANTS[name], device, asked.seconds / 3)


if __name__ == "__main__":
    main()
