"""Specifications: what is equal has one fingerprint, what is misspelt or cannot work is refused with its reason."""

from typing import Any, Literal, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from examples import DATA, PLAIN, RECIPE, SCALE
from trackablate.ablations.catalogue import STUDIES
from trackablate.harness.profiles import load_profile
from trackablate.harness.spec import Recipe, RunSpec
from trackablate.trackers.plugins import HEADS, add_head
from trackablate.trackers.scale import Scale, at_scale
from trackablate.trackers.spec import (
    IA3,
    ILLEGAL,
    Adaptation,
    Adapter,
    AnyTracker,
    BitFit,
    CandidateElimination,
    CentreHead,
    ConvHead,
    CornerHead,
    CropInput,
    DeformableHead,
    Denoising,
    FloorSpec,
    FrozenBackbone,
    FullFineTuning,
    HeadSpec,
    InputEmbedding,
    LoRA,
    MLPHead,
    Prompts,
    TrackerSpec,
    differences,
    fingerprint,
    replace,
)
from trackablate.trackers.variants import VARIANTS

ADAPTATIONS: tuple[Adaptation, ...] = (
    *(FullFineTuning(), FrozenBackbone(), LoRA(), Adapter(), IA3(), Prompts(), BitFit()),
    *(LoRA(rank=16), LoRA(alpha=16), LoRA(targets=("q", "v")), LoRA(init="lora"), LoRA(init="gaussian")),
    *(LoRA(dropout=0.1), LoRA(rslora=True), LoRA(dora=True, init="lora")),
    *(Adapter(width=8), Adapter(init="zero"), Prompts(count=5)),
)
SOME_ADAPTATIONS = ADAPTATIONS[:7]
EMBEDDINGS = (
    InputEmbedding(),
    InputEmbedding(positions="shared"),
    InputEmbedding(positions="shared", template_positions="slice"),
    InputEmbedding(token_types=2),
    InputEmbedding(trainable_positions=False),
    InputEmbedding(trainable_positions=True),
    InputEmbedding(positions="sinusoidal"),
)
ALL_HEADS: tuple[CentreHead | ConvHead | CornerHead | MLPHead | DeformableHead, ...] = (
    *(CentreHead(), CentreHead(channels=128), CentreHead(offset_from="centre"), MLPHead(), MLPHead(layers=2)),
    *(ConvHead(), ConvHead(channels=128), CornerHead(), DeformableHead(), DeformableHead(top_k=4)),
)


@st.composite
def specs(draw: st.DrawFn) -> TrackerSpec:
    head = draw(st.sampled_from(ALL_HEADS))
    denoising = draw(st.sampled_from([None, Denoising(), Denoising(groups=2)]))
    return TrackerSpec(
        name=draw(st.sampled_from(["one", "two"])),
        crop=draw(st.sampled_from([CropInput(), CropInput(search_size=384), CropInput(search_factor=5)])),
        adaptation=draw(st.sampled_from(ADAPTATIONS)),
        embedding=draw(st.sampled_from(EMBEDDINGS)),
        sparsity=draw(st.sampled_from([None, CandidateElimination(), CandidateElimination(layers=(3, 6))])),
        head=head,
        labels=draw(st.sampled_from(HEADS[head.kind].labels)),
        pretrained=draw(st.sampled_from(["shipped", "timm"])),
        drop_path=draw(st.sampled_from([0.0, 0.1])),
        checkpointing=draw(st.booleans()),
        train_norm=draw(st.booleans()),
        denoising=denoising if head.kind == "deformable" else None,
    )


def fields(spec: TrackerSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in TrackerSpec.model_fields if name != "name"}


@settings(max_examples=300)
@given(specs(), specs())
def test_equal_fingerprints_mean_equal_fields(a: TrackerSpec, b: TrackerSpec) -> None:
    equal = fields(a) == fields(b)
    assert (fingerprint(a) == fingerprint(b)) is equal
    assert (differences(a, b) == {}) is equal
    assert fingerprint(TrackerSpec(name="copy", **fields(a))) == fingerprint(a)


def test_every_leaf_counts_in_the_fingerprint() -> None:
    """One field changed at a time, all over the specification's leaves."""
    spec = VARIANTS["detrack-ce"]
    changed = [
        replace(spec, backbone="vit-mini"),
        *(replace(spec, crop=spec.crop.model_copy(update={f: 99})) for f in CropInput.model_fields),
        *(replace(spec, head=spec.head.model_copy(update={f: SMALL.get(f, 8)})) for f in HEAD_FIELDS),
        *(replace(spec, denoising=spec.denoising.model_copy(update={f: v})) for f, v in DENOISING),  # type: ignore[union-attr]
        *(replace(spec, sparsity=spec.sparsity.model_copy(update={f: v})) for f, v in ELIMINATION),  # type: ignore[union-attr]
        replace(spec, sparsity=None),
        replace(spec, denoising=None),
        *(replace(spec, **{field: value}) for field, value in OTHER_LEAVES),
        *(replace(spec, adaptation=a) for a in ADAPTATIONS[1:]),
        *(replace(spec, embedding=e) for e in EMBEDDINGS[1:]),
    ]
    equal_to_default = [c for c in changed if fields(c) == fields(spec)]
    assert len(equal_to_default) == 1, "heads = 8 is the default"
    assert len({fingerprint(c) for c in [*changed, spec]}) == len(changed)


OTHER_LEAVES: tuple[tuple[str, Any], ...] = (
    *(
        ("pretrained", "none"),
        ("drop_path", 0.2),
        ("drop_path_depth", "uniform"),
        ("checkpointing", True),
        ("train_norm", True),
    ),
)
HEAD_FIELDS = [name for name in DeformableHead.model_fields if name != "kind"]
SMALL = {"test_layers": 2, "shared_box_mlp": False}
DENOISING: tuple[tuple[str, Any], ...] = (("groups", 2), ("shift", 0.3), ("scale", 0.3), ("kind", "embedding"))
ELIMINATION: tuple[tuple[str, Any], ...] = (
    ("layers", (3,)),
    ("keep_ratio", 0.6),
    ("start", 0.1),
    ("end", 0.5),
    ("template", "ALL"),
)


def test_the_name_is_for_people_only() -> None:
    renamed = replace(PLAIN, name="other")
    assert fingerprint(renamed) == fingerprint(PLAIN)
    assert differences(renamed, PLAIN) == {}
    run, other = (RunSpec(tracker=t, recipe=RECIPE, data=DATA) for t in (PLAIN, renamed))
    assert run.fingerprint == other.fingerprint
    assert run.name == other.name


def test_whole_and_decimal_numbers_are_one() -> None:
    assert fingerprint(CropInput(search_factor=4)) == fingerprint(CropInput(search_factor=4.0))
    assert fingerprint(Recipe(**(RECIPE.model_dump() | {"lr_new": 1}))) == fingerprint(
        Recipe(**(RECIPE.model_dump() | {"lr_new": 1.0}))
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("seed", 1), ("weights", "a" * 16), ("revision", 99), ("data", None)),
        ("recipe", RECIPE.model_copy(update={"steps": 11})),
    ],
)
def test_everything_else_about_a_run_is_part_of_its_identity(field: str, value: object) -> None:
    run = RunSpec(tracker=PLAIN, recipe=RECIPE, data=DATA)
    other = RunSpec(**({name: getattr(run, name) for name in RunSpec.model_fields} | {field: value}))
    assert other.fingerprint != run.fingerprint


def test_a_field_at_its_default_is_a_field_that_was_never_there() -> None:
    run = RunSpec(tracker=PLAIN, recipe=RECIPE, data=DATA)
    said = {name: value for name, value in RECIPE.model_dump().items() if name != "micro_batch"}
    assert run.model_copy(update={"recipe": Recipe.model_validate(said)}).fingerprint == run.fingerprint
    assert Recipe.model_validate(said | {"micro_batch": None}) == RECIPE
    parts = run.model_copy(update={"recipe": RECIPE.model_copy(update={"micro_batch": 1})})
    assert parts.fingerprint != run.fingerprint, "sums round otherwise, and batch norms see other batches"
    assert RunSpec.model_validate_json(parts.model_dump_json()).fingerprint == parts.fingerprint
    assert [r.recipe.pairs_at_once for r in (run, parts) if r.recipe] == [RECIPE.batch_size, 1]


def test_misspelt_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="backbon"):
        TrackerSpec.model_validate({"name": "x", "backbon": "vit-b16"})
    with pytest.raises(ValidationError, match="ranks"):
        TrackerSpec.model_validate({"name": "x", "adaptation": {"kind": "lora", "ranks": 4}})
    with pytest.raises(ValidationError, match="batchsize"):
        Recipe.model_validate(RECIPE.model_dump() | {"batchsize": 4})
    with pytest.raises(ValueError, match=r"\['heads'\]; there are .*'head'"):
        replace(PLAIN, heads=MLPHead())
    with pytest.raises(ValueError, match=r"head\.layers"):
        replace(PLAIN, **{"head.layers": 3})


def test_specifications_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        PLAIN.backbone = "vit-mini"
    with pytest.raises(ValidationError):
        PLAIN.crop.search_size = 384


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        (CropInput, "search_size", 0),
        (CandidateElimination, "keep_ratio", 1.2),
        (CandidateElimination, "keep_ratio", 0),
        (Denoising, "shift", 1.0),
        (LoRA, "targets", ("q", "qkv")),
        (LoRA, "rank", 0),
        (InputEmbedding, "token_types", 1),
        (LoRA, "dropout", 1.0),
        (Adapter, "width", 0),
        (Prompts, "count", 0),
        (TrackerSpec, "drop_path", 1.0),
        (TrackerSpec, "pretrained", "file:"),
        (TrackerSpec, "pretrained", "weights.pth"),
        (TrackerSpec, "attention", "template"),
        (Recipe, "steps", 0),
    ],
)
def test_values_out_of_range_are_refused(model: type[Any], field: str, value: object) -> None:
    known = RECIPE.model_dump() if model is Recipe else {}
    with pytest.raises(ValidationError, match=field):
        model(**(known | {field: value}))


CANNOT_WORK: dict[str, dict[str, Any]] = {
    "label assignments belong to heads": {"head": MLPHead(), "labels": "gaussian"},
    "needs head 'deformable'": {"denoising": Denoising()},
    "needs positions 'shared'": {"embedding": InputEmbedding(template_positions="slice")},
    "sinusoidal positions are fixed": {"embedding": InputEmbedding(positions="sinusoidal", trainable_positions=True)},
    "it needs the init 'lora' or 'gaussian'": {"adaptation": LoRA(dora=True)},
    "candidate elimination ranks search tokens": {"sparsity": CandidateElimination(), "attention": "mixed"},
    "cannot run more layers at inference": {
        "head": DeformableHead(layers=2, test_layers=3),
        "labels": "localisation-quality",
    },
}


@pytest.mark.parametrize("reason", CANNOT_WORK)
def test_illegal_combinations_are_refused_with_their_reason(reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TrackerSpec(name="plain", **CANNOT_WORK[reason])
    with pytest.raises(ValueError, match=f"tracker 'plain': .*{reason}"):
        replace(PLAIN, **CANNOT_WORK[reason])


def test_every_illegal_combination_has_its_example_here() -> None:
    reasons = [reason for _, reason in ILLEGAL]
    for reason in reasons:
        assert any(example in reason for example in CANNOT_WORK), f"add an example of: {reason}"
    legal = [PLAIN, *VARIANTS.values()]
    assert not [(s.name, reason) for s in legal for broken, reason in ILLEGAL if broken(s)]


def test_sinusoidal_positions_are_never_sliced() -> None:
    with pytest.raises(ValueError, match="needs positions 'shared'"):
        replace(PLAIN, embedding=InputEmbedding(positions="sinusoidal", template_positions="slice"))
    assert replace(PLAIN, embedding=InputEmbedding(positions="shared", template_positions="slice"))


def test_each_label_assignment_fits_its_own_heads_only() -> None:
    heads = {head.kind: head for head in (CentreHead(), ConvHead(), CornerHead(), MLPHead(), DeformableHead())}
    assert set(heads) <= set(HEADS)
    for kind, head in heads.items():
        for labels in {label for each in HEADS.values() for label in each.labels}:
            if labels in HEADS[kind].labels:
                assert replace(PLAIN, head=head, labels=labels).labels == labels
            else:
                with pytest.raises(ValueError, match="label assignments belong to heads"):
                    replace(PLAIN, head=head, labels=labels)


def test_replace_puts_whole_fields_and_never_merges() -> None:
    wide = replace(PLAIN, head=CentreHead(channels=128), crop=CropInput(search_size=384))
    again = replace(wide, crop=CropInput(template_size=64))
    assert again.crop == CropInput(template_size=64), "not 384: the field is replaced as a whole"
    assert again.head == CentreHead(channels=128)
    assert TrackerSpec(name="plain") == PLAIN
    dropped = replace(replace(PLAIN, sparsity=CandidateElimination()), sparsity=None)
    assert dropped == PLAIN


def test_differences_reach_down_to_the_leaf() -> None:
    other = replace(PLAIN, crop=CropInput(search_size=384), sparsity=CandidateElimination(), adaptation=LoRA())
    found = differences(other, PLAIN)
    assert found["crop.search_size"] == (384, 256)
    assert found["sparsity.keep_ratio"] == (0.7, None)
    assert found["adaptation.kind"] == ("lora", "full")
    assert {name.split(".")[0] for name in found} == {"crop", "sparsity", "adaptation"}
    assert "crop.template_size" not in found
    assert differences(PLAIN, other) == {name: (b, a) for name, (a, b) in found.items()}


MAY_SCALE = {
    *("backbone", "pretrained"),
    *("crop.template_size", "crop.search_size", "crop.template_factor", "crop.search_factor"),
    "crop.min_side",
    *("sparsity.layers", "denoising.groups", "adaptation.rank", "adaptation.alpha", "head.channels"),
    "adaptation.width",
    *("head.width", "head.queries", "head.heads", "head.feedforward", "head.top_k"),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("adaptation", SOME_ADAPTATIONS, ids=lambda a: f"{a.kind}")
def test_a_scale_touches_the_listed_fields_only(name: str, adaptation: Adaptation) -> None:
    spec = replace(VARIANTS[name], adaptation=adaptation)
    scaled = at_scale(spec, SCALE)
    assert set(differences(scaled, spec)) <= MAY_SCALE
    assert scaled.name == spec.name
    again = at_scale(scaled, SCALE)
    kept = {"adaptation": scaled.adaptation, "crop": scaled.crop}
    assert replace(again, **kept) == scaled, "but for ranks and crops, which shrink in proportion"
    assert (scaled.sparsity is None) == (spec.sparsity is None)


def test_a_scale_touches_every_field_it_names() -> None:
    spec = replace(VARIANTS["detrack-ce"], adaptation=LoRA())
    touched = set(differences(at_scale(spec, SCALE), spec))
    for name in ("ostrack-256", "lorat-b-224", "lorat-b-224-adapter"):
        touched |= set(differences(at_scale(VARIANTS[name], SCALE), VARIANTS[name]))
    assert touched == MAY_SCALE
    scaled = at_scale(spec, SCALE)
    assert isinstance(scaled.head, DeformableHead)
    assert isinstance(scaled.adaptation, LoRA)
    assert (scaled.backbone, scaled.crop.search_size, scaled.adaptation.rank) == ("vit-mini", 64, 8)
    assert (scaled.head.width, scaled.head.layers, scaled.head.points) == (64, 3, 4)


class Sized(HeadSpec):
    kind: Literal["sized"] = "sized"
    width: int = 256

    def at_scale(self, scale: Scale) -> Self:
        return self.model_copy(update={"width": scale.decoder_width})


def test_a_plugins_head_says_its_size_at_a_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HEADS, "_entries", dict(HEADS.built_in))
    add_head(Sized, "none:None", labels=("iou-aware",))
    spec = replace(VARIANTS["ostrack-256"], head=Sized(), labels="iou-aware")
    assert at_scale(spec, SCALE).head == Sized(width=SCALE.decoder_width) != spec.head


def test_two_studies_share_the_runs_of_their_common_rows() -> None:
    runs = {
        study: {fingerprint(at_scale(STUDIES[study].spec(row), SCALE)): row.name for row in STUDIES[study].rows}
        for study in ("table3", "head")
    }
    common = runs["table3"].keys() & runs["head"].keys()
    assert {(runs["table3"][f], runs["head"][f]) for f in common} == {("conv", "centre"), ("decoder", "decoder")}
    by_name = {
        study: RunSpec(tracker=STUDIES[study].spec(row), recipe=RECIPE, data=DATA)
        for study, row in (("table3", STUDIES["table3"].rows[1]), ("head", STUDIES["head"].rows[2]))
    }
    assert by_name["table3"].fingerprint == by_name["head"].fingerprint
    assert by_name["table3"].name == by_name["head"].name


def test_run_names_tell_variants_apart() -> None:
    trackers = [replace(spec, adaptation=a) for spec in VARIANTS.values() for a in SOME_ADAPTATIONS]
    different = {fingerprint(tracker): tracker for tracker in trackers}.values()
    runs = [RunSpec(tracker=t, recipe=RECIPE, data=DATA, seed=s) for t in different for s in (0, 1)]
    assert len({run.name for run in runs}) == len({run.fingerprint for run in runs}) == len(runs)
    assert RunSpec(tracker=VARIANTS["detrack-ce"], recipe=RECIPE, data=DATA).name.startswith(
        "vit-b16-deformable-full-ce-dn-s0-"
    )


@pytest.mark.parametrize("tracker", [VARIANTS["detrack-ce"], FloorSpec(kind="ncc")], ids=lambda t: t.name)
def test_a_run_is_the_same_after_being_written_and_read(tracker: TrackerSpec | FloorSpec) -> None:
    run = RunSpec(tracker=tracker, recipe=RECIPE, data=DATA)
    again = RunSpec.model_validate_json(run.model_dump_json())
    assert again.fingerprint == run.fingerprint
    assert again.name == run.name


def test_floors_are_trackers_without_anything_to_train() -> None:
    run = RunSpec(tracker=FloorSpec(kind="static"))
    assert run.name.startswith("static-")
    assert run.fingerprint != RunSpec(tracker=FloorSpec(kind="ncc")).fingerprint
    assert TypeAdapter(AnyTracker).validate_python({"kind": "ncc"}) == FloorSpec(kind="ncc")


def test_ranks_shrink_in_proportion() -> None:
    """So that a study of ranks is one at every size."""
    scale = load_profile("mini").scale
    assert scale is not None
    ranks = [64, 16, 8, 4]
    small = [at_scale(replace(VARIANTS["lorat-b-224"], adaptation=LoRA(rank=r, alpha=r)), scale) for r in ranks]
    found = [s.adaptation.rank for s in small if isinstance(s.adaptation, LoRA)]
    assert found == [scale.lora_rank, scale.lora_rank // 4, scale.lora_rank // 8, 1]
    assert [s.adaptation.alpha for s in small if isinstance(s.adaptation, LoRA)] == found
    narrow = at_scale(replace(VARIANTS["lorat-b-224"], adaptation=Adapter(width=96)), scale)
    assert isinstance(narrow.adaptation, Adapter)
    assert narrow.adaptation.width == 96 * scale.lora_rank // 64
