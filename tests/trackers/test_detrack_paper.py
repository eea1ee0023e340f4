"""DETRack's paper, sentence by sentence: every equation and number of its section 3 and of section 4.1's model and testing,
and the rows of its Tables 3 to 6, each under the place it is from. The mechanisms are tested one by one in
test_deformable.py, test_denoising.py and test_assignment.py; here it is the variants that are held to the text."""

import math
from dataclasses import replace as replaced
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trackablate.harness.costing.macs import count_macs
from trackablate.trackers.decoding import best_boxes, hanning_window
from trackablate.trackers.heads.deformable import DecoderLayer, DecoderOutput, DeformableDecoder, Guess
from trackablate.trackers.heads.deformable_attention import DeformableAttention
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import DeformableHead, Denoising, TrackerSpec, differences, replace
from trackablate.trackers.tokens import Prediction, SearchTokens
from trackablate.trackers.training.denoising import DenoisingBranch, attention_mask, noised_boxes
from trackablate.trackers.training.losses import quality_focal_loss
from trackablate.trackers.variants import VARIANTS

SPEC = DeformableHead(width=16, layers=3, queries=6, heads=2, points=3, feedforward=32, top_k=2)
GRID, DIM = 6, 12
TRUTH = torch.tensor([[0.2, 0.3, 0.7, 0.8], [0.1, 0.1, 0.4, 0.9]])
DETRACK = VARIANTS["detrack-ce"]


@cache
def on_meta(name: str) -> OneStreamTracker:
    with torch.device("meta"):
        return build(VARIANTS[name], pretrained=False)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def decoder_of(name: str) -> DeformableDecoder:
    head = on_meta(name).head
    assert isinstance(head, DeformableDecoder)
    return head


def small(labels: Any = "localisation-quality", noise: Denoising | None = None, **fields: Any) -> DeformableDecoder:
    """A small decoder off its starting point, where nothing is zero."""
    torch.manual_seed(1)
    spec = DeformableHead.model_validate(SPEC.model_dump() | fields)
    head = DeformableDecoder(spec, DIM, GRID, labels=labels, denoising=noise)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return head


def tokens() -> SearchTokens:
    features = torch.randn(2, GRID * GRID, DIM, generator=torch.Generator().manual_seed(2))
    return SearchTokens(features, torch.arange(GRID * GRID).expand(2, -1), GRID)


# Section 3.2, model architecture


def test_section_3_2_the_decoder_has_no_dense_operation() -> None:
    """'totally get rid off the dense operation like convolution' (section 2.2): it sees the kept tokens only."""
    assert not any(isinstance(m, nn.Conv2d | nn.BatchNorm2d) for m in decoder_of("detrack-ce").modules())
    widths: list[int] = []
    model = on_meta("detrack-ce")
    hook = model.head.project.register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0].shape[1]))
    count_macs(model)
    hook.remove()
    assert widths == [89], "256 search tokens after three eliminations"


def test_section_3_2_k_is_64_however_many_tokens_are_kept() -> None:
    for name in ("detrack", "detrack-ce"):
        seen: list[int] = []
        layer = decoder_of(name).layers[0]
        hook = layer.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].shape[1]))
        count_macs(on_meta(name))
        hook.remove()
        assert seen == [64]


def test_section_3_2_each_token_proposes_a_box_and_a_score_and_the_best_go_on() -> None:
    head = small().eval()
    output = head(tokens())
    assert output.proposals.logits.shape == (2, GRID * GRID)
    best = output.proposals.logits.topk(SPEC.queries, dim=1).indices
    assert output.cells.equal(best)
    assert output.proposals.boxes.shape == (2, GRID * GRID, 4)


def test_section_3_2_position_and_content_of_a_query() -> None:
    """'The tokens with top-K score will be selected as content queries, and the bounding box of them are picked as region
    proposals'."""
    head, entering = small().eval(), []
    head.layers[0].register_forward_pre_hook(lambda _, inputs: entering.append(inputs))
    output = head(tokens())
    chosen = output.cells[..., None]
    content = head.project(tokens().features).gather(1, chosen.expand(-1, -1, SPEC.width))
    torch.testing.assert_close(entering[0][0], content)
    torch.testing.assert_close(entering[0][1], output.proposals.boxes.gather(1, chosen.expand(-1, -1, 4)))


# Section 3.3, deformable decoder


def test_section_3_3_attention_weights_sum_to_one_over_the_sampled_keys() -> None:
    """Equation 1's A: in [0, 1], sum over k = 1. All values 1 must come out as W times 1, whatever the query."""
    torch.manual_seed(0)
    module = DeformableAttention(16, heads=2, points=3)
    nn.init.normal_(module.weights.weight)
    nn.init.zeros_(module.value.weight)
    nn.init.ones_(module.value.bias)
    inside = torch.tensor([0.5, 0.5, 0.1, 0.1]).expand(2, 5, 4)
    seen = SearchTokens(torch.randn(2, GRID * GRID, 16), tokens().index, GRID)
    attended = module(torch.randn(2, 5, 16), inside, seen)
    torch.testing.assert_close(attended, module.output(torch.ones(2, 5, 16)))


def test_section_3_3_offsets_and_weights_are_linear_in_the_query() -> None:
    module = DeformableAttention(16, heads=2, points=3)
    assert isinstance(module.offsets, nn.Linear)
    assert isinstance(module.weights, nn.Linear)
    assert (module.offsets.out_features, module.weights.out_features) == (2 * 3 * 2, 2 * 3)


def test_section_3_3_cost_does_not_grow_with_the_map() -> None:
    """'attend to a small set of key sampling points [...] regardless of the spatial size of the feature maps': each query
    reads heads x points places of 6 x 6 as of 12 x 12."""
    for grid in (6, 12):
        head = DeformableDecoder(SPEC, DIM, grid).eval()
        layer = head.layers[0]
        assert isinstance(layer, DecoderLayer)
        where = layer.cross_attention.locations(torch.randn(1, 4, 16), torch.rand(1, 4, 4))
        assert where.shape == (1, 4, SPEC.heads, SPEC.points, 2)


def test_section_3_3_each_layer_refines_the_box_of_the_one_before() -> None:
    """'the refined box output by the current layer serves as the 4-d reference box for the next layer'."""
    head, references = small().eval(), []
    for layer in head.layers:
        layer.register_forward_pre_hook(lambda _, inputs: references.append(inputs[1]))
    output = head(tokens())
    torch.testing.assert_close(references[1], output.layers.boxes[0])
    torch.testing.assert_close(references[2], output.layers.boxes[1])
    assert not references[0].equal(references[1])


# Section 3.4, labels and losses


def test_section_3_4_equation_2_and_its_minimum() -> None:
    """-|y - sigma|^beta ((1 - y) log(1 - sigma) + y log sigma) with beta = 2; sigma = y is the global minimum."""
    sigma = torch.linspace(0.005, 0.995, 199, dtype=torch.float64)
    for y in (0.0, 0.2, 0.5, 0.705, 1.0):
        loss = quality_focal_loss(torch.logit(sigma), torch.full_like(sigma, y))
        written = -((y - sigma).abs() ** 2) * ((1 - y) * (1 - sigma).log() + y * sigma.log())
        torch.testing.assert_close(loss, written)
        assert float((sigma[loss.argmin()] - y).abs()) <= 0.0051
        if 0 < y < 1:
            assert float(loss.min()) == pytest.approx(0, abs=1e-12)
            assert int((loss < 1e-9).sum()) == 1, "the only one"


def test_section_3_4_box_losses_are_the_top_positives_only() -> None:
    head = small(queries=24)
    output = head(tokens())
    losses = head.losses(output, TRUTH)
    (gradient,) = torch.autograd.grad(losses["giou"] + losses["l1"], [output.layers.boxes], retain_graph=True)
    moved = gradient.abs().sum(-1) > 0
    assert (positives(output).sum(-1) > SPEC.top_k).all(), "more positives than are supervised"
    assert (moved.sum(-1) == SPEC.top_k).all()
    lowest = output.layers.logits.masked_fill(~moved, float("inf")).amin(-1, keepdim=True)
    inside = positives(output)
    higher = (output.layers.logits > lowest) & inside
    assert not (higher & ~moved).any(), "a positive of higher score was left out"


def positives(output: DecoderOutput) -> Tensor:
    """Queries whose cell's centre lies in the true box, (1, B, Q)."""
    x, y = (output.cells % GRID + 0.5) / GRID, (output.cells // GRID + 0.5) / GRID
    x1, y1, x2, y2 = (edge[:, None] for edge in TRUTH.unbind(-1))
    return ((x >= x1) & (x <= x2) & (y >= y1) & (y <= y2))[None]


def test_section_3_4_equation_3_weights() -> None:
    """lambda_G = 2 and lambda_l1 = 5, on one query with a box of half the truth's width and another place."""
    head = small()
    box = torch.tensor([0.4, 0.5, 0.25, 0.4])  # cxcywh; the truth is (0.45, 0.55, 0.5, 0.5)
    guess = Guess(torch.zeros(1, 1, 1), box.view(1, 1, 1, 4))
    nothing = Guess(torch.zeros(1, 0), torch.zeros(1, 0, 4))
    cell = torch.tensor([[3 * GRID + 2]])
    output = DecoderOutput(nothing, cell[:, :0], guess, cell, None)
    losses = head.losses(output, TRUTH[:1])
    assert losses["l1"].item() == pytest.approx(5 * (0.05 + 0.05 + 0.25 + 0.1), rel=1e-5)
    iou = (0.25 * 0.4) / 0.25  # the box (0.275, 0.3, 0.525, 0.7) lies inside the truth, whose hull it shares
    assert losses["giou"].item() == pytest.approx(2 * (1 - iou), rel=1e-5)
    assert losses["cls"].item() == pytest.approx(abs(iou - 0.5) ** 2 * math.log(2), rel=1e-4), "lambda_cls = 1"


# Section 3.5, denoising


def test_section_3_5_centre_shifting_keeps_the_centre_in_the_box() -> None:
    """|dx| < lambda_1 w / 2: of positives; negatives' noise is larger."""
    torch.manual_seed(0)
    truth = torch.tensor([[0.4, 0.35, 0.6, 0.65]])
    boxes = noised_boxes(truth, Denoising(groups=500, shift=0.9))
    inside = (boxes[..., :2] > truth[:, None, None, :2]) & (boxes[..., :2] < truth[:, None, None, 2:])
    assert inside[:, :, 0].all()
    size = (truth[:, 2:] - truth[:, :2])[:, None, None]
    noise = torch.cat([(boxes[..., :2] - 0.5).abs() / size, (boxes[..., 2:] / size - 1).abs()], dim=-1)
    assert (noise[:, :, 0].amax(1) < noise[:, :, 1].amax(1)).all()
    assert (noise[:, :, 0].mean(1) < noise[:, :, 1].mean(1)).all()


@pytest.mark.parametrize("name", ["shift", "scale"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_section_3_5_lambdas_lie_between_0_and_1(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Denoising.model_validate({name: value})


def test_section_3_5_labels_of_the_branch() -> None:
    """A positive's target is its refined box's IoU; a negative's is zero; only positives get box losses."""
    head = small(noise=Denoising(groups=2))
    output = head(tokens(), TRUTH)
    assert output.denoising is not None
    exact = torch.cat([(TRUTH[:, :2] + TRUTH[:, 2:]) / 2, TRUTH[:, 2:] - TRUTH[:, :2]], dim=-1)[:, None]
    certain = torch.tensor([20.0, -20.0, 20.0, -20.0]).expand(3, 2, 4)
    ideal = replaced(output, denoising=Guess(certain, exact.expand(3, 2, 4, 4)))
    losses = head.losses(ideal, TRUTH)
    assert [losses[f"dn_{term}"].item() for term in ("cls", "giou", "l1")] == pytest.approx([0] * 3, abs=1e-5)
    wrong = replaced(output, denoising=Guess(certain.flip(-1), exact.expand(3, 2, 4, 4)))
    # per layer and example 2 positives: 4 x |y - sigma|^2 x 20, over 2 positives, in 3 layers
    assert head.losses(wrong, TRUTH)["dn_cls"].item() == pytest.approx(3 * 2 * 20, rel=1e-3)
    far = exact.expand(3, 2, 4, 4).clone()
    far[:, :, 1::2] = 0.1
    moved = replaced(output, denoising=Guess(certain, far))
    assert head.losses(moved, TRUTH)["dn_l1"].item() == pytest.approx(0, abs=1e-5)


def test_section_3_5_queries_in_different_groups_and_parts_cannot_interact() -> None:
    mask = attention_mask(64, 5)
    part = [0] * 64 + [group for group in range(1, 6) for _ in range(2)]
    for a, b in ((0, 63), (0, 64), (64, 65), (65, 66), (73, 0), (72, 73)):
        assert bool(mask[a, b]) is (part[a] != part[b])
    assert int((~mask).sum()) == 64 * 64 + 5 * 4


# Section 3.6, objective


@pytest.mark.parametrize("labels", ["localisation-quality", "one-to-many", "centre", "hungarian"])
def test_section_3_6_equation_4_sums_the_selection_and_every_layer(labels: Any) -> None:
    """l = 0 (before the query selection) to L_dec: auxiliary losses after each layer; all lambdas 1."""
    head = small(labels=labels)
    output = head(tokens())
    whole = head.losses(output, TRUTH)
    empty = Guess(output.layers.logits[:0], output.layers.boxes[:0])
    selection = head.losses(replaced(output, layers=empty), TRUTH)
    single = [
        head.losses(replaced(output, layers=Guess(a[None], b[None])), TRUTH)
        for a, b in zip(output.layers.logits, output.layers.boxes, strict=True)
    ]
    for term in ("cls", "giou", "l1"):
        layers = sum(losses[term].item() - selection[term].item() for losses in single)
        assert whole[term].item() == pytest.approx(selection[term].item() + layers, rel=1e-4)
        assert all(losses[term].item() > selection[term].item() for losses in single)


def test_section_3_6_the_branch_adds_its_terms_after_each_decoder_layer() -> None:
    head = small(noise=Denoising(groups=2))
    output = head(tokens(), TRUTH)
    assert output.denoising is not None
    assert output.denoising.logits.shape == (3, 2, 4), "none before the query selection: l = 0 has no denoising queries"
    assert {"dn_cls", "dn_giou", "dn_l1"} < head.losses(output, TRUTH).keys()


# Section 4.1, implementation


def test_section_4_1_sizes() -> None:
    crop, head = DETRACK.crop, DETRACK.head
    assert (crop.template_size, crop.search_size) == (128, 256)
    assert (crop.template_factor, crop.search_factor) == (2, 4)
    model = on_meta("detrack-ce")
    assert model.encoder.project.kernel_size == (16, 16)
    assert model.encoder.dim == 768
    assert isinstance(head, DeformableHead)
    assert (head.width, head.layers, head.queries) == (256, 3, 64)
    project = decoder_of("detrack-ce").project
    assert (project.in_features, project.out_features) == (768, 256), "'transformed by a linear layer'"


def test_section_4_1_predictors() -> None:
    """Boxes by three-layer perceptrons that share their parameters, the score by a simple linear layer."""
    head = decoder_of("detrack-ce")
    assert len(head.boxes) == 1
    linear = [m for m in head.boxes[0].modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(256, 256), (256, 256), (256, 4)]
    assert isinstance(head.score, nn.Linear)
    assert head.score.out_features == 1


def test_box_mlps_of_their_own_are_an_option() -> None:
    shared, own = small(), small(shared_box_mlp=False)
    assert (len(shared.boxes), len(own.boxes)) == (1, 1 + SPEC.layers)
    used: list[int] = []
    for number, mlp in enumerate(own.boxes):
        mlp.register_forward_hook(lambda *_, number=number: used.append(number))
    own.eval()(tokens())
    assert used == [0, 1, 2, 3], "the query selection's, then each layer's"
    assert parameters(own) - parameters(shared) == SPEC.layers * (2 * (16 * 16 + 16) + 16 * 4 + 4)


def test_section_4_1_scores_go_back_on_the_map_and_are_multiplied_by_the_window() -> None:
    head = small().eval()
    output = head(tokens())
    prediction = head.predict(output)
    window = hanning_window(GRID)
    weighted = torch.zeros(2, GRID * GRID).scatter(1, output.cells, output.layers.logits[-1].sigmoid())
    best = (weighted * window.flatten()).argmax(1)
    boxes, scores = best_boxes(prediction, window)
    assert DETRACK.crop.window == "multiply"
    torch.testing.assert_close(scores, weighted[[0, 1], best])
    torch.testing.assert_close(boxes, prediction.boxes.flatten(1, 2)[[0, 1], best])
    assert isinstance(prediction, Prediction)


# Tables 3 to 6


def test_table_3_the_decoder_is_smaller_and_cheaper_than_the_convolutional_head() -> None:
    """Table 3: 2.0 M parameters less, 0.9 G less without and 0.8 G less with elimination. Its absolute figures (70.9 M,
    22.3 G) are no ViT-B's with this head, so only the sign and the rough size of the differences can be held."""
    fewer = parameters(on_meta("ostrack-256").head) - parameters(on_meta("detrack").head)
    assert 1.5e6 < fewer < 2.5e6
    for suffix in ("", "-ce"):
        convolutional, decoder = (count_macs(on_meta(name + suffix)).fvcore for name in ("ostrack-256", "detrack"))
        assert 0.8e9 < convolutional - decoder < 1.6e9


def changed(name: str, baseline: TrackerSpec = DETRACK) -> dict[str, Any]:
    return {field: ours for field, (ours, _) in differences(VARIANTS[name], baseline).items()}


LAYERS = [(trained, tested) for trained in (2, 3, 4) for tested in range(1, trained + 1) if (trained, tested) != (3, 3)]


@pytest.mark.parametrize(("trained", "tested"), LAYERS)
def test_table_4_rows(trained: int, tested: int) -> None:
    fields = changed(f"detrack-ce-{trained}-layers-test-{tested}")
    assert fields.get("head.layers", 3) == trained
    assert (fields.get("head.test_layers") or trained) == tested
    assert fields.keys() <= {"head.layers", "head.test_layers"}


def test_table_4_fewer_layers_at_inference_cost_less_by_equal_steps() -> None:
    """15.9, 15.6, 15.3 and 15.1 GFLOPs for 4, 3, 2 and 1 layers: about 0.3 G each, however many are trained."""
    names = [f"detrack-ce-4-layers-test-{n}" for n in (1, 2, 3, 4)]
    macs = [count_macs(on_meta(name)).linear_conv for name in names]
    steps = {b - a for a, b in pairwise(macs)}
    assert len(steps) == 1
    assert 0.05e9 < steps.pop() < 0.3e9
    assert count_macs(on_meta("detrack-ce-3-layers-test-2")).all == count_macs(on_meta(names[1])).all


def test_table_4_all_trained_layers_train_and_more_cannot_be_tested() -> None:
    head = small(test_layers=2)
    assert len(head.train()(tokens()).layers.logits) == 3
    assert len(head.eval()(tokens()).layers.logits) == 2
    full = small().eval()(tokens())
    torch.testing.assert_close(head(tokens()).layers.boxes, full.layers.boxes[:2])
    with pytest.raises(ValueError, match="cannot run more layers at inference"):
        replace(DETRACK, head=DeformableHead(layers=2, test_layers=3))
    assert replace(DETRACK, head=DeformableHead(layers=4, test_layers=4)).head.kind == "deformable"


def test_table_5_rows() -> None:
    assert VARIANTS["detrack-ce-no-denoising"].denoising is None
    assert changed("detrack-ce-denoising-embedding") == {"denoising.kind": "embedding"}
    assert DETRACK.denoising is not None
    assert DETRACK.denoising.kind == "centre-corner"
    assert changed("detrack-ce-denoising-outside") == {"denoising.kind": "centre-outside"}


def test_table_6_rows() -> None:
    """'for un-denoising part': the branch's labels stay as they are under every row."""
    assert changed("detrack-ce-labels-centre") == {"labels": "centre"}
    assert changed("detrack-ce-labels-hungarian") == {"labels": "hungarian"}
    assert changed("detrack-ce-labels-hard") == {"labels": "one-to-many"}
    assert DETRACK.labels == "localisation-quality"
    terms = {}
    for labels in ("localisation-quality", "centre"):
        head = small(labels=labels, noise=Denoising(groups=2))
        torch.manual_seed(5)
        terms[labels] = head.losses(head(tokens(), TRUTH), TRUTH)
    for name, value in terms["centre"].items():
        assert value.equal(terms["localisation-quality"][name]) is name.startswith("dn_"), name


def test_denoising_costs_nothing_at_inference() -> None:
    with_branch, without = on_meta("detrack-ce"), on_meta("detrack-ce-no-denoising")
    assert count_macs(with_branch) == count_macs(without) == count_macs(on_meta("detrack-ce-denoising-embedding"))
    assert parameters(with_branch) == parameters(without)
    assert parameters(on_meta("detrack-ce-denoising-embedding")) - parameters(without) == 2 * 256
    assert isinstance(decoder_of("detrack-ce").denoising, DenoisingBranch)
