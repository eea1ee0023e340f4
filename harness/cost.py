"""What a tracker costs by its construction: parameters and multiply-accumulates, on any machine, without weights.

The model is built on the meta device, which allocates nothing, and one frame is traced. Two conventions of counting,
since papers mix them: `all` counts linear layers, convolutions and both products of attention (as fvcore does, which adds
normalisation layers; we do not); `linear and convolution only` leaves attention's products out (as thop does).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.record import PaperScale
from trackers.adaptation import merge
from trackers.model import OneStreamTracker, build
from trackers.spec import TrackerSpec

LINEAR_AND_CONVOLUTION = {"mm", "addmm", "convolution"}


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one frame at batch 1: template and search through the encoder, and the head.

    qkv: the part of linear_conv that the blocks' query, key and value projections take.
    """

    all: int
    linear_conv: int
    qkv: int


def paper_scale(spec: TrackerSpec) -> PaperScale:
    """Parameters and MACs of a tracker at its own size, counted on the meta device."""
    with torch.device("meta"):
        model = build(spec, pretrained=False)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    merged = merge(model)
    assert isinstance(merged, OneStreamTracker)
    macs = count_macs(merged)
    return PaperScale(
        params=sum(p.numel() for p in merged.parameters()),
        trainable_params=trainable,
        head_params=sum(p.numel() for p in merged.head.parameters()),
        macs=macs.all,
        macs_linear_conv=macs.linear_conv,
        qkv_params=sum(p.numel() for name, p in merged.named_parameters() if ".qkv." in name),
        qkv_macs=macs.qkv,
    )


def count_macs(model: OneStreamTracker) -> Macs:
    """MACs of tracking one frame, on the device the model is on (meta included)."""
    crop = model.spec.crop
    device = next(model.parameters()).device
    template, search = (torch.zeros(1, 3, s, s, device=device) for s in (crop.template_size, crop.search_size))
    mask = torch.zeros(1, model.encoder.template_side**2, dtype=torch.bool, device=device)
    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(template, search, mask)
    model.train(training)
    counts = counter.get_flop_counts()
    flops = {str(op).rsplit(".", 1)[-1]: count for op, count in counts["Global"].items()}
    linear_conv = sum(count for op, count in flops.items() if op in LINEAR_AND_CONVOLUTION)
    qkv = sum(sum(ops.values()) for module, ops in counts.items() if module.endswith(".qkv"))
    return Macs(all=sum(flops.values()) // 2, linear_conv=linear_conv // 2, qkv=qkv // 2)


def layer_norm_macs(model: OneStreamTracker) -> int:
    """What fvcore adds for layer normalisation in one frame: 5 per element that passes through."""
    elements = 0

    def count(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal elements
        elements += inputs[0].numel()

    hooks = [m.register_forward_pre_hook(count) for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
    count_macs(model)
    for hook in hooks:
        hook.remove()
    return 5 * elements


def cost_document(spec: TrackerSpec) -> dict[str, Any]:
    """What `cost` prints of a tracker at its own size; MACs of the merged model and of the unmerged one, counted as fvcore
    does (layer normalisation included), and as thop does (linear layers and convolutions, no product of attention)."""
    with torch.device("meta"):
        model = build(spec, pretrained=False)
    params = {name: p.numel() for name, p in model.named_parameters()}
    norms = layer_norm_macs(model)
    unmerged = count_macs(model).all + norms
    merged = paper_scale(spec)
    return {
        "variant": spec.name,
        "params": sum(params.values()),
        "trainable_params": merged.trainable_params,
        "adaptation_params": sum(count for name, count in params.items() if ".lora_" in name),
        "head_params": merged.head_params,
        "inference_params": merged.params,
        "macs": {"fvcore": merged.macs + norms, "thop_linear_conv_only": merged.macs_linear_conv},
        "macs_unmerged": unmerged,
        "tokens": {"template": model.encoder.template_side**2, "search": model.encoder.search_side**2},
    }
