"""The processes that share one training, each with a device of its own: they divide a batch and add up its gradients.

They may divide the network, too (`training.sharding`). Otherwise gradients are added once a step, after all parts of a
batch, and not while they are computed: torch's wrapper for several devices does not add the gradients of parameters that
only an earlier part used.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed import Store  # type: ignore[attr-defined]
from torch.distributed.tensor import DTensor

from trackablate.harness.errors import BadInput
from trackablate.harness.record import PhaseCost
from trackablate.harness.training.meeting import HERE, Meeting

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """One process's view of the group. `rank` is its number, from 0; number 0 alone writes to the store."""

    rank: int = 0
    size: int = 1
    store: Store | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, count: int, unit: int = 1) -> range:
        """Return which of `count` things are this process's: neighbours, in whole units (the last one may be shorter).

        Raises BadInput if there are fewer units than processes.
        """
        units = -(-count // unit)
        if units < self.size:
            raise BadInput(
                f"{self.size} GPUs cannot share a batch of {count} pairs, which is not divided into more than"
                f" {units}: ask for --gpus-per-run {units} or less, on all machines together"
            )
        first, end = (min(count, unit * (units * rank // self.size)) for rank in (self.rank, self.rank + 1))
        return range(first, end)

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of the processes' tensors."""
        if self.size > 1:
            distributed.all_reduce(value := value.clone())
        return value

    def every(self, value: T) -> list[T]:
        """Return the processes' values in the order of their numbers."""
        found: list[Any] = [value] * self.size
        if self.size > 1:
            distributed.all_gather_object(found, value)
        return found

    def add_gradients(self, model: nn.Module, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add up the gradients of all processes in place, and return the sums of their losses.

        A parameter that no process used has no gradient afterwards, as in a single process. The gradients of divided
        parameters are sums already (`training.sharding`).
        """
        if self.size == 1:
            return losses
        own = torch.stack(list(losses.values())).float()
        trained = [p for p in model.parameters() if p.requires_grad and not isinstance(p, DTensor)]
        used = torch.tensor([float(parameter.grad is not None) for parameter in trained])
        pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained] + [used.to(own), own]
        *gradients, used, sums = _unpacked(self.sum(torch.cat([piece.flatten() for piece in pieces])), pieces)
        for parameter, gradient, processes in zip(trained, gradients, used.tolist(), strict=True):
            parameter.grad = gradient if processes else None
        return dict(zip(losses, sums, strict=True))

    @torch.no_grad()
    def average_statistics(self, model: nn.Module) -> None:
        """Give all processes the mean of their running statistics of batch normalisation."""
        if self.size > 1:
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    for statistic in (module.running_mean, module.running_var):
                        if statistic is not None:
                            statistic.copy_(self.sum(statistic) / self.size)

    def booked(self, own: dict[str, PhaseCost], *, on_gpu: bool) -> dict[str, PhaseCost]:
        """Return this process's phases with the device seconds of all processes, and on GPUs the joules of all of them.

        A processor's meter counts the whole processor already.
        """
        found = {name: cost.model_copy() for name, cost in own.items()}
        for rank, booked in enumerate(self.every(own)):
            for name, cost in booked.items() if rank != self.rank else ():
                found[name].device_seconds += cost.device_seconds
                if on_gpu and found[name].energy_joules is not None:
                    known, other = found[name].energy_joules or 0.0, cost.energy_joules
                    found[name].energy_joules = None if other is None else known + other
        return found

    def stops(self, step: int, *, asked: bool) -> bool:
        """Return whether all processes stop after this step, because the first one is asked to: together, one step later."""
        if self.store is None:
            return asked
        if self.store.check([STOP]):
            return step >= int(self.store.get(STOP))
        if self.first and asked:
            self.store.set(STOP, str(step + 1))
            self.store.check([STOP])  # it has arrived; no process ends the next step without this one
        return False

    def at(self, moment: int) -> None:
        """Say how far this process is, for whoever looks for the one that hangs."""
        if self.store is not None:
            self.store.set(_place(self.rank), str(moment))


STOP = "stop after"
ALONE = Group()


def steps_reached(store: Store, size: int) -> list[int]:
    """Return how far each process of a group has said it is; -1 for one that has not begun."""
    return [int(store.get(place)) if store.check([place]) else -1 for place in map(_place, range(size))]


@contextmanager
def joined(rank: int, size: int, meeting: Meeting, device: torch.device, patience: float) -> Iterator[Group]:
    """Meet the other processes of a group, and leave it afterwards. patience: seconds to wait for them."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    kind = "nccl" if device.type == "cuda" else "gloo"
    # On one machine they speak to each other on it alone. Between machines NCCL knows better, and gloo would go by the
    # address of the machine's name, which may be one that only the machine itself reaches.
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if meeting.host == HERE else ("GLOO_SOCKET_IFNAME",)
    for name in names if (interface := meeting.interface()) else ():
        os.environ.setdefault(name, interface)
    store, wait = meeting.connect(), timedelta(seconds=patience)
    distributed.init_process_group(kind, store=store, rank=rank, world_size=size, timeout=wait)
    try:
        yield Group(rank, size, meeting.connect())
    finally:
        distributed.destroy_process_group()


def _place(rank: int) -> str:
    return f"process {rank}"


def _unpacked(flat: Tensor, shapes: Sequence[Tensor]) -> list[Tensor]:
    parts = flat.split_with_sizes([each.numel() for each in shapes])
    return [part.view_as(each) for part, each in zip(parts, shapes, strict=True)]
