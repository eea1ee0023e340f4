"""From a study and a profile to the runs that it needs: its rows, the floors under them, and the controls."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ablations.study import Study
from datasets.registry import UnknownName, unknown
from harness.spec import Control, Evaluation, Profile, RunSpec
from harness.tasks import RunTask
from trackers.pretrained import weights_digest
from trackers.scale import at_scale
from trackers.spec import FloorSpec, TrackerSpec

FLOORS = {
    "static": "repeats the first frame's box: what standing still scores",
    "ncc": "normalised cross-correlation of the first template at three scales: what needs no learning",
}

SHUFFLED = "the baseline's weights shown another sequence's template: what knowing the target is not needed for"


@dataclass(frozen=True)
class PlannedRow:
    """One row of the table to be. tracker_at_paper_scale is None for floors and controls."""

    name: str
    role: str
    cells: tuple[str, ...]
    description: str
    run: RunSpec
    control: Control = "none"
    tracker_at_paper_scale: TrackerSpec | None = None
    baseline: bool = False


def planned_rows(study: Study, profile: Profile, *, seed: int = 0, only: Collection[str] = ()) -> list[PlannedRow]:
    """The study's rows at the profile's size, then floors and controls. `only` limits the variants by name; the baseline
    stays in, since deltas need it. Raises UnknownName for a name in `only` that is no row."""
    names = [row.name for row in study.rows]
    for name in only:
        if name not in names:
            raise UnknownName(unknown(f"row of {study.name}", name, names))
    rows = [
        PlannedRow(
            name=row.name,
            role="variant",
            cells=row.cells,
            description=", ".join(f"{factor}: {cell}" for factor, cell in zip(study.factors, row.cells, strict=True)),
            run=run_of(study.spec(row), profile, seed),
            tracker_at_paper_scale=study.spec(row),
            baseline=row is study.baseline_row,
        )
        for row in study.rows
        if not only or row.name in only or row is study.baseline_row
    ]
    baseline = next(row for row in rows if row.baseline)
    floors = [
        PlannedRow(name, "floor", (), text, RunSpec(tracker=FloorSpec(kind="static" if name == "static" else "ncc")))
        for name, text in FLOORS.items()
    ]
    control = PlannedRow("shuffled-template", "control", (), SHUFFLED, baseline.run, "shuffled-template")
    return [*rows, *floors, control]


def run_of(tracker: TrackerSpec, profile: Profile, seed: int) -> RunSpec:
    """The run that trains a paper-scale tracker at the profile's size under its recipe."""
    scaled = at_scale(tracker, profile.scale) if profile.scale else tracker
    return RunSpec(
        tracker=scaled,
        recipe=profile.recipe,
        data=profile.data,
        weights=weights_digest(scaled.backbone, scaled.pretrained),
        seed=seed,
    )


def tasks(rows: list[PlannedRow], digests: Mapping[str, str], roots: Mapping[str, str]) -> list[RunTask]:
    """One task per distinct run, with everything that is to be evaluated on it. digests: protocol name to the digest of
    its data; roots: data name to path."""
    grouped: dict[str, list[PlannedRow]] = {}
    for row in rows:
        grouped.setdefault(row.run.fingerprint, []).append(row)
    return [
        RunTask(
            run=same[0].run,
            evaluations=tuple(evaluation_of(row, name, digest) for row in same for name, digest in digests.items()),
            roots=dict(roots),
        )
        for same in grouped.values()
    ]


def evaluation_of(row: PlannedRow, protocol: str, digest: str) -> Evaluation:
    """The evaluation of a row on a protocol."""
    return Evaluation(protocol=protocol, data=digest, control=row.control)
