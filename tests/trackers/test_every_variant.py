"""Every variant and every study row, under every adaptation: it builds, learns, predicts, and exactly the declared
parameters move."""

import re
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from examples import SCALE
from trackablate.ablations.catalogue import STUDIES
from trackablate.harness.spec import Recipe
from trackablate.harness.training.learning_rates import parameter_groups
from trackablate.harness.training.loop import load_trained, trained_state
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import (
    IA3,
    Adaptation,
    Adapter,
    BitFit,
    CandidateElimination,
    FrozenBackbone,
    FullFineTuning,
    InputEmbedding,
    LoRA,
    Prompts,
    TrackerSpec,
    fingerprint,
    replace,
)
from trackablate.trackers.tokens import Prediction
from trackablate.trackers.variants import VARIANTS

PAPER_SCALE = {
    **VARIANTS,
    **{f"{study.name}/{row.name}": study.spec(row) for study in STUDIES.values() for row in study.rows},
}
ADAPTATIONS: dict[str, Adaptation] = {
    "full": FullFineTuning(),
    "frozen": FrozenBackbone(),
    "lora-lorat": LoRA(),
    "lora-lora": LoRA(init="lora"),
}
MORE_ADAPTATIONS: dict[str, Adaptation] = {
    **{"lora-gaussian": LoRA(init="gaussian"), "rslora": LoRA(rslora=True), "dora": LoRA(dora=True, init="lora")},
    **{
        "lora-qv": LoRA(targets=("q", "v")),
        "adapter": Adapter(),
        "ia3": IA3(),
        "prompts": Prompts(),
        "bitfit": BitFit(),
    },
}
"""Run on one tracker; the others on every one of the older ones."""
EMBEDDINGS = {
    "fixed": InputEmbedding(trainable_positions=False),
    "shared": InputEmbedding(positions="shared"),
    "lorat": InputEmbedding(positions="shared", template_positions="slice", token_types=3, trainable_positions=False),
    "types": InputEmbedding(token_types=2),
    "trained": InputEmbedding(positions="shared", trainable_positions=True),
    "sinusoidal": InputEmbedding(positions="sinusoidal"),
}
OTHER_AXES: dict[str, dict[str, Any]] = {
    "mixed": {"attention": "mixed"},
    "mixed-prompts": {"attention": "mixed", "adaptation": Prompts(count=2)},
    "ce-prompts": {"sparsity": CandidateElimination(layers=(1, 2, 3)), "adaptation": Prompts(count=2)},
    "checkpointing": {"checkpointing": True, "drop_path": 0.05},
    "frozen-but-norm": {"adaptation": FrozenBackbone(), "train_norm": True},
    "hard": {"labels": "hard"},
}
RECIPE = Recipe(steps=2, batch_size=2, lr_backbone=1e-4, lr_new=1e-3, weight_decay=0.1, warmup_steps=0)
TRUTH = torch.tensor([[0.3, 0.35, 0.6, 0.7], [0.1, 0.2, 0.55, 0.6]])


def distinct(specs: dict[str, TrackerSpec]) -> dict[str, TrackerSpec]:
    """The first of those that are the same tracker."""
    first = {fingerprint(spec): name for name, spec in reversed(specs.items())}
    return {name: specs[name] for name in specs if name in first.values()}


TINY = {name: at_scale(spec, SCALE) for name, spec in PAPER_SCALE.items()}


CROSSED = {n: s for n, s in TINY.items() if not n.startswith(("lorat-", "full-", "detrack-ce-"))}
"""What is run under every adaptation. LoRAT's variants are crossings of adaptations already, and DETRack's rows differ in
the head: they are run as they are."""


def embedded(embedding: str, adaptation: str) -> TrackerSpec:
    axes = {"embedding": EMBEDDINGS[embedding], "adaptation": ADAPTATIONS[adaptation]}
    return at_scale(replace(TINY["ostrack-256-mlp"], **axes), SCALE)


ADAPTED = distinct(
    {f"{name}-as-is": spec for name, spec in TINY.items()}
    | {
        f"{n}-{a}": at_scale(replace(s, adaptation=ADAPTATIONS[a]), SCALE)
        for n, s in CROSSED.items()
        for a in ADAPTATIONS
    }
    | {f"ostrack-256-mlp-{e}-{a}": embedded(e, a) for e in EMBEDDINGS for a in ADAPTATIONS}
    | {
        f"ostrack-256-mlp-{a}": at_scale(replace(TINY["ostrack-256-mlp"], adaptation=MORE_ADAPTATIONS[a]), SCALE)
        for a in MORE_ADAPTATIONS
    }
    | {f"ostrack-256-mlp-{n}": replace(TINY["ostrack-256-mlp"], **OTHER_AXES[n]) for n in OTHER_AXES}
)
EVERY = pytest.mark.parametrize("spec", ADAPTED.values(), ids=ADAPTED)


def test_nothing_is_left_out() -> None:
    covered = {fingerprint(spec) for spec in ADAPTED.values()}
    for spec in TINY.values():
        assert fingerprint(spec) in covered
    for spec in CROSSED.values():
        assert {fingerprint(at_scale(replace(spec, adaptation=a), SCALE)) for a in ADAPTATIONS.values()} <= covered


ADDED = {
    **{"full": r".*", "frozen": r"(?!)", "lora": r".*\.lora_", "adapter": r".*\.adapter\.", "ia3": r".*\.ia3_l\."},
    **{"prompts": r"encoder\.prompts\.", "bitfit": r"encoder\..*bias$"},
}


def declared(spec: TrackerSpec, names: list[str]) -> set[str]:
    """What must move, by the rule as written down for users: the head and the token types; what the method adds or frees,
    everything under full fine-tuning; positions as they are said to, or else with the encoder; the final norm where it is
    said to. What is stored and never read stays."""

    def moves(name: str) -> bool:
        if name.startswith("encoder.embedding.") and name.endswith("_positions"):
            asked = spec.embedding.trainable_positions
            return spec.adaptation.kind == "full" if asked is None else asked
        if name.startswith("encoder.norm.") and spec.train_norm:
            return True
        if name.startswith("head.") or name == "encoder.embedding.token_types":
            return True
        return re.match(ADDED[spec.adaptation.kind], name) is not None

    return {name for name in names if moves(name)}


@cache
def batch(template: int = SCALE.template_size, search: int = SCALE.search_size) -> tuple[Tensor, Tensor, Tensor]:
    """Two pairs of crops of these sides, and a mask of the template's central tokens."""
    generator = torch.Generator().manual_seed(7)
    images = [torch.randint(0, 256, (2, 3, s, s), generator=generator).float() for s in (template, search)]
    side = template // 8
    mask = torch.zeros(2, side, side, dtype=torch.bool)
    mask[:, side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1] = True
    return images[0], images[1], mask.flatten(1)


def batch_of(model: OneStreamTracker) -> tuple[Tensor, Tensor, Tensor]:
    """One of the model's own sizes."""
    return batch(model.spec.crop.template_size, model.spec.crop.search_size)


def shaken(spec: TrackerSpec) -> OneStreamTracker:
    """The model off the special points where gradients vanish: zero factors, zero last layers, equal attention."""
    torch.manual_seed(0)
    model = build(spec, pretrained=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    return model


def losses(model: OneStreamTracker) -> dict[str, Tensor]:
    template, search, mask = batch_of(model)
    terms = model(template, search, mask, TRUTH, 1.0)
    assert isinstance(terms, dict)
    return terms


def predicted(model: OneStreamTracker) -> Prediction:
    with torch.no_grad():
        prediction = model(*batch_of(model))
    assert isinstance(prediction, Prediction)
    return prediction


@EVERY
def test_exactly_the_declared_parameters_move(spec: TrackerSpec) -> None:
    """Two steps, every parameter given to the optimiser: frozen ones stay as they are to the last bit.

    One exception: a convolution's bias in front of batch normalisation has no effect in training, so it moves by
    rounding only and may stay. (A key's bias has none either, but is part of the fused qkv bias.)
    """
    model = shaken(spec).train()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for _ in range(2):
        optimizer.zero_grad()
        terms = losses(model)
        assert all(term.isfinite() and term.shape == () for term in terms.values()), terms
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    moved = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    expected = declared(spec, list(before))
    assert moved - expected == set(), "moved, but declared frozen"
    unread = {name for name in expected if name.startswith("encoder.unused.")}
    assert not unread & moved, "stored, but never read"
    assert expected - moved - unread <= before_normalisation(model), "declared trainable, but did not move"
    assert expected == {name for name, value in model.named_parameters() if value.requires_grad}


def before_normalisation(model: nn.Module) -> set[str]:
    """Biases of convolutions that batch normalisation follows directly."""
    pairs = [
        (f"{path}.{n}", a, b)
        for path, module in model.named_modules()
        if isinstance(module, nn.Sequential)
        for (n, a), (_, b) in pairwise(module.named_children())
    ]
    return {f"{name}.bias" for name, a, b in pairs if isinstance(a, nn.Conv2d) and isinstance(b, nn.BatchNorm2d)}


@EVERY
def test_predictions_have_the_declared_form_and_are_deterministic(spec: TrackerSpec) -> None:
    model = shaken(spec).eval()
    first, second = predicted(model), predicted(model)
    side = spec.crop.search_size // 8
    assert first.score_map.shape == (2, side, side)
    assert first.boxes.shape == (2, side, side, 4)
    assert first.score_map.isfinite().all()
    assert first.boxes.isfinite().all()
    assert (first.score_map >= 0).all()
    assert (first.score_map <= 1).all()
    assert (first.boxes[..., 2:] >= first.boxes[..., :2]).all()
    assert first.boxes.abs().max() <= 4
    assert first.score_map.equal(second.score_map)
    assert first.boxes.equal(second.boxes)


@EVERY
def test_an_example_does_not_see_its_neighbour_in_the_batch(spec: TrackerSpec) -> None:
    model = shaken(spec).eval()
    together = predicted(model)
    with torch.no_grad():
        alone = model(*(part[:1] for part in batch_of(model)))
    torch.testing.assert_close(alone.score_map, together.score_map[:1], atol=1e-4, rtol=1e-3)


@EVERY
def test_the_optimiser_gets_every_trainable_parameter_once(spec: TrackerSpec) -> None:
    model = build(spec, pretrained=False)
    groups = parameter_groups(model, RECIPE)
    given = [id(p) for group in groups for p in group["params"]]
    named = dict(model.named_parameters())
    assert sorted(given) == sorted(id(named[name]) for name in declared(spec, list(named)))
    peak = {id(p): (group["peak"], group["weight_decay"]) for group in groups for p in group["params"]}
    for name in declared(spec, list(named)):
        rate, decay = peak[id(named[name])]
        added = any(part in name for part in (".lora_", ".adapter.", ".ia3_l.", ".prompts."))
        new = name.startswith("head.") or added or name.endswith("token_types")
        assert rate == (RECIPE.lr_new if new else RECIPE.lr_backbone), name
        plain = named[name].dim() > 1 and "embedding" not in name
        assert decay == (RECIPE.weight_decay if plain else 0), name


@EVERY
def test_what_training_saves_restores_the_trained_model(spec: TrackerSpec) -> None:
    """Into a model with the same frozen part and other trainable values."""
    trained, other = shaken(spec), shaken(spec)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name in declared(spec, [name]):
                parameter.add_(1)
        losses(trained.train())  # moves the running statistics of batch normalisation
    load_trained(other, trained_state(trained))
    a, b = predicted(trained.eval()), predicted(other.eval())
    assert a.score_map.equal(b.score_map)
    assert a.boxes.equal(b.boxes)


def test_prediction_depends_on_template_search_and_mask() -> None:
    model = shaken(replace(TINY["ostrack-256-mlp"], embedding=EMBEDDINGS["lorat"])).eval()
    template, search, mask = batch()
    plain = predicted(model).score_map
    with torch.no_grad():
        for changed in ((template.flip(3), search, mask), (template, search.flip(3), mask), (template, search, ~mask)):
            assert not torch.allclose(model(*changed).score_map, plain, atol=1e-5)


def test_foreground_indication_needs_the_mask() -> None:
    model = build(replace(TINY["ostrack-256"], embedding=EMBEDDINGS["lorat"]), pretrained=False)
    with pytest.raises(ValueError, match="needs the template's mask"):
        model(*batch()[:2])


def test_sizes_that_do_not_fit_are_refused() -> None:
    spec = TINY["ostrack-256"]
    with pytest.raises(ValueError, match="60 px is not a multiple of vit-mini's patch of 8 px"):
        build(replace(spec, crop=spec.crop.model_copy(update={"search_size": 60})), pretrained=False)
    with pytest.raises(LookupError, match="vit-mini"):
        build(replace(spec, backbone="vit-mimi"), pretrained=False)


LORAT = ("lorat-b-224", "lorat-b-224-conv", "lorat-b-224-ostrackhead", "lorat-b-378", "lorat-g-224")
AT_PAPER_SCALE = distinct({n: s for n, s in PAPER_SCALE.items() if n in CROSSED or n in LORAT})


@pytest.mark.parametrize("adaptation", ["full", "lora-lorat"])
@pytest.mark.parametrize("name", AT_PAPER_SCALE)
def test_paper_scale_runs_on_the_meta_device(name: str, adaptation: str) -> None:
    """Sizes and costs are counted there, without weights or memory."""
    spec = replace(PAPER_SCALE[name], adaptation=ADAPTATIONS[adaptation])
    with torch.device("meta"):
        model = build(spec, pretrained=False)
        inputs = [torch.empty(1, 3, s, s) for s in (spec.crop.template_size, spec.crop.search_size)]
        mask = torch.empty(1, model.encoder.template_side**2, dtype=torch.bool)
        prediction = model.eval()(*inputs, mask)
        terms = model.train()(*inputs, mask, torch.empty(1, 4), 1.0)
    side = model.encoder.search_side
    assert prediction.score_map.shape == (1, side, side)
    assert prediction.boxes.shape == (1, side, side, 4)
    assert all(term.shape == () for term in terms.values())
    assert all(p.is_meta for p in model.parameters())
