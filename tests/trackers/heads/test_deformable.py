"""DETRack's decoder head: attention, query selection, refinement, labels and losses against slow references."""

from dataclasses import replace
from math import cos, floor, pi, sin

import pytest
import torch
from torch import Tensor

from trackablate.trackers.heads.deformable import PRIOR_SCORE, DecoderLayer, DecoderOutput, DeformableDecoder, Guess
from trackablate.trackers.heads.deformable_attention import DeformableAttention
from trackablate.trackers.spec import DeformableHead, Denoising
from trackablate.trackers.tokens import SearchTokens
from trackablate.trackers.training.assignment import cells_inside
from trackablate.trackers.training.losses import cxcywh_to_xyxy, quality_focal_loss

SPEC = DeformableHead(width=16, layers=3, queries=6, heads=2, points=3, feedforward=32, top_k=2)
GRID, DIM, KEPT = 6, 12, 20


def random_tokens(kept: int = KEPT, batch: int = 3, dim: int = DIM) -> SearchTokens:
    index = torch.stack([torch.randperm(GRID * GRID)[:kept] for _ in range(batch)])
    return SearchTokens(torch.randn(batch, kept, dim), index, GRID)


def random_head(denoising: Denoising | None = None) -> DeformableDecoder:
    """A head whose zero-initialised layers are random, as after training."""
    torch.manual_seed(1)
    head = DeformableDecoder(SPEC, DIM, GRID, denoising=denoising)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return head


def truth_boxes() -> Tensor:
    return torch.tensor([[0.2, 0.3, 0.7, 0.8], [0.1, 0.1, 0.4, 0.9], [0.5, 0.4, 0.9, 0.7]])


def bilinear(values: dict[int, Tensor], x: float, y: float, width: int) -> Tensor:
    """Value at (x, y) in [0, 1] of the map; cells outside the map or without a token are zero."""
    column, row, total = x * GRID - 0.5, y * GRID - 0.5, torch.zeros(width)
    for r in (floor(row), floor(row) + 1):
        for c in (floor(column), floor(column) + 1):
            if 0 <= r < GRID and 0 <= c < GRID and r * GRID + c in values:
                total = total + (1 - abs(row - r)) * (1 - abs(column - c)) * values[r * GRID + c]
    return total


@torch.no_grad()
def slow_attention(module: DeformableAttention, query: Tensor, box: Tensor, values: dict[int, Tensor]) -> Tensor:
    """Equation 1 for one query, in loops; the output layer's columns are the W_m side by side."""
    width = len(query)
    offsets = module.offsets(query).view(module.heads, module.points, 2)
    logits = module.weights(query).view(module.heads, module.points)
    per_head = []
    for m in range(module.heads):
        channels = slice(m * width // module.heads, (m + 1) * width // module.heads)
        head = torch.zeros(width)
        for k in range(module.points):
            weight = logits[m, k].exp() / logits[m].exp().sum()
            x, y = (box[i] + offsets[m, k, i] / module.points * box[i + 2] / 2 for i in range(2))
            head = head + weight * bilinear(values, float(x), float(y), width)
        per_head.append(head[channels])
    attended: Tensor = module.output.weight @ torch.cat(per_head) + module.output.bias
    return attended


def test_deformable_attention_is_equation_1() -> None:
    torch.manual_seed(0)
    module = DeformableAttention(width=8, heads=2, points=3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    tokens, query = random_tokens(dim=8, batch=2), torch.randn(2, 5, 8)
    reference = torch.rand(2, 5, 4) * 0.8 + 0.1
    reference[:, 0] = torch.tensor([0.02, 0.98, 0.5, 0.5])
    where = module.locations(query, reference)
    assert ((where < 0) | (where > 1)).any(), "no sample leaves the map: the padding is not tested"
    result = module(query, reference, tokens).detach()
    for b in range(2):
        values = {int(i): module.value(t).detach() for i, t in zip(tokens.index[b], tokens.features[b], strict=True)}
        slow = torch.stack([slow_attention(module, q, r, values) for q, r in zip(query[b], reference[b], strict=True)])
        torch.testing.assert_close(result[b], slow, atol=1e-5, rtol=1e-4)


def test_initial_samples_of_a_head_step_out_in_its_direction() -> None:
    module = DeformableAttention(width=8, heads=4, points=2)
    where = module.locations(torch.randn(1, 1, 8), torch.tensor([[[0.5, 0.5, 0.4, 0.2]]]))[0, 0]
    right, down = torch.tensor([[0.6, 0.5], [0.7, 0.5]]), torch.tensor([[0.5, 0.55], [0.5, 0.6]])
    torch.testing.assert_close(where[0], right)
    torch.testing.assert_close(where[1], down)


def test_queries_are_the_tokens_of_highest_score() -> None:
    head, tokens = random_head().eval(), random_tokens()
    output = head(tokens)
    for b in range(3):
        scored = sorted(zip(output.proposals.logits[b].tolist(), tokens.index[b].tolist(), strict=True), reverse=True)
        assert output.cells[b].tolist() == [cell for _, cell in scored[: SPEC.queries]]


def test_fewer_tokens_than_queries_makes_every_token_a_query() -> None:
    output = random_head().eval()(random_tokens(kept=4))
    assert output.cells.shape == (3, 4)


def test_each_layer_refines_the_box_of_the_one_before() -> None:
    head, tokens = random_head().eval(), random_tokens()
    deltas: list[Tensor] = []
    references: list[Tensor] = []
    head.boxes[0].register_forward_hook(lambda _module, _inputs, delta: deltas.append(delta))
    for module in head.modules():
        if isinstance(module, DeformableAttention):
            module.register_forward_pre_hook(lambda _module, inputs: references.append(inputs[1]))
    output = head(tokens)
    place = (tokens.index[:, None, :] == output.cells[:, :, None]).int().argmax(-1)
    box = torch.stack([output.proposals.boxes[b, place[b]] for b in range(3)]).detach()
    for layer in range(SPEC.layers):
        torch.testing.assert_close(references[layer], box)
        assert not references[layer].requires_grad
        box = torch.sigmoid(torch.log(box / (1 - box)) + deltas[layer + 1].detach())
        torch.testing.assert_close(output.layers.boxes[layer], box)


def test_queries_are_content_plus_the_sine_cosine_of_the_box() -> None:
    """Figure 4: both attentions ask with the sum; the self-attention's values are the bare content."""
    torch.manual_seed(5)
    layer, content, boxes = DecoderLayer(SPEC), torch.randn(1, 4, 16), torch.rand(1, 4, 4)
    seen: list[tuple[Tensor, ...]] = []
    normed: list[Tensor] = []
    for attention in (layer.self_attention, layer.cross_attention):
        attention.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs))
    layer.norms[0].register_forward_hook(lambda _module, _inputs, output: normed.append(output))
    layer(content, boxes, random_tokens(batch=1, dim=16), None)
    waves = [f(2 * pi * v / 10_000 ** (i / 2)) for v in boxes[0, 1].tolist() for f in (sin, cos) for i in range(2)]
    torch.testing.assert_close(seen[0][0][0, 1], content[0, 1] + torch.tensor(waves))
    torch.testing.assert_close(seen[0][1], seen[0][0])
    torch.testing.assert_close(seen[0][2], content)
    torch.testing.assert_close(seen[1][0][0, 1], normed[0][0, 1] + torch.tensor(waves))


def test_first_layers_alone_predict_what_they_do_in_the_full_decoder() -> None:
    head, tokens = random_head().eval(), random_tokens()
    full = head(tokens)
    for layers in (1, 2):
        head.test_layers = layers
        part = head(tokens)
        assert len(part.layers.logits) == layers
        torch.testing.assert_close(part.layers.logits, full.layers.logits[:layers])
        torch.testing.assert_close(part.layers.boxes, full.layers.boxes[:layers])
    assert len(head.train()(tokens).layers.logits) == SPEC.layers
    head.eval().test_layers = SPEC.layers + 1
    with pytest.raises(ValueError, match="test_layers"):
        head(tokens)


def test_quality_focal_loss_is_least_where_the_score_is_the_quality() -> None:
    for quality in (0.1, 0.5, 0.8):
        sigma = torch.tensor([quality - 0.02, quality, quality + 0.02])
        logits = torch.logit(sigma).requires_grad_()
        (slope,) = torch.autograd.grad(quality_focal_loss(logits, torch.full((3,), quality)).sum(), logits)
        assert slope[0] < 0 < slope[2]
        assert abs(slope[1]) < 1e-6


def positives(output: DecoderOutput, logits: Tensor, cells: Tensor, b: int) -> set[int]:
    """Top-k positives of example b by the rule's words: places among the queries."""
    x1, y1, x2, y2 = truth_boxes()[b].tolist()
    centres = [((int(c) % GRID + 0.5) / GRID, (int(c) // GRID + 0.5) / GRID) for c in cells[b]]
    inside = [q for q, (x, y) in enumerate(centres) if x1 <= x <= x2 and y1 <= y <= y2]
    return set(sorted(inside, key=lambda q: -float(logits[b, q].detach()))[: SPEC.top_k])


def test_only_the_top_positives_get_box_gradients() -> None:
    torch.manual_seed(4)
    head, tokens = random_head(), random_tokens(kept=GRID * GRID)
    output = head(tokens)
    boxes = [output.proposals.boxes, output.layers.boxes]
    losses = head.losses(output, truth_boxes())
    at_selection, at_layers = torch.autograd.grad(losses["giou"] + losses["l1"], boxes, retain_graph=True)
    # classification must not move boxes by way of the quality label
    assert all(g is None for g in torch.autograd.grad(losses["cls"], boxes, allow_unused=True, retain_graph=True))
    stages = [(at_selection, output.proposals.logits, output.kept)]
    stages += [(at_layers[n], output.layers.logits[n], output.cells) for n in range(SPEC.layers)]
    found = 0
    for gradient, logits, cells in stages:
        for b in range(3):
            moved = set(gradient[b].abs().sum(-1).nonzero().flatten().tolist())
            assert moved == positives(output, logits, cells, b)
            found += len(moved)
    assert found > 3 * SPEC.top_k


def test_losses_are_the_sums_over_stages_each_over_its_own_positives() -> None:
    head, tokens, truth = random_head(), random_tokens(), truth_boxes()
    output = head(tokens)
    total = 0.0
    for n in range(SPEC.layers):
        inside = cells_inside(truth, GRID).gather(1, output.cells)
        single = Guess(output.layers.logits[n], output.layers.boxes[n])
        boxes = cxcywh_to_xyxy(single.boxes)
        corner = torch.maximum(boxes[..., :2], truth[:, None, :2])
        area = (torch.minimum(boxes[..., 2:], truth[:, None, 2:]) - corner).clamp(min=0).prod(-1)
        union = single.boxes[..., 2:].prod(-1) + (truth[:, 2:] - truth[:, :2]).prod(-1)[:, None] - area
        loss = quality_focal_loss(single.logits, (area / union * inside).detach()).sum()
        total += float(loss.detach()) / max(int(inside.sum()), 1)
    no_layers = replace(output, layers=Guess(output.layers.logits[:0], output.layers.boxes[:0]))
    of_layers = head.losses(output, truth)["cls"] - head.losses(no_layers, truth)["cls"]
    assert of_layers.item() == pytest.approx(total, rel=1e-4)


def test_perfect_boxes_cost_nothing_and_worse_ones_more() -> None:
    head, truth = random_head(), truth_boxes()
    output = head(random_tokens(kept=GRID * GRID))
    exact = torch.cat([(truth[:, :2] + truth[:, 2:]) / 2, truth[:, 2:] - truth[:, :2]], dim=-1)[:, None]
    ideal = replace(
        output,
        proposals=Guess(output.proposals.logits, exact.expand_as(output.proposals.boxes)),
        layers=Guess(output.layers.logits, exact.expand_as(output.layers.boxes)),
    )
    losses = head.losses(ideal, truth)
    assert losses["giou"].item() == pytest.approx(0, abs=1e-4)
    assert losses["l1"].item() == pytest.approx(0, abs=1e-4)
    assert head.losses(output, truth)["l1"] > 0.1


def test_prediction_puts_each_query_at_its_tokens_cell() -> None:
    head, tokens = random_head().eval(), random_tokens()
    output = head(tokens)
    score_map, boxes = head.predict(output)
    for b in range(3):
        for q, cell in enumerate(output.cells[b].tolist()):
            torch.testing.assert_close(
                score_map[b, cell // GRID, cell % GRID], output.layers.logits[-1, b, q].sigmoid()
            )
            expected = cxcywh_to_xyxy(output.layers.boxes[-1, b, q])
            torch.testing.assert_close(boxes[b, cell // GRID, cell % GRID], expected)
    empty = score_map == 0
    assert int((~empty).sum()) == 3 * SPEC.queries
    assert not boxes[empty].any()


def test_untrained_head_scores_the_prior_and_keeps_the_anchors() -> None:
    torch.manual_seed(0)
    head = DeformableDecoder(SPEC, DIM, GRID).eval()
    tokens = random_tokens()
    output = head(SearchTokens(torch.zeros_like(tokens.features), tokens.index, GRID))
    torch.testing.assert_close(output.proposals.boxes, head.anchors[tokens.index])
    bias = head.project.bias @ head.score.weight[0]
    torch.testing.assert_close((output.proposals.logits - bias).sigmoid(), torch.full((3, KEPT), PRIOR_SCORE))


def test_every_parameter_learns() -> None:
    torch.manual_seed(2)
    head, truth = random_head(Denoising(groups=2)), truth_boxes()
    sum(head.losses(head(random_tokens(), truth), truth).values()).backward()  # type: ignore[union-attr]
    assert [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_runs_on_the_meta_device_and_in_half_precision() -> None:
    truth = truth_boxes()
    with torch.device("meta"):
        head = DeformableDecoder(SPEC, DIM, GRID, denoising=Denoising())
        tokens = SearchTokens(torch.empty(3, KEPT, DIM), torch.empty(3, KEPT, dtype=torch.int64), GRID)
        output = head(tokens, truth.to("meta"))
        assert all(v.shape == () for v in head.losses(output, truth.to("meta")).values())
        assert head.eval().predict(head(tokens)).boxes.shape == (3, GRID, GRID, 4)
    head = random_head(Denoising())
    with torch.autocast("cpu", torch.bfloat16):
        output = head(random_tokens(), truth)
        assert output.layers.boxes.dtype == torch.float32
        assert all(v.isfinite() for v in head.losses(output, truth).values())


def test_tokens_of_another_grid_are_refused() -> None:
    tokens = random_tokens()
    with pytest.raises(ValueError, match="6 x 6"):
        random_head()(SearchTokens(tokens.features, tokens.index, GRID + 1))
