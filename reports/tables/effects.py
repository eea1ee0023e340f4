"""The differences of one result, corrected for their number, and how stable the ranking is."""

from dataclasses import dataclass

import numpy as np

from trackablate.harness.scoring.metrics import METRICS
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker, TrackerScores
from trackablate.reports.results import Result, primary_metric, standing
from trackablate.reports.statistics.bootstrap import Estimate, Sample
from trackablate.reports.statistics.rank_stability import Stability, rank_stability
from trackablate.reports.statistics.sample_size import Needed, needed
from trackablate.reports.statistics.significance import Verdict, verdicts
from trackablate.reports.statistics.variance import noise, row_difference
from trackablate.reports.table import Cell, Column, Table, TableRow

RANK_METHOD = (
    "Sequences are drawn anew, the same for all rows, and training seeds for each row where it has several (two-level"
    " bootstrap, the project's docs/statistics.md). Ranks of rows with one seed look more stable than they are."
)


@dataclass(frozen=True)
class Effect:
    """A row's difference to the reference in a protocol's primary metric, as a share.

    Attributes:
        verdict: Whether it is resolved among all differences of the table.
        needed: What would resolve it, None if it is resolved.
    """

    estimate: Estimate
    verdict: Verdict | None
    needed: Needed | None


Effects = dict[tuple[str, str], Effect]
"""By protocol and row."""


def reference(result: Result, facts: ScoredProtocol) -> ScoredTracker | None:
    """Return the row that the others are compared with: a study's baseline, or the best of raw results."""
    return result.baseline if result.study else next((row for row in standing(result) if row.usable(facts)), None)


def effects(result: Result) -> Effects:
    """Return every difference of the table to its reference, with its verdict after Holm's correction over all of them.

    That data choose the best of raw results adds no false alarms: a wrong claim is always one about the tracker that is
    best in truth, which is compared once with each other one (Hsu, 1981).
    """
    pairs: dict[tuple[str, str], tuple[Sample, Sample]] = {}
    for facts in result.scored_here:
        first = reference(result, facts)
        compared_with = first.usable(facts) if first else None
        for row in result.of_role("variant", "floor", "control"):
            found = row.usable(facts)
            if compared_with and found and row is not first and found.names == compared_with.names:
                other, own = samples(compared_with, facts, result), samples(found, facts, result)
                own = _without_seeds(own, len(other[0])) if _untrained(row) else own
                pairs[facts.name, row.name] = own, other
    estimates = {key: row_difference(*pair) for key, pair in pairs.items()}
    judged = dict(zip(estimates, verdicts(list(estimates.values())), strict=True))
    return {key: Effect(estimates[key], judged[key], _needed(pairs[key], judged[key])) for key in estimates}


def _untrained(row: ScoredTracker) -> bool:
    return bool(row.records) and not any(record.asked.trained_here for record in row.records)


def _without_seeds(floor: Sample, seeds: int) -> Sample:
    """Return a floor's sample as often as the baseline was trained: it would be the same under any seed."""
    return np.repeat(floor[0], seeds, axis=0), np.repeat(floor[1], seeds, axis=0)


def _needed(pair: tuple[Sample, Sample], verdict: Verdict | None) -> Needed | None:
    return needed(*pair, level=verdict.level) if verdict is not None and not verdict.resolved else None


def samples(found: TrackerScores, facts: ScoredProtocol, result: Result) -> Sample:
    """Return numerators and weights (seeds, sequences) of the protocol's primary metric."""
    metric = primary_metric(result, facts)
    return found.samples(metric, facts.dialects[metric])


def best_variant(result: Result, facts: ScoredProtocol) -> ScoredTracker | None:
    """Return the variant with the best figure in a protocol's primary metric, None if no variant has one."""
    metric = METRICS[primary_metric(result, facts)]
    scored = [
        (metric.sign * value, row) for row in result.variants if (value := row.percent(facts, metric.key)) is not None
    ]
    return max(scored, key=lambda one: one[0], default=(0.0, None))[1]


def floor_effects(result: Result) -> Effects:
    """Return every floor and control minus the best variant, with its verdict after Holm's correction over all of them."""
    differences: dict[tuple[str, str], Estimate] = {}
    for facts in result.scored_here:
        best = best_variant(result, facts)
        variant = best.usable(facts) if best else None
        for floor in result.of_role("floor", "control") if variant else ():
            found = floor.usable(facts)
            if variant and found and found.names == variant.names:
                pair = samples(found, facts, result), samples(variant, facts, result)
                differences[facts.name, floor.name] = row_difference(*pair)
    judged = verdicts(list(differences.values()))
    return {key: Effect(differences[key], verdict, None) for key, verdict in zip(differences, judged, strict=True)}


def stability(result: Result, facts: ScoredProtocol) -> tuple[list[str], Stability] | None:
    """Return how stable the ranking of the variants is in the primary metric, with their names; None for fewer than two."""
    found = {row.name: scores for row in result.variants if (scores := row.usable(facts))}
    first = next(iter(found.values()), None)
    rows = {n: samples(scores, facts, result) for n, scores in found.items() if first and scores.names == first.names}
    rows = {name: row for name, row in rows.items() if noise(row) is not None}
    if len(rows) < 2:
        return None
    return list(rows), rank_stability(list(rows.values()), METRICS[primary_metric(result, facts)].better == "lower")


def rank_table(result: Result, facts: ScoredProtocol) -> Table | None:
    """Return in which share of the resamples a row has which rank; None for fewer than two ranked variants."""
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
        title=f"{facts.title}: how stable the ranking is",
        question=f"If the benchmark had other sequences of the same kind, the best row would stay best in"
        f" {100 * ranks.best:.0f} % of the cases.",
        caveat="",
        columns=columns,
        rows=rows,
        footnotes=(RANK_METHOD,),
    )
