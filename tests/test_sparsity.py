"""Candidate elimination: which tokens go on, against a slow reference and against OSTrack's own outputs."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers.attention import Attention
from torch import Tensor

from trackers import model as model_module
from trackers.model import OneStreamTracker, build
from trackers.sparsity import attention_with_scores, eliminate, kept, template_centre, training_ratio
from trackers.spec import CandidateElimination, TrackerSpec, replace
from trackers.tokens import SearchTokens
from trackers.variants import VARIANTS

GOLDEN = Path(__file__).parents[1].parent / "shared" / "golden"
PUBLISHED = CandidateElimination()


def golden(file: str, name: str) -> Any:
    if not (GOLDEN / file).exists():
        pytest.skip(f"reference vectors {file} are not beside this checkout")
    return json.loads((GOLDEN / file).read_text())[name]


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
        counts.append(kept(counts[-1], PUBLISHED.keep_ratio))
    assert counts == [256, 180, 126, 89]
    assert [a - b for a, b in pairwise(counts)] == [76, 54, 37]


def test_at_least_one_token_stays() -> None:
    assert kept(1, 0.01) == kept(5, 1e-9) == 1
    assert kept(7, 1.0) == 7


def test_training_ratio_follows_the_published_cosine() -> None:
    for epoch, expected in {0: 1.0, 19: 1.0, 20: 1.0, 40: 0.956, 60: 0.85, 80: 0.744, 100: 0.7, 300: 0.7}.items():
        assert training_ratio(PUBLISHED, epoch / 300) == pytest.approx(expected, abs=5e-4), epoch
    ratios = [training_ratio(PUBLISHED, step / 1000) for step in range(1001)]
    assert all(a >= b for a, b in pairwise(ratios))
    steep = CandidateElimination(start=0.5, end=0.5, keep_ratio=0.4)
    assert [training_ratio(steep, p) for p in (0.49, 0.5, 1.0)] == [1.0, 0.4, 0.4]


def test_training_ratio_matches_the_reference_vectors() -> None:
    for epoch, expected in golden("models.json", "ostrack_keep_rate").items():
        assert training_ratio(PUBLISHED, int(epoch) / 300) == pytest.approx(expected, abs=1e-9), epoch


def test_template_centre() -> None:
    assert template_centre(8) == 27 == 3 * 8 + 3
    assert template_centre(4) == 5
    assert template_centre(7) == 3 * 7 + 3
    assert template_centre(1) == 0


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
def test_scores_are_the_centre_tokens_attention() -> None:
    torch.manual_seed(0)
    attention, x = Attention(16, num_heads=4, qkv_bias=True).eval(), torch.randn(3, 20, 16) * 2
    for parameter in attention.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.3)
    mixed, scores = attention_with_scores(attention, x, query=2, first_search=9)
    torch.testing.assert_close(mixed, attention(x))
    for example in range(3):
        slow_mixed, weights = slow_attention(attention, x[example])
        torch.testing.assert_close(mixed[example], slow_mixed, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(scores[example], weights.mean(0)[2, 9:], atol=1e-6, rtol=1e-4)
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
    assert tokens.features.shape[1] == kept(kept(64, 0.7), 0.7) == 32
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
    assert tokens.dense(torch.ones(1, 2, 1), fill=-7)[0, 0].tolist() == [[-7, -7, 1], [-7, -7, 1], [-7, -7, -7]]


def test_in_training_the_ratio_follows_progress_and_at_test_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(mini(), pretrained=False)
    seen: list[float] = []

    def recording(x: Tensor, index: Tensor, scores: Tensor, templates: int, ratio: float) -> tuple[Tensor, Tensor]:
        seen.append(ratio)
        return eliminate(x, index, scores, templates, ratio)

    monkeypatch.setattr(model_module, "eliminate", recording)
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
def test_ostrack_computes_what_the_official_code_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """OSTrack-256 with elimination at full size, official names mapped to ours, the reference's seeded weights and
    inputs (design/models.md, section 6): scores, box, size and offset sums, and the first block's removed tokens."""
    reference, keys = golden("models.json", "ostrack_forward_ce"), golden("state_dict_keys.json", "ostrack256")
    with torch.device("meta"):
        model = build(VARIANTS["ostrack-256-ce"], pretrained=False).eval()
    state = {ours: value for key, value in seeded(keys).items() if (ours := our_name(key)) is not None}
    model.load_state_dict(state, strict=True, assign=True)
    model.head.cells = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="xy"))
    removed: list[set[int]] = []

    def recording(x: Tensor, index: Tensor, scores: Tensor, templates: int, ratio: float) -> tuple[Tensor, Tensor]:
        tokens, places = eliminate(x, index, scores, templates, ratio)
        removed.append(set(index[0].tolist()) - set(places[0].tolist()))
        return tokens, places

    monkeypatch.setattr(model_module, "eliminate", recording)
    inputs = [np.random.default_rng(3 * s * s).standard_normal((1, 3, s, s)).astype(np.float32) for s in (128, 256)]
    tokens = model.encoder(torch.from_numpy(inputs[0]), torch.from_numpy(inputs[1]), None, 0.7)
    output = model.head(tokens)
    assert [len(r) for r in removed] == [76, 54, 37]
    assert set(reference["removed_first"]) <= removed[0]
    assert output.score.flatten()[:8].tolist() == pytest.approx(reference["score"], abs=1e-5)
    assert float(output.score.sum()) == pytest.approx(reference["score_sum"], abs=1e-3)
    x1, y1, x2, y2 = output.boxes.flatten(0, 2).unbind(-1)
    best = int(output.score.argmax())
    box = [(x1 + x2)[best] / 2, (y1 + y2)[best] / 2, (x2 - x1)[best], (y2 - y1)[best]]
    assert [float(v) for v in box] == pytest.approx(reference["box"], abs=1e-5)
    assert float((x2 - x1).sum() + (y2 - y1).sum()) == pytest.approx(reference["size_sum"], abs=1e-2)


def seeded(keys: dict[str, Any]) -> dict[str, Tensor]:
    """The reference's weights: 1 for scales and variances, else 0, plus 0.05 times seeded noise."""
    state = {}
    for number, key in enumerate(sorted(keys)):
        shape, dtype = keys[key]
        noise = np.random.default_rng(1000 + number).standard_normal(shape, dtype=np.float64)
        scale = key.endswith(".weight") and ("norm" in key or (key.startswith("box_head") and len(shape) == 1))
        base = 1.0 if scale or key.endswith("running_var") else 0.0
        noise = np.abs(noise) if key.endswith("running_var") else noise
        value = base + 0.05 * np.asarray(noise)
        state[key] = torch.from_numpy(value.astype(np.float32)) if dtype == "float32" else torch.tensor(0)
    return state


def our_name(key: str) -> str | None:
    """Our name of one of OSTrack's entries; None for the two that its forward never uses."""
    prefixes = {
        "backbone.pos_embed_z": "encoder.embedding.template_positions",
        "backbone.pos_embed_x": "encoder.embedding.search_positions",
        "backbone.patch_embed.proj": "encoder.project",
        "backbone.blocks": "encoder.blocks",
        "backbone.norm": "encoder.norm",
    }
    for official, ours in prefixes.items():
        if key.startswith(official):
            return key.replace(official, ours)
    if not key.startswith("box_head.conv"):
        return None
    convolution, *rest = key.removeprefix("box_head.conv").split(".")
    number, tower = convolution.split("_")
    layer = 3 * (int(number) - 1) + (int(rest[0]) if len(rest) == 2 else 0)
    return f"head.{tower.replace('ctr', 'score')}.{layer}.{rest[-1]}"
