"""From a study and a profile to the runs that it needs: its rows, the floors under them, and the controls."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from trackablate.ablations.recipes import Training, published_training
from trackablate.ablations.study import FaultyStudy, Row, Study
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.harness.record import PlannedRow, PlannedRun, evaluations_of
from trackablate.harness.running.tasks import RunTask
from trackablate.harness.spec import Profile, Recipe, RunSpec
from trackablate.trackers.encoder.pretrained import weights_digest
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import DeformableHead, FloorSpec, TrackerSpec, replace

FLOORS: dict[Literal["static", "ncc"], str] = {
    "static": "repeats the first frame's box: what standing still scores",
    "ncc": "normalised cross-correlation of the first template at three scales: what needs no learning",
}

SHUFFLED = "the baseline's weights shown another sequence's template: what knowing the target is not needed for"


def planned_rows(
    study: Study,
    profile: Profile,
    *,
    protocols: Collection[str] = (),
    seeds: int | None = None,
    only: Collection[str] = (),
) -> list[PlannedRow]:
    """The study's rows at the profile's size, then floors and controls. protocols: instead of the profile's or the
    study's. seeds: instead of the study's. `only` limits the variants by name; the baseline stays in, since deltas need
    it. Raises UnknownName for a name in `only` that is no row.
    """
    names = [row.name for row in study.rows]
    for name in only:
        if name not in names:
            raise UnknownName(unknown(f"row of {study.name}", name, names))
    wanted = tuple(protocols or planned_protocols(study, profile))
    rows = [
        PlannedRow(
            name=row.name,
            role="variant",
            cells=row.cells,
            description=", ".join(f"{factor}: {cell}" for factor, cell in zip(study.factors, row.cells, strict=True)),
            runs=_runs(study, row, profile, wanted, range(study.seeds if seeds is None else seeds)),
            test_layers=_test_layers(study.spec(row)),
            tracker_at_paper_scale=study.spec(row),
            baseline=row is study.baseline_row,
        )
        for row in study.rows
        if not only or row.name in only or row is study.baseline_row
    ]
    _refuse_one_run_for_two(study, profile, rows)
    baseline = next(row for row in rows if row.baseline)
    floors = [
        PlannedRow(
            name=kind,
            role="floor",
            cells=(),
            description=text,
            runs=(PlannedRun(run=RunSpec(tracker=FloorSpec(kind=kind)), protocols=wanted),),
        )
        for kind, text in FLOORS.items()
    ]
    control = PlannedRow(
        name="shuffled-template",
        role="control",
        cells=(),
        description=SHUFFLED,
        runs=baseline.runs,
        control="shuffled-template",
    )
    return [*rows, *floors, control]


def _refuse_one_run_for_two(study: Study, profile: Profile, rows: list[PlannedRow]) -> None:
    """A profile whose scale overwrites what two rows differ in would compare a tracker with itself. Raises FaultyStudy."""
    seen: dict[tuple[str, int | None], str] = {}
    for row in rows:
        key = (row.run.fingerprint, row.test_layers)
        if key in seen:
            raise FaultyStudy(
                f"study {study.name!r}: at profile {profile.name} rows {seen[key]!r} and {row.name!r} are one and the same"
                " run, since what they differ in is scaled away: drop one, or choose another --profile"
            )
        seen[key] = row.name


def planned_protocols(study: Study, profile: Profile) -> tuple[str, ...]:
    """What a study is evaluated on at a profile's size, unless the user says otherwise."""
    return profile.protocols or study.protocols


def _runs(study: Study, row: Row, profile: Profile, protocols: tuple[str, ...], seeds: range) -> tuple[PlannedRun, ...]:
    """A profile with a recipe and data of its own trains each row once; one without trains it as the paper does."""
    own = profile.recipe is not None and profile.data is not None
    groups = [(0, protocols)] if own else _groups(study, protocols)
    return tuple(
        PlannedRun(run=run_of(study.spec(row), profile, seed, _training(study, row, profile, index)), protocols=served)
        for seed in seeds
        for index, served in groups
    )


def _groups(study: Study, protocols: tuple[str, ...]) -> list[tuple[int, tuple[str, ...]]]:
    """Which training serves which of the protocols; those that no training names go to the last."""
    last = len(study.trainings) - 1
    of = {name: index for index, training in enumerate(study.trainings) for name in training.protocols}
    grouped = [(i, tuple(p for p in protocols if of.get(p, last) == i)) for i in range(len(study.trainings))]
    return [(index, served) for index, served in grouped if served]


def _training(study: Study, row: Row, profile: Profile, index: int) -> Training:
    """A row's training at the profile's size, where it takes anything from the paper."""
    training, own = study.trainings[index], study.recipes(row)[index]
    if profile.recipe is not None:
        longest = max(study.recipes(other)[index].steps for other in study.rows)
        own = scaled_recipe(profile.recipe, own, training.recipe, longest)
    return Training(own, training.data, training.protocols)


RATES = ("lr_backbone", "lr_new", "weight_decay")
SIZES = ("steps", "batch_size", "micro_batch", "warmup_steps", "validation_pairs", "checkpoint_every")
"""Fields of a recipe that belong to the size at which it runs: a row's batch is scaled in proportion, its length as a
share of the study's longest, and the others are the profile's."""


def scaled_recipe(recipe: Recipe, own: Recipe, baseline: Recipe, longest: int) -> Recipe:
    """The profile's recipe with what sets a row's own published recipe apart from its baseline's: its length as a share
    of the study's longest, its rates in proportion, everything else as it is.
    """
    changes: dict[str, Any] = {"steps": max(1, round(recipe.steps * own.steps / longest))}
    changes["warmup_steps"] = min(recipe.warmup_steps, changes["steps"] // 4)
    changes["batch_size"] = max(1, round(recipe.batch_size * own.batch_size / baseline.batch_size))
    for name in Recipe.model_fields:
        ours, theirs = getattr(own, name), getattr(baseline, name)
        if ours == theirs or name in SIZES:
            continue
        changes[name] = getattr(recipe, name) * ours / theirs if name in RATES else ours
    return recipe.model_copy(update=changes)


def run_of(tracker: TrackerSpec, profile: Profile, seed: int, training: Training | None = None) -> RunSpec:
    """The run that trains a paper-scale tracker at the profile's size. training: instead of what the profile, or for one
    without a recipe the tracker's own paper, says. The decoder trains with all layers, however many are tested.
    """
    asked = training or published_training(tracker)
    scaled = at_scale(tracker, profile.scale) if profile.scale else _at_paper_scale(tracker, profile)
    if isinstance(scaled.head, DeformableHead):
        scaled = replace(scaled, head=scaled.head.model_copy(update={"test_layers": None}))
    return RunSpec(
        tracker=scaled,
        recipe=training.recipe if training else profile.recipe or asked.recipe,
        data=profile.data or asked.data,
        weights=weights_digest(scaled.backbone, scaled.pretrained),
        seed=seed,
    )


def _at_paper_scale(tracker: TrackerSpec, profile: Profile) -> TrackerSpec:
    return replace(tracker, pretrained=profile.pretrained.get(tracker.backbone, tracker.pretrained))


def _test_layers(tracker: TrackerSpec) -> int | None:
    return tracker.head.test_layers if isinstance(tracker.head, DeformableHead) else None


def tasks(rows: list[PlannedRow], digests: Mapping[str, str], roots: Mapping[str, str]) -> list[RunTask]:
    """One task per distinct run, with everything that is to be evaluated on it. digests: protocol name to the digest of
    its data; roots: data name to path.
    """
    found = evaluations_of(rows, digests).values()
    return [RunTask(run=run, evaluations=evaluations, roots=dict(roots)) for run, evaluations in found]
