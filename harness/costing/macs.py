"""The size of a tracker: parameters and multiply-accumulates (MACs), on any machine and without weights.

The model is built on the meta device, which allocates nothing, and one frame is traced. The published model is counted:
its last block computes the template's queries too, which our forward skips (`macs_skipped`). Papers mix two conventions.
`all` counts linear layers, convolutions and both products of attention, 2 L L d per block; fvcore adds 5 per element of
layer normalisation's input. `linear_conv` counts linear layers and convolutions alone, as thop does.
"""

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
"""Name endings of the modules that project to queries, keys and values, fused or split."""


@dataclass(frozen=True)
class Macs:
    """MACs of one frame at batch 1: template and search region through the encoder, and the head.

    Attributes:
        qkv: The part of `linear_conv` in the blocks' query, key and value projections.
        layer_norm: fvcore's addition for layer normalisation, 5 per element.
    """

    all: int
    linear_conv: int
    qkv: int
    layer_norm: int

    @property
    def fvcore(self) -> int:
        """The number that fvcore gives."""
        return self.all + self.layer_norm


def paper_scale(spec: TrackerSpec, *, activations: bool = False) -> PaperScale:
    """Return a tracker's parameters and MACs at its own size. Counting `activations` as well doubles the time."""
    model = _weightless(spec)
    params = sum(p.numel() for p in model.parameters())  # before merging, which removes the adaptation's parameters
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    merge(model)
    macs = count_macs(model)
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
    """Return the bytes that the forward pass keeps for the backward pass, per pair and in fp32.

    The storage of every tensor that autograd saves counts once, because views share their storage. Tensors that do not
    depend on the number of pairs are left out. Attention counts as a fused kernel computes it: without a matrix of
    attention weights, unless candidate elimination reads that matrix.
    """
    model = _weightless(spec).eval()
    return _kept_bytes(model, 2) - _kept_bytes(model, 1)


def _kept_bytes(model: OneStreamTracker, pairs: int) -> int:
    kept: dict[int, torch.UntypedStorage] = {}  # keeps the storages alive, so that none is reused

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(int(storage._cdata), storage)  # an identity on the meta device too, which has no addresses
        return tensor

    template, search, mask = (part.expand(pairs, *part.shape[1:]).clone() for part in _one_pair(model))
    with _FusedAttention(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(template.requires_grad_(), search, mask)
    return sum(storage.nbytes() for storage in kept.values())


class _FusedAttention(TorchFunctionMode):
    """Replaces attention on the meta device, which has no fused kernel, by one that keeps only inputs and output."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the function's result; that of attention is an empty tensor."""
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _Attention.apply(*args[:3])
        return func(*args, **(kwargs or {}))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        output = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, output)
        return output


def _one_pair(model: OneStreamTracker) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return template, search region and mask of the right shapes, on the model's device."""
    crop, device = model.spec.crop, next(model.parameters()).device
    template, search = (torch.zeros(1, 3, s, s, device=device) for s in (crop.template_size, crop.search_size))
    return template, search, torch.zeros(1, model.encoder.template_side**2, dtype=torch.bool, device=device)


def _weightless(spec: TrackerSpec) -> OneStreamTracker:
    with torch.device("meta"):
        return build(spec, pretrained=False)


def count_macs(model: OneStreamTracker, *, lean: bool = False) -> Macs:
    """Return the MACs of tracking one frame, on the model's device, which may be meta.

    The published model is counted, or with `lean` only the part of it that our forward computes.
    """
    template, search, mask = _one_pair(model)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    normalised: list[int] = []
    hooks = [norm.register_forward_pre_hook(lambda _, inputs: normalised.append(inputs[0].numel())) for norm in norms]
    training, was_lean = model.training, model.encoder.lean
    model.eval()
    model.encoder.lean = lean
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(template, search, mask)
    finally:
        model.train(training)
        model.encoder.lean = was_lean
        for hook in hooks:
            hook.remove()
    counts = counter.get_flop_counts()
    flops = {str(op).rsplit(".", 1)[-1]: count for op, count in counts["Global"].items()}
    linear_conv = sum(count for op, count in flops.items() if op in LINEAR_AND_CONVOLUTION)
    qkv = sum(sum(ops.values()) for module, ops in counts.items() if module.endswith(QKV_MODULES))
    return Macs(sum(flops.values()) // 2, linear_conv // 2, qkv // 2, 5 * sum(normalised))


def cost_document(spec: TrackerSpec) -> dict[str, Any]:
    """Return the document that `cost` prints for a tracker at its own size.

    `params` counts the model in training, with the adaptation's parameters (`adaptation_params`). `macs` counts the
    merged model by fvcore's and by thop's convention. `macs_unmerged` has the adaptation beside the layers, by
    fvcore's convention. `macs_skipped` is the part of fvcore's count that our forward skips because nothing reads it.
    """
    model = _weightless(spec)
    params = {name: p.numel() for name, p in model.named_parameters()}
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    unmerged = count_macs(model).fvcore
    merge(model)
    macs = count_macs(model)
    return {
        "variant": spec.name,
        "params": sum(params.values()),
        "trainable_params": trainable,
        "adaptation_params": sum(n for name, n in params.items() if is_added(name)),
        "head_params": sum(p.numel() for p in model.head.parameters()),
        "inference_params": sum(p.numel() for p in model.parameters()),
        "macs": {"fvcore": macs.fvcore, "thop_linear_conv_only": macs.linear_conv},
        "macs_unmerged": unmerged,
        "macs_skipped": macs.fvcore - count_macs(model, lean=True).fvcore,
        "tokens": {"template": model.encoder.template_side**2, "search": model.encoder.search_side**2},
    }
