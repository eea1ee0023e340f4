"""The training loop: one for every variant.

A *step* takes one batch of training pairs, computes the loss and updates the weights once. A batch that does not fit
the device at once is computed in *parts*, whose weighted gradients add up to the gradient of the whole batch. After
every `checkpoint_every` steps, and after the last one, the loop *validates* the model, adds a point to the curve and
saves a *checkpoint*.

An interrupted training *resumes* at its last checkpoint and gives the same numbers as an unbroken one. This needs no
generator states, because nothing random outlives a step: pairs are numbered, and torch is seeded anew for each step.
A training that is asked to stop saves a checkpoint after the step at hand.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from trackablate.datasets.atomic import whole_archive, write_with
from trackablate.datasets.pairs.sampling import PairSampler
from trackablate.harness.costing.clock import PhaseClock
from trackablate.harness.costing.devices import energy_meter, held_bytes, peak_memory_bytes, synchroniser
from trackablate.harness.record import CurvePoint, TrainingCost
from trackablate.harness.run_folder import DIVERGED, keep_older, older
from trackablate.harness.spec import Recipe
from trackablate.harness.training.engine import (
    MEASURED_STEPS,
    compiled_blocks,
    computing_in,
    make_accelerator,
    pairs_that_fit,
)
from trackablate.harness.training.group import ALONE, Group
from trackablate.harness.training.learning_rates import parameter_groups, schedule
from trackablate.harness.training.loading import Batch, PairDataset, loader_deaths_named, made, pair_loader
from trackablate.harness.training.sharding import gathered, is_sharded, own_piece, sharded
from trackablate.harness.training.step import LossMeans, State, TrainingInProgress, TrainingSetup, take_step
from trackablate.harness.training.stopping import Interrupted, asked
from trackablate.trackers.decoding import best_boxes
from trackablate.trackers.training.losses import box_iou


@loader_deaths_named()
def fit(setup: TrainingSetup) -> tuple[list[CurvePoint], TrainingCost]:
    """Train `setup.model` in place, starting from the checkpoint if there is one.

    Returns:
        The training curve, and the cost of the phases "data", "train" and "validate".

    Raises:
        FloatingPointError: The loss is not finite.
        ValueError: The checkpoint cannot be resumed.
        BadInput: The processes of the group are more than a batch can be divided among.
        Interrupted: The process is asked to stop. The checkpoint is there.
    """
    with _begun(setup) as (training, batches):
        setup, state = training.setup, training.state
        clock = _clock(setup, state.cost)
        for batch in _timed(batches, clock):
            setup.group.at(3 * state.step + 1)
            with clock.phase("train"):
                losses = take_step(training, batch)
            _refuse_infinite(setup, losses, batch, state.step)
            state.means.add(losses)
            state.step += 1
            state.cost.samples += setup.recipe.batch_size
            setup.group.at(3 * state.step)
            if state.step == MEASURED_STEPS:
                _enlarge_parts(setup, state, clock)
            if state.step == setup.recipe.steps or state.step % setup.recipe.checkpoint_every == 0:
                setup.report(state.step, None)
                with clock.phase("validate"):
                    setup.group.average_statistics(setup.model)
                    overlap = validation_iou(
                        setup.model, setup.validation, setup.recipe, setup.device, setup.loader_workers, setup.group
                    )
                _book(setup, state.cost, clock)
                point = {"step": state.step, "seconds": state.cost.wall(), "losses": state.means.take()}
                state.curve.append(CurvePoint.model_validate(point | {"validation_iou": overlap}))
                if setup.log.wanted:
                    setup.log.point(state.step, {"validation_iou": overlap, **_figures(setup, state, losses)})
                _save(training)
            setup.report(state.step, losses["total"])
            setup.log.step(state.step, partial(_figures, setup, state, losses))
            if setup.group.stops(state.step, asked=asked() is not None) and state.step < setup.recipe.steps:
                _stop(training, clock)
    return state.curve, state.cost


@contextmanager
def _begun(setup: TrainingSetup) -> Iterator[tuple[TrainingInProgress, DataLoader[Batch]]]:
    """Prepare everything for the steps from the checkpoint on, and yield it with the batches."""
    precision, compile_ = setup.recipe.precision, setup.recipe.compile
    accelerator = make_accelerator(setup.device, precision)
    with sharded(setup.model, setup.device, wanted=setup.fsdp) as model:
        setup = replace(setup, model=model)
        optimizer: Any = torch.optim.AdamW(parameter_groups(model, setup.recipe), fused=True)
        state = _resume(setup, optimizer, accelerator)
        state.cost.compiled, state.cost.fsdp = compile_, state.cost.fsdp or setup.fsdp
        if setup.fsdp and (state.cost.pairs_at_once or 0) > setup.recipe.pairs_at_once:
            state.cost.pairs_at_once = None  # as `_enlarge_parts` says
        with computing_in(model, precision), compiled_blocks(model, wanted=compile_):
            _, optimizer, batches = accelerator.prepare(model, optimizer, _loader(setup, state.step))
            if setup.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(setup.device)
            yield TrainingInProgress(setup, accelerator, optimizer, state), batches


def _stop(training: TrainingInProgress, clock: PhaseClock) -> None:
    """Save a checkpoint, and raise Interrupted."""
    setup, state = training.setup, training.state
    if not state.curve or state.curve[-1].step < state.step:
        setup.group.average_statistics(setup.model)
        _book(setup, state.cost, clock)
        _save(training)
        setup.group.every(None)  # the others wait until it is saved
    raise Interrupted(asked() or signal.SIGTERM, f"with its checkpoint at step {state.step} of {setup.recipe.steps}")


def _figures(setup: TrainingSetup, state: State, losses: dict[str, Tensor]) -> dict[str, float]:
    named = {f"loss/{name}": float(value) for name, value in losses.items()}
    rate = setup.recipe.lr_new * schedule(setup.recipe, state.step - 1)
    seconds = state.cost.wall()
    speed = {"pairs_per_second": state.cost.samples / seconds} if seconds else {}
    return {**named, "learning_rate": rate, "peak_memory_bytes": peak_memory_bytes(setup.device), **speed}


def _enlarge_parts(setup: TrainingSetup, state: State, clock: PhaseClock) -> None:
    """Let a GPU take as many pairs at a time as fit, once the memory of the published number is booked.

    Not if parameters are divided: a process whose memory does not hold them could not go back alone.
    """
    published = setup.recipe.pairs_at_once
    as_published = state.cost.pairs_at_once is None and not (state.cost.recomputed or setup.fsdp)
    if setup.parts_are_free and setup.device.type == "cuda" and as_published:
        _book(setup, state.cost, clock)
        pairs = pairs_that_fit(setup.device, published, len(setup.share))
        state.cost.pairs_at_once = pairs if pairs > published else None


def _refuse_infinite(setup: TrainingSetup, losses: dict[str, Tensor], batch: Batch, step: int) -> None:
    if not torch.isfinite(losses["total"]):
        terms = {name: float(value) for name, value in losses.items() if name != "total"}
        kept = setup.checkpoint.with_name(DIVERGED)
        shares = setup.group.every({name: value.cpu() for name, value in cast(dict[str, Tensor], batch).items()})
        whole = {name: torch.cat([share[name] for share in shares]) for name in shares[0]}
        if setup.group.first:
            write_with(kept, lambda file: torch.save({"step": step, "losses": terms, "batch": whole}, file))
        raise FloatingPointError(f"the loss is not finite at step {step}: {terms}. The batch is kept in {kept}")


@torch.no_grad()
def validation_iou(
    model: nn.Module,
    pairs: PairSampler,
    recipe: Recipe,
    device: torch.device,
    workers: int = 0,
    group: Group = ALONE,
) -> float:
    """Return the mean IoU (0..1) of the best-scored box, without the tracking window, over the validation pairs."""
    model.eval()
    overlaps = [torch.empty(0, device=device)]
    count = recipe.validation_pairs
    first, end = (count * rank // group.size for rank in (group.rank, group.rank + 1))
    last = first - (-count // group.size) if is_sharded(model) else end  # all have to compute as many batches
    for batch in made(pair_loader(PairDataset(pairs, first, last), recipe.pairs_at_once, workers)):
        inputs = [batch[name].to(device) for name in ("template", "search", "mask")]
        boxes, _ = best_boxes(model(inputs[0].float(), inputs[1].float(), inputs[2]))
        overlaps.append(box_iou(boxes.float(), batch["truth"].to(device).clamp(0, 1)))
    model.train()
    overlap = torch.cat(overlaps)[: end - first]
    return float(overlap.mean() if group.size == 1 else group.sum(overlap.sum()) / count)


def _save(training: TrainingInProgress) -> None:
    setup, state, accelerator, first = training.setup, training.state, training.accelerator, training.setup.group.first
    if not (first or setup.fsdp):
        return
    optimizer = training.optimizer.state_dict()
    moments = {
        number: {name: gathered(value, keep=first) for name, value in entry.items()}
        for number, entry in optimizer["state"].items()
    }
    content = {
        "step": state.step,
        "model": trained_state(setup.model, keep=first),
        "optimizer": optimizer | {"state": moments},
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler else {},
        "curve": [point.model_dump() for point in state.curve],
        "cost": state.cost.model_dump(),
        "means": {name: (total.cpu(), count) for name, (total, count) in state.means.sums.items()},
    }
    if first:
        keep_older(setup.checkpoint)
        write_with(setup.checkpoint, lambda file: torch.save(content, file))


def _resume(setup: TrainingSetup, optimizer: torch.optim.Optimizer, accelerator: Accelerator) -> State:
    """Load the checkpoint into model, optimizer and loss scaler, and return the state; a new state if there is none.

    If the checkpoint is damaged, the training goes back to the one before.
    """
    failures: list[tuple[Path, Exception]] = []
    for checkpoint in filter(Path.exists, (setup.checkpoint, older(setup.checkpoint))):
        try:
            return _loaded(checkpoint, setup, optimizer, accelerator)
        except Exception as error:  # noqa: BLE001 torch raises anything for a damaged file
            failures.append((checkpoint, error))
    if not failures:
        return State(0, [], TrainingCost())
    file, reason = failures[0]
    raise ValueError(
        f"the checkpoint {file} cannot be resumed ({type(reason).__name__}): move it away to start the training anew"
    ) from reason


def _loaded(
    checkpoint: Path, setup: TrainingSetup, optimizer: torch.optim.Optimizer, accelerator: Accelerator
) -> State:
    if not whole_archive(checkpoint):  # torch compares no checksums
        raise ValueError("it is damaged")
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=setup.fsdp)
    load_trained(setup.model, content["model"])
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        number: {name: own_piece(value, trained[number]) for name, value in entry.items()}
        for number, entry in content["optimizer"]["state"].items()
    }
    optimizer.load_state_dict(content["optimizer"] | {"state": moments})
    if accelerator.scaler:
        accelerator.scaler.load_state_dict(content["scaler"])
    cost = TrainingCost.model_validate(content["cost"])
    curve = [CurvePoint.model_validate(point) for point in content["curve"]]
    cost.resumed += 1
    sums = content.get("means", {})  # none in a checkpoint of older versions, which were saved with a point only
    means = LossMeans({name: (total.to(setup.device), count) for name, (total, count) in sums.items()})
    return State(int(content["step"]), curve, cost, means)


def trained_state(model: nn.Module, *, keep: bool = True) -> dict[str, Tensor]:
    """Return what training changes, on the CPU: trainable parameters and buffers. keep: see `sharding.gathered`.

    All other weights come from the pretrained file.
    """
    return {name: gathered(value, keep=keep).detach().cpu().contiguous() for name, value in _trained(model).items()}


def _trained(model: nn.Module) -> dict[str, Tensor]:
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in model.named_buffers()}
    return {name: value for name, value in model.state_dict().items() if name in trainable | buffers}


def load_trained(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load what `trained_state` returned. Raises ValueError if entries are missing or unknown."""
    expected = _trained(model)
    if state.keys() != expected.keys():
        raise ValueError(
            f"weights do not fit the model: missing {sorted(expected.keys() - state.keys())[:5]}, "
            f"unknown {sorted(state.keys() - expected.keys())[:5]}"
        )
    model.load_state_dict({name: own_piece(value, expected[name]) for name, value in state.items()}, strict=False)


def _loader(setup: TrainingSetup, step: int) -> DataLoader[Batch]:
    """Return the batches from step `step` to the end of the training."""
    size = setup.recipe.batch_size
    pairs = PairDataset(setup.training, step * size, setup.recipe.steps * size)
    return pair_loader(pairs, size, setup.loader_workers, pinned=setup.device.type == "cuda", share=setup.share)


def _clock(setup: TrainingSetup, cost: TrainingCost) -> PhaseClock:
    device = setup.device
    on_cpu, first = device.type != "cuda", setup.group.first
    booked = cost.phases if first else {}  # what was booked before is the first process's to say
    return PhaseClock(booked, synchroniser(device), on_cpu=on_cpu, meter=energy_meter(device))


def _timed(batches: Iterable[Batch], clock: PhaseClock) -> Iterator[Batch]:
    """Yield the batches, and book the time of making each one as "data"."""
    iterator = made(batches)
    while True:
        with clock.phase("data"):
            batch = next(iterator, None)
        if batch is None:
            return
        yield batch


def _book(setup: TrainingSetup, cost: TrainingCost, clock: PhaseClock) -> None:
    on_gpu, published = setup.device.type == "cuda", setup.recipe.pairs_at_once
    cost.phases = setup.group.booked(clock.booked, on_gpu=on_gpu)
    cost.memory_kind = "device peak allocated" if on_gpu else "process peak RSS"
    used = [(each.pairs_at_once or published, each.recomputed) for each in setup.group.every(cost)]
    if (least := min(pairs for pairs, _ in used)) < published:
        cost.pairs_at_once = least
    cost.recomputed = any(recomputed for _, recomputed in used)
    if cost.pairs_at_once is None or cost.pairs_at_once <= published:
        held = held_bytes(setup.device)
        if held is not None:
            cost.reserved_bytes, cost.driver_bytes = max(held[0], cost.reserved_bytes or 0), held[1]
        cost.peak_memory_bytes = max(*setup.group.every(peak_memory_bytes(setup.device)), cost.peak_memory_bytes or 0)
