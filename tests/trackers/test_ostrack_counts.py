"""OSTrack's published counts (design/models.md, table 4.1): parameters exactly, multiply-accumulates within 0.1 %, tokens
block by block; and what it stores without using it."""

from functools import cache

import pytest
import torch
from torch import Tensor

from examples import SCALE
from trackablate.harness.costing.macs import cost_document, count_macs
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import InputEmbedding, replace
from trackablate.trackers.variants import VARIANTS

BLOCKS_256_CE = [320] * 4 + [244] * 3 + [190] * 3 + [153] * 2
BLOCKS_384_CE = [720] * 4 + [548] * 3 + [427] * 3 + [343] * 2
PUBLISHED = [
    ("ostrack-256", 92_518_533, 86_044_416, 29.050e9, 30.943e9, [320] * 12),
    ("ostrack-256-ce", 92_518_533, 86_044_416, 21.517e9, 22.663e9, BLOCKS_256_CE),
    ("ostrack-384", 92_825_733, 86_351_616, 65.363e9, 74.930e9, [720] * 12),
    ("ostrack-384-ce", 92_825_733, 86_351_616, 48.358e9, 54.137e9, BLOCKS_384_CE),
]
EVERY = pytest.mark.parametrize(("name", "params", "backbone", "thop", "fvcore", "tokens"), PUBLISHED)
HEAD, UNUSED = 6_474_117, 152_064


@cache
def on_meta(name: str) -> OneStreamTracker:
    with torch.device("meta"):
        return build(VARIANTS[name], pretrained=False)


@EVERY
def test_counts(name: str, params: int, backbone: int, thop: float, fvcore: float, tokens: list[int]) -> None:
    cost = cost_document(VARIANTS[name])
    assert cost["params"] == cost["trainable_params"] == cost["inference_params"] == params == backbone + HEAD
    assert cost["head_params"] == HEAD
    assert sum(p.numel() for p in on_meta(name).encoder.parameters()) == backbone
    assert cost["macs"]["fvcore"] == pytest.approx(fvcore, rel=1e-3)
    assert cost["macs"]["thop_linear_conv_only"] == pytest.approx(thop, rel=1e-3)


@EVERY
def test_tokens_entering_each_block(
    name: str, params: int, backbone: int, thop: float, fvcore: float, tokens: list[int]
) -> None:
    """And elimination is inside a block: its attention sees all that enter, its MLP what is left."""
    model, entering, at_mlp = on_meta(name), [], []
    for block in model.encoder.blocks.children():
        block.norm1.register_forward_pre_hook(lambda _, x: entering.append(x[0].shape[1]))  # type: ignore[union-attr]
        block.norm2.register_forward_pre_hook(lambda _, x: at_mlp.append(x[0].shape[1]))  # type: ignore[union-attr]
    count_macs(model)
    assert entering == tokens
    assert at_mlp[:-1] == entering[1:]
    assert at_mlp[-1] == entering[-1]


@pytest.mark.parametrize("name", ["ostrack-256", "ostrack-384-ce"])
def test_stores_the_class_token_and_the_pretrained_table_without_using_them(name: str) -> None:
    unused = dict(on_meta(name).encoder.unused.named_parameters())
    assert {n: tuple(p.shape) for n, p in unused.items()} == {"cls_token": (1, 1, 768), "pos_embed": (1, 197, 768)}
    assert sum(p.numel() for p in unused.values()) == UNUSED
    plain = replace(VARIANTS[name], embedding=InputEmbedding())
    assert cost_document(plain)["params"] == cost_document(VARIANTS[name])["params"] - UNUSED


def test_what_is_stored_unused_changes_no_output_and_no_training_step() -> None:
    spec = at_scale(VARIANTS["ostrack-256"], SCALE)
    inputs = [torch.rand(2, 3, s, s) * 255 for s in (SCALE.template_size, SCALE.search_size)]
    torch.manual_seed(0)
    model = build(spec, pretrained=False).eval()
    stored = model.encoder.unused["pos_embed"]
    before = predicted(model, inputs)
    terms = model.train()(*inputs, None, torch.tensor([[0.3, 0.3, 0.6, 0.6]] * 2), 1.0)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert stored.grad is None
    assert [n for n, p in model.named_parameters() if p.grad is None] == ["encoder.unused.pos_embed"]
    torch.manual_seed(0)
    model = build(spec, pretrained=False).eval()
    with torch.no_grad():
        model.encoder.unused["pos_embed"].fill_(float("nan"))
    assert predicted(model, inputs).equal(before)


def predicted(model: OneStreamTracker, inputs: list[Tensor]) -> Tensor:
    with torch.no_grad():
        scores: Tensor = model(*inputs).score_map
    return scores


def test_the_tables_start_from_the_pretrained_grid_and_are_their_own() -> None:
    """Resizing a grid to its own size must not make the stored table and the used one the same tensor."""
    model = build(at_scale(VARIANTS["ostrack-256"], SCALE), pretrained=False)
    table, search = model.encoder.unused["pos_embed"], model.encoder.embedding.search_positions
    assert isinstance(search, Tensor)
    assert table.equal(search)
    assert table.data_ptr() != search.data_ptr()


def test_larger_crops_see_a_larger_region() -> None:
    crop = VARIANTS["ostrack-384-ce"].crop
    assert (crop.template_size, crop.search_size, crop.template_factor, crop.search_factor) == (192, 384, 2, 5)
    crop = VARIANTS["ostrack-256-ce"].crop
    assert (crop.template_size, crop.search_size, crop.template_factor, crop.search_factor) == (128, 256, 2, 4)
    assert (crop.geometry, crop.window) == ("ostrack", "multiply")
