"""How a step is computed on a device: in which precision, with which workers for its data, in how many parts.

None of this changes what a step means. A recipe's precision does change its numbers, so it is part of the recipe.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from trackablate.harness.errors import BadInput
from trackablate.harness.spec import GPU_ONLY, Precision
from trackablate.trackers.encoder.blocks import run_block
from trackablate.trackers.model import OneStreamEncoder

HALVES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions whose products are computed in 16 bits. Trained weights and the optimizer's state stay in float32."""

MEASURED_STEPS = 2
"""Steps that are computed in the published parts, the last of them with all of the optimizer's state."""

COMPILER = "inductor"
COMPILER_OPTIONS: dict[str, Any] = {"fallback_random": True}
LARGEST_DEPTH = 64
"""Graphs of a block that are kept: each may have a rate of drop path of its own."""

FILLED = 0.8
"""Share of the free memory that larger parts may take."""


def half_of(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the 16-bit type of a precision, None for 32 bits. Raises BadInput if the device cannot track in it."""
    if precision == "fp16" and device.type != "cuda":
        raise BadInput("precision fp16 needs a GPU: use bf16 or fp32")
    return HALVES.get(precision)


def make_accelerator(device: torch.device, precision: Precision) -> Accelerator:
    """Return accelerate's helper for one device. Raises ValueError if the device cannot compute in that precision."""
    gpu = device.type == "cuda"
    if precision in GPU_ONLY and not gpu:
        raise ValueError(f"precision {precision} needs a GPU: train on one, or set precision = 'fp32' in the recipe")
    if precision == "bf16" and gpu and not torch.cuda.is_bf16_supported():
        raise ValueError(f"{torch.cuda.get_device_name(device)} has no bf16: set precision = 'fp16' in the recipe")
    # This is the only way to make accelerate use another GPU than the first.
    os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    try:
        AcceleratorState._reset_state(reset_partial_state=True)  # the worker's last run may have had another precision
        return Accelerator(cpu=not gpu, mixed_precision=precision if precision in HALVES else "no")
    finally:
        del os.environ["ACCELERATE_TORCH_DEVICE"]  # a command that this process starts would warn of it


@contextmanager
def computing_in(model: nn.Module, precision: Precision) -> Iterator[None]:
    """Compute the products of float32 matrices as the precision says, and hold frozen layers in the type of their products.

    Autocast would cast the frozen layers anew in every part. Afterwards they are float32 again, rounded; nobody saves
    frozen weights.
    """
    allow_tf32(precision == "tf32")
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and not any(p.requires_grad for p in module.parameters())
    ]
    if precision in HALVES:
        for layer in layers:
            layer.to(HALVES[precision])
    try:
        yield
    finally:
        if precision in HALVES:
            for layer in layers:
                layer.float()
        allow_tf32(False)


@contextmanager
def compiled_blocks(model: nn.Module, *, wanted: bool) -> Iterator[None]:
    """Compile a tracker's blocks for training if that is wanted; one graph serves all that are alike.

    Random numbers are drawn as without. What cannot be compiled raises an error in the first step (`failed_to_compile`).
    """
    encoder = getattr(model, "encoder", None)
    if not wanted or not isinstance(encoder, OneStreamEncoder):
        yield
        return
    from torch._dynamo import config  # takes a second to import

    encoder.block = torch.compile(run_block, backend=COMPILER, options=COMPILER_OPTIONS)
    try:
        with config.patch(recompile_limit=LARGEST_DEPTH):
            yield
    finally:
        encoder.block = run_block


def failed_to_compile(error: RuntimeError) -> bool:
    """Return whether an error says that something cannot be compiled, or that there is no compiler."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InvalidCxxCompiler

    return isinstance(error, TorchDynamoException | InvalidCxxCompiler)


def allow_tf32(allowed: bool) -> None:
    """Let a GPU round the factors of float32 products to TF32, or not."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def pairs_that_fit(device: torch.device, published: int, batch: int) -> int:
    """Return how many pairs the device can hold at a time: a multiple of the published number, at most the batch.

    Called after MEASURED_STEPS in published parts: what these held at their peak tells what a pair takes.
    """
    if device.type != "cuda":
        return published
    held = torch.cuda.memory_allocated(device)
    part = max(1, torch.cuda.max_memory_allocated(device) - held)
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - held
    return min(batch, published * max(1, int(FILLED * free / part)))
