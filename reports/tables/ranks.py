"""How stable the ranking of the variants is, as a table: in which share of the resamples a row has which rank."""

from typing import Any

from trackablate.harness.scoring.metrics import METRICS
from trackablate.reports.results import ProtocolFacts, StudyResult
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.effects import primary_metric, stability

METHOD = (
    "Sequences are drawn anew, the same for all rows, and training seeds for each row where it has several (two-level"
    " bootstrap, docs/statistics.md). Ranks of rows with one seed look more stable than they are."
)


def rank_tables(result: StudyResult) -> list[Table]:
    """One table for every protocol on which two variants or more have a value."""
    return [table for facts in result.protocols if (table := _rank_table(result, facts)) is not None]


def ranks_json(result: StudyResult) -> dict[str, Any]:
    """The same as a document, by protocol: metric, each row's shares from rank 1 on, how often the best stays best."""
    document = {}
    for facts in result.protocols:
        if (found := stability(result, facts)) is not None:
            names, ranks = found
            shares = {name: [float(share) for share in row] for name, row in zip(names, ranks.ranks, strict=True)}
            document[facts.name] = {"metric": primary_metric(result, facts), "ranks": shares, "best_stays": ranks.best}
    return document


def _rank_table(result: StudyResult, facts: ProtocolFacts) -> Table | None:
    found = stability(result, facts)
    if found is None:
        return None
    names, ranks = found
    symbol = METRICS[primary_metric(result, facts)].symbol
    columns = tuple(
        Column(f"rank:{rank}", f"rank {rank}", "%", 0, group=f"share of resamples, {symbol}", panel="accuracy")
        for rank in range(1, len(names) + 1)
    )
    rows = tuple(
        TableRow(name, "variant", {c.key: Cell(100 * float(share)) for c, share in zip(columns, shares, strict=True)})
        for name, shares in zip(names, ranks.ranks, strict=True)
    )
    return Table(
        title=f"How stable the ranking is: {facts.name}",
        question=f"If the benchmark had other sequences of the same kind, the best row would stay best in"
        f" {100 * ranks.best:.0f} % of the cases.",
        caveat="",
        columns=columns,
        rows=rows,
        footnotes=(METHOD,),
    )
