"""Studies: the guard against confounds, the printed figures, and every row of every study at scale."""

from typing import Any

import pytest
from test_spec import SCALE

from ablations.catalogue import STUDIES
from ablations.published import _published, published
from ablations.study import ConfoundedStudy, Coupled, Row, Study
from trackers.scale import at_scale
from trackers.spec import (
    CandidateElimination,
    CentreHead,
    InputEmbedding,
    LoRA,
    MLPHead,
    TrackerSpec,
    differences,
    fingerprint,
)

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


def test_it_is_accepted_once_all_of_it_is_declared() -> None:
    study = head_study(LABELS, UNFROZEN)
    assert study.spec(study.rows[1]).head == CentreHead()
    assert study.spec(study.rows[1]).name == "conv"


def test_the_honest_version_declares_the_labels_only() -> None:
    study = head_study(LABELS, head=CentreHead(), labels="gaussian")
    assert {name.split(".")[0] for name in differences(study.spec(study.rows[1]), LORAT)} == {"head", "labels"}


def test_a_field_that_only_begins_like_a_declared_one_is_not_declared() -> None:
    with pytest.raises(ConfoundedStudy, match=r"embedding\.trainable_positions"):
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
        head_study(LABELS, head=CentreHead())


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
    assert set(study.factors.values()) <= set(TrackerSpec.model_fields)
    assert all(len(row.cells) == len(study.factors) and all(row.cells) for row in study.rows)
    assert len({row.cells for row in study.rows}) == len(study.rows), "two rows of the table read the same"


@EVERY_STUDY
def test_every_coupling_is_used_and_reasoned(study: Study) -> None:
    changed = {field for row in study.rows for field in differences(study.spec(row), study.baseline)}
    for coupled in study.coupled:
        assert coupled.reason
        assert any(f == coupled.field or f.startswith(f"{coupled.field}.") for f in changed), coupled


@EVERY_STUDY
def test_every_changed_row_changes_a_factor(study: Study) -> None:
    for row in study.rows:
        moved = {field.split(".")[0] for field in differences(study.spec(row), study.baseline)}
        assert not row.changes or moved & set(study.factors.values()), f"{row.name} changes coupled fields only"


@EVERY_STUDY
def test_rows_are_different_trackers_at_paper_scale_and_at_scale(study: Study) -> None:
    """A scale that overwrote what a study varies would compare a tracker with itself."""
    for specs in ([study.spec(r) for r in study.rows], [at_scale(study.spec(r), SCALE) for r in study.rows]):
        assert len({fingerprint(spec) for spec in specs}) == len(study.rows)


@EVERY_ROW
def test_rows_still_differ_in_declared_fields_only_at_scale(study: Study, row: Row) -> None:
    at_paper = differences(study.spec(row), study.baseline)
    scaled = differences(at_scale(study.spec(row), SCALE), at_scale(study.baseline, SCALE))
    assert scaled.keys() == at_paper.keys()


@EVERY_ROW
def test_every_row_builds_at_scale(study: Study, row: Row) -> None:
    from trackers.model import build

    model = build(at_scale(study.spec(row), SCALE), pretrained=False)
    assert model.spec.name == row.name
    assert any(p.requires_grad for p in model.parameters())


@EVERY_ROW
def test_published_figures_load(study: Study, row: Row) -> None:
    found = published(study.name, row.name)
    if found is None:
        assert study.name != "table3", f"the paper prints figures for {row.name}"
        return
    figures, source = found
    assert source.title
    assert source.data
    assert any(v is not None for v in (figures.ao, figures.params, figures.flops))
    assert figures.ao is None or 0 < figures.ao < 100
    assert figures.params is None or 1e6 < figures.params < 1e10


def test_every_printed_figure_belongs_to_a_row_and_a_source() -> None:
    entries = _published().rows
    assert len({(e.study, e.row) for e in entries}) == len(entries), "a row's figures are given twice"
    for entry in entries:
        assert entry.row in {row.name for row in STUDIES[entry.study].rows}, f"no such row: {entry.study}/{entry.row}"
        assert entry.source in _published().sources


def test_the_papers_table_3_is_printed_as_in_the_paper() -> None:
    printed = [published("table3", name) for name in ("conv", "decoder", "ce-conv", "ce-decoder")]
    assert [p[0].ao for p in printed if p] == [71.5, 72.9, 71.7, 72.9]
    assert [p[0].flops for p in printed if p] == [22.3e9, 21.4e9, 16.4e9, 15.6e9]
    assert published("table3", "none") is None
