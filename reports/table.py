"""A table as pure data: renderers format it and decide nothing."""

from dataclasses import dataclass, field
from typing import Literal

from trackablate.reports.statistics.significance import SIGNIFICANT


@dataclass(frozen=True)
class Column:
    """A column that knows what its numbers mean. key is unique in the table; group is the heading above several columns
    ("measured, profile mini", "at paper scale", "published"); better says which direction is marked best, if any;
    note is what a reader must know about every number of the column (the dialect, the protocol, the unit's meaning);
    panel says which of the report's tables the column belongs to where one is too wide ("" stands before the first);
    signed columns print a plus too; footnotes: indices into Table.footnotes, printed at the column's symbol.
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


@dataclass(frozen=True)
class Cell:
    """One figure, already in the column's unit. value None is a dash; text replaces the number where a cell is words.

    low, high: 95 % interval (for FPS the range that the column's note names); n: how many sequences; rank: 1 best and 2
    second among the variants, missing values last; delta: difference to the baseline with its own interval, and p, its
    p value; footnotes: indices into Table.footnotes. text "" is a figure that cannot exist for the row.
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
    footnotes: tuple[int, ...] = ()

    @property
    def resolved(self) -> bool | None:
        """Whether the difference to the baseline is told from chance: by its p value, already corrected for the number of
        comparisons, where it has one, else by its 95 % interval; None without a difference.
        """
        if self.delta_low is None or self.delta_high is None:
            return None
        return not self.delta_low <= 0 <= self.delta_high if self.p is None else self.p < SIGNIFICANT

    @property
    def mark(self) -> Literal["best", "second"] | None:
        """How the figure is marked in print: never where it is missing."""
        if self.value is None:
            return None
        return "best" if self.rank == 1 else "second" if self.rank == 2 else None


Role = Literal["variant", "floor", "control", "cited"]


@dataclass(frozen=True)
class TableRow:
    """One row: cells by column key; a missing key is a dash. footnotes: indices into Table.footnotes, at the name."""

    name: str
    role: Role
    cells: dict[str, Cell]
    baseline: bool = False
    footnotes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """caveat is the first thing a reader must know, "" where the numbers compare with the paper's; missing names every
    run that should be in the table and is not, with the reason. corner heads the rows' names; subject is what best and
    second are among: a study's "variant", or "tracker".
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
