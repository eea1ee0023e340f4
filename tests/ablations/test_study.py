"""Studies: the guard against confounds, the printed figures, and every row of every study at scale."""

from typing import Any

import pytest

from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import planned_rows, tasks
from trackablate.ablations.study import RECIPE, ConfoundedStudy, Coupled, FaultyStudy, Row, Study
from trackablate.harness.profiles import load_profile
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import (
    CandidateElimination,
    CentreHead,
    InputEmbedding,
    LoRA,
    MLPHead,
    TrackerSpec,
    differences,
)
from trackablate.trackers.variants import VARIANTS

MINI = load_profile("mini").scale
assert MINI is not None
ROWS = [(study, row) for study in STUDIES.values() for row in study.rows]
EVERY_ROW = pytest.mark.parametrize(("study", "row"), ROWS, ids=[f"{s.name}-{r.name}" for s, r in ROWS])
EVERY_STUDY = pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)

LORAT = TrackerSpec(
    name="lorat",
    adaptation=LoRA(),
    embedding=InputEmbedding(positions="shared", template_positions="slice", token_types=3, trainable_positions=False),
    head=MLPHead(),
    labels="iou-aware",
)
CONV_AS_PUBLISHED = {
    "head": CentreHead(),
    "labels": "gaussian",
    "embedding": LORAT.embedding.model_copy(update={"trainable_positions": True}),
}
"""LoRAT's head ablation as its settings have it: with the head change the labels and what stays frozen (there the final
norm; here, among the fields that exist, the positions)."""
LABELS = Coupled("labels", "the centre head has no IoU-aware labels")
UNFROZEN = Coupled("embedding.trainable_positions", "frozen in the baseline only, as published")


def head_study(*coupled: Coupled, **changes: Any) -> Study:
    return study_of((Row("mlp", ("MLP",)), Row("conv", ("conv",), changes or CONV_AS_PUBLISHED)), coupled)


def study_of(rows: tuple[Row, ...], coupled: tuple[Coupled, ...] = ()) -> Study:
    return Study(
        name="head-as-published",
        title="",
        question="",
        source="",
        baseline=LORAT,
        factors={"Head": "head"},
        rows=rows,
        coupled=coupled,
    )


@pytest.mark.parametrize(
    ("coupled", "confounds"),
    [
        ((), ("labels", "embedding.trainable_positions")),
        ((LABELS,), ("embedding.trainable_positions",)),
        ((UNFROZEN,), ("labels",)),
    ],
    ids=["nothing-declared", "labels-declared", "freezing-declared"],
)
def test_the_published_head_ablation_is_refused(coupled: tuple[Coupled, ...], confounds: tuple[str, ...]) -> None:
    with pytest.raises(ConfoundedStudy) as refusal:
        head_study(*coupled)
    message = str(refusal.value)
    assert "'head-as-published'" in message
    assert "'conv'" in message
    assert any(repr(field) in message for field in confounds)
    assert "declare it with its reason, or drop it" in message


@pytest.mark.parametrize("name", ["lorat-b-224-conv-published", "lorat-b-224-ostrackhead-published"])
def test_lorats_own_head_ablation_changes_three_things_and_is_refused(name: str) -> None:
    """Its published settings, to the letter: the head, hard labels, and a final norm that trains."""
    baseline, published = VARIANTS["lorat-b-224"], VARIANTS[name]
    three = {field.split(".")[0] for field in differences(published, baseline)}
    assert three == {"head", "labels", "train_norm"}
    rows = (Row("mlp", ("MLP",)), Row("conv", ("conv",), {field: getattr(published, field) for field in three}))

    def study(*coupled: str) -> Study:
        declared = tuple(Coupled(field, "as published") for field in coupled)
        return Study("published", "", "", "", baseline, {"Head": "head"}, rows, declared)

    for coupled in ((), ("labels",), ("train_norm",)):
        with pytest.raises(ConfoundedStudy, match=r"labels|train_norm"):
            study(*coupled)
    assert study("labels", "train_norm").spec(rows[1]).train_norm
    intended = STUDIES["lorat-head"]
    assert all({f.split(".")[0] for f in intended.differences(row)} <= {"head"} for row in intended.rows)


def test_it_is_accepted_once_all_of_it_is_declared() -> None:
    study = head_study(LABELS, UNFROZEN)
    assert study.spec(study.rows[1]).head == CentreHead()
    assert study.spec(study.rows[1]).name == "conv"


def test_the_honest_version_declares_the_labels_only() -> None:
    study = head_study(LABELS, head=CentreHead(), labels="gaussian")
    assert {name.split(".")[0] for name in differences(study.spec(study.rows[1]), LORAT)} == {"head", "labels"}


def test_a_field_that_only_begins_like_a_declared_one_is_not_declared() -> None:
    with pytest.raises(FaultyStudy, match=r"'embedding\.trainable'.*did you mean embedding\.trainable_positions"):
        head_study(LABELS, Coupled("embedding.trainable", "not a field"))


def test_a_leaf_may_be_coupled_without_its_neighbours() -> None:
    both = LORAT.embedding.model_copy(update={"trainable_positions": True, "token_types": 2})
    with pytest.raises(ConfoundedStudy, match=r"embedding\.token_types"):
        head_study(LABELS, UNFROZEN, **(CONV_AS_PUBLISHED | {"embedding": both}))


def test_a_change_hidden_in_a_factors_row_is_refused() -> None:
    with pytest.raises(ConfoundedStudy, match="sparsity"):
        head_study(LABELS, head=CentreHead(), labels="gaussian", sparsity=CandidateElimination())


def test_an_illegal_row_is_refused_with_the_axes_reason() -> None:
    with pytest.raises(ValueError, match="label assignments belong to heads"):
        head_study(LABELS, head=CentreHead(), labels="corner")


def test_rows_need_one_baseline_and_names_of_their_own() -> None:
    mlp, conv = Row("mlp", ("MLP",)), Row("conv", ("conv",), {"head": CentreHead(), "labels": "gaussian"})
    with pytest.raises(ValueError, match="share a name"):
        study_of((mlp, Row("mlp", ("conv",), conv.changes)), (LABELS,))
    with pytest.raises(ValueError, match="exactly one row must change nothing"):
        study_of((conv,), (LABELS,))
    with pytest.raises(ValueError, match="exactly one row must change nothing"):
        study_of((mlp, Row("again", ("MLP",)), conv), (LABELS,))
    assert study_of((conv, mlp), (LABELS,)).baseline_row is mlp


def test_the_catalogue_knows_the_studies_and_suggests_names() -> None:
    assert {"table3", "head"} <= set(STUDIES)
    assert all(study.name == name for name, study in STUDIES.items())
    with pytest.raises(LookupError, match="did you mean table3"):
        STUDIES["tabel3"]
    with pytest.raises(ValueError, match="claimed twice"):
        STUDIES.add("head", STUDIES["head"])


@EVERY_STUDY
def test_a_study_says_what_it_asks(study: Study) -> None:
    assert study.title
    assert study.question.endswith("?")
    assert study.source
    assert {field.split(".")[0] for field in study.factors.values()} <= {*TrackerSpec.model_fields, RECIPE}
    assert all(len(row.cells) == len(study.factors) and all(row.cells) for row in study.rows)
    assert len({row.cells for row in study.rows}) == len(study.rows), "two rows of the table read the same"


@EVERY_STUDY
def test_every_coupling_is_used_and_reasoned(study: Study) -> None:
    changed = {field for row in study.rows for field in study.differences(row)}
    for coupled in study.coupled:
        assert coupled.reason
        assert any(f == coupled.field or f.startswith(f"{coupled.field}.") for f in changed), coupled


@EVERY_STUDY
def test_every_changed_row_changes_a_factor(study: Study) -> None:
    for row in study.rows:
        factors = study.factors.values()
        moved = [name for name in study.differences(row) if any(f"{name}.".startswith(f"{f}.") for f in factors)]
        assert not row.changes or moved, f"{row.name} changes coupled fields only"


@EVERY_STUDY
@pytest.mark.parametrize("profile", ["mini", "short", "paper"])
def test_rows_are_different_runs_at_every_size(study: Study, profile: str) -> None:
    """A scale that overwrote what a study varies would compare a tracker with itself."""
    rows = [row for row in planned_rows(study, load_profile(profile)) if row.role == "variant"]
    assert len({(row.run.fingerprint, row.test_layers) for row in rows}) == len(study.rows)


@EVERY_ROW
def test_rows_still_differ_in_declared_fields_only_at_scale(study: Study, row: Row) -> None:
    at_paper = differences(study.spec(row), study.baseline)
    scaled = differences(at_scale(study.spec(row), MINI), at_scale(study.baseline, MINI))
    assert scaled.keys() == at_paper.keys()


@EVERY_ROW
def test_every_row_builds_at_scale(study: Study, row: Row) -> None:
    from trackablate.trackers.model import build

    model = build(at_scale(study.spec(row), MINI), pretrained=False)
    assert model.spec.name == row.name
    assert any(p.requires_grad for p in model.parameters())


def test_a_task_knows_the_rows_of_the_table_that_it_works_for() -> None:
    """The control's tracking is a part of the baseline's task, and has a row of its own."""
    rows = planned_rows(STUDIES["table3"], load_profile("smoke"), seeds=2)
    found = [task.rows for task in tasks(rows, {"synthetic-smoke": "digest"}, {})]
    assert found == [
        ("conv", "shuffled-template"),
        ("conv seed 1", "shuffled-template seed 1"),
        *[(f"{name}{seed}",) for name in ("decoder", "ce-conv", "ce-decoder") for seed in ("", " seed 1")],
        ("static",),
        ("ncc",),
    ]
    layers = tasks(planned_rows(STUDIES["table6"], load_profile("smoke")), {"synthetic-smoke": "digest"}, {})
    assert all(len(task.rows) == len(task.evaluations) == len(set(task.rows)) for task in layers)
