"""Linear layers with a low-rank update (LoRA), computed without intermediate tensors of the layer's size.

peft computes the same by separate modules, which add tensors as large as the layer's result, cast the input and compute
q, k and v one after the other. Here the update is added in place, and q, k and v share one product with their input.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LowRankLinear(nn.Module):
    """A frozen linear layer plus scale * B A. Its parameters have the names that peft gives them.

    Attributes:
        base_layer: The layer, in_features D to out_features O.
        lora_A: Holds A, (rank, D), as `default`.
        lora_B: Holds B, (O, rank), as `default`.
    """

    def __init__(self, base: nn.Linear, down: nn.ModuleDict, up: nn.ModuleDict, scale: float) -> None:
        super().__init__()
        self.base_layer, self.lora_A, self.lora_B, self.scale = base, down, up, scale

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """A (rank, D) and B (O, rank)."""
        a, b = self.lora_A["default"].weight, self.lora_B["default"].weight
        assert isinstance(a, Tensor)
        assert isinstance(b, Tensor)
        return a, b

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., O)."""
        return low_rank_outputs([self], x)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return the plain layer that computes the same, made in place. Raises ValueError if it is not finite."""
        a, b = self.factors
        weight = self.base_layer.weight + self.scale * (b @ a)
        if not weight.is_meta and not weight.isfinite().all():
            raise ValueError("the low-rank update is not finite: the weights cannot be merged")
        self.base_layer.weight.copy_(weight)
        return self.base_layer


def low_rank_outputs(layers: Sequence[LowRankLinear], x: Tensor, *, gelu: bool = False) -> Tensor:
    """Return the results of layers of equal shape for the same x (..., D), side by side: (..., len(layers) * O).

    With `gelu`, the layers see GELU(x). Its result is computed twice, so that only x is kept for the backward pass.
    """
    if torch.compiler.is_compiling():  # a compiler does by itself what is written out below, and cannot read that
        x = F.gelu(x) if gelu else x
        return torch.cat([layer.base_layer(x) + layer.scale * _product(layer, x) for layer in layers], dim=-1)
    a = torch.cat([layer.factors[0] for layer in layers])
    b = torch.stack([layer.factors[1] for layer in layers])
    weights = [layer.base_layer.weight for layer in layers]
    biases = [layer.base_layer.bias for layer in layers if layer.base_layer.bias is not None]
    tensors = [x.reshape(-1, x.shape[-1]), a, b, *weights, *biases]
    if not x.is_meta and torch.is_autocast_enabled(x.device.type):  # sizes are counted on meta, which has no autocast
        kind = torch.get_autocast_dtype(x.device.type)
        tensors = [tensor.to(kind) for tensor in tensors]
    result: Tensor = _LowRank.apply(layers[0].scale, gelu, *tensors)
    return result.reshape(*x.shape[:-1], -1)


def _product(layer: LowRankLinear, x: Tensor) -> Tensor:
    a, b = layer.factors
    return F.linear(F.linear(x, a), b)


class _LowRank(torch.autograd.Function):
    """x W^T + bias + scale * x A^T B^T of k layers for the same x (M, D), side by side, with W and bias frozen.

    With `gelu`, x is GELU(given).

    A (k rank, D) and B (k, O, rank) hold the factors of all layers; `base` holds k weights (O, D) and, if the layers
    have any, k biases. The backward pass needs `given` and x A^T alone.
    """

    @staticmethod
    def forward(ctx: Any, scale: float, gelu: bool, given: Tensor, a: Tensor, b: Tensor, *base: Tensor) -> Tensor:
        x = F.gelu(given) if gelu else given
        layers, outputs = b.shape[:2]
        weights, biases = base[:layers], base[layers:]
        result, low = x.new_empty(len(x), layers * outputs), x @ a.t()
        columns = zip(result.chunk(layers, 1), low.chunk(layers, 1), strict=True)
        for i, (part, rows) in enumerate(columns):
            if biases:
                torch.addmm(biases[i], x, weights[i].t(), out=part)
            else:
                torch.mm(x, weights[i].t(), out=part)
            torch.addmm(part, rows, b[i].t(), alpha=scale, out=part)
        ctx.save_for_backward(given, low, a, b, *weights)
        ctx.scale, ctx.gelu, ctx.biases = scale, gelu, len(biases)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        given, low, a, b, *weights = ctx.saved_tensors
        x = F.gelu(given) if ctx.gelu else given
        layers = len(weights)
        parts, of_low, of_b = gradients[0].chunk(layers, 1), torch.empty_like(low), torch.empty_like(b)
        for i, (part, rows, of_rows) in enumerate(
            zip(parts, low.chunk(layers, 1), of_low.chunk(layers, 1), strict=True)
        ):
            torch.mul(part @ b[i], ctx.scale, out=of_rows)
            torch.mul(part.t() @ rows, ctx.scale, out=of_b[i])
        of_x = None
        if ctx.needs_input_grad[2]:
            of_x = of_low @ a
            for part, weight in zip(parts, weights, strict=True):
                of_x.addmm_(part, weight)
            of_x = torch.ops.aten.gelu_backward(of_x, given) if ctx.gelu else of_x
        return None, None, of_x, of_low.t() @ x, of_b, *[None] * (layers + ctx.biases)
