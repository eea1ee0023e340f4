"""The training loop: one for every variant, resumable at its last checkpoint, with the numbers of an unbroken run.

Nothing random outlives a step: pairs are numbered, and torch is seeded from the seed and the step's number. So a
checkpoint needs no generator states.
"""

import io
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from trackablate.datasets.atomic import write_bytes
from trackablate.datasets.pairs.sampling import PairSampler
from trackablate.harness.costing.clock import PhaseClock
from trackablate.harness.costing.devices import energy_meter, peak_memory_bytes, synchroniser
from trackablate.harness.record import CurvePoint, TrainingCost
from trackablate.harness.spec import Recipe
from trackablate.harness.training.loading import Batch, PairDataset
from trackablate.trackers.adaptation.adapt import from_scratch
from trackablate.trackers.decoding import best_boxes
from trackablate.trackers.encoder.backbones import learning_rate_scale
from trackablate.trackers.training.losses import box_iou


@dataclass(frozen=True)
class Fit:
    """What a training needs. `model(template, search, mask, truth, progress)` returns named loss terms, and without
    truth a Prediction. divisor(truth): what the loss of these pairs is divided by, by which the parts of a batch are
    weighed. checkpoint: its file; report(step) is called after every step.
    """

    model: nn.Module
    recipe: Recipe
    training: PairSampler
    validation: PairSampler
    seed: int
    checkpoint: Path
    device: torch.device
    report: Callable[[int], None]
    divisor: Callable[[Tensor], Tensor] = lambda truth: truth.new_tensor(float(len(truth)))


@dataclass
class _State:
    step: int
    curve: list[CurvePoint]
    cost: TrainingCost


def fit(job: Fit) -> tuple[list[CurvePoint], TrainingCost]:
    """Train job.model in place, from the checkpoint if there is one. Returns the curve and the booked cost.

    Raises FloatingPointError where a loss stops being finite, ValueError where the checkpoint cannot be resumed.
    """
    gpu = job.device.type == "cuda"
    os.environ["ACCELERATE_TORCH_DEVICE"] = str(job.device)  # accelerate's only way to a GPU but the first
    accelerator = Accelerator(cpu=not gpu, mixed_precision="bf16" if gpu else "no")
    optimizer = torch.optim.AdamW(parameter_groups(job.model, job.recipe))
    state = _restore(job, optimizer)
    clock = PhaseClock(state.cost.phases, synchroniser(job.device), on_cpu=not gpu, meter=energy_meter(job.device))
    model, optimizer, batches = accelerator.prepare(job.model, optimizer, _loader(job, state.step))
    if gpu:
        torch.cuda.reset_peak_memory_stats(job.device)
    sums = _LossSums()
    for batch in _timed(batches, clock):
        with clock.phase("train"):
            sums.add(_step(job, accelerator, model, optimizer, batch, state.step))
        state.step += 1
        state.cost.samples += len(batch["truth"]) * accelerator.num_processes
        if state.step == job.recipe.steps or state.step % job.recipe.checkpoint_every == 0:
            with clock.phase("validate"):
                overlap = validation_iou(model, job.validation, job.recipe, accelerator.device)
            state.cost.phases = clock.booked
            wall = state.cost.wall()
            state.curve.append(CurvePoint(step=state.step, seconds=wall, losses=sums.take(), validation_iou=overlap))
            _book_memory(state.cost, job.device)
            if accelerator.is_main_process:
                _save(job, optimizer, state)
        job.report(state.step)
    return state.curve, state.cost


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW's groups: pretrained parameters and new ones (by name) have their own learning rate; biases, norms and
    embeddings are not decayed unless the recipe says so. Each group carries its peak rate as `peak`.
    """
    groups: dict[tuple[bool, bool, float], list[Tensor]] = {}
    depth = len({name.split(".")[2] for name, _ in model.named_parameters() if name.startswith("encoder.blocks.")})
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            new = from_scratch(name)
            decayed = recipe.decayed == "all" or (parameter.dim() > 1 and "embedding" not in name)
            share = learning_rate_scale(name, depth, recipe.layer_decay)
            groups.setdefault((new, decayed, share), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": share * (recipe.lr_new if new else recipe.lr_backbone),
            "lr": 0.0,
            "weight_decay": recipe.weight_decay if decayed else 0.0,
        }
        for (new, decayed, share), parameters in groups.items()
    ]


def schedule(recipe: Recipe, step: int) -> float:
    """The learning rate of 0-based step `step` as a share of its peak: linear warm-up, then the recipe's schedule."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    if recipe.schedule == "step":
        return 1.0 if step < recipe.step_at * recipe.steps else recipe.final_share
    phase = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.final_share + (1 - recipe.final_share) * 0.5 * (1 + math.cos(math.pi * phase))


@torch.no_grad()
def validation_iou(model: nn.Module, pairs: PairSampler, recipe: Recipe, device: torch.device) -> float:
    """Mean IoU of the best-scored box, without the tracking window, over the recipe's validation pairs; 0..1."""
    model.eval()
    overlaps = []
    loader: Iterable[Batch] = DataLoader(PairDataset(pairs, 0, recipe.validation_pairs), recipe.pairs_at_once)
    for batch in loader:
        inputs = [batch[k].to(device) for k in ("template", "search", "mask", "truth")]
        boxes, _ = best_boxes(model(inputs[0].float(), inputs[1].float(), inputs[2]))
        overlaps.append(box_iou(boxes.float(), inputs[3]))
    model.train()
    return float(torch.cat(overlaps).mean())


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: trainable parameters and buffers, on the CPU. The rest comes from the pretrained file."""
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in model.named_buffers()}
    state = model.state_dict()
    return {name: state[name].detach().cpu().contiguous() for name in state if name in trainable | buffers}


def load_trained(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put back what `trained_state` took. Raises ValueError, naming them, for entries that are missing or unknown."""
    expected = trained_state(model).keys()
    if state.keys() != expected:
        raise ValueError(
            f"weights do not fit the model: missing {sorted(expected - state.keys())[:5]}, "
            f"unknown {sorted(state.keys() - expected)[:5]}"
        )
    model.load_state_dict(state, strict=False)


class _LossSums:
    """Means of the loss terms since they were last taken; kept on the device, so that no step waits for them."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, losses: dict[str, Tensor]) -> None:
        for name, value in losses.items():
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = total + value.detach(), count + 1

    def take(self) -> dict[str, float]:
        means = {name: float(total) / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means


def _step(
    job: Fit, accelerator: Accelerator, model: nn.Module, optimizer: Any, batch: Batch, step: int
) -> dict[str, Tensor]:
    torch.manual_seed(job.seed * 1_000_003 + step + 1)
    share = schedule(job.recipe, step)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    optimizer.zero_grad()
    sums: dict[str, Tensor] = {}
    for weight, part in _micro_batches(batch, job.recipe.pairs_at_once, job.divisor):
        with accelerator.autocast():
            losses: dict[str, Tensor] = model(
                part["template"].float(), part["search"].float(), part["mask"], part["truth"], step / job.recipe.steps
            )
            total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"the loss is not finite at step {step}: { {k: float(v.detach()) for k, v in losses.items()} }"
            )
        accelerator.backward(total * weight)
        for name, value in (losses | {"total": total}).items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() * weight
    accelerator.clip_grad_norm_(model.parameters(), job.recipe.clip_norm)
    optimizer.step()
    return sums


def _micro_batches(batch: Batch, pairs: int, divisor: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Batch]]:
    """The batch in parts of so many pairs, each with its weight, so that the weighted losses sum to the batch's own."""
    parts = []
    for first in range(0, len(batch["truth"]), pairs):
        of = slice(first, first + pairs)
        parts.append(
            Batch(
                template=batch["template"][of],
                search=batch["search"][of],
                truth=batch["truth"][of],
                mask=batch["mask"][of],
            )
        )
    if len(parts) == 1:
        yield torch.ones((), device=batch["truth"].device), batch
        return
    weights = torch.stack([divisor(part["truth"]) for part in parts])
    yield from zip(weights / weights.sum(), parts, strict=True)


def _loader(job: Fit, step: int) -> DataLoader[Batch]:
    batch = job.recipe.batch_size
    pairs = PairDataset(job.training, step * batch, job.recipe.steps * batch)
    return DataLoader(pairs, batch, shuffle=False, num_workers=0)


def _timed(batches: Iterable[Batch], clock: PhaseClock) -> Iterator[Batch]:
    """The batches, the time of making each booked as `data`."""
    iterator = iter(batches)
    while True:
        with clock.phase("data"):
            batch = next(iterator, None)
        if batch is None:
            return
        yield batch


def _book_memory(cost: TrainingCost, device: torch.device) -> None:
    cost.memory_kind = "device peak allocated" if device.type == "cuda" else "process peak RSS"
    cost.peak_memory_bytes = max(peak_memory_bytes(device), cost.peak_memory_bytes or 0)


def _save(job: Fit, optimizer: Any, state: _State) -> None:
    content = {
        "step": state.step,
        "model": trained_state(job.model),
        "optimizer": optimizer.state_dict(),
        "curve": [point.model_dump() for point in state.curve],
        "cost": state.cost.model_dump(),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(job.checkpoint, buffer.getvalue())


def _restore(job: Fit, optimizer: torch.optim.Optimizer) -> _State:
    if not job.checkpoint.exists():
        return _State(0, [], TrainingCost())
    try:
        content = torch.load(job.checkpoint, map_location="cpu", weights_only=True)
        load_trained(job.model, content["model"])
        optimizer.load_state_dict(content["optimizer"])
        cost = TrainingCost.model_validate(content["cost"])
        curve = [CurvePoint.model_validate(p) for p in content["curve"]]
        step = int(content["step"])
    except Exception as error:
        raise ValueError(
            f"the checkpoint {job.checkpoint} cannot be resumed ({type(error).__name__}): delete it, and the training "
            "starts anew"
        ) from error
    cost.resumed += 1
    return _State(step, curve, cost)
