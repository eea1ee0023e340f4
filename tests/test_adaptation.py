"""LoRA: what is added, how it starts, and that folding it in changes nothing but the modules."""

from typing import Any, Literal

import pytest
import torch
from peft.tuners.lora import LoraLayer
from test_spec import SCALE
from timm.layers.attention import Attention
from torch import Tensor, nn

from trackers.adaptation import SplitQKV, merge
from trackers.model import OneStreamTracker, build
from trackers.scale import at_scale
from trackers.spec import FullFineTuning, LoRA, LoRATarget, TrackerSpec, replace
from trackers.variants import VARIANTS

INITS: tuple[Literal["lora", "lorat"], ...] = ("lora", "lorat")
OSTRACK = VARIANTS["ostrack-256"]
MINI = at_scale(VARIANTS["ostrack-256-mlp"], SCALE)
IMAGES = [torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(side)) for side in (32, 64)]


def seeded(spec: TrackerSpec, **changes: Any) -> OneStreamTracker:
    """The same pretrained part and head for every adaptation: they are made before it."""
    torch.manual_seed(0)
    return build(replace(spec, **changes), pretrained=False).eval()


def trained(model: OneStreamTracker) -> OneStreamTracker:
    """With factors that do something, as after training."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@torch.no_grad()
def predicted(model: OneStreamTracker) -> Tensor:
    prediction = model(*IMAGES)
    assert not isinstance(prediction, dict)
    return torch.cat([prediction.score_map.flatten(1), prediction.boxes.flatten(1)], dim=1)


def count(model: nn.Module, part: str = "", trainable: bool = False) -> int:
    return sum(p.numel() for n, p in model.named_parameters() if part in n and (p.requires_grad or not trainable))


@pytest.mark.parametrize(
    ("lora", "expected"),
    [
        (LoRA(), 10_616_832),
        (LoRA(init="lora"), 10_616_832),
        (LoRA(rank=16, alpha=16), 10_616_832 // 4),
        (LoRA(targets=("q", "k", "v", "proj")), 12 * 4 * 64 * (768 + 768)),
        (LoRA(targets=("q", "v")), 12 * 2 * 64 * (768 + 768)),
        (LoRA(targets=("fc1", "fc2")), 12 * 2 * 64 * (768 + 3072)),
    ],
    ids=["all", "all-b-zero", "rank-16", "qkvo", "qv", "mlp"],
)
def test_lora_adds_what_the_paper_counts(lora: LoRA, expected: int) -> None:
    with torch.device("meta"):
        model = build(replace(OSTRACK, adaptation=lora), pretrained=False)
        plain = build(OSTRACK, pretrained=False)
    assert count(model, ".lora_") == count(model, "blocks", trainable=True) == expected
    assert count(model) == count(plain) + expected
    assert count(model, trainable=True) == expected + count(plain, "head.")


def test_only_the_asked_layers_are_adapted() -> None:
    targets: tuple[LoRATarget, ...] = ("q", "fc2")
    model = seeded(MINI, adaptation=LoRA(rank=4, targets=targets))
    adapted = [name for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    assert adapted == [f"encoder.blocks.{i}.{place}" for i in range(4) for place in ("attn.qkv.q", "mlp.fc2")]


@torch.no_grad()
def test_split_qkv_is_the_fused_layer_exactly() -> None:
    for bias in (True, False):
        fused, x = nn.Linear(24, 72, bias=bias), torch.randn(2, 5, 24)
        split = SplitQKV(fused)
        assert [part.out_features for part in (split.q, split.k, split.v)] == [24, 24, 24]
        q, k, v = fused(x).chunk(3, dim=-1)
        torch.testing.assert_close(split(x), torch.cat([q, k, v], dim=-1), atol=1e-6, rtol=1e-6)
        again = split.fuse()
        assert again.weight.equal(fused.weight)
        assert (again.bias is None) == (not bias)
        assert not bias or again.bias.equal(fused.bias)


def test_init_lora_starts_as_the_pretrained_model_and_lorat_does_not() -> None:
    plain = predicted(seeded(MINI, adaptation=FullFineTuning()))
    lora, lorat = (predicted(seeded(MINI, adaptation=LoRA(rank=8, init=init))) for init in INITS)
    torch.testing.assert_close(lora, plain, atol=1e-6, rtol=1e-5)
    assert (lorat - plain).abs().max() > 1e-4


def test_factors_start_as_published() -> None:
    lorat = seeded(MINI, adaptation=LoRA(rank=64, init="lorat"))
    for letter in "AB":
        factors = torch.cat([p.flatten() for n, p in lorat.named_parameters() if f".lora_{letter}." in n])
        assert factors.std().item() == pytest.approx(0.02, rel=0.02)
        assert factors.mean().item() == pytest.approx(0, abs=2e-4)
    lora = seeded(MINI, adaptation=LoRA(rank=64, init="lora"))
    assert not any(p.any() for n, p in lora.named_parameters() if ".lora_B." in n)
    assert all(p.any() for n, p in lora.named_parameters() if ".lora_A." in n)


def test_the_factors_are_scaled_by_alpha_over_rank() -> None:
    model = trained(seeded(MINI, adaptation=LoRA(rank=4, alpha=12)))
    layer: Any = model.get_submodule("encoder.blocks.1.mlp.fc1")
    a, b, base = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.get_base_layer()
    x = torch.randn(3, 128)
    torch.testing.assert_close(layer(x), base(x) + 3 * (x @ a.T @ b.T), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "lora", [LoRA(rank=8), LoRA(rank=4, alpha=12, targets=("q", "v")), LoRA(rank=4, targets=("fc1",))]
)
def test_merging_computes_the_same_without_lora(lora: LoRA) -> None:
    model = trained(seeded(MINI, adaptation=lora))
    before = predicted(model)
    assert (before - predicted(seeded(MINI))).abs().max() > 3e-4, "the factors must matter"
    merged = merge(model)
    torch.testing.assert_close(predicted(model), before, atol=1e-5, rtol=1e-5)
    assert merged is model
    assert not any(isinstance(m, (LoraLayer, SplitQKV)) for m in model.modules())
    assert all(isinstance(m.qkv, nn.Linear) for m in model.modules() if isinstance(m, Attention))
    plain = seeded(MINI)
    assert {n: p.shape for n, p in model.state_dict().items()} == {n: p.shape for n, p in plain.state_dict().items()}


def test_merging_twice_is_harmless_and_a_plain_model_stays_as_it_is() -> None:
    model = merge(trained(seeded(MINI, adaptation=LoRA(rank=8))))
    once = {name: value.clone() for name, value in model.state_dict().items()}
    again = merge(model).state_dict()
    assert once.keys() == again.keys()
    assert all(again[n].equal(v) for n, v in once.items())
    plain = seeded(MINI)
    kept = {name: value.clone() for name, value in plain.state_dict().items()}
    assert all(merge(plain).state_dict()[n].equal(v) for n, v in kept.items())
