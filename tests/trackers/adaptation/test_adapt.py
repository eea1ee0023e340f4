"""Adaptation: what each method adds and how it starts, what trains, and that merging changes nothing but the modules."""

import math
from typing import Any, Literal

import pytest
import torch
from peft import LoHaConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from timm.layers.attention import Attention
from torch import Tensor, nn

from examples import SCALE
from trackablate.trackers.adaptation.adapt import METHODS, adapt, from_scratch, is_added, merge
from trackablate.trackers.adaptation.adapter import Bottleneck
from trackablate.trackers.adaptation.method import Method
from trackablate.trackers.encoder.blocks import SplitQKV
from trackablate.trackers.encoder.low_rank import LowRankLinear
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import (
    IA3,
    Adaptation,
    Adapter,
    BitFit,
    Frozen,
    FrozenBackbone,
    FullFineTuning,
    InputEmbedding,
    LoRA,
    LoRATarget,
    Prompts,
    TrackerSpec,
    replace,
)
from trackablate.trackers.variants import VARIANTS

KINDS = ("weight", "bias")
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
            if is_added(name):
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
    adapted = [name for name, module in model.named_modules() if isinstance(module, LowRankLinear)]
    assert adapted == [f"encoder.blocks.{i}.{place}" for i in range(4) for place in ("attn.qkv.q", "mlp.fc2")]


@torch.no_grad()
def test_split_qkv_is_the_fused_layer_exactly() -> None:
    for bias in (True, False):
        fused, x = nn.Linear(24, 72, bias=bias), torch.randn(2, 5, 24)
        split = SplitQKV.of(fused)
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
    a, b, base = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.base_layer
    x = torch.randn(3, 128)
    torch.testing.assert_close(layer(x), base(x) + 3 * (x @ a.T @ b.T), atol=1e-5, rtol=1e-5)


MERGING: dict[str, Adaptation] = {
    "lora": LoRA(rank=8),
    "lora-alpha": LoRA(rank=4, alpha=12, targets=("q", "v")),
    "lora-one": LoRA(rank=4, targets=("fc1",)),
    "rslora": LoRA(rank=4, alpha=8, rslora=True),
    "dora": LoRA(rank=4, alpha=8, dora=True, init="lora"),
    "dropout": LoRA(rank=4, dropout=0.5),
    "ia3": IA3(),
}


@pytest.mark.parametrize("adaptation", MERGING.values(), ids=MERGING)
def test_merging_computes_the_same_without_the_method(adaptation: Adaptation) -> None:
    model = trained(seeded(MINI, adaptation=adaptation))
    before = predicted(model)
    assert (before - predicted(seeded(MINI))).abs().max() > 3e-4, "what was added must matter"
    merged = merge(model)
    torch.testing.assert_close(predicted(model), before, atol=1e-5, rtol=1e-5)
    assert merged is model
    assert not any(isinstance(m, (BaseTunerLayer, LowRankLinear, SplitQKV)) for m in model.modules())
    assert all(isinstance(m.qkv, nn.Linear) for m in model.modules() if isinstance(m, Attention))
    plain = seeded(MINI)
    assert {n: p.shape for n, p in model.state_dict().items()} == {n: p.shape for n, p in plain.state_dict().items()}


@pytest.mark.parametrize("adaptation", [Adapter(width=8), Prompts(count=3)], ids=["adapter", "prompts"])
def test_what_cannot_be_folded_stays(adaptation: Adaptation) -> None:
    model = trained(seeded(MINI, adaptation=adaptation))
    before, state = predicted(model), list(model.state_dict())
    assert predicted(merge(model)).equal(before)  # type: ignore[arg-type]
    assert list(model.state_dict()) == state


@pytest.mark.parametrize("adaptation", [LoRA(rank=8), IA3(), FullFineTuning()], ids=lambda a: a.kind)
def test_merging_twice_is_refused_and_changes_nothing(adaptation: Adaptation) -> None:
    model = merge(trained(seeded(MINI, adaptation=adaptation)))
    once = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="merged already"):
        merge(model)
    again = model.state_dict()
    assert once.keys() == again.keys()
    assert all(again[n].equal(v) for n, v in once.items())


def test_merging_leaves_a_plain_model_as_it_is() -> None:
    plain = seeded(MINI)
    kept = {name: value.clone() for name, value in plain.state_dict().items()}
    state = merge(plain).state_dict()
    assert state.keys() == kept.keys()
    assert all(state[n].equal(v) for n, v in kept.items())


BLOCKS = [f"encoder.blocks.{i}" for i in range(4)]
NEW = {
    "encoder.embedding.token_types",
    *(f"head.{m}.{i}.{k}" for m in ("score", "box") for i in (0, 2, 4) for k in KINDS),
}
TRAINS: dict[str, tuple[Adaptation, set[str]]] = {
    "frozen": (FrozenBackbone(), set()),
    "lora": (
        LoRA(rank=2, targets=("q", "fc1")),
        {f"{b}.{m}.lora_{x}.default.weight" for b in BLOCKS for m in ("attn.qkv.q", "mlp.fc1") for x in "AB"},
    ),
    "dora": (
        LoRA(rank=2, targets=("proj",), dora=True, init="lora"),
        {f"{b}.attn.proj.lora_{x}.default.weight" for b in BLOCKS for x in ("A", "B", "magnitude_vector")},
    ),
    "adapter": (Adapter(width=4), {f"{b}.drop_path1.adapter.{i}.{k}" for b in BLOCKS for i in (0, 2) for k in KINDS}),
    "ia3": (IA3(), {f"{b}.{m}.ia3_l.default" for b in BLOCKS for m in ("attn.qkv.k", "attn.qkv.v", "mlp.fc2")}),
    "prompts": (Prompts(count=2), {"encoder.prompts.tokens"}),
    "bitfit": (
        BitFit(),
        {"encoder.project.bias", "encoder.norm.bias"}
        | {f"{b}.{m}.bias" for b in BLOCKS for m in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")},
    ),
}
LORAT_EMBEDDING = InputEmbedding(positions="shared", template_positions="slice", token_types=3)


@pytest.mark.parametrize("name", TRAINS)
def test_exactly_the_named_parameters_train_and_only_they_get_gradients(name: str) -> None:
    adaptation, expected = TRAINS[name]
    model = trained(seeded(MINI, adaptation=adaptation, embedding=LORAT_EMBEDDING)).train()
    assert {n for n, p in model.named_parameters() if p.requires_grad} == expected | NEW
    terms = model(*IMAGES, torch.ones(2, 16, dtype=torch.bool), torch.tensor([[0.2, 0.2, 0.7, 0.8]] * 2))
    assert isinstance(terms, dict)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert {n for n, p in model.named_parameters() if p.grad is not None} == expected | NEW


def test_every_method_is_held_to_its_names() -> None:
    assert {adaptation.kind for adaptation, _ in TRAINS.values()} | {"full"} == set(METHODS)
    everything = seeded(MINI, embedding=LORAT_EMBEDDING)
    assert all(p.requires_grad for p in everything.parameters())


@pytest.mark.parametrize(
    ("adaptation", "asked", "moves"),
    [
        *((FullFineTuning(), None, True), (FullFineTuning(), False, False), (FrozenBackbone(), None, False)),
        *((FrozenBackbone(), True, True), (LoRA(rank=2), None, False), (LoRA(rank=2), True, True)),
        *((BitFit(), None, False), (BitFit(), True, True)),
    ],
)
def test_positions_move_as_the_embedding_says(adaptation: Adaptation, asked: bool | None, moves: bool) -> None:
    embedding = InputEmbedding(trainable_positions=asked)
    model = seeded(MINI, adaptation=adaptation, embedding=embedding)
    tables = [p for n, p in model.named_parameters() if n.endswith("_positions")]
    assert [p.requires_grad for p in tables] == [moves, moves]


def test_the_final_norm_can_be_left_trainable() -> None:
    model = seeded(MINI, adaptation=FrozenBackbone(), train_norm=True)
    trains = {n for n, p in model.named_parameters() if p.requires_grad and n.startswith("encoder.")}
    assert trains == {"encoder.norm.weight", "encoder.norm.bias"}


@pytest.mark.parametrize("adaptation", [Adapter(), Adapter(init="zero"), IA3(), BitFit(), LoRA(init="gaussian")])
def test_these_start_as_the_pretrained_model(adaptation: Adaptation) -> None:
    plain, started = seeded(MINI), seeded(MINI, adaptation=adaptation)
    torch.testing.assert_close(predicted(started), predicted(plain), atol=1e-6, rtol=1e-5)


def test_the_adapter_published_moves_by_its_last_bias_alone() -> None:
    """Which is why `identity` is the default: there the upper layer's weights move at once, the lower's after them."""
    for init, expected in (("zero", {"2.bias"}), ("identity", {"2.bias", "2.weight"})):
        model = seeded(MINI, adaptation=Adapter.model_validate({"width": 4, "init": init})).train()
        terms = model(*IMAGES, None, torch.tensor([[0.2, 0.2, 0.7, 0.8]] * 2))
        assert isinstance(terms, dict)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        names = {n.split(".adapter.")[1] for n, p in model.named_parameters() if ".adapter." in n and p.grad.any()}  # type: ignore[union-attr]
        assert names == expected


def test_the_adapter_corrects_what_the_attention_branch_adds() -> None:
    torch.manual_seed(0)
    adapter, x = Bottleneck(nn.Identity(), 6, Adapter(width=3)), torch.randn(2, 5, 6)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter)
    lower, _, upper = adapter.adapter
    assert isinstance(lower, nn.Linear) and isinstance(upper, nn.Linear)
    torch.testing.assert_close(adapter(x), x + upper(nn.functional.gelu(lower(x))))
    model = seeded(MINI, adaptation=Adapter(width=4))
    assert isinstance(model.get_submodule("encoder.blocks.2.drop_path1"), Bottleneck)


def test_ia3_scales_keys_values_and_the_mlps_inner_layer() -> None:
    model = trained(seeded(MINI, adaptation=IA3()))
    block: Any = model.get_submodule("encoder.blocks.1")
    x, hidden = torch.randn(3, 128), torch.randn(3, 512)
    for layer in (block.attn.qkv.k, block.attn.qkv.v):
        torch.testing.assert_close(layer(x), layer.get_base_layer()(x) * layer.ia3_l["default"].flatten())
    fc2 = block.mlp.fc2
    torch.testing.assert_close(fc2(hidden), fc2.get_base_layer()(hidden * fc2.ia3_l["default"].flatten()))
    assert not isinstance(block.attn.qkv.q, BaseTunerLayer)


def test_gaussian_init_is_one_over_the_rank() -> None:
    model = seeded(MINI, adaptation=LoRA(rank=16, init="gaussian"))
    factors = torch.cat([p.flatten() for n, p in model.named_parameters() if ".lora_A." in n])
    assert factors.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert not any(p.any() for n, p in model.named_parameters() if ".lora_B." in n)


def test_rslora_scales_by_alpha_over_the_root_of_the_rank() -> None:
    model = trained(seeded(MINI, adaptation=LoRA(rank=4, alpha=12, rslora=True)))
    layer: Any = model.get_submodule("encoder.blocks.1.mlp.fc1")
    a, b, base = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.base_layer
    x = torch.randn(3, 128)
    torch.testing.assert_close(layer(x), base(x) + 6 * (x @ a.T @ b.T), atol=1e-5, rtol=1e-5)


def test_lora_dropout_is_for_training() -> None:
    model = trained(seeded(MINI, adaptation=LoRA(rank=4, dropout=0.5)))
    assert predicted(model).equal(predicted(model))
    assert not predicted(model.train()).equal(predicted(model))


def test_prompts_are_fresh_in_every_block_and_leave_no_trace_of_their_own() -> None:
    """Against a slow reference: each block over its prompts and the tokens, whose outputs at the prompts are dropped."""
    model = trained(seeded(MINI, adaptation=Prompts(count=3)))
    encoder: Any = model.encoder
    template, search = (torch.randn(2, 3, side, side) for side in (32, 64))
    with torch.no_grad():
        z, x = encoder.embedding(encoder._patches(template), encoder._patches(search), None)
        tokens = torch.cat([z, x], dim=1)
        for depth, block in enumerate(encoder.blocks):
            prompts = encoder.prompts.tokens[depth].expand(2, -1, -1)
            tokens = block(torch.cat([prompts, tokens], dim=1))[:, 3:]
        expected = encoder.norm(tokens)[:, z.shape[1] :]
        found = encoder(template, search, None, 1.0).features
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    bound = math.sqrt(6 / (3 * 8**2 + 128))
    drawn = seeded(MINI, adaptation=Prompts(count=50)).encoder.prompts.tokens
    assert drawn.shape == (4, 50, 128)
    assert 0.99 * bound < drawn.abs().max() <= bound
    assert drawn.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_another_peft_method_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """LoHa, which the project does not have: its entry alone makes it build, train what it names, and merge exactly."""

    class LoHa(Frozen):
        kind: Literal["loha"] = "loha"

    def add_loha(encoder: Any, spec: TrackerSpec) -> None:
        inject_adapter_in_model(LoHaConfig(r=2, alpha=4, target_modules=["proj", "fc1"]), encoder.blocks)

    monkeypatch.setitem(METHODS, "loha", Method(add_loha, added=("*.hada_*",)))
    model = seeded(MINI, adaptation=FrozenBackbone())
    before = predicted(model)
    adapt(model, MINI.model_copy(update={"adaptation": LoHa()}))
    assert predicted(model).allclose(before, atol=1e-6)
    adapted = {n for n, p in model.named_parameters() if p.requires_grad and n.startswith("encoder.blocks.")}
    assert len(adapted) == 4 * 2 * 4
    assert all(is_added(n) and from_scratch(n) for n in adapted)
    apart = predicted(trained(model))
    assert not apart.allclose(before, atol=1e-3)
    torch.testing.assert_close(predicted(merge(model)), apart, atol=1e-5, rtol=1e-5)  # type: ignore[arg-type]
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in seeded(MINI).named_parameters()}
