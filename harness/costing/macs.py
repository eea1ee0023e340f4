"""What a tracker costs by its construction: parameters and multiply-accumulates, on any machine, without weights.

The model is built on the meta device, which allocates nothing, and one frame is traced. The published model is counted:
the last block with the template's queries too, which our forward leaves out (`macs_skipped`). Two conventions of
counting, since papers mix them: `all` counts linear layers, convolutions and both products of attention, 2 L L d per
block, and as `fvcore` also 5 per element that layer normalisation sees; `linear and convolution only` leaves attention's
products and normalisation out (as thop does).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from trackablate.harness.record import PaperScale
from trackablate.trackers.adaptation.adapt import is_added, merge
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import TrackerSpec

LINEAR_AND_CONVOLUTION = {"mm", "addmm", "convolution"}
QKV_MODULES = (".qkv", ".qkv.q", ".qkv.k", ".qkv.v")
"""How the modules end that project to queries, keys and values: fused, or split where they cannot be fused."""


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one frame at batch 1: template and search through the encoder, and the head.

    qkv: the part of linear_conv that the blocks' query, key and value projections take. layer_norm: what fvcore adds for
    layer normalisation, 5 per element.
    """

    all: int
    linear_conv: int
    qkv: int
    layer_norm: int

    @property
    def fvcore(self) -> int:
        """As fvcore counts."""
        return self.all + self.layer_norm


def paper_scale(spec: TrackerSpec, *, activations: bool = False) -> PaperScale:
    """Parameters and MACs of a tracker at its own size, counted on the meta device; activations: those too, which takes as
    long again.
    """
    model = _weightless(spec)
    params = sum(p.numel() for p in model.parameters())  # as trained: merging takes the adaptation's away
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    macs = count_macs(_merged(model))
    return PaperScale(
        params=params,
        trainable_params=trainable,
        head_params=sum(p.numel() for p in model.head.parameters()),
        macs=macs.all,
        macs_linear_conv=macs.linear_conv,
        qkv_params=sum(p.numel() for name, p in model.named_parameters() if ".qkv." in name),
        qkv_macs=macs.qkv,
        activation_bytes=activation_bytes(spec) if activations else None,
    )


def activation_bytes(spec: TrackerSpec) -> int:
    """Bytes that the forward pass keeps for the backward pass for each pair more, in fp32: of every tensor that autograd
    saves, its storage, once, since views share theirs (transposed weights, queries, keys and values of one product). What
    is made of weights alone, whatever the number of pairs, is not in it. Attention counts as a fused kernel computes it,
    which keeps no matrix of weights, unless candidate elimination reads that matrix.
    """
    model = _weightless(spec).eval()
    return _kept_bytes(model, 2) - _kept_bytes(model, 1)


def _kept_bytes(model: OneStreamTracker, pairs: int) -> int:
    kept: dict[int, torch.UntypedStorage] = {}  # keeps them alive, so that no address comes twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(_storage(tensor), tensor.untyped_storage())
        return tensor

    template, search, mask = (part.expand(pairs, *part.shape[1:]).clone() for part in _one_pair(model))
    with _FusedAttention(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(template.requires_grad_(), search, mask)
    return sum(storage.nbytes() for storage in kept.values())


class _FusedAttention(TorchFunctionMode):
    """Attention on the meta device, which has no fused kernel, as one that keeps its inputs and its output alone."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function's result, attention's being empty."""
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _Attention.apply(*args[:3])
        return func(*args, **(kwargs or {}))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        output = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, output)
        return output


def _storage(tensor: torch.Tensor) -> int:
    """Identity of a tensor's memory, on the meta device too, where it has no address."""
    return int(tensor.untyped_storage()._cdata)


def _one_pair(model: OneStreamTracker) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Template, search region and mask of the right shapes, on the model's device."""
    crop, device = model.spec.crop, next(model.parameters()).device
    template, search = (torch.zeros(1, 3, s, s, device=device) for s in (crop.template_size, crop.search_size))
    return template, search, torch.zeros(1, model.encoder.template_side**2, dtype=torch.bool, device=device)


def _weightless(spec: TrackerSpec) -> OneStreamTracker:
    with torch.device("meta"):
        return build(spec, pretrained=False)


def _merged(model: OneStreamTracker) -> OneStreamTracker:
    merged = merge(model)
    assert isinstance(merged, OneStreamTracker)
    return merged


def count_macs(model: OneStreamTracker, *, lean: bool = False) -> Macs:
    """MACs of tracking one frame, on the device the model is on (meta included): of the published model, or (lean) of
    what our forward computes of it.
    """
    template, search, mask = _one_pair(model)
    with _as_counted(model, lean), _normalised_elements(model) as normalised, FlopCounterMode(display=False) as counter:
        model(template, search, mask)
    counts = counter.get_flop_counts()
    flops = {str(op).rsplit(".", 1)[-1]: count for op, count in counts["Global"].items()}
    linear_conv = sum(count for op, count in flops.items() if op in LINEAR_AND_CONVOLUTION)
    qkv = sum(sum(ops.values()) for module, ops in counts.items() if module.endswith(QKV_MODULES))
    return Macs(sum(flops.values()) // 2, linear_conv // 2, qkv // 2, 5 * sum(normalised))


@contextmanager
def _as_counted(model: OneStreamTracker, lean: bool) -> Iterator[None]:
    training, was_lean = model.training, model.encoder.lean
    model.eval()
    model.encoder.lean = lean
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
        model.encoder.lean = was_lean


@contextmanager
def _normalised_elements(model: OneStreamTracker) -> Iterator[list[int]]:
    """Collects the number of elements of every input to a layer normalisation."""
    elements: list[int] = []

    def note(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        elements.append(inputs[0].numel())

    hooks = [m.register_forward_pre_hook(note) for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
    try:
        yield elements
    finally:
        for hook in hooks:
            hook.remove()


def cost_document(spec: TrackerSpec) -> dict[str, Any]:
    """What `cost` prints of a tracker at its own size. params: in training, with what the adaptation adds
    (adaptation_params). macs: of the merged model, as fvcore counts and as thop counts linear layers and convolutions;
    macs_unmerged: with the adaptation beside the layers, as fvcore counts; macs_skipped: the part of macs.fvcore that our
    forward leaves out, because nothing reads it.
    """
    model = _weightless(spec)
    params = {name: p.numel() for name, p in model.named_parameters()}
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    unmerged = count_macs(model).fvcore
    merged = _merged(model)
    macs = count_macs(merged)
    return {
        "variant": spec.name,
        "params": sum(params.values()),
        "trainable_params": trainable,
        "adaptation_params": sum(n for name, n in params.items() if is_added(name)),
        "head_params": sum(p.numel() for p in merged.head.parameters()),
        "inference_params": sum(p.numel() for p in merged.parameters()),
        "macs": {"fvcore": macs.fvcore, "thop_linear_conv_only": macs.linear_conv},
        "macs_unmerged": unmerged,
        "macs_skipped": macs.fvcore - count_macs(merged, lean=True).fvcore,
        "tokens": {"template": model.encoder.template_side**2, "search": model.encoder.search_side**2},
    }
