"""A study from a TOML file, with everything that the built-in studies have.

name = "my-ranks"
title = "How much rank does LoRA need?"
question = "Does accuracy grow with the rank?"
baseline = "lorat-b-224"            # a name of `list trackers`
protocols = ["lasot"]               # at paper scale; optional, as are seeds, coupled, epochs
seeds = 3

[factors]                           # column title to field of the tracker
Rank = "adaptation.rank"

[grid]                              # every combination is a row, or ...
"adaptation.rank" = [4, 16, 64]

[[rows]]                            # ... rows by hand; one of them, without `set`, is the baseline
name = "with-dora"
set = { "adaptation.dora" = true, "adaptation.init" = "lora" }    # "recipe.layer_decay" = 0.7 changes the training

beside = ["mine", "csrt=opencv-csrt"]     # further rows: runs of the store, outside trackers; at the top of the file

[outside.siam]                      # an outside tracker with all its fields
target = "siam:Siam"
python = "/envs/siamese/bin/python"
"""

import itertools
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from trackablate.ablations.recipes import Training, published_training
from trackablate.ablations.study import RECIPE, Coupled, FaultyStudy, Other, Row, Study
from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import UnknownName
from trackablate.datasets.toml_files import anchored, faults, line_of, read_toml
from trackablate.harness.scoring.dialects import known_protocol
from trackablate.harness.spec import Recipe, RunSpec
from trackablate.trackers.spec import Frozen, OutsideSpec, TrackerSpec, changes_of, leaves, with_fields
from trackablate.trackers.variants import VARIANTS

MOST_SEEDS = 1000
"""The most runs of each row, as for the option --seeds."""
MOST_ROWS = 1000
"""Combinations of a grid."""
PREFIX = f"{RECIPE}."
"""Beginning of the recipe's fields in a row's `set`."""


class _Row(Frozen):
    name: str
    set: dict[str, Any] = Field(default_factory=dict)
    cells: tuple[str, ...] = ()


class _File(Frozen):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str
    question: str
    baseline: str
    source: str = "a study of one's own"
    factors: Annotated[dict[str, str], Field(min_length=1)]
    coupled: dict[str, str] = Field(default_factory=dict)
    rows: tuple[_Row, ...] = ()
    grid: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    protocols: tuple[str, ...] = ()
    primary_metric: str = "ao"
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 1
    remarks: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    outside: dict[str, OutsideSpec] = Field(default_factory=dict)


def load_study(file: Path) -> Study:
    """Return the study in a file. Raises FaultyStudy with file, line and remedy if it cannot be read or is faulty."""
    if not file.is_file():
        there = "is no ordinary file" if file.exists() else "is not there"
        raise FaultyStudy(f"{file} {there}: name a study of `list studies`, or a TOML file")
    try:
        text, document = read_toml(file)
    except DataError as error:
        raise FaultyStudy(str(error)) from error
    if "boxes" in document and "baseline" not in document:
        raise FaultyStudy(f"{file} declares a data set, and no study: name a study, and this file by --protocol {file}")
    try:
        return _study(_File.model_validate(anchored(file, document)))
    except ValidationError as error:
        raise FaultyStudy("\n".join(faults(file, text, error, _File, TrackerSpec, Recipe))) from error
    except FaultyStudy as error:
        raise type(error)(f"{file}: {error}") from error
    except (UnknownName, ValueError) as error:
        raise FaultyStudy(f"{file}{line_of(text, str(error))}: {error}") from error


def _study(asked: _File) -> Study:
    baseline = VARIANTS[asked.baseline]
    training = published_training(baseline)
    if asked.protocols:
        names = tuple(known_protocol(name).name for name in asked.protocols)
        training = Training(training.recipe, training.data, names)
    return Study(
        name=asked.name,
        title=asked.title,
        question=asked.question,
        source=asked.source,
        baseline=baseline,
        factors=asked.factors,
        rows=tuple(_rows(asked, baseline, training)),
        coupled=tuple(Coupled(field, reason) for field, reason in asked.coupled.items()),
        trainings=(training,),
        primary_metric=asked.primary_metric,
        remarks=asked.remarks,
        seeds=asked.seeds,
        beside=asked.beside,
        others=tuple(Other(name, RunSpec(tracker=tracker)) for name, tracker in asked.outside.items()),
    )


def _rows(asked: _File, baseline: TrackerSpec, training: Training) -> list[Row]:
    """Return the rows by hand and those of the grid, and the baseline first if it is among neither."""
    found = [_row(row, asked, baseline, training) for row in (*asked.rows, *_grid(asked.grid))]
    if all(row.changes for row in found):
        found.insert(0, _row(_Row(name=baseline.name), asked, baseline, training))
    return found


def _grid(grid: dict[str, tuple[Any, ...]]) -> Iterator[_Row]:
    if (rows := prod(map(len, grid.values()))) > MOST_ROWS:
        raise FaultyStudy(f"[grid] has {rows} combinations, more than {MOST_ROWS}: leave out some of its values")
    for values in itertools.product(*grid.values()) if grid else ():
        name = "-".join(f"{field.rsplit('.', 1)[-1]}-{_word(value)}" for field, value in zip(grid, values, strict=True))
        yield _Row(name=name, set=dict(zip(grid, values, strict=True)))


def _row(row: _Row, asked: _File, baseline: TrackerSpec, training: Training) -> Row:
    of_recipe = {field.removeprefix(PREFIX): value for field, value in row.set.items() if field.startswith(PREFIX)}
    recipe = Recipe.model_validate(training.recipe.model_dump() | of_recipe)
    tracker = with_fields(baseline, {field: value for field, value in row.set.items() if not field.startswith(PREFIX)})
    changed = changes_of(tracker, baseline) | ({RECIPE: recipe} if recipe != training.recipe else {})
    of = leaves(tracker) | {f"{PREFIX}{field}": value for field, value in leaves(recipe).items()}
    cells = row.cells or tuple(_cell(field, of) for field in asked.factors.values())
    return Row(row.name, cells, changed)


def _cell(field: str, of: dict[str, Any]) -> str:
    """Return the text of a factor's column: the field's value, or the kind of a whole axis."""
    return _word(of[field] if field in of else of.get(f"{field}.kind", of.get(field, "none")))


def _word(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value))
    if isinstance(value, dict):
        return str(value.get("kind", "own"))
    return "none" if value is None else str(value)
