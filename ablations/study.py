"""A study: a question, a baseline, and rows that differ from the baseline in declared fields only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trackablate.ablations.recipes import DETRACK_ONE_SHOT, Training
from trackablate.datasets.errors import unsafe
from trackablate.datasets.registry import Registry, unknown
from trackablate.harness.scoring.metrics import METRICS
from trackablate.harness.spec import Recipe, RunSpec
from trackablate.trackers.spec import TrackerSpec, differences, fingerprint, leaves, replace

RECIPE = "recipe"
"""The key under which a row changes its training: a Recipe, or one for each of the study's trainings."""

RESERVED = frozenset(("static", "ncc", "shuffled-template"))
"""Names of the floors and the control that every study's table has."""


class FaultyStudy(ValueError):
    """A study that is wrong as it is written."""


class ConfoundedStudy(FaultyStudy):
    """A row differs from its baseline in a field that the study does not declare."""


@dataclass(frozen=True)
class Coupled:
    """A field that must change with a factor. The reason is printed as a footnote under the table."""

    field: str
    reason: str


@dataclass(frozen=True)
class Row:
    """One variant of a study.

    Attributes:
        name: Unique in its study.
        cells: What the table's factor columns print for it, one text per factor.
        published: Its recipes, one for each of the study's trainings, that hold at paper scale alone: a profile with its
            own recipe trains the row like the baseline.
        changes: Whole fields of TrackerSpec that replace the baseline's, and under RECIPE the recipes of its trainings.
            Empty for the baseline.
    """

    name: str
    cells: tuple[str, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)
    published: tuple[Recipe, ...] = ()


@dataclass(frozen=True)
class Other:
    """A run that stands beside a study's rows without being one: published weights, or a tracker from outside."""

    name: str
    run: RunSpec


@dataclass(frozen=True)
class Study:
    """A question, the fields that are varied, and the rows that answer it.

    Attributes:
        factors: Column title to the field of TrackerSpec that is varied, or to RECIPE.
        trainings: How rows are trained at paper scale, and what each training is evaluated on.
        cited: Trackers that the paper's table only cites, by their names in `published.toml`.
        silent: Fields that the paper leaves open, dotted, with what was chosen, which `show` marks.
        remarks: Differences between rows here and in the paper, printed as footnotes.
        starts_from: Name of pretrained weights under [weights] of trackablate.toml. If they are named there, all rows start
            from them at paper scale.
        seeds: Number of runs of each row, unless the user asks for another.
        beside: Further rows as the user names them, `[NAME=]RUN`, which the store finds.

    Raises:
        ConfoundedStudy: A row changes an undeclared field, or coupled fields without a factor.
        FaultyStudy: Any other fault: equal names or rows, a reserved name, not exactly one baseline, an unknown field
            or metric, or a wrong number of cells or recipes.
    """

    name: str
    title: str
    question: str
    source: str
    baseline: TrackerSpec
    factors: Mapping[str, str]
    rows: tuple[Row, ...]
    coupled: tuple[Coupled, ...] = ()
    trainings: tuple[Training, ...] = (DETRACK_ONE_SHOT,)
    primary_metric: str = "ao"
    cited: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    silent: Mapping[str, str] = field(default_factory=dict)
    starts_from: str = ""
    seeds: int = 1
    beside: tuple[str, ...] = ()
    others: tuple[Other, ...] = ()

    def __post_init__(self) -> None:
        names = [*(row.name for row in self.rows), *(other.name for other in self.others)]
        texts = (self.name, self.title, self.question, self.source, *names, *self.factors, *self.remarks)
        for text in (*texts, *(cell for row in self.rows for cell in row.cells)):
            if unsafe(text):
                raise FaultyStudy(f"study {self.name!r}: {text!r} has characters that are not printed: remove them")
        if len(set(names)) < len(names):
            raise FaultyStudy(f"study {self.name!r}: two rows share a name: {names}")
        if taken := sorted({*names, *self.cited} & RESERVED):
            raise FaultyStudy(f"study {self.name!r}: {', '.join(taken)} is the name of a floor or control: rename it")
        if sum(not row.changes for row in self.rows) != 1:
            raise FaultyStudy(f"study {self.name!r}: exactly one row must change nothing: the baseline")
        if self.primary_metric not in METRICS:
            raise FaultyStudy(f"study {self.name!r}: {unknown('metric', self.primary_metric, METRICS)}")
        self._refuse_unknown_fields()
        self._refuse_equal_rows()
        for row in self.rows:
            if len(row.cells) != len(self.factors):
                raise FaultyStudy(f"study {self.name!r}: row {row.name!r} needs one cell for each of its factors")
            self._refuse_confounds(row)

    @property
    def baseline_row(self) -> Row:
        """Return the row without changes."""
        return next(row for row in self.rows if not row.changes)

    @property
    def protocols(self) -> tuple[str, ...]:
        """Return the protocols that rows are evaluated on at paper scale."""
        return tuple(name for training in self.trainings for name in training.protocols)

    def spec(self, row: Row) -> TrackerSpec:
        """Return the tracker of a row, at paper scale."""
        changes = {field_: value for field_, value in row.changes.items() if field_ != RECIPE}
        return replace(self.baseline, name=row.name, **changes)

    def recipes(self, row: Row, *, published: bool = True) -> tuple[Recipe, ...]:
        """Return the recipe of a row for each of the study's trainings, at paper scale.

        published: Whether recipes count that hold at paper scale alone.
        """
        changed = (row.published if published else ()) or row.changes.get(RECIPE)
        if changed is None:
            return tuple(training.recipe for training in self.trainings)
        recipes = (changed,) if isinstance(changed, Recipe) else tuple(changed)
        if len(recipes) != len(self.trainings):
            raise FaultyStudy(
                f"study {self.name!r}: row {row.name!r} has {len(recipes)} recipes for {len(self.trainings)} trainings"
            )
        return recipes

    def differences(self, row: Row, *, published: bool = True) -> dict[str, tuple[Any, Any]]:
        """Return the fields in which a row differs from the baseline, dotted: {field: (the row's, the baseline's)}.

        If the study has several trainings, the values of a recipe's field are tuples with one value for each.
        `published` is that of `recipes`.
        """
        found, recipes = differences(self.spec(row), self.baseline), self.recipes(row, published=published)
        pairs = [(ours, training.recipe) for ours, training in zip(recipes, self.trainings, strict=True)]
        for name in dict.fromkeys(name for ours, base in pairs for name in differences(ours, base)):
            ours, base = (tuple(getattr(recipe, name) for recipe in side) for side in zip(*pairs, strict=True))
            found[f"{RECIPE}.{name}"] = (ours, base) if len(pairs) > 1 else (ours[0], base[0])
        return found

    def _refuse_unknown_fields(self) -> None:
        """Refuse factors and coupled fields that no row's tracker or recipe has."""
        known = {
            path for row in self.rows for path in (*leaves(self.spec(row)), *differences(self.spec(row), self.baseline))
        }
        known |= set(TrackerSpec.model_fields) | {RECIPE} | {f"{RECIPE}.{name}" for name in Recipe.model_fields}
        for field_ in (*self.factors.values(), *(c.field for c in self.coupled)):
            if not any(path == field_ or path.startswith(f"{field_}.") for path in known):
                raise FaultyStudy(f"study {self.name!r}: {unknown('field of a tracker', field_, sorted(known))}")

    def _refuse_equal_rows(self) -> None:
        seen: dict[tuple[str, tuple[Recipe, ...]], str] = {}
        for row in self.rows:
            key = (fingerprint(self.spec(row)), self.recipes(row))
            if key in seen:
                raise FaultyStudy(
                    f"study {self.name!r}: {seen[key]!r} and {row.name!r} are the same tracker trained alike: drop one"
                )
            seen[key] = row.name

    def _refuse_confounds(self, row: Row) -> None:
        factors, coupled = set(self.factors.values()), {c.field for c in self.coupled}
        changed = self.differences(row)
        for field_ in changed:
            if not _within(field_, factors | coupled):
                raise ConfoundedStudy(
                    f"study {self.name!r}: row {row.name!r} differs from the baseline in {field_!r}, which is neither a "
                    f"factor ({sorted(factors)}) nor coupled ({sorted(coupled)}): "
                    "declare it with its reason, or drop it"
                )
        if changed and not any(_within(field_, factors) for field_ in changed):
            raise ConfoundedStudy(f"study {self.name!r}: row {row.name!r} changes no factor, only {sorted(changed)}")


def _within(changed: str, declared: set[str]) -> bool:
    """Tell whether a dotted field is one of the declared fields or lies inside one."""
    return any(changed == d or changed.startswith(f"{d}.") for d in declared)


STUDIES: Registry[Study] = Registry("study")
