"""Fully sharded training by torch's FSDP2: each process holds 1/N of parameters, gradients and optimizer states.

The tracker is divided block by block, and the rest as one. A block's parameters are gathered while it is computed,
forward and backward, and its gradients are summed over the processes after each part of a batch. So all processes have
to compute as many parts.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from trackablate.trackers.model import OneStreamTracker


@contextmanager
def sharded(model: nn.Module, device: torch.device, *, wanted: bool) -> Iterator[nn.Module]:
    """Divide a tracker among the processes of torch's group, if that is wanted, and yield what each trains.

    `model` itself has no weights meanwhile. Afterwards it has the trained ones in the first process, and none elsewhere.
    """
    if not wanted:
        yield model
        return
    assert isinstance(model, OneStreamTracker)
    shards, first = _divided(model, device), distributed.get_rank() == 0
    yield shards
    weights = {name: gathered(value, keep=first) for name, value in shards.state_dict().items()}
    if first:
        model.load_state_dict(weights, assign=True)
        model.to(device)


def _divided(model: OneStreamTracker, device: torch.device) -> OneStreamTracker:
    """Return a model with divided parameters, which are taken away from `model`, since `fully_shard` cannot be undone."""
    divided = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    empty = {name: parameter.detach().to("meta") for name, parameter in model.named_parameters()}
    model.load_state_dict(empty, strict=False, assign=True)
    world = distributed.group.WORLD
    assert world is not None
    mesh = DeviceMesh.from_group(world, device.type)
    blocks: list[Any] = list(divided.encoder.blocks.children())
    for module in (*blocks, divided):
        fully_shard(module, mesh=mesh)
        module.set_gradient_divide_factor(1.0)  # sums, whose parts are weighted already
        module.set_force_sum_reduction_for_comms(True)  # gloo knows no other
    for block in blocks:
        block.compute = MethodType(_compute, block)
        register_fsdp_forward_method(block, "compute")
    divided.encoder.call = _gathering
    return divided


def _compute(block: nn.Module, function: Callable[..., Any], *arguments: Any) -> Any:
    return function(block, *arguments)


def _gathering(function: Callable[..., Any], block: Any, *arguments: Any) -> Any:
    return block.compute(function, *arguments)


def is_sharded(model: nn.Module) -> bool:
    """Return whether the model's parameters are divided."""
    return isinstance(model, FSDPModule)


def count_unused(model: nn.Module) -> None:
    """Let parameters that a part has not used have a gradient of 0, so that all processes sum the gradients of the same.

    Call it between forward and backward. Blocks always use all of theirs.
    """
    for parameter in model.parameters() if is_sharded(model) else ():
        if parameter.requires_grad and parameter.grad is None and not isinstance(parameter, DTensor):
            parameter.grad = torch.zeros_like(parameter)


def drop_unused(model: nn.Module, total: Callable[[Tensor], Tensor]) -> None:
    """Take away gradients that are 0 in all processes: AdamW would let parameters that none has used decay.

    total: Returns the sum of a tensor over all processes.
    """
    named = model.named_parameters() if is_sharded(model) else ()
    outside = [p for name, p in named if not name.startswith("encoder.blocks.")]
    own = [p.grad.to_local().count_nonzero().float() for p in outside if isinstance(p.grad, DTensor)]
    if own:
        filled = [parameter for parameter in outside if isinstance(parameter.grad, DTensor)]
        for parameter, entries in zip(filled, total(torch.stack(own)).tolist(), strict=True):
            parameter.grad = parameter.grad if entries else None


def gathered(value: Any, *, keep: bool = True) -> Any:
    """Return a divided tensor whole, on the CPU, and anything else as it is. All processes have to call it together.

    keep: Whether this process needs it; otherwise an empty tensor is returned.
    """
    if not isinstance(value, DTensor):
        return value
    every = value.full_tensor()
    return every.cpu() if keep else torch.empty(0)


def own_piece(value: Any, of: Tensor) -> Any:
    """Return this process's piece of a whole tensor that belongs to a divided one, anything else as it is."""
    if not isinstance(of, DTensor) or not isinstance(value, Tensor) or value.shape != of.shape:
        return value
    return distribute_tensor(value.to(of.device), of.device_mesh, of.placements, src_data_rank=None).clone()
