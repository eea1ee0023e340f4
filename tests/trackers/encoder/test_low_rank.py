"""LoRA's layers compute what peft's compute, forward and backward, and keep peft's file format."""

from typing import Any

import pytest
import torch
from peft import (
    LoraConfig,
    get_peft_model,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from torch import Tensor, nn

from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.encoder.blocks import SplitQKV
from trackablate.trackers.encoder.low_rank import LowRankLinear, low_rank_outputs

RANK, SCALE = 4, 1.5


class Layers(nn.Module):
    """Three layers, 12 to 8 features, that peft adapts."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(12, 8, bias=bias) for _ in range(3))


def by_peft(*, bias: bool = True) -> Any:
    torch.manual_seed(3)
    layers = Layers(bias=bias)
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=6, target_modules=["q", "k", "v"]), layers)
    for name, parameter in layers.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return layers.double()


def ours(layers: Any) -> list[LowRankLinear]:
    return [LowRankLinear(part.base_layer, part.lora_A, part.lora_B, SCALE) for part in (layers.q, layers.k, layers.v)]


def gradients(result: Tensor, layers: nn.Module, x: Tensor) -> dict[str, Tensor]:
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).reshape(result.shape)
    named = {"x": x} | {name: p for name, p in layers.named_parameters() if p.requires_grad}
    return dict(zip(named, torch.autograd.grad((result * weights).sum(), list(named.values())), strict=True))


@pytest.mark.parametrize("bias", [True, False])
def test_three_layers_together_equal_pefts_and_so_do_their_gradients(bias: bool) -> None:
    layers, x = by_peft(bias=bias), torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    expected = torch.cat([layers.q(x), layers.k(x), layers.v(x)], dim=-1)
    found = low_rank_outputs(ours(layers), x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, layers, x), gradients(expected, layers, x))


def test_one_layer_equals_pefts() -> None:
    layers, x = by_peft(), torch.randn(7, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(layers)[1](x), layers.k(x))


def test_gelu_before_a_layer_is_computed_again_instead_of_kept() -> None:
    layers, x = by_peft(), torch.randn(7, 12, dtype=torch.float64, requires_grad=True)
    expected, kept = layers.k(nn.functional.gelu(x)), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        found = low_rank_outputs([ours(layers)[1]], x, gelu=True)
    torch.testing.assert_close(found, expected)
    assert sorted(tuple(t.shape) for t in kept if t.shape[0] == len(x)) == [(7, RANK), (7, 12)]
    layers.q.requires_grad_(False)
    layers.v.requires_grad_(False)
    torch.testing.assert_close(gradients(found, layers, x), gradients(expected, layers, x))


def test_split_projections_go_together_and_fuse() -> None:
    layers, x = by_peft(), torch.randn(2, 5, 12, dtype=torch.float64)
    split = SplitQKV(*ours(layers))  # type: ignore[arg-type]
    expected = split(x)
    torch.testing.assert_close(expected, torch.cat([layers.q(x), layers.k(x), layers.v(x)], dim=-1))
    holder = nn.Module()
    holder.qkv = split
    merge(holder)
    assert isinstance(holder.qkv, nn.Linear)
    torch.testing.assert_close(holder.qkv(x), expected)


def test_autocast_computes_in_its_type_and_trains_in_float32() -> None:
    layers, x = by_peft().float(), torch.randn(2, 5, 12)
    expected = low_rank_outputs(ours(layers), x)
    with torch.autocast("cpu", torch.bfloat16):
        found = low_rank_outputs(ours(layers), x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0.05)
    found.float().square().sum().backward()
    kinds = {p.grad.dtype for name, p in layers.named_parameters() if "lora_" in name and p.grad is not None}
    assert kinds == {torch.float32}
    assert sum(p.grad is not None for name, p in layers.named_parameters() if "lora_" in name) == 6


def test_only_the_input_and_its_low_rank_image_are_kept_for_the_backward_pass() -> None:
    """peft keeps the same; what it does not share is the casts and the sum of two results."""
    layers, kept = by_peft(), []
    x = torch.randn(64, 12, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        low_rank_outputs(ours(layers), x)
    rows = [tuple(t.shape) for t in kept if t.shape[0] == len(x)]
    assert sorted(rows) == [(64, 12), (64, 3 * RANK)]


def test_merging_refuses_what_is_not_finite() -> None:
    layer = ours(by_peft())[0]
    with torch.no_grad():
        layer.factors[1][0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        layer.merged()


def test_adapters_go_through_pefts_file_format() -> None:
    config = LoraConfig(r=RANK, lora_alpha=6, target_modules=["q", "k", "v"])
    source, torch_layers = by_peft(), Layers()
    own = nn.Module()
    own.q, own.k, own.v = ours(source)
    state = {name: value for name, value in own.state_dict().items() if ".lora_" in name}
    peft_model: Any = get_peft_model(torch_layers, config)  # type: ignore[arg-type]
    loaded = {f"base_model.model.{name.replace('.default', '')}": value for name, value in state.items()}
    problems = set_peft_model_state_dict(peft_model, loaded)
    assert not problems.unexpected_keys
    back = get_peft_model_state_dict(peft_model)
    torch.testing.assert_close(back, {name: value.float() for name, value in loaded.items()})
