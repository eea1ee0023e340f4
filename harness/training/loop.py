"""The training loop: one for every variant.

A *step* takes one batch of training pairs, computes the loss and updates the weights once. A batch that does not fit
the device at once is computed in *parts*, whose weighted gradients add up to the gradient of the whole batch. After
every `checkpoint_every` steps, and after the last one, the loop *validates* the model, adds a point to the curve and
saves a *checkpoint*.

An interrupted training *resumes* at its last checkpoint and gives the same numbers as an unbroken one. This needs no
generator states, because nothing random outlives a step: pairs are numbered, and torch is seeded anew for each step.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from trackablate.datasets.atomic import whole_archive, write_with
from trackablate.datasets.pairs.sampling import PairSampler
from trackablate.harness.costing.clock import PhaseClock
from trackablate.harness.costing.devices import energy_meter, peak_memory_bytes, synchroniser
from trackablate.harness.record import CurvePoint, TrainingCost
from trackablate.harness.run_folder import DIVERGED, keep_older, older
from trackablate.harness.spec import Recipe
from trackablate.harness.training.engine import MEASURED_STEPS, computing_in, make_accelerator, pairs_that_fit
from trackablate.harness.training.loading import Batch, PairDataset
from trackablate.trackers.adaptation.adapt import from_scratch
from trackablate.trackers.decoding import best_boxes
from trackablate.trackers.encoder.backbones import learning_rate_scale
from trackablate.trackers.training.losses import box_iou


@dataclass(frozen=True)
class Fit:
    """Everything that one training needs.

    Attributes:
        model: Called as `model(template, search, mask, truth, progress)`, it returns named loss terms; without `truth` it
            returns a Prediction. `mask`: the template tokens inside the target's box. `progress`: the share of the
            training that is done, 0..1, by which candidate elimination warms up.
        checkpoint: The checkpoint file.
        report: Called after every step with the number of steps done and its loss, and before a validation with the loss
            None.
        divisor: Returns the normaliser of the loss of pairs with these true boxes. Parts of a batch are weighted by it, so
            that they sum to the loss of the whole batch.
        parts_are_free: Whether that sum is the same for any division into parts, so that larger parts may be computed.
        loader_workers: Number of processes that make the pairs; 0 for none. Pairs are numbered, so it changes nothing.
    """

    model: nn.Module
    recipe: Recipe
    training: PairSampler
    validation: PairSampler
    seed: int
    checkpoint: Path
    device: torch.device
    report: Callable[[int, Tensor | None], None]
    divisor: Callable[[Tensor], Tensor] = lambda truth: truth.new_tensor(float(len(truth)))
    parts_are_free: bool = False
    loader_workers: int = 0


@dataclass
class _State:
    """The progress of a training. `step` is the number of steps done."""

    step: int
    curve: list[CurvePoint]
    cost: TrainingCost


def fit(job: Fit) -> tuple[list[CurvePoint], TrainingCost]:
    """Train `job.model` in place, starting from the checkpoint if there is one.

    Returns:
        The training curve, and the cost of the phases "data", "train" and "validate".

    Raises:
        FloatingPointError: The loss is not finite.
        ValueError: The checkpoint cannot be resumed.
    """
    accelerator = make_accelerator(job.device, job.recipe.precision)
    optimizer = torch.optim.AdamW(parameter_groups(job.model, job.recipe), fused=True)
    state = _resume(job, optimizer, accelerator)
    clock = _clock(job.device, state.cost)
    with computing_in(job.model, job.recipe.precision):
        model, optimizer, batches = accelerator.prepare(job.model, optimizer, _loader(job, state.step))
        if job.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(job.device)
        means = _LossMeans()
        for batch in _timed(batches, clock):
            with clock.phase("train"):
                try:
                    losses = _step(job, accelerator, model, optimizer, batch, state)
                except torch.OutOfMemoryError as error:
                    _return_to_published(job, state, error)
                    losses = _step(job, accelerator, model, optimizer, batch, state)
            _refuse_infinite(losses, batch, state.step, job.checkpoint)
            means.add(losses)
            state.step += 1
            state.cost.samples += len(batch["truth"]) * accelerator.num_processes
            if state.step == MEASURED_STEPS:
                _enlarge_parts(job, state, clock)
            if state.step == job.recipe.steps or state.step % job.recipe.checkpoint_every == 0:
                job.report(state.step, None)
                with clock.phase("validate"):
                    overlap = validation_iou(model, job.validation, job.recipe, accelerator.device)
                _book(state.cost, clock, job.device)
                point = {"step": state.step, "seconds": state.cost.wall(), "losses": means.take()}
                state.curve.append(CurvePoint.model_validate(point | {"validation_iou": overlap}))
                if accelerator.is_main_process:
                    _save(job, optimizer, accelerator, state)
            job.report(state.step, losses["total"])
    return state.curve, state.cost


def _enlarge_parts(job: Fit, state: _State, clock: PhaseClock) -> None:
    """Let a GPU take as many pairs at a time as fit, once the memory of the published number is booked."""
    if job.parts_are_free and job.device.type == "cuda":
        _book(state.cost, clock, job.device)
        published = job.recipe.pairs_at_once
        pairs = pairs_that_fit(job.device, published, job.recipe.batch_size)
        state.cost.pairs_at_once = pairs if pairs > published else None


def _return_to_published(job: Fit, state: _State, error: torch.OutOfMemoryError) -> None:
    """Compute in the published parts from now on, since larger ones do not fit any more.

    Raises:
        OutOfMemoryError: The parts are the published ones already.
    """
    if state.cost.pairs_at_once in (None, job.recipe.pairs_at_once):
        raise error
    state.cost.pairs_at_once = job.recipe.pairs_at_once
    torch.cuda.empty_cache()


def _step(
    job: Fit, accelerator: Accelerator, model: nn.Module, optimizer: Any, batch: Batch, state: _State
) -> dict[str, Tensor]:
    """Update the weights once, and return the batch's loss terms and their "total"."""
    step = state.step
    torch.manual_seed(job.seed * 1_000_003 + step + 1)
    share = schedule(job.recipe, step)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    optimizer.zero_grad()
    sums: dict[str, Tensor] = {}
    for weight, part in _parts(batch, state.cost.pairs_at_once or job.recipe.pairs_at_once, job.divisor):
        with accelerator.autocast():
            losses: dict[str, Tensor] = model(
                part["template"].float(), part["search"].float(), part["mask"], part["truth"], step / job.recipe.steps
            )
            total = torch.stack(list(losses.values())).sum()
        accelerator.backward(total * weight)
        for name, value in (losses | {"total": total}).items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() * weight
    accelerator.clip_grad_norm_(model.parameters(), job.recipe.clip_norm)
    optimizer.step()
    return sums


def _refuse_infinite(losses: dict[str, Tensor], batch: Batch, step: int, checkpoint: Path) -> None:
    if not torch.isfinite(losses["total"]):
        terms = {name: float(value) for name, value in losses.items() if name != "total"}
        kept = checkpoint.with_name(DIVERGED)
        write_with(kept, lambda file: torch.save({"step": step, "losses": terms, "batch": dict(batch)}, file))
        raise FloatingPointError(f"the loss is not finite at step {step}: {terms}. The batch is kept in {kept}")


def _parts(batch: Batch, pairs: int, divisor: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Batch]]:
    """Split the batch into parts of `pairs` pairs. The losses of the parts, times their weights, sum to the batch's."""
    truth = batch["truth"]
    if len(truth) <= pairs:
        yield torch.ones((), device=truth.device), batch
        return
    slices = [slice(first, first + pairs) for first in range(0, len(truth), pairs)]
    parts = [
        Batch(template=batch["template"][s], search=batch["search"][s], truth=truth[s], mask=batch["mask"][s])
        for s in slices
    ]
    weights = torch.stack([divisor(part["truth"]) for part in parts])
    yield from zip(weights / weights.sum(), parts, strict=True)


def schedule(recipe: Recipe, step: int) -> float:
    """Return the learning rate of 0-based step `step` as a share of its peak: linear warm-up, then the schedule."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    if recipe.schedule == "step":
        return 1.0 if step < recipe.step_at * recipe.steps else recipe.final_share
    phase = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.final_share + (1 - recipe.final_share) * 0.5 * (1 + math.cos(math.pi * phase))


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups, each with its peak learning rate as `peak`.

    New and pretrained parameters, told apart by name, have separate learning rates. Biases, norms and embeddings are
    not decayed, unless the recipe decays everything.
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


class _LossMeans:
    """Means of the loss terms since the last `take`. They stay on the device, so that no step waits for them."""

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


@torch.no_grad()
def validation_iou(model: nn.Module, pairs: PairSampler, recipe: Recipe, device: torch.device) -> float:
    """Return the mean IoU (0..1) of the best-scored box, without the tracking window, over the validation pairs."""
    model.eval()
    overlaps = []
    loader: Iterable[Batch] = DataLoader(PairDataset(pairs, 0, recipe.validation_pairs), recipe.pairs_at_once)
    for batch in loader:
        inputs = [batch[name].to(device) for name in ("template", "search", "mask")]
        boxes, _ = best_boxes(model(inputs[0].float(), inputs[1].float(), inputs[2]))
        overlaps.append(box_iou(boxes.float(), batch["truth"].to(device)))
    model.train()
    return float(torch.cat(overlaps).mean())


def _save(job: Fit, optimizer: Any, accelerator: Accelerator, state: _State) -> None:
    content = {
        "step": state.step,
        "model": trained_state(job.model),
        "optimizer": optimizer.state_dict(),
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler else {},
        "curve": [point.model_dump() for point in state.curve],
        "cost": state.cost.model_dump(),
    }
    keep_older(job.checkpoint)
    write_with(job.checkpoint, lambda file: torch.save(content, file))


def _resume(job: Fit, optimizer: torch.optim.Optimizer, accelerator: Accelerator) -> _State:
    """Load the checkpoint into model, optimizer and loss scaler, and return the state; a new state if there is none.

    If the checkpoint is damaged, the training goes back to the one before.
    """
    failures: list[tuple[Path, Exception]] = []
    for checkpoint in filter(Path.exists, (job.checkpoint, older(job.checkpoint))):
        try:
            return _loaded(checkpoint, job, optimizer, accelerator)
        except Exception as error:  # noqa: BLE001 torch raises anything for a damaged file
            failures.append((checkpoint, error))
    if not failures:
        return _State(0, [], TrainingCost())
    file, reason = failures[0]
    raise ValueError(
        f"the checkpoint {file} cannot be resumed ({type(reason).__name__}): move it away to start the training anew"
    ) from reason


def _loaded(checkpoint: Path, job: Fit, optimizer: torch.optim.Optimizer, accelerator: Accelerator) -> _State:
    if not whole_archive(checkpoint):  # torch compares no checksums
        raise ValueError("it is damaged")
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    load_trained(job.model, content["model"])
    optimizer.load_state_dict(content["optimizer"])
    if accelerator.scaler:
        accelerator.scaler.load_state_dict(content["scaler"])
    cost = TrainingCost.model_validate(content["cost"])
    curve = [CurvePoint.model_validate(point) for point in content["curve"]]
    cost.resumed += 1
    return _State(int(content["step"]), curve, cost)


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes, on the CPU: trainable parameters and buffers.

    All other weights come from the pretrained file.
    """
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in model.named_buffers()}
    state = model.state_dict()
    return {name: state[name].detach().cpu().contiguous() for name in state if name in trainable | buffers}


def load_trained(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load what `trained_state` returned. Raises ValueError if entries are missing or unknown."""
    expected = trained_state(model).keys()
    if state.keys() != expected:
        raise ValueError(
            f"weights do not fit the model: missing {sorted(expected - state.keys())[:5]}, "
            f"unknown {sorted(state.keys() - expected)[:5]}"
        )
    model.load_state_dict(state, strict=False)


def _loader(job: Fit, step: int) -> DataLoader[Batch]:
    """Return the batches from step `step` to the end of the training."""
    size = job.recipe.batch_size
    pairs = PairDataset(job.training, step * size, job.recipe.steps * size)
    if job.loader_workers == 0:
        return DataLoader(pairs, size, shuffle=False)
    pinned = job.device.type == "cuda"
    return DataLoader(pairs, size, shuffle=False, num_workers=job.loader_workers, prefetch_factor=2, pin_memory=pinned)


def _clock(device: torch.device, cost: TrainingCost) -> PhaseClock:
    on_cpu = device.type != "cuda"
    return PhaseClock(cost.phases, synchroniser(device), on_cpu=on_cpu, meter=energy_meter(device))


def _timed(batches: Iterable[Batch], clock: PhaseClock) -> Iterator[Batch]:
    """Yield the batches, and book the time of making each one as "data"."""
    iterator = iter(batches)
    while True:
        with clock.phase("data"):
            batch = next(iterator, None)
        if batch is None:
            return
        yield batch


def _book(cost: TrainingCost, clock: PhaseClock, device: torch.device) -> None:
    cost.phases = clock.booked
    cost.memory_kind = "device peak allocated" if device.type == "cuda" else "process peak RSS"
    if cost.pairs_at_once is None:
        cost.peak_memory_bytes = max(peak_memory_bytes(device), cost.peak_memory_bytes or 0)
