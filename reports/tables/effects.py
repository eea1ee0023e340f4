"""The differences to the baseline of one study, all at once, since they are corrected for their number."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from trackablate.harness.scoring.metrics import METRICS, Dialect, values
from trackablate.reports.results import ProtocolFacts, ProtocolResult, RowResult, StudyResult
from trackablate.reports.statistics.bootstrap import Estimate, Sample
from trackablate.reports.statistics.rank_stability import Stability, rank_stability
from trackablate.reports.statistics.sample_size import Needed, needed
from trackablate.reports.statistics.significance import Verdict, verdicts
from trackablate.reports.statistics.variance import noise, row_difference


@dataclass(frozen=True)
class Effect:
    """A row's difference to the baseline in a protocol's primary metric, as a share. verdict: among all differences of the
    table; needed: what would resolve it, where it is not.
    """

    estimate: Estimate
    verdict: Verdict | None
    needed: Needed | None


Effects = dict[tuple[str, str], Effect]
"""By protocol and row."""


def effects(result: StudyResult) -> Effects:
    """Every difference of the table, with its verdict after Holm's correction over all of them."""
    baseline = next((row for row in result.rows if row.baseline), None)
    pairs: dict[tuple[str, str], tuple[Sample, Sample]] = {}
    for facts in result.protocols:
        reference = complete(baseline, facts) if baseline else None
        for row in result.rows:
            found = complete(row, facts)
            if reference and found and not row.baseline and _same_sequences(found, reference):
                metric = primary_metric(result, facts)
                other = samples(reference, facts, metric)
                own = samples(found, facts, metric)
                pairs[facts.name, row.name] = (
                    _without_seeds(own, len(other[0])) if row.role == "floor" else own,
                    other,
                )
    estimates = {key: row_difference(*pair) for key, pair in pairs.items()}
    judged = dict(zip(estimates, verdicts(list(estimates.values())), strict=True))
    return {key: Effect(estimates[key], judged[key], _needed(pairs[key], judged[key])) for key in estimates}


def _without_seeds(floor: Sample, seeds: int) -> Sample:
    """A floor would be the same under any seed: it stands as often as the baseline was trained, without any variance."""
    return np.repeat(floor[0], seeds, axis=0), np.repeat(floor[1], seeds, axis=0)


def _needed(pair: tuple[Sample, Sample], verdict: Verdict | None) -> Needed | None:
    return needed(*pair, level=verdict.level) if verdict is not None and not verdict.resolved else None


def primary_metric(result: StudyResult, facts: ProtocolFacts) -> str:
    """The study's primary metric where the protocol has it, else the protocol's first."""
    wanted = result.study.primary_metric
    return wanted if wanted in facts.metrics else facts.metrics[0]


def complete(row: RowResult, facts: ProtocolFacts) -> ProtocolResult | None:
    """The row's result on a protocol, or None where it is absent or any seed lacks a sequence: no mean is ever of a part."""
    found = row.protocols.get(facts.name)
    whole = found is not None and all(len(tallies) == found.expected for tallies in found.seeds)
    return found if whole else None


def samples(
    found: ProtocolResult, facts: ProtocolFacts, metric: str, sequences: Collection[str] | None = None
) -> Sample:
    """Numerators and weights, (seeds, sequences), of these sequences or of all, in the order of their names, so that rows
    pair and the result does not depend on the store.
    """
    dialect = facts.dialects[metric]
    if (metric, dialect.name) not in found.known:
        found.known[metric, dialect.name] = _all_samples(found, metric, dialect)
    whole = found.known[metric, dialect.name]
    if sequences is None:
        return whole
    place = {name: index for index, name in enumerate(_in_every_seed(found))}
    columns = [place[name] for name in sorted(sequences)]
    return whole[0][:, columns], whole[1][:, columns]


def _all_samples(found: ProtocolResult, metric: str, dialect: Dialect) -> Sample:
    names = _in_every_seed(found)
    of_seeds = [values([tallies[n] for n in names], metric, dialect) for tallies in found.seeds]
    sample = np.stack([numerators for numerators, _ in of_seeds]), np.stack([weights for _, weights in of_seeds])
    for part in sample:
        part.setflags(write=False)  # it is handed out again
    return sample


def _in_every_seed(found: ProtocolResult) -> list[str]:
    return sorted(set.intersection(*(set(tallies) for tallies in found.seeds)))


def paired(row: ProtocolResult, other: ProtocolResult, facts: ProtocolFacts, metric: str) -> Estimate | None:
    """Row minus other, or None where they were not evaluated on the same sequences."""
    if not _same_sequences(row, other):
        return None
    return row_difference(samples(row, facts, metric), samples(other, facts, metric))


def stability(result: StudyResult, facts: ProtocolFacts) -> tuple[list[str], Stability] | None:
    """How stable the ranking of the variants that have a value is in the protocol's primary metric, with their names; None
    where there are not two.
    """
    metric = primary_metric(result, facts)
    found = {r.name: done for r in result.rows if r.role == "variant" and (done := complete(r, facts))}
    first = next(iter(found.values()), None)
    found = {name: one for name, one in found.items() if first and _same_sequences(one, first)}
    rows = {name: samples(one, facts, metric) for name, one in found.items()}
    rows = {name: row for name, row in rows.items() if noise(row) is not None}
    if len(rows) < 2:
        return None
    return list(rows), rank_stability(list(rows.values()), METRICS[metric].lower_is_better)


def _same_sequences(one: ProtocolResult, other: ProtocolResult) -> bool:
    return one.tallies.keys() == other.tallies.keys()
