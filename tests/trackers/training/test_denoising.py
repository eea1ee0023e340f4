"""Denoising queries: where boxes and content come from, and that the mask lets nothing leak."""

import pytest
import torch
from torch import Tensor

from trackablate.trackers.heads.deformable import DecoderOutput, DeformableDecoder
from trackablate.trackers.spec import DeformableHead, Denoising
from trackablate.trackers.tokens import SearchTokens
from trackablate.trackers.training.denoising import (
    MIN_SIDE,
    DenoisingBranch,
    DenoisingQueries,
    attention_mask,
    content_points,
    nearest_kept,
    noised_boxes,
    random_outside,
)
from trackablate.trackers.training.losses import cxcywh_to_xyxy

SPEC = DeformableHead(width=16, layers=2, queries=5, heads=2, points=2, feedforward=32, top_k=3)
NOISE = Denoising(groups=3)
GRID, DIM = 6, 12
TRUTH = torch.tensor([[0.3, 0.35, 0.6, 0.7], [0.2, 0.2, 0.5, 0.6]])


def make_head(noise: Denoising = NOISE) -> DeformableDecoder:
    torch.manual_seed(1)
    head = DeformableDecoder(SPEC, DIM, GRID, denoising=noise)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return head


def all_tokens() -> SearchTokens:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(2, GRID * GRID, DIM, generator=generator)
    return SearchTokens(features, torch.arange(GRID * GRID).expand(2, -1), GRID)


def run_with(queries: DenoisingQueries, monkeypatch: pytest.MonkeyPatch) -> DecoderOutput:
    monkeypatch.setattr(DenoisingBranch, "forward", lambda *_: queries)
    output = make_head()(all_tokens(), TRUTH)
    assert isinstance(output, DecoderOutput)
    return output


def test_nothing_leaks_between_groups_nor_to_the_regular_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    original = DenoisingQueries(torch.randn(2, 6, SPEC.width), noised_boxes(TRUTH, NOISE).flatten(1, 2))
    before = run_with(original, monkeypatch)
    assert before.denoising is not None
    for changed in range(2 * NOISE.groups):
        content, boxes = original.content.clone(), original.boxes.clone()
        content[:, changed] += 1
        boxes[:, changed] = torch.tensor([0.8, 0.1, 0.1, 0.2])
        after = run_with(DenoisingQueries(content, boxes), monkeypatch)
        assert after.denoising is not None
        torch.testing.assert_close(after.layers, before.layers, rtol=0, atol=1e-6)
        own = torch.arange(2 * NOISE.groups) // 2 == changed // 2
        moved = (after.denoising.logits - before.denoising.logits).abs()
        # both queries of the group see the change, at every layer and in every example
        assert (moved[:, :, own] > 1e-4).all()
        assert (moved[:, :, ~own] < 1e-6).all()
        assert ((after.denoising.boxes - before.denoising.boxes).abs()[:, :, ~own] < 1e-6).all()


def test_denoising_queries_do_not_see_the_regular_ones() -> None:
    head, tokens = make_head(), all_tokens()
    memory = SearchTokens(head.project(tokens.features), tokens.index, GRID)
    extra = DenoisingBranch(NOISE, SPEC.width)(memory, TRUTH)
    mask = attention_mask(4, NOISE.groups)
    outputs = []
    for seed in range(2):
        torch.manual_seed(seed)
        content = torch.cat([torch.randn(2, 4, SPEC.width), extra.content], dim=1)
        boxes = torch.cat([torch.rand(2, 4, 4), extra.boxes], dim=1)
        outputs.append(head.decode(content, boxes, memory, mask).logits)
    torch.testing.assert_close(outputs[0][..., 4:], outputs[1][..., 4:], rtol=0, atol=1e-6)
    assert not torch.allclose(outputs[0][..., :4], outputs[1][..., :4], atol=1e-3)


def test_regular_output_is_the_same_with_and_without_denoising() -> None:
    head, tokens = make_head(), all_tokens()
    with_branch, without = head(tokens, TRUTH), head(tokens)
    assert with_branch.denoising is not None
    assert without.denoising is None
    torch.testing.assert_close(with_branch.layers, without.layers, rtol=0, atol=1e-6)
    torch.testing.assert_close(with_branch.proposals, without.proposals)
    regular = head.losses(without, TRUTH)
    both = head.losses(with_branch, TRUTH)
    assert set(both) - set(regular) == {"dn_cls", "dn_giou", "dn_l1"}
    assert all(both[name].item() == pytest.approx(regular[name].item(), rel=1e-4) for name in regular)
    assert head.eval()(tokens, TRUTH).denoising is None


def test_mask_of_two_groups() -> None:
    allowed = (~attention_mask(3, 2)).int().tolist()
    regular, first, second = [1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1]
    assert allowed == [regular] * 3 + [first] * 2 + [second] * 2


def noise_of(boxes: Tensor, truth: Tensor, spec: Denoising) -> Tensor:
    """Absolute noise in units of the positive's bound, (B, groups, 2, 4)."""
    size = (truth[:, 2:] - truth[:, :2])[:, None, None]
    centre = ((truth[:, :2] + truth[:, 2:]) / 2)[:, None, None]
    shift = (boxes[..., :2] - centre) / (size * spec.shift / 2)
    return torch.cat([shift, (boxes[..., 2:] / size - 1) / spec.scale], dim=-1).abs()


def test_positives_are_noised_less_than_negatives_and_within_the_bounds() -> None:
    torch.manual_seed(0)
    spec, truth = Denoising(groups=200, shift=0.4, scale=0.3), torch.tensor([[0.4, 0.35, 0.6, 0.65]])
    noise = noise_of(noised_boxes(truth, spec), truth, spec)
    assert (noise[:, :, 0] <= 1 + 1e-4).all()
    assert (noise[:, :, 1] >= 1 - 1e-4).all()
    assert (noise[:, :, 1] <= 2 + 1e-4).all()
    assert (noise[:, :, 0].mean() - 0.5).abs() < 0.05
    assert (noise[:, :, 1].mean() - 1.5).abs() < 0.05


def test_noised_boxes_stay_in_the_crop_and_are_never_empty() -> None:
    torch.manual_seed(0)
    truth = torch.tensor([[0.0, 0.0, 0.3, 0.2], [0.98, 0.98, 1.0, 1.0], [-0.4, 0.3, 0.1, 1.5]])
    boxes = noised_boxes(truth, Denoising(groups=100, shift=0.9, scale=0.9))
    corners = cxcywh_to_xyxy(boxes)
    assert (boxes[..., 2:] >= MIN_SIDE).all()
    assert (corners >= -MIN_SIDE / 2).all()
    assert (corners <= 1 + MIN_SIDE / 2).all()


def test_noise_follows_the_global_generator() -> None:
    torch.manual_seed(3)
    first = noised_boxes(TRUTH, NOISE)
    second = noised_boxes(TRUTH, NOISE)
    torch.manual_seed(3)
    assert first.equal(noised_boxes(TRUTH, NOISE))
    assert not first.equal(second)


def test_content_is_the_centre_token_and_each_corner_in_turn() -> None:
    points = content_points(TRUTH, groups=4)
    for b, (x1, y1, x2, y2) in enumerate(TRUTH.tolist()):
        assert points[b, :, 0].flatten().tolist() == pytest.approx([(x1 + x2) / 2, (y1 + y2) / 2] * 4)
        corners = {tuple(round(v, 4) for v in corner) for corner in points[b, :, 1].tolist()}
        assert corners == {(x, y) for x in (round(x1, 4), round(x2, 4)) for y in (round(y1, 4), round(y2, 4))}
    tokens = all_tokens()
    queries = DenoisingBranch(NOISE, DIM)(tokens, TRUTH)
    for b, cell in enumerate([3 * GRID + 2, 2 * GRID + 2]):
        assert queries.content[b, 0].equal(tokens.features[b, cell])
        assert queries.content[b, 4].equal(tokens.features[b, cell])


def test_removed_token_is_replaced_by_the_nearest_kept_one() -> None:
    points = torch.tensor([[[0.05, 0.05], [0.45, 0.45], [1.0, 1.0], [1.7, -0.2]]])
    full = SearchTokens(torch.zeros(1, 16, 1), torch.arange(16)[None], 4)
    assert full.index[0, nearest_kept(points, full)[0]].tolist() == [0, 5, 15, 3]
    kept = torch.tensor([[11, 2, 9, 4]])
    sparse = SearchTokens(torch.zeros(1, 4, 1), kept, 4)
    assert kept[0, nearest_kept(points, sparse)[0]].tolist()[:1] == [4]
    assert kept[0, nearest_kept(points, sparse)[0]].tolist()[2:] == [11, 2]


def test_negatives_are_taught_a_score_of_zero_and_no_box() -> None:
    head = make_head()
    output = head(all_tokens(), TRUTH)
    assert output.denoising is not None
    losses = head.losses(output, TRUTH)
    (boxes,) = torch.autograd.grad(losses["dn_giou"] + losses["dn_l1"], [output.denoising.boxes], retain_graph=True)
    assert boxes[:, :, ::2].abs().sum(-1).all()
    assert not boxes[:, :, 1::2].any()
    (logits,) = torch.autograd.grad(losses["dn_cls"], [output.denoising.logits])
    assert (logits[:, :, 1::2] > 0).all(), "descending lowers every negative's score"
    assert (logits[:, :, ::2] < 0).any(), "and raises that of positives below their quality"


def test_embeddings_are_the_same_whatever_the_image_shows() -> None:
    """Table 5, row 1: one learned vector for all positives, one for all negatives."""
    branch = DenoisingBranch(Denoising(kind="embedding", groups=3), SPEC.width)
    memory = SearchTokens(torch.randn(2, GRID * GRID, SPEC.width), all_tokens().index, GRID)
    content = branch(memory, TRUTH).content
    positive, negative = content[:, ::2].reshape(-1, SPEC.width), content[:, 1::2].reshape(-1, SPEC.width)
    assert positive.equal(positive[:1].expand(6, -1))
    assert negative.equal(negative[:1].expand(6, -1))
    assert not positive[0].equal(negative[0])
    assert sum(p.numel() for p in branch.parameters()) == 2 * SPEC.width
    head = make_head(Denoising(kind="embedding", groups=3))
    losses = head.losses(head(all_tokens(), TRUTH), TRUTH)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert head.denoising is not None
    assert all(p.grad is not None and p.grad.any(dim=-1).all() for p in head.denoising.parameters())


def test_only_embeddings_have_parameters() -> None:
    for kind in ("centre-corner", "centre-outside"):
        assert not list(DenoisingBranch(Denoising(kind=kind), SPEC.width).parameters())


def test_outside_negatives_are_random_tokens_outside_the_box() -> None:
    """Table 5, row 3: the positive is the centre's token as ever; every token outside turns up, none inside."""
    tokens, groups = all_tokens(), 400
    torch.manual_seed(0)
    content = DenoisingBranch(Denoising(kind="centre-outside", groups=groups), DIM)(tokens, TRUTH).content
    for b, centre in enumerate([3 * GRID + 2, 2 * GRID + 2]):
        assert content[b, ::2].equal(tokens.features[b, centre].expand(groups, -1))
        same = (content[b, 1::2, None] == tokens.features[b]).all(-1)
        assert same.sum(1).tolist() == [1] * groups
        x1, y1, x2, y2 = TRUTH[b].tolist()
        inside = {
            row * GRID + column
            for row in range(GRID)
            for column in range(GRID)
            if x1 <= (column + 0.5) / GRID <= x2 and y1 <= (row + 0.5) / GRID <= y2
        }
        assert set(same.int().argmax(1).tolist()) == set(range(GRID * GRID)) - inside


def test_outside_means_among_the_kept_tokens_and_falls_back_to_any() -> None:
    kept = SearchTokens(torch.zeros(1, 4, DIM), torch.tensor([[14, 0, 15, 35]]), GRID)
    torch.manual_seed(0)
    assert set(random_outside(TRUTH[:1], kept, 50).flatten().tolist()) == {1, 3}
    everything = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert set(random_outside(everything, kept, 50).flatten().tolist()) == {0, 1, 2, 3}


def test_one_seed_starts_the_decoder_alike_under_every_kind() -> None:
    """Rows of Table 5 differ in the denoising and not in the luck of their start."""
    starts = []
    for kind in (None, "embedding", "centre-corner", "centre-outside"):
        torch.manual_seed(0)
        noise = None if kind is None else Denoising.model_validate({"kind": kind})
        starts.append(DeformableDecoder(SPEC, DIM, GRID, denoising=noise).state_dict())
    for other in starts[1:]:
        assert all(other[name].equal(value) for name, value in starts[0].items())
    assert starts[1].keys() - starts[0].keys() == {"denoising.content.labels.weight"}
