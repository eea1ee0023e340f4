"""One step of a training: a batch divided into parts, and the parts into what the device's memory holds."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from trackablate.datasets.pairs.sampling import PairSampler
from trackablate.harness.errors import RunFailed
from trackablate.harness.record import CurvePoint, TrainingCost
from trackablate.harness.spec import Recipe
from trackablate.harness.training.engine import failed_to_compile
from trackablate.harness.training.group import ALONE, Group
from trackablate.harness.training.learning_rates import schedule
from trackablate.harness.training.loading import Batch
from trackablate.harness.training.logs import NO_LOG, TrainingLog
from trackablate.harness.training.sharding import count_unused, drop_unused
from trackablate.trackers.encoder.blocks import run_block
from trackablate.trackers.model import OneStreamEncoder


@dataclass(frozen=True)
class TrainingSetup:
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
        fit_memory: Whether a step that the device's memory does not hold is computed in smaller parts, or with activations
            computed twice; the result is the same to rounding. Otherwise such a step fails.
        log: Is told the figures of steps and validations, for whoever watches.
        group: The processes that share the training. Each calls `fit`, with its own `device`, `report` and `group`.
        fsdp: Whether they divide parameters, gradients and optimizer states among them (`training.sharding`).
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
    fit_memory: bool = False
    log: TrainingLog = NO_LOG
    group: Group = ALONE
    fsdp: bool = False

    @property
    def share(self) -> range:
        """Which pairs of each batch this process computes: whole published parts, where the loss depends on the parts."""
        return self._share_of(self.group)

    def most_parts(self, pairs: int) -> int:
        """Return how many parts of so many pairs the process with the largest share computes."""
        shares = [self._share_of(replace(self.group, rank=rank)) for rank in range(self.group.size)]
        return max(-(-len(share) // pairs) for share in shares)

    def _share_of(self, group: Group) -> range:
        return group.share(self.recipe.batch_size, 1 if self.parts_are_free else self.recipe.pairs_at_once)


class LossMeans:
    """Means of the loss terms since the last `take`. They stay on the device, so that no step waits for them."""

    def __init__(self, sums: dict[str, tuple[Tensor, int]] | None = None) -> None:
        self.sums = sums or {}

    def add(self, losses: dict[str, Tensor]) -> None:
        """Count a step's loss terms."""
        for name, value in losses.items():
            total, count = self.sums.get(name, (torch.zeros_like(value), 0))
            self.sums[name] = total + value.detach(), count + 1

    def take(self) -> dict[str, float]:
        """Return the means by name, and begin anew."""
        means = {name: float(total) / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


@dataclass
class State:
    """The progress of a training: `step` is the number of steps done, `means` what is in no point of the curve yet."""

    step: int
    curve: list[CurvePoint]
    cost: TrainingCost
    means: LossMeans = field(default_factory=LossMeans)


@dataclass(frozen=True)
class TrainingInProgress:
    """A training in progress: what is trained, with what, and how far it is."""

    setup: TrainingSetup
    accelerator: Accelerator
    optimizer: Any
    state: State


def take_step(training: TrainingInProgress, batch: Batch) -> dict[str, Tensor]:
    """Update the weights once, and return the batch's loss terms and their "total".

    Raises RunFailed, saying what fits, if the device's memory holds no step of this size.
    """
    setup, state, optimizer = training.setup, training.state, training.optimizer
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * schedule(setup.recipe, state.step, group["peak"])
    whole = None  # the divisor of the whole batch, if other processes have some of its pairs
    if setup.group.size > 1:
        whole = setup.group.sum(_divisors(setup, _parts(batch, setup.recipe.pairs_at_once)).sum())
    losses = _within_memory(setup, state, lambda: _gradients(training, batch, whole))
    setup.group.at(3 * state.step + 2)  # from here on it waits for the others
    losses = setup.group.add_gradients(setup.model, losses)
    drop_unused(setup.model, setup.group.sum)
    training.accelerator.clip_grad_norm_(setup.model.parameters(), setup.recipe.clip_norm)
    optimizer.step()
    return losses


def _within_memory(setup: TrainingSetup, state: State, gradients: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the result of `gradients`, which is called again with less memory as long as it does not fit.

    It is also called again if blocks cannot be compiled: then they are computed as they are.
    """
    published, kept = setup.recipe.pairs_at_once, _statistics(setup)
    begun = state.cost.pairs_at_once or published, state.cost.recomputed
    before = [buffer.clone() for buffer in kept]
    while True:
        try:
            losses = gradients()
            break
        except torch.OutOfMemoryError as error:
            if setup.fsdp:  # the others are in the middle of the same attempt
                raise RunFailed(_remedy_of_all(setup, state.step)) from error
            if not _take_less(setup, state):
                raise RunFailed(f"step {state.step}: memory ran out, and no smaller part of the batch fits") from error
        except RuntimeError as error:
            if not state.cost.compiled or not failed_to_compile(error):
                raise
            warnings.warn(f"blocks are not compiled: {str(error).splitlines()[0]}", stacklevel=2)
            state.cost.compiled, setup.model.get_submodule("encoder").block = False, run_block  # type: ignore[assignment]
        # After the error, whose traceback holds the tensors of the failed attempt.
        for buffer, value in zip(kept, before, strict=True):
            buffer.copy_(value)
        if setup.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(setup.device)
    pairs, recomputed = state.cost.pairs_at_once or published, state.cost.recomputed
    if not setup.fit_memory and (pairs < min(published, begun[0]) or recomputed > begun[1]):
        raise RunFailed(_remedy(state, published, pairs, recomputed))
    return losses


def _statistics(setup: TrainingSetup) -> list[Tensor]:
    """Return the running statistics, which a failed attempt would have moved; none if the loss has none of them."""
    again = setup.fit_memory or setup.recipe.compile
    return list(setup.model.buffers()) if again and not setup.parts_are_free else []


def _take_less(setup: TrainingSetup, state: State) -> bool:
    """Let the next attempt take less memory; return False if it cannot.

    Parts of the batch are halved if the loss does not depend on them; else activations are computed twice.
    """
    cost, published = state.cost, setup.recipe.pairs_at_once
    pairs = min(cost.pairs_at_once or published, len(setup.share))
    if pairs > published:
        cost.pairs_at_once = published
    elif setup.parts_are_free and pairs > 1:
        cost.pairs_at_once = pairs // 2
    elif isinstance(encoder := getattr(setup.model, "encoder", None), OneStreamEncoder) and not encoder.checkpointing:
        cost.recomputed = True
    else:
        return False
    return True


def _remedy(state: State, published: int, pairs: int, recomputed: bool) -> str:
    twice = " if activations are computed twice" if recomputed else ""
    fields = [f"recipe.micro_batch={pairs}"] * (pairs < published) + ["tracker.checkpointing=true"] * recomputed
    return (
        f"step {state.step}: memory ran out with {published} pairs at a time; {pairs} at a time fit{twice}. Add"
        f" --fit-memory, which gives the same result to rounding, or --set {' --set '.join(fields)}"
    )


def _remedy_of_all(setup: TrainingSetup, step: int) -> str:
    pairs = setup.recipe.pairs_at_once
    fewer = f"--set recipe.micro_batch={pairs // 2} or " * (setup.parts_are_free and pairs > 1)
    return (
        f"step {step}: memory ran out with {pairs} pairs at a time on {setup.group.size} GPUs (--fsdp). Add {fewer}--set"
        " tracker.checkpointing=true, or share the run among more GPUs"
    )


def _gradients(training: TrainingInProgress, batch: Batch, whole: Tensor | None) -> dict[str, Tensor]:
    """Compute the gradients of this process's pairs, and return their share of the batch's loss terms and "total"."""
    setup, state = training.setup, training.state
    if state.cost.recomputed:
        setup.model.get_submodule("encoder").checkpointing = True  # type: ignore[assignment]
    torch.manual_seed(setup.seed * 1_000_003 + state.step + 1 + (setup.group.rank << 40))
    training.optimizer.zero_grad()
    sums: dict[str, Tensor] = {}
    pairs = state.cost.pairs_at_once or setup.recipe.pairs_at_once
    parts = _parts(batch, pairs)
    for weight, part in zip(_weights(setup, parts, whole), parts, strict=True):
        for name, value in _backward(training, part, weight).items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() * weight
    if setup.fsdp and (more := setup.most_parts(pairs) - len(parts)):
        before = [buffer.clone() for buffer in setup.model.buffers()]
        for _ in range(more):  # the others need this process's parameters
            _backward(training, parts[-1], torch.zeros_like(sums["total"]))
        for buffer, value in zip(setup.model.buffers(), before, strict=True):
            buffer.copy_(value)
    return sums


def _backward(training: TrainingInProgress, part: Batch, weight: Tensor) -> dict[str, Tensor]:
    """Add the gradients of a part's loss times its weight, and return its loss terms and their "total"."""
    setup, images = training.setup, (part["template"].float(), part["search"].float())
    with training.accelerator.autocast():
        progress = training.state.step / setup.recipe.steps
        losses: dict[str, Tensor] = setup.model(*images, part["mask"], part["truth"], progress)
        total = torch.stack(list(losses.values())).sum()
    count_unused(setup.model)
    training.accelerator.backward(total * weight)
    return losses | {"total": total}


def _parts(batch: Batch, pairs: int) -> list[Batch]:
    """Split the batch into parts of `pairs` pairs."""
    count = len(batch["truth"])
    if count <= pairs:
        return [batch]
    slices = [slice(first, first + pairs) for first in range(0, count, pairs)]
    return [
        Batch(template=batch["template"][s], search=batch["search"][s], truth=batch["truth"][s], mask=batch["mask"][s])
        for s in slices
    ]


def _weights(setup: TrainingSetup, parts: list[Batch], whole: Tensor | None) -> Tensor:
    """Return the weights with which the losses of the parts sum to the batch's loss, whose divisor is `whole`."""
    if whole is None and len(parts) == 1:
        return torch.ones(1, device=parts[0]["truth"].device)
    divisors = _divisors(setup, parts)
    return divisors / (divisors.sum() if whole is None else whole)


def _divisors(setup: TrainingSetup, parts: list[Batch]) -> Tensor:
    return torch.stack([setup.divisor(part["truth"]) for part in parts])
