"""The further tables of a result, in the sections in which the page shows them and the paper's file prints them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trackablate.harness.scoring.scored import ScoredProtocol
from trackablate.reports.results import Result
from trackablate.reports.table import Table
from trackablate.reports.tables.comparison import comparison_table, comparisons, largest_table, pair_table
from trackablate.reports.tables.cost_report import cost_table
from trackablate.reports.tables.dialects import dialect_tables, flattering
from trackablate.reports.tables.effects import rank_table
from trackablate.reports.tables.failures import failure_table
from trackablate.reports.tables.sequences import ATTRIBUTE_NAMES, attribute_table, hardest_table, sequence_table


@dataclass(frozen=True)
class Section:
    """Tables under one heading of the page's contents.

    Attributes:
        anchor: Its id in the page.
        folded: Whether the tables are long and shown only on demand.
        legend: The abbreviations in the tables, in words.
    """

    anchor: str
    title: str
    tables: tuple[Table, ...]
    folded: bool = False
    legend: str = ""


def sections(result: Result) -> list[Section]:
    """Return the sections that have anything to show.

    Raises:
        BadInput: The result names two trackers that cannot be compared.
    """
    several = [sequence_table(result, facts) for facts in result.scored_here if _any_scores(result, facts)]
    used = {name for facts in result.scored_here for name in facts.members}
    words = "; ".join(f"{short}: {name}" for short, name in ATTRIBUTE_NAMES.items() if short in used)
    found = [
        Section("comparison", "Comparison", tuple(_comparison(result))),
        Section("every-pair", "Every pair", _of_each(result, pair_table)),
        Section("ranking", "Ranking", _of_each(result, rank_table)),
        Section("dialects", "Dialects", tuple(_dialects(result))),
        Section("phases", "Cost by phase", tuple(table for table in [cost_table(result)] if table.columns)),
        Section("attributes", "Attributes", _of_each(result, attribute_table)),
        Section("failures", "Failures", _of_each(result, failure_table)),
        Section("hardest", "Hardest sequences", tuple(map(hardest_table, several)), legend=words),
        Section("sequences", "All sequences", tuple(several), folded=True, legend=words),
    ]
    return [section for section in found if section.tables]


def unfolded(found: list[Section]) -> list[Table]:
    """Return the tables that are printed: all but those that the page shows only on demand."""
    return [table for section in found if not section.folded for table in section.tables]


def _of_each(result: Result, make: Callable[[Result, ScoredProtocol], Table | None]) -> tuple[Table, ...]:
    return tuple(table for facts in result.scored_here if (table := make(result, facts)) is not None)


def _any_scores(result: Result, facts: ScoredProtocol) -> bool:
    return any(facts.name in row.protocols and row.protocols[facts.name].names for row in result.rows)


def _comparison(result: Result) -> Iterator[Table]:
    if found := comparisons(result):
        yield comparison_table(result, found)
        yield largest_table(result, found[0])


def _dialects(result: Result) -> Iterator[Table]:
    for facts in result.scored_here:
        yield from dialect_tables(result, facts, flattering(result, facts))
