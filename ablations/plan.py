"""From a study and a profile to the runs that it needs: its rows, the floors and the control."""

from collections.abc import Collection, Mapping
from dataclasses import replace as replace_in
from typing import Any, Literal

from pydantic import ValidationError

from trackablate.ablations.recipes import Training, published_training
from trackablate.ablations.study import FaultyStudy, Row, Study
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.datasets.toml_files import configured, in_words
from trackablate.harness.record import PlannedRow, PlannedRun, evaluations_of
from trackablate.harness.running.tasks import RunTask
from trackablate.harness.spec import Profile, Recipe, RunSpec, VideoData
from trackablate.trackers.encoder.pretrained import FILES, weights_digest
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import AnyTracker, DeformableHead, FloorSpec, TrackerSpec, leaves, replace, with_fields

FLOOR_ROWS: dict[Literal["static", "ncc"], str] = {
    "static": "repeats the first frame's box: the score of standing still",
    "ncc": "normalised cross-correlation of the first template at three scales: the score without learning",
}

SHUFFLED = "the baseline's weights with another sequence's template: the score without knowing the target"


def planned_rows(
    study: Study,
    profile: Profile,
    *,
    protocols: Collection[str] = (),
    seeds: int | None = None,
    only: Collection[str] = (),
) -> list[PlannedRow]:
    """Return the study's rows at the profile's size and what stands beside them, then the floors and the control.

    protocols and seeds replace those of profile and study. `only` keeps the variants of these names and the baseline,
    to which differences are taken.

    Raises:
        UnknownName: A name in `only` is not a row.
        FaultyStudy: Two rows are the same run at this size.
    """
    names = [row.name for row in study.rows]
    for name in only:
        if name not in names:
            raise UnknownName(unknown(f"row of {study.name}", name, names))
    wanted = tuple(protocols or planned_protocols(study, profile))
    profile = _with_weights(profile, study)
    rows = [
        PlannedRow(
            name=row.name,
            role="variant",
            cells=row.cells,
            description=", ".join(f"{factor}: {cell}" for factor, cell in zip(study.factors, row.cells, strict=True)),
            runs=_runs(study, row, profile, wanted, range(study.seeds if seeds is None else seeds)),
            test_layers=getattr(study.spec(row).head, "test_layers", None),
            tracker_at_paper_scale=_counted(study.spec(row), profile),
            baseline=row is study.baseline_row,
        )
        for row in study.rows
        if not only or row.name in only or row is study.baseline_row
    ]
    refuse_unknown_changes(profile.changes, [planned.run for row in rows for planned in row.runs])
    _refuse_changes_of_the_question(study, profile, rows)
    rows += _others(study, wanted)
    _refuse_one_run_for_two(study, profile, rows)
    for kind, text in FLOOR_ROWS.items():
        floor = PlannedRun(run=RunSpec(tracker=FloorSpec(kind=kind)), protocols=wanted)
        rows.append(PlannedRow(name=kind, role="floor", description=text, runs=(floor,)))
    baseline = next(row for row in rows if row.baseline)
    control = PlannedRow(
        name="shuffled-template", role="control", description=SHUFFLED, runs=baseline.runs, control="shuffled-template"
    )
    return [*rows, control]


def _with_weights(profile: Profile, study: Study) -> Profile:
    """Return the profile with the weights that the study starts from, if it is of paper scale and settings name them."""
    file, _ = configured("weights", study.starts_from) if study.starts_from and not profile.scale else (None, "")
    own = {study.baseline.backbone: f"file:{file}"} if file else {}
    return profile.model_copy(update={"pretrained": own | profile.pretrained})


def _others(study: Study, protocols: tuple[str, ...]) -> list[PlannedRow]:
    """Return the rows that the study's file or the user put beside the study's own."""
    return [
        PlannedRow(
            name=other.name,
            role="variant",
            description=f"beside the study: {other.run.name}",
            runs=(PlannedRun(run=other.run, protocols=protocols),),
            tracker_at_paper_scale=_published_size(other.run.tracker),
        )
        for other in study.others
    ]


def _published_size(tracker: AnyTracker) -> TrackerSpec | None:
    """Return the tracker, None if it has none of the published sizes: it is no network of ours, or an embedded one."""
    return tracker if isinstance(tracker, TrackerSpec) and tracker.backbone not in FILES else None


def _refuse_one_run_for_two(study: Study, profile: Profile, rows: list[PlannedRow]) -> None:
    """Refuse a profile whose scale overwrites the difference of two rows: it would compare a tracker with itself."""
    seen: dict[tuple[str, int | None], str] = {}
    for row in rows:
        key = (row.run.fingerprint, row.test_layers)
        if key in seen:
            raise FaultyStudy(
                f"study {study.name!r}: at profile {profile.name} rows {seen[key]!r} and {row.name!r} are the same "
                f"run: drop one, {'leave out --with, ' if study.others else ''}or choose another --profile"
            )
        seen[key] = row.name


def planned_protocols(study: Study, profile: Profile) -> tuple[str, ...]:
    """Return the protocols that a study is evaluated on at a profile's size, unless the user names others."""
    return profile.protocols or study.protocols


def _runs(study: Study, row: Row, profile: Profile, protocols: tuple[str, ...], seeds: range) -> tuple[PlannedRun, ...]:
    """Return a row's runs. A profile with its own recipe and data trains each row once, another as the paper does."""
    own = profile.recipe is not None and profile.data is not None
    groups = [(0, protocols)] if own else _groups(study, protocols)
    return tuple(
        PlannedRun(run=run_of(study.spec(row), profile, seed, _training(study, row, profile, index)), protocols=served)
        for seed in seeds
        for index, served in groups
    )


def _groups(study: Study, protocols: tuple[str, ...]) -> list[tuple[int, tuple[str, ...]]]:
    """Return which training (its index) serves which protocols. Protocols that no training names go to the last."""
    last = len(study.trainings) - 1
    of = {name: index for index, training in enumerate(study.trainings) for name in training.protocols}
    grouped = [(i, tuple(p for p in protocols if of.get(p, last) == i)) for i in range(len(study.trainings))]
    return [(index, served) for index, served in grouped if served]


def _training(study: Study, row: Row, profile: Profile, index: int) -> Training:
    """Return a row's training at the profile's size, as far as it takes anything from the paper."""
    training = study.trainings[index]
    if profile.recipe is None:
        return replace_in(training, recipe=_shortened(study.recipes(row)[index], profile.length))
    own = study.recipes(row, published=False)[index]
    longest = max(study.recipes(other, published=False)[index].steps for other in study.rows)
    recipe = scaled_recipe(profile.recipe, own, training.recipe, longest)
    return replace_in(training, recipe=recipe, elimination=None)


def _shortened(recipe: Recipe, share: float) -> Recipe:
    steps, warmup = max(1, round(share * recipe.steps)), round(share * recipe.warmup_steps)
    return recipe.model_copy(update={"steps": steps, "warmup_steps": warmup}) if share < 1 else recipe


RATES = ("lr_backbone", "lr_new", "weight_decay")
SIZES = (
    *("steps", "batch_size", "micro_batch", "precision", "compile"),
    *("warmup_steps", "validation_pairs", "checkpoint_every"),
)
"""Fields of a recipe that depend on the size at which it runs.

A row's batch is scaled in proportion, its length as a share of the study's longest. The others are the profile's.
"""


def scaled_recipe(recipe: Recipe, own: Recipe, baseline: Recipe, longest: int) -> Recipe:
    """Return the profile's recipe with the differences between a row's published recipe and its baseline's.

    The length is a share of the study's longest, rates are scaled in proportion, and other fields are taken as they
    are.
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
    """Return the run that trains a paper-scale tracker at the profile's size, with all layers of a decoder.

    training replaces the profile's own or, for a profile without a recipe, the paper's.
    """
    published = published_training(tracker)
    asked = training or replace_in(published, recipe=_shortened(published.recipe, profile.length))
    weights = profile.pretrained.get(tracker.backbone, tracker.pretrained)
    scaled = at_scale(tracker, profile.scale) if profile.scale else replace(tracker, pretrained=weights)
    if scaled.sparsity and asked.elimination:
        start, end = asked.elimination
        scaled = replace(scaled, sparsity=scaled.sparsity.model_copy(update={"start": start, "end": end}))
    if isinstance(scaled.head, DeformableHead):
        scaled = replace(scaled, head=scaled.head.model_copy(update={"test_layers": None}))
    run = RunSpec(
        tracker=scaled,
        recipe=training.recipe if training else profile.recipe or asked.recipe,
        data=profile.data or asked.data,
        seed=seed,
    )
    run = _changed(run, profile.changes)
    if isinstance(run.data, VideoData):
        packed = tuple(f"{name}: {profile.packed[name]}" for name in run.data.all_sets if name in profile.packed)
        run = run.model_copy(update={"data": run.data.model_copy(update={"packed": packed})})
    assert isinstance(run.tracker, TrackerSpec)
    return run.model_copy(update={"weights": weights_digest(run.tracker.backbone, run.tracker.pretrained)})


def _changed(run: RunSpec, changes: Mapping[str, Any]) -> RunSpec:
    """Return the run with those of the dotted fields changed that it has."""
    assert isinstance(run.tracker, TrackerSpec)
    of_tracker = _those_of(changes, "tracker", leaves(run.tracker))
    of_recipe = _those_of(changes, "recipe", leaves(run.recipe) if run.recipe else {})
    if run.recipe and "warmup_steps" not in of_recipe and isinstance(steps := of_recipe.get("steps"), int):
        of_recipe["warmup_steps"] = round(run.recipe.warmup_steps * max(0, steps) / run.recipe.steps)
    try:
        tracker = with_fields(run.tracker, of_tracker) if of_tracker else run.tracker
        recipe = Recipe.model_validate(run.recipe.model_dump() | of_recipe) if run.recipe else None
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(("recipe" if error.title == Recipe.__name__ else "tracker", *map(str, fault["loc"])))
        problem, remedy = in_words(fault)
        raise FaultyStudy(f"--set {field}: {problem}{f'; {remedy}' if remedy else ''}") from error
    return run.model_copy(update={"tracker": tracker, "recipe": recipe})


def _those_of(changes: Mapping[str, Any], part: str, known: Collection[str]) -> dict[str, Any]:
    """Return the changes of the known fields of a part of a run, by their paths in it."""
    asked = {path.removeprefix(f"{part}."): value for path, value in changes.items() if path.startswith(f"{part}.")}
    return {path: value for path, value in asked.items() if path in known}


def _counted(tracker: TrackerSpec, profile: Profile) -> TrackerSpec:
    """Return what is counted at paper scale: with the changes of a profile of that scale, which are meant for it."""
    known = _those_of(profile.changes, "tracker", leaves(tracker))
    return with_fields(tracker, known) if known and profile.scale is None else tracker


def refuse_unknown_changes(changes: Mapping[str, Any], runs: Collection[RunSpec]) -> None:
    """Raise UnknownName if none of the runs has a field that is to be changed."""
    known = [f"tracker.{path}" for run in runs for path in leaves(run.tracker)]
    known += [f"recipe.{path}" for path in Recipe.model_fields]
    for path in changes:
        if path not in known:
            raise UnknownName(unknown("field of any run", path, list(dict.fromkeys(known))))


def _refuse_changes_of_the_question(study: Study, profile: Profile, rows: list[PlannedRow]) -> None:
    for path in profile.changes:
        field = path.removeprefix("tracker.")
        if any(f"{name}.".startswith(f"{field}.") for name in study.factors.values()):
            raise FaultyStudy(f"--set {path}: study {study.name!r} varies it from row to row; leave it out")
    for row in rows:
        head = row.run.tracker.head if isinstance(row.run.tracker, TrackerSpec) else None
        if isinstance(head, DeformableHead) and row.test_layers and row.test_layers > head.layers:
            raise FaultyStudy(
                f"row {row.name!r} of {study.name!r} is tested with {row.test_layers} decoder layers, of {head.layers}:"
                " leave out --set tracker.head.layers"
            )


def tasks(rows: list[PlannedRow], digests: Mapping[str, str], roots: Mapping[str, str]) -> list[RunTask]:
    """Return one task for each distinct run, with all evaluations that are done on it.

    digests: protocol name to the digest of its data. roots: data name to path.
    """
    names = {
        (planned.run.fingerprint, row.evaluation(name, digests[name])): row.name
        for row in rows
        for planned in row.runs
        for name in planned.protocols
    }
    found = []
    for print_, (run, evaluations) in evaluations_of(rows, digests).items():
        seed = f" seed {run.seed}" if run.seed else ""
        shown = tuple(names[print_, evaluation] + seed for evaluation in evaluations)
        found.append(RunTask(run=run, evaluations=evaluations, roots=dict(roots), rows=shown))
    return found
