"""Candidate elimination: which tokens go on, against a slow reference and against OSTrack's own outputs."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from timm.layers.attention import Attention
from torch import Tensor

from golden_vectors import golden
from trackablate.trackers.encoder import sparsity as sparsity_module
from trackablate.trackers.encoder.blocks import TokenLayout
from trackablate.trackers.encoder.sparsity import (
    Judges,
    attention_with_scores,
    eliminate,
    judges,
    kept_count,
    template_centre,
    training_ratio,
)
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import CandidateElimination, TrackerSpec, replace
from trackablate.trackers.tokens import SearchTokens
from trackablate.trackers.variants import VARIANTS

PUBLISHED = CandidateElimination()


def mini(**changes: Any) -> TrackerSpec:
    crop = VARIANTS["ostrack-256"].crop.model_copy(update={"template_size": 32, "search_size": 64})
    sparsity = CandidateElimination(layers=(1, 2), keep_ratio=0.7)
    return replace(VARIANTS["ostrack-256"], **({"backbone": "vit-mini", "crop": crop, "sparsity": sparsity} | changes))


def random_model(spec: TrackerSpec) -> OneStreamTracker:
    torch.manual_seed(0)
    model = build(spec, pretrained=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def images(batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, 32, 32, generator=generator), torch.randn(batch, 3, 64, 64, generator=generator)


def test_counts_of_the_published_layers() -> None:
    counts = [256]
    for _ in PUBLISHED.layers:
        counts.append(kept_count(counts[-1], PUBLISHED.keep_ratio))
    assert counts == [256, 180, 126, 89]
    assert [a - b for a, b in pairwise(counts)] == [76, 54, 37]


def test_at_least_one_token_stays() -> None:
    assert kept_count(1, 0.01) == kept_count(5, 1e-9) == 1
    assert kept_count(7, 1.0) == 7


def test_training_ratio_follows_the_published_cosine() -> None:
    for epoch, expected in {0: 1.0, 19: 1.0, 20: 1.0, 40: 0.956, 60: 0.85, 80: 0.744, 100: 0.7, 300: 0.7}.items():
        assert training_ratio(PUBLISHED, epoch / 300) == pytest.approx(expected, abs=5e-4), epoch
    ratios = [training_ratio(PUBLISHED, step / 1000) for step in range(1001)]
    assert all(a >= b for a, b in pairwise(ratios))
    steep = CandidateElimination(start=0.5, end=0.5, keep_ratio=0.4)
    assert [training_ratio(steep, p) for p in (0.49, 0.5, 1.0)] == [1.0, 0.4, 0.4]


def test_training_ratio_matches_the_reference_vectors() -> None:
    for epoch, expected in golden("ostrack_keep_rate").items():
        assert training_ratio(PUBLISHED, int(epoch) / 300) == pytest.approx(expected, abs=1e-9), epoch


def test_template_centre() -> None:
    assert template_centre(8) == 27 == 3 * 8 + 3
    assert template_centre(4) == 5
    assert template_centre(7) == 3 * 7 + 3
    assert template_centre(1) == 0


@pytest.mark.parametrize(
    ("template", "side", "expected"),
    [
        ("CTR_POINT", 8, [27]),
        ("CTR_POINT", 12, [65]),
        ("CTR_REC", 8, [27, 28, 35, 36]),
        ("CTR_REC", 12, [65, 66, 77, 78]),
        ("CTR_REC", 7, [24]),
        ("ALL", 3, list(range(9))),
        ("GT_BOX", 3, list(range(9))),
    ],
)
def test_template_ranges_are_the_official_ones(template: Any, side: int, expected: list[int]) -> None:
    """Rows and columns 3:4, 5:6 (point) and 3:5, 5:7 (square) of 8 and 12; 3:4 of 7."""
    mask = torch.zeros(1, side * side, dtype=torch.bool)
    assert judges(CandidateElimination(template=template), side, mask).tokens == expected


def test_the_box_range_weighs_the_tokens_inside_the_box_only() -> None:
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[0, [5, 6, 9, 10]] = mask[1, 0] = True
    weights = judges(CandidateElimination(template="GT_BOX"), 4, mask).weights
    assert weights is not None
    assert weights.sum(1).tolist() == [1, 1]
    assert weights[0, [5, 6, 9, 10]].tolist() == [0.25] * 4
    assert weights[1, 0] == 1
    assert judges(CandidateElimination(template="ALL"), 4, mask).weights is None
    with pytest.raises(ValueError, match="GT_BOX needs the template's mask"):
        judges(CandidateElimination(template="GT_BOX"), 4, None)


def slow_attention(attention: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax attention of one example (N, D) written out: the output, and the weights (heads, N, N)."""
    count, width = x.shape
    size = width // attention.num_heads
    qkv = x @ attention.qkv.weight.T + attention.qkv.bias
    weights, mixed = [], []
    for head in range(attention.num_heads):
        q, k, v = (qkv[:, part * width + head * size : part * width + (head + 1) * size] for part in range(3))
        logits = torch.tensor([[float(q[i] @ k[j]) / math.sqrt(size) for j in range(count)] for i in range(count)])
        exponents = (logits - logits.amax(1, keepdim=True)).exp()
        weights.append(exponents / exponents.sum(1, keepdim=True))
        mixed.append(weights[-1] @ v)
    return torch.cat(mixed, 1) @ attention.proj.weight.T + attention.proj.bias, torch.stack(weights)


@torch.no_grad()
def test_scores_are_the_judges_attention() -> None:
    torch.manual_seed(0)
    attention, x = Attention(16, num_heads=4, qkv_bias=True).eval(), torch.randn(3, 20, 16) * 2
    for parameter in attention.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.3)
    shares = torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.5, 0.5]])
    for prompts in (0, 3):
        layout = TokenLayout(prompts=prompts, leading=prompts + 9, mixed=False, rotation=None)
        for judging in (Judges([2], None), Judges([2, 5], None), Judges([2, 5], shares)):
            mixed, scores = attention_with_scores(attention, x, layout, judging)
            torch.testing.assert_close(mixed, attention(x))
            for example in range(3):
                slow_mixed, weights = slow_attention(attention, x[example])
                torch.testing.assert_close(mixed[example], slow_mixed, atol=1e-5, rtol=1e-4)
                asked = weights.mean(0)[[prompts + token for token in judging.tokens], prompts + 9 :]
                share = torch.ones(len(asked)) / len(asked) if judging.weights is None else shares[example]
                torch.testing.assert_close(scores[example], share @ asked, atol=1e-6, rtol=1e-4)
                assert 0 < scores[example].sum() < 1, "the softmax runs over the template's tokens too"


def test_eliminate_keeps_the_best_in_raster_order() -> None:
    x = torch.arange(2 * 7).reshape(2, 7, 1).float()
    index = torch.tensor([[4, 5, 7, 9, 12], [0, 1, 2, 3, 8]])
    scores = torch.tensor([[0.5, 0.1, 0.4, 0.9, 0.2], [0.1, 0.2, 0.3, 0.4, 0.5]])
    tokens, places = eliminate(x, index, scores, templates=2, ratio=0.6)
    assert places.tolist() == [[4, 7, 9], [2, 3, 8]]
    assert tokens[..., 0].tolist() == [[0, 1, 2, 4, 5], [7, 8, 11, 12, 13]]


@torch.no_grad()
def slow_encoder(model: OneStreamTracker, template: Tensor, search: Tensor, ratio: float) -> dict[int, Tensor]:
    """One example through the encoder with explicit attention and explicit removal: place on the map to features."""
    encoder = model.encoder
    sparsity = model.spec.sparsity
    assert sparsity is not None
    z, x = encoder.embedding(encoder._patches(template[None]), encoder._patches(search[None]), None)
    first, tokens = z.shape[1], torch.cat([z, x], dim=1)[0]
    places = list(range(x.shape[1]))
    blocks: Any = encoder.blocks
    for depth, block in enumerate(blocks):
        mixed, weights = slow_attention(block.attn, block.norm1(tokens))
        tokens = tokens + mixed
        if depth in sparsity.layers:
            scores = weights.mean(0)[5, first:].tolist()
            order = sorted(range(len(places)), key=lambda i: -scores[i])[: math.ceil(ratio * len(places))]
            keep = sorted(order)
            tokens = torch.cat([tokens[:first], tokens[first:][keep]])
            places = [places[i] for i in keep]
        tokens = tokens + block.mlp(block.norm2(tokens))
    return dict(zip(places, encoder.norm(tokens)[first:], strict=True))


@torch.no_grad()
def test_the_encoder_keeps_what_a_slow_reference_keeps() -> None:
    model = random_model(mini())
    template, search = images()
    tokens = model.encoder(template, search, None, 0.7)
    assert tokens.features.shape[1] == kept_count(kept_count(64, 0.7), 0.7) == 32
    for example in range(2):
        slow = slow_encoder(model, template[example], search[example], 0.7)
        assert tokens.index[example].tolist() == list(slow)
        torch.testing.assert_close(tokens.features[example], torch.stack(list(slow.values())), atol=1e-4, rtol=1e-3)
    assert tokens.index[0].tolist() != tokens.index[1].tolist(), "the examples should keep different tokens"


@torch.no_grad()
def test_a_ratio_of_1_is_the_tracker_without_elimination() -> None:
    model, (template, search) = random_model(mini()), images()
    full = model.encoder(template, search, None, 1.0)
    assert full.index.tolist() == [list(range(64))] * 2
    model.encoder.sparsity = None
    assert model.encoder(template, search, None, 0.7).features.equal(full.features)


@torch.no_grad()
def test_removed_places_are_exactly_zero_on_the_map() -> None:
    model, (template, search) = random_model(mini()), images()
    tokens = model.encoder(template, search, None, 0.7)
    dense = tokens.dense().flatten(2)
    for example in range(2):
        removed = sorted(set(range(64)) - set(tokens.index[example].tolist()))
        assert len(removed) == 32
        assert not dense[example, :, removed].any()
        torch.testing.assert_close(dense[example].T[tokens.index[example]], tokens.features[example])


def test_dense_lays_values_out_row_by_row() -> None:
    tokens = SearchTokens(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[5, 2]]), 3)
    assert tokens.dense()[0, 0].tolist() == [[0, 0, 2], [0, 0, 1], [0, 0, 0]]
    assert tokens.dense(torch.ones(1, 2, 1))[0, 0].tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_in_training_the_ratio_follows_progress_and_at_test_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(mini(), pretrained=False)
    seen: list[float] = []

    def recording(x: Tensor, index: Tensor, scores: Tensor, templates: int, ratio: float) -> tuple[Tensor, Tensor]:
        seen.append(ratio)
        return eliminate(x, index, scores, templates, ratio)

    monkeypatch.setattr(sparsity_module, "eliminate", recording)
    template, search = images()
    truth = torch.tensor([[0.3, 0.3, 0.6, 0.6]] * 2)
    model(template, search, None, truth, 0.0)
    assert seen == [], "nothing is removed at the beginning"
    model(template, search, None, truth, 60 / 300)
    assert seen == pytest.approx([0.85] * 2)
    model(template, search, None, truth, 1.0)
    assert seen[2:] == pytest.approx([0.7] * 2)
    model.eval()(template, search, None, progress=0.0)
    assert seen[4:] == [0.7] * 2


def test_elimination_in_a_block_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"block 4 of 4"):
        build(mini(sparsity=CandidateElimination(layers=(2, 4))), pretrained=False)


@torch.no_grad()
def test_the_template_range_decides_what_is_kept() -> None:
    """GT_BOX over all tokens is ALL, over the centre token CTR_POINT; the three ranges differ; no mask, no GT_BOX."""
    template, search = images()
    everything, centre = torch.ones(2, 16, dtype=torch.bool), torch.zeros(2, 16, dtype=torch.bool)
    centre[:, 5] = True

    def keeps(kind: Any, mask: Tensor | None) -> list[list[int]]:
        model = random_model(mini(sparsity=CandidateElimination(layers=(1, 2), template=kind)))
        kept_places: list[list[int]] = model.encoder(template, search, mask, 0.7).index.tolist()
        return kept_places

    point, square, whole = keeps("CTR_POINT", None), keeps("CTR_REC", None), keeps("ALL", None)
    assert keeps("GT_BOX", everything) == whole
    assert keeps("GT_BOX", centre) == point
    assert len({str(k) for k in (point, square, whole)}) == 3
    with pytest.raises(ValueError, match="needs the template's mask"):
        keeps("GT_BOX", None)


def test_mixed_attention_leaves_nothing_to_rank_by() -> None:
    with pytest.raises(ValueError, match="under mixed attention the template does not see them"):
        mini(attention="mixed")
