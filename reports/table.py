"""A table as pure data: renderers format it and decide nothing."""

from dataclasses import dataclass, field
from typing import Literal

from trackablate.reports.statistics.sample_size import Needed
from trackablate.reports.statistics.significance import SIGNIFICANT

GREYED_BELOW = 10
"""Sequences below which pages and figures grey a value."""


@dataclass(frozen=True)
class Column:
    """A column that knows what its numbers mean.

    Attributes:
        key: Unique in the table.
        better: The direction that is marked best, if any.
        group: The heading above several columns ("measured, profile mini", "at paper scale", "published").
        note: What holds of every number of the column (the dialect, the protocol, the meaning of the unit).
        panel: The part of a table that is too wide; "" stands before the first part.
        signed: Whether a plus is printed too.
        footnotes: Indices into `Table.footnotes`, printed at the column's symbol.
    """

    key: str
    symbol: str
    unit: str = ""
    decimals: int = 1
    better: Literal["higher", "lower"] | None = None
    group: str = ""
    note: str = ""
    panel: Literal["", "accuracy", "cost", "published"] = ""
    signed: bool = False
    footnotes: tuple[int, ...] = ()

    def written(self, value: float) -> str:
        """Return a number with the column's decimals and a true minus; zero has no sign."""
        text = f"{value:{'+' if self.signed else ''}.{self.decimals}f}"
        return (text.lstrip("+-") if float(text) == 0 else text).replace("-", "−")


@dataclass(frozen=True)
class Cell:
    """One figure, already in the column's unit.

    Attributes:
        value: The figure; None is a dash.
        text: Words instead of a number; "" is a figure that cannot exist for the row.
        low, high: The 95 % interval (for FPS the range that the column's note names).
        n: Number of sequences.
        rank: 1 is best and 2 second among the variants; missing values rank last.
        delta, delta_low, delta_high, p: The difference to the study's baseline or to the best of raw results, its interval
            and its corrected p value.
        needed: What would resolve that difference, None if it is resolved.
        beaten: Whether the best variant is shown to beat this floor or control; None if that was not tested.
        footnotes: Indices into `Table.footnotes`.
    """

    value: float | None = None
    text: str | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    rank: int | None = None
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    p: float | None = None
    needed: Needed | None = None
    beaten: bool | None = None
    footnotes: tuple[int, ...] = ()

    @property
    def resolved(self) -> bool | None:
        """Whether the difference is told from chance; None without an interval.

        Its p value decides, which is corrected for the number of comparisons, or without one its 95 % interval.
        """
        if self.delta_low is None or self.delta_high is None:
            return None
        return not self.delta_low <= 0 <= self.delta_high if self.p is None else self.p < SIGNIFICANT

    @property
    def few(self) -> bool:
        """Whether it is over so few sequences that it says hardly anything."""
        return self.value is not None and self.n is not None and self.n < GREYED_BELOW

    @property
    def mark(self) -> Literal["best", "second"] | None:
        """How the figure is marked in print; a missing one never is."""
        if self.value is None:
            return None
        return "best" if self.rank == 1 else "second" if self.rank == 2 else None


Role = Literal["variant", "floor", "control", "cited"]


@dataclass(frozen=True)
class TableRow:
    """One row: cells by column key, where a missing key is a dash, and the footnotes at its name."""

    name: str
    role: Role
    cells: dict[str, Cell]
    baseline: bool = False
    footnotes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table as data.

    Attributes:
        caveat: The first thing that a reader must know, empty if there is none.
        missing: Every run that should be in the table and is not, with the reason.
        corner: The heading above the rows' names.
        subject: What the best and the second are among: a study's "variant", or "tracker".
    """

    title: str
    question: str
    caveat: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    footnotes: tuple[str, ...] = ()
    missing: tuple[str, ...] = field(default_factory=tuple)
    corner: str = "Row"
    subject: str = "variant"

    @property
    def any_few(self) -> bool:
        """Whether a value is over so few sequences that it is greyed."""
        return any(cell.few for row in self.rows for cell in row.cells.values())
