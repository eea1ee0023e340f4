"""Backbones: which of timm's ViTs run and compute what timm computes, where weights come from, drop path, layer decay."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from examples import SCALE
from trackablate.datasets.errors import DataError
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.encoder import backbones
from trackablate.trackers.encoder.backbones import (
    BACKBONES,
    TIMM_NAMES,
    learning_rate_scale,
    make_backbone,
    sine_cosine_positions,
)
from trackablate.trackers.encoder.blocks import SplitQKV, SubsetDropPath, TokenLayout, attend, run_block, set_drop_path
from trackablate.trackers.encoder.pretrained import FILES, weights_digest
from trackablate.trackers.encoder.timm_vits import REFUSED, plain_blocks, timm_vit
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import (
    IA3,
    BitFit,
    CandidateElimination,
    CropInput,
    InputEmbedding,
    LoRA,
    Prompts,
    TrackerSpec,
    replace,
)
from trackablate.trackers.variants import VARIANTS

MINI = at_scale(VARIANTS["ostrack-256-mlp"], SCALE)
IMAGES = [torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side)) for side in (32, 64)]
SHARED = InputEmbedding(positions="shared", template_positions="slice")


def seeded(**changes: Any) -> OneStreamTracker:
    """A mini tracker off the points where everything is zero or equal."""
    torch.manual_seed(0)
    model = build(replace(MINI, **changes), pretrained=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@torch.no_grad()
def features(model: OneStreamTracker, mask: Tensor | None = None) -> Tensor:
    found: Tensor = model.encoder(*IMAGES, mask, 1.0).features
    return found


@pytest.mark.parametrize(
    ("name", "width", "depth", "patch", "hidden"),
    [
        *(("dinov2-s", 384, 12, 14, 1536), ("dinov2-b", 768, 12, 14, 3072), ("dinov2-l", 1024, 24, 14, 4096)),
        *(("dinov2-g", 1536, 40, 14, 4096), ("vit-b16", 768, 12, 16, 3072), ("vit-mini", 128, 4, 8, 512)),
    ],
)
def test_named_backbones(name: str, width: int, depth: int, patch: int, hidden: int) -> None:
    with torch.device("meta"):
        vit: Any = BACKBONES[name]()
    assert (vit.embed_dim, len(vit.blocks), vit.patch_embed.patch_size) == (width, depth, (patch, patch))
    assert vit.blocks[0].mlp.fc2.in_features == hidden
    assert vit.blocks[0].mlp.fc1.out_features == hidden * (2 if name == "dinov2-g" else 1), "the giant's MLP is gated"
    scaled = name.startswith("dinov2")
    assert isinstance(vit.blocks[0].ls1, nn.Identity) == (not scaled)
    assert timm.is_model_pretrained(TIMM_NAMES[name]) if name in TIMM_NAMES else name == "vit-mini"


# What timm's own forward pass is: small models, one per arrangement of its modules.
LIKE_TIMM = {
    "test_vit": {},
    "test_vit3": {},
    "test_vit4": {},
    "vit_tiny_patch16_224": {},
    "vit_base_patch32_clip_quickgelu_224": {"embed_dim": 64, "num_heads": 4, "depth": 2},
    "eva02_tiny_patch14_224": {"depth": 2},
    "eva02_base_patch16_clip_224": {"embed_dim": 64, "num_heads": 4, "depth": 2},
    "vit_small_patch16_dinov3": {"embed_dim": 96, "num_heads": 3, "depth": 2},
    "vit_small_plus_patch16_dinov3_qkvb": {"embed_dim": 96, "num_heads": 3, "depth": 2},
    "vit_small_patch16_rope_224": {"embed_dim": 96, "num_heads": 3, "depth": 2},
    "vit_small_patch14_reg4_dinov2": {"embed_dim": 96, "num_heads": 3, "depth": 2},
}


@pytest.mark.parametrize("name", LIKE_TIMM)
def test_blocks_compute_what_timm_computes(name: str) -> None:
    """All blocks over random tokens, as template alone: without a rotation, and where timm has one with it."""
    torch.manual_seed(0)
    vit: Any = timm.create_model(name, num_classes=0, dynamic_img_size=True, **LIKE_TIMM[name]).eval()
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    tokens = torch.randn(2, 16, vit.embed_dim)
    rope = getattr(vit, "rope", None)
    with torch.no_grad():
        rotation = None if rope is None else rope.get_embed(shape=[4, 4])
        prefix = vit.num_prefix_tokens if rope is not None else 0
        whole = torch.cat([torch.randn(2, prefix, vit.embed_dim), tokens], dim=1)
        expected = whole
        for block in vit.blocks:
            expected = block(expected) if rope is None else block(expected, rope=rotation)
        found = whole
        for block in plain_blocks(vit).children():
            found = run_block(block, found, TokenLayout(prefix, whole.shape[1], False, rotation))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_relpos_small_patch16_224", "a VisionTransformerRelPos is not a plain vision transformer"),
        ("deit_tiny_distilled_patch16_224", "a VisionTransformerDistilled is not"),
        ("resnet18", "a ResNet is not a plain vision transformer"),
        ("vit_tiny_r_s16_p8_224", "hybrid stem"),
        ("aimv2_large_patch14_224", "normalises its patches"),
        ("vit_base_patch16_rpn_224", "not pre-norm in sequence"),
        ("vit_dlittle_patch16_reg1_gap_256", "not plain self-attention"),
        pytest.param(
            *("vit_base_patch16_sapiens2", "its position grid is not square"),
            marks=pytest.mark.skipif(not timm.is_model("vit_base_patch16_sapiens2"), reason="a newer timm has it"),
        ),
        ("vit_small_patch16_rope_mixed_224", "differ from block to block"),
    ],
)
def test_what_the_encoder_cannot_run_is_refused_with_the_reason(name: str, reason: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=f"timm's '{name}' cannot be .* backbone: .*{reason}"):
        timm_vit(name)


def test_a_name_that_timm_does_not_know_is_refused_with_near_ones() -> None:
    with pytest.raises(
        ValueError, match="timm has no model 'vit_base_patch14_dinov': did you mean vit_base_patch14_dinov2"
    ):
        make_backbone("timm/vit_base_patch14_dinov")
    with pytest.raises(LookupError, match="did you mean dinov2-b"):
        make_backbone("dinov2b")
    assert len(REFUSED) == len({reason for _, reason in REFUSED})


ROTARY = replace(
    TrackerSpec(backbone="timm/vit_small_patch16_dinov3", crop=CropInput(template_size=64, search_size=128)),
    head=MINI.head,
    labels="iou-aware",
)


@pytest.mark.parametrize("backbone", ["vit_small_patch16_dinov3", "eva02_tiny_patch14_224", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("adaptation", [LoRA(rank=2, alpha=2), IA3(), BitFit(), Prompts(count=2)], ids=lambda a: a.kind)
def test_timms_vits_can_be_adapted_and_merged(backbone: str, adaptation: Any) -> None:
    torch.manual_seed(0)
    patch = 14 if "patch14" in backbone else 16
    crop = CropInput(template_size=2 * patch, search_size=4 * patch)
    model = build(
        replace(ROTARY, backbone=f"timm/{backbone}", crop=crop, adaptation=adaptation), pretrained=False
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and name.startswith("encoder."):
                parameter.add_(torch.randn_like(parameter) * 0.1)
        images = [torch.randn(1, 3, side, side) for side in (2 * patch, 4 * patch)]
        before = model.encoder(*images, None, 1.0).features
        merge(model)
        torch.testing.assert_close(model.encoder(*images, None, 1.0).features, before, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(before[:, 0], before[:, 5], atol=1e-3)
    assert not any(".lora_" in name or ".ia3_l" in name for name, _ in model.named_parameters())


def test_rotary_positions_are_those_of_each_grid_or_the_corner() -> None:
    for how in ("interpolate", "slice"):
        embedding = InputEmbedding.model_validate(
            {"positions": "shared" if how == "slice" else "separate", "template_positions": how}
        )
        model = build(replace(ROTARY, embedding=embedding), pretrained=False)
        vit: Any = timm_vit("vit_small_patch16_dinov3")
        search, own = (vit.rope.get_embed(shape=[side, side]) for side in (8, 4))
        corner = search.reshape(8, 8, -1)[:4, :4].flatten(0, 1)
        expected = torch.cat([corner if how == "slice" else own, search])
        assert model.encoder.rotation is not None
        torch.testing.assert_close(model.encoder.rotation, expected)
        assert not own.allclose(corner)
        assert not model.encoder.embedding.search_positions.any(), "no table to add"


def test_rotary_backbones_say_what_they_cannot_do() -> None:
    with pytest.raises(ValueError, match="no absolute position table: there are no positions to train"):
        build(replace(ROTARY, embedding=InputEmbedding(trainable_positions=True)), pretrained=False)
    with pytest.raises(ValueError, match="rotary positions: candidate elimination would misplace"):
        build(replace(ROTARY, sparsity=CandidateElimination()), pretrained=False)


# --- where weights come from


def test_weights_come_from_the_place_that_is_named(tmp_path: Path) -> None:
    torch.manual_seed(1)
    drawn = {name: torch.randn_like(value) for name, value in make_backbone("vit-mini").state_dict().items()}
    save_file(drawn, tmp_path / "a.safetensors")
    torch.save(drawn, tmp_path / "a.pth")
    for file in ("a.safetensors", "a.pth"):
        state = make_backbone("vit-mini", f"file:{tmp_path / file}").state_dict()
        assert all(state[name].equal(value) for name, value in drawn.items())
    shipped, again, none = (make_backbone("vit-mini", where).norm.weight for where in ("shipped", "shipped", "none"))
    assert shipped.equal(again)
    assert not shipped.equal(none)
    model = build(replace(MINI, pretrained=f"file:{tmp_path / 'a.pth'}"))
    assert model.encoder.norm.weight.equal(drawn["norm.weight"])
    assert not build(
        replace(MINI, pretrained=f"file:{tmp_path / 'a.pth'}"), pretrained=False
    ).encoder.norm.weight.equal(drawn["norm.weight"])


def test_files_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"pos_embed": torch.zeros(2)}, file)
    with pytest.raises(DataError, match=r"other\.safetensors .*: entry 'patch_embed\.proj\.weight' is missing"):
        make_backbone("vit-mini", f"file:{file}")
    with pytest.raises(DataError, match=r"absent\.pth: there is no such file"):
        make_backbone("vit-mini", f"file:{tmp_path / 'absent.pth'}")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DataError, match="holds a list, not a state dict"):
        make_backbone("vit-mini", f"file:{tmp_path / 'list.pth'}")


def test_published_backbones_are_read_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """MAE's file has its decoder beside the encoder, under `model`; DINOv2's has a mask token."""
    drawn = {name: torch.randn_like(value) for name, value in make_backbone("vit-mini").state_dict().items()}
    others = {"mask_token": torch.zeros(1, 128), "decoder_blocks.0.norm1.weight": torch.zeros(3)}
    torch.save({"model": {**drawn, **others}, "epoch": 3}, tmp_path / "mae.pth")
    state = make_backbone("vit-mini", f"file:{tmp_path / 'mae.pth'}").state_dict()
    assert all(state[name].equal(value) for name, value in drawn.items())
    assert "mae.pth: not used and left: mask_token, decoder_blocks.0.norm1.weight" in caplog.text
    torch.save({**drawn, "register_tokens": torch.zeros(1, 4, 128)}, tmp_path / "registers.pth")
    with pytest.raises(DataError, match="entry 'register_tokens' is unknown"):
        make_backbone("vit-mini", f"file:{tmp_path / 'registers.pth'}")
    torch.save({**drawn, "blocks.4.norm1.weight": torch.zeros(128)}, tmp_path / "deeper.pth")
    with pytest.raises(DataError, match=r"entry 'blocks\.4\.norm1\.weight' is unknown"):
        make_backbone("vit-mini", f"file:{tmp_path / 'deeper.pth'}")


def test_a_backbone_in_beits_layout_computes_the_same(tmp_path: Path) -> None:
    """CAE's pretraining: under `encoder.`, keys without a bias, layer scales as bare parameters."""
    torch.manual_seed(2)
    vit = make_backbone("vit-mini")
    published = {name: torch.randn_like(value) * 0.1 for name, value in vit.state_dict().items()}
    scales = {f"blocks.{i}.gamma_{k}": torch.rand(128) for i in range(4) for k in (1, 2)}
    for i in range(4):
        query, _, value = published.pop(f"blocks.{i}.attn.qkv.bias").chunk(3)
        published |= {f"blocks.{i}.attn.q_bias": query, f"blocks.{i}.attn.v_bias": value}
    beside = {"teacher.norm.weight": torch.zeros(3), "decoder.blocks.0.norm1.weight": torch.zeros(3)}
    torch.save(
        {"model": {f"encoder.{name}": value for name, value in (published | scales).items()} | beside},
        tmp_path / "cae.pth",
    )
    found = make_backbone("vit-mini", f"file:{tmp_path / 'cae.pth'}").eval()
    tokens = torch.randn(1, 5, 128)
    expected = tokens
    for i, block in enumerate(found.blocks.children()):
        of = {name.removeprefix(f"blocks.{i}."): value for name, value in (published | scales).items()}
        query, value = of["attn.q_bias"], of["attn.v_bias"]
        normed = F.layer_norm(expected, (128,), of["norm1.weight"], of["norm1.bias"], 1e-6)
        qkv = F.linear(normed, of["attn.qkv.weight"], torch.cat([query, torch.zeros(128), value]))
        q, k, v = qkv.reshape(1, 5, 3, 4, 32).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1) * 32**-0.5).softmax(dim=-1) @ v
        mixed = F.linear(mixed.transpose(1, 2).flatten(2), of["attn.proj.weight"], of["attn.proj.bias"])
        expected = expected + of["gamma_1"] * mixed
        normed = F.layer_norm(expected, (128,), of["norm2.weight"], of["norm2.bias"], 1e-6)
        hidden = F.gelu(F.linear(normed, of["mlp.fc1.weight"], of["mlp.fc1.bias"]))
        expected = expected + of["gamma_2"] * F.linear(hidden, of["mlp.fc2.weight"], of["mlp.fc2.bias"])
        tokens = block(tokens)
        torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


def test_without_a_network_timms_weights_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, *, pretrained: bool = False) -> nn.Module:
        raise OSError("no route to host")

    monkeypatch.setattr(backbones, "timm_vit", offline)
    with pytest.raises(DataError, match=r"'vit_base_patch14_dinov2\.lvd142m' cannot be fetched .*no route.*file:PATH"):
        make_backbone("dinov2-b", "timm")
    with pytest.raises(DataError, match="'vit-mini' is not one of timm's models"):
        make_backbone("vit-mini", "timm")


def test_timms_weights_are_asked_for_by_their_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(backbones, "timm_vit", lambda name, pretrained=False: asked.append((name, pretrained)))
    for name in ("vit-b16", "timm/vit_tiny_patch16_224"):
        make_backbone(name, "timm")
    assert asked == [("vit_base_patch16_224.mae", True), ("vit_tiny_patch16_224", True)]


# --- attention, and what is left out


def slow_attention(attention: Any, x: Tensor, sees: Tensor) -> Tensor:
    """Softmax attention written out; sees: (N, N) bool, which keys each query may see."""
    q, k, v = attention.qkv(x).chunk(3, dim=-1)
    size, parts = attention.head_dim, []
    for head in range(attention.num_heads):
        span = slice(head * size, (head + 1) * size)
        logits = (q[..., span] @ k[..., span].transpose(1, 2) / size**0.5).masked_fill(~sees, float("-inf"))
        parts.append(logits.softmax(-1) @ v[..., span])
    out: Tensor = attention.proj(torch.cat(parts, dim=-1))
    return out


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("first", [0, 3, 7])
def test_attention_is_the_written_out_one(split: bool, mixed: bool, first: int) -> None:
    torch.manual_seed(0)
    attention: Any = timm.layers.Attention(24, num_heads=3, qkv_bias=True).eval()
    x, sees = torch.randn(2, 12, 24), torch.ones(12, 12, dtype=torch.bool)
    if mixed:
        sees[:7, 7:] = False
    expected = slow_attention(attention, x, sees)[:, first:]
    if split:
        attention.qkv = SplitQKV.of(attention.qkv)
    found = attend(attention, x, TokenLayout(prompts=2, leading=7, mixed=mixed, rotation=None), first)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_in_mixed_attention_the_template_does_not_see_the_search_region() -> None:
    """So search features depend on the search region only through themselves: a block's template output stays."""
    model = seeded(attention="mixed", embedding=SHARED).eval()
    joint = seeded(embedding=SHARED).eval()
    outputs = []
    for encoder in (model.encoder, joint.encoder):
        encoder.lean = False
        kept: list[Tensor] = []
        hook = encoder.norm.register_forward_pre_hook(lambda _, inputs, kept=kept: kept.append(inputs[0][:, :16]))
        with torch.no_grad():
            encoder(IMAGES[0], IMAGES[1], None, 1.0)
            encoder(IMAGES[0], IMAGES[1].flip(3), None, 1.0)
        hook.remove()
        outputs.append((kept[1] - kept[0]).abs().max().item())
    assert outputs[0] == 0
    assert outputs[1] > 1e-4
    assert not torch.allclose(features(model), features(joint), atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{}, {"attention": "mixed"}, {"adaptation": Prompts(count=3)}, {"adaptation": LoRA(rank=2)}],
    ids=["joint", "mixed", "prompts", "lora"],
)
def test_leaving_out_what_nothing_reads_changes_neither_result_nor_gradients(changes: dict[str, Any]) -> None:
    found = []
    for lean in (True, False):
        model = seeded(**changes).train()
        model.encoder.lean = lean
        result = model.encoder(*IMAGES, None, 1.0).features
        result.square().sum().backward()  # type: ignore[no-untyped-call]
        found.append((result.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], atol=2e-3, rtol=1e-3, msg=name)


def test_checkpointing_recomputes_and_changes_nothing() -> None:
    gradients, saved = [], []
    for checkpointing in (False, True):
        model = seeded(checkpointing=checkpointing).train()
        kept = 0

        def note(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result = model.encoder(*IMAGES, None, 1.0).features
        result.square().sum().backward()  # type: ignore[no-untyped-call]
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        saved.append(kept)
    assert saved[1] < saved[0] / 3
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(g, gradients[1][n], atol=1e-5) for n, g in gradients[0].items())


# --- drop path and layer decay


@pytest.mark.parametrize(("rate", "kind"), [(0.0, "Identity"), (0.1, "DropPath"), (0.4, "SubsetDropPath")])
def test_every_branch_of_every_block_has_the_same_drop_path(rate: float, kind: str) -> None:
    encoder: Any = seeded(drop_path=rate, drop_path_depth="uniform").encoder
    paths = [path for block in encoder.blocks for path in (block.drop_path1, block.drop_path2)]
    assert {type(path).__name__ for path in paths} == {kind}
    assert len(paths) == 8
    rates = {getattr(path, "drop_prob", getattr(path, "rate", 0.0)) for path in paths}
    assert rates == {rate}


def test_ostracks_drop_path_rises_linearly_and_leaves_no_example_out() -> None:
    """Its published settings: 0.1 in the last block, in proportion to the depth before it."""
    encoder: Any = seeded(drop_path=0.1, drop_path_depth="linear").encoder
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in encoder.blocks]
    assert rates == pytest.approx([0, 0.1 / 3, 0.2 / 3, 0.1])
    assert {type(block.drop_path2).__name__ for block in encoder.blocks} == {"Identity", "DropPath"}
    assert (VARIANTS["ostrack-256"].drop_path, VARIANTS["ostrack-256"].drop_path_depth) == (0.1, "linear")


@pytest.mark.parametrize(("batch", "rate", "kept"), [(10, 0.4, 6), (4, 0.3, 2), (1, 0.9, 1), (3, 0.5, 1)])
def test_subset_drop_path_keeps_as_many_examples_every_time_and_scales_them(batch: int, rate: float, kept: int) -> None:
    path, base, x = SubsetDropPath(rate), torch.randn(batch, 3, 2), torch.randn(batch, 5, 2)
    seen: list[int] = []

    def branch(part: Tensor) -> Tensor:
        seen.append(len(part))
        return part[:, 2:] ** 2

    torch.manual_seed(4)
    cheap = path.add(base, x, branch)
    torch.manual_seed(4)
    plain = base + path(x[:, 2:] ** 2)
    torch.testing.assert_close(cheap, plain)
    assert seen == [kept]
    changed = (plain - base).abs().amax(dim=(1, 2)) > 0
    assert int(changed.sum()) == kept
    torch.testing.assert_close((plain - base)[changed], (x[:, 2:] ** 2)[changed] * batch / kept)
    assert path.eval()(x) is x


def test_drop_path_is_for_training_and_runs_through_the_cheap_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeded(drop_path=0.5, drop_path_depth="uniform")
    plain = seeded(drop_path=0.0)
    torch.testing.assert_close(features(model.eval()), features(plain.eval()))
    added = []
    original = SubsetDropPath.add
    monkeypatch.setattr(SubsetDropPath, "add", lambda self, *a: added.append(1) or original(self, *a))
    torch.manual_seed(0)
    dropped = features(model.train())
    assert len(added) == 8
    assert not torch.allclose(dropped, features(plain), atol=1e-3)


def test_set_drop_path_replaces_what_was_there() -> None:
    blocks = nn.Sequential(timm.models.vision_transformer.Block(8, 2, drop_path=0.3))
    set_drop_path(blocks, 0.0)
    assert isinstance(blocks[0].drop_path1, nn.Identity)
    assert isinstance(blocks[0].drop_path2, nn.Identity)


def test_layer_decay_is_lorats() -> None:
    expected = {
        "encoder.project.weight": 0.7**13,
        "encoder.blocks.0.attn.qkv.weight": 0.7**12,
        "encoder.blocks.3.norm1.bias": 0.7**9,
        "encoder.blocks.11.mlp.fc2.bias": 0.7,
        "encoder.norm.weight": 1,
        "encoder.embedding.search_positions": 1,
        "encoder.embedding.token_types": 1,
        "head.score.0.weight": 1,
    }
    assert {name: learning_rate_scale(name, 12, 0.7) for name in expected} == pytest.approx(expected)
    assert {learning_rate_scale(name, 4, 1.0) for name, _ in seeded().named_parameters()} == {1.0}
    depth = 4
    shares = {learning_rate_scale(name, depth, 0.5) for name, _ in seeded().named_parameters()}
    assert shares == {0.5**power for power in (0, 1, 2, 3, 4, 5)}


def test_sine_cosine_positions_by_hand() -> None:
    table = sine_cosine_positions(3, 8)[0]
    at = torch.tensor([2.0, 0.02])  # x = 2, frequencies 1 and 1/100
    expected = torch.cat([at.sin(), at.cos(), torch.tensor([1.0, 0.01]).sin(), torch.tensor([1.0, 0.01]).cos()])
    torch.testing.assert_close(table[1 * 3 + 2], expected)
    with pytest.raises(ValueError, match="multiple of 4"):
        sine_cosine_positions(3, 6)


def test_a_runs_weights_are_identified_by_their_file(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"abc")
    assert weights_digest("dinov2-b", f"file:{file}") == hashlib.sha256(b"abc").hexdigest()
    shipped = weights_digest("vit-mini")
    assert shipped == hashlib.sha256(FILES["vit-mini"].read_bytes()).hexdigest()
    assert [weights_digest(*asked) for asked in (("vit-mini", "none"), ("dinov2-b", "timm"), ("dinov2-b",))] == [
        None
    ] * 3
    with pytest.raises(DataError, match="there is no such file"):
        weights_digest("vit-mini", f"file:{tmp_path / 'absent'}")
