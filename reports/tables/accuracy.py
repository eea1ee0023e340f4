"""The columns of one protocol: each metric with its interval, the number of sequences, the difference to the baseline."""

import math
from collections.abc import Sequence
from dataclasses import replace

from trackablate.harness.record import RunRecord
from trackablate.harness.scoring.metrics import METRICS, Dialect, Metric, Tally
from trackablate.reports.results import CitedRow, ProtocolFacts, ProtocolResult, RowResult, StudyResult
from trackablate.reports.statistics.bootstrap import FEWEST_SEQUENCES, RESAMPLES, Estimate
from trackablate.reports.statistics.sample_size import Needed
from trackablate.reports.statistics.variance import row_estimate
from trackablate.reports.table import Cell, Column
from trackablate.reports.tables.block import NOT_APPLICABLE, Block
from trackablate.reports.tables.effects import Effect, Effects, complete, paired, primary_metric, samples, stability
from trackablate.reports.tables.footnotes import Notes

METHOD = (
    f"Brackets: 95 % interval, BCa bootstrap over sequences, {RESAMPLES} resamples, fixed seed, stretched for small samples."
    " One training run per row: the interval covers other sequences of the same kind, not another training seed."
)
METHOD_OF_SEEDS = (
    "Brackets of rows with several training seeds: 95 % interval over seeds and sequences, Student's t on the variance"
    " components of seed, sequence and residual (docs/statistics.md)."
)
PAIRED = "Row minus baseline on the same sequences, with its own 95 % interval."
HOLM = "Two-sided p value of the difference, corrected (Holm) for all differences of this table: resolved below 0.05."
UNRESOLVED = "Not resolved: the difference is not told from chance (corrected p of 0.05 or more)."
NO_PAIRS = "No difference: this row was not evaluated on the baseline's sequences."
FEW = (
    "With fewer than 20 sequences an interval covers a little less than it says (docs/statistics.md); with fewer than 4"
    " none is given, and no difference counts as resolved."
)
FEW_SEQUENCES = 20


def metric_key(protocol: str, metric: str) -> str:
    """The key of a metric's column."""
    return f"{protocol}:{metric}"


def protocol_block(result: StudyResult, facts: ProtocolFacts, found: Effects, notes: Notes) -> Block:
    """All columns of one protocol. found: the study's differences to its baseline."""
    block = Block()
    primary = primary_metric(result, facts)
    for name in facts.metrics:
        _metric(result, facts, METRICS[name], block, notes)
        if name == primary:
            _difference(result, facts, METRICS[name], found, block, notes)
    _sequences(result, facts, block)
    _floors_rule(result, facts, primary, block, notes)
    return block


def row_value(found: ProtocolResult, facts: ProtocolFacts, metric: str) -> float:
    """The row's figure as a share: the mean over its seeds."""
    return row_estimate(*samples(found, facts, metric)).value


def ordered(found: ProtocolResult) -> list[Tally]:
    """The first seed's tallies in the order of the sequences' names."""
    return [found.tallies[name] for name in sorted(found.tallies)]


def _metric(result: StudyResult, facts: ProtocolFacts, metric: Metric, block: Block, notes: Notes) -> None:
    key, dialect = metric_key(facts.name, metric.key), facts.dialects[metric.key]
    footnotes = [notes.add(_rules(facts, dialect)), *(notes.add(text) for text in _methods(result))]
    if metric.key == primary_metric(result, facts) and (note := _rank_note(result, facts)):
        footnotes.append(notes.add(note))
    for row in result.rows:
        if found := complete(row, facts):
            cell = cell_of(row_estimate(*samples(found, facts, metric.key)), metric.scale, bounded=True)
            remarks = [FEW] if len(found.tallies) < FEW_SEQUENCES else []
            remarks += not_one_shot(found.records or row.records[:1], facts)
            block.put(row.name, key, replace(cell, footnotes=tuple(notes.add(text) for text in remarks)))
        elif facts.name in row.protocols:
            block.put(row.name, key, Cell(footnotes=(notes.add(_incomplete(row, facts)),)))
    for cited in result.cited:
        block.put(cited.name, key, _recomputed(cited, facts, metric, notes))
    block.columns.append(metric_column(facts, metric, f"dialect {dialect.name}", tuple(footnotes)))


def metric_column(facts: ProtocolFacts, metric: Metric, how: str, footnotes: tuple[int, ...]) -> Column:
    """A protocol's column of one metric. how: by whose rules it was computed."""
    return Column(
        key=metric_key(facts.name, metric.key),
        symbol=metric.symbol,
        unit=metric.unit,
        decimals=metric.decimals,
        better="lower" if metric.lower_is_better else "higher",
        group=facts.name,
        panel="accuracy",
        note=f"{metric.symbol}: {metric.description}; {how}",
        footnotes=footnotes,
    )


def difference_column(facts: ProtocolFacts, metric: Metric, baseline: str, footnote: int) -> Column:
    """A protocol's column of the differences to the baseline in one metric."""
    column = metric_column(facts, metric, "", (footnote,))
    return replace(
        column,
        key=f"{column.key}:delta",
        symbol=f"Δ{metric.symbol}",
        unit="points" if metric.unit == "%" else metric.unit,
        note=f"{metric.symbol} minus that of {baseline}",
        signed=True,
    )


def _methods(result: StudyResult) -> list[str]:
    """How the intervals of these rows are made: one text for rows of one seed, another for rows of several."""
    several = {len({record.asked.seed for record in row.records}) > 1 for row in result.rows}
    return [text for among, text in ((False, METHOD), (True, METHOD_OF_SEEDS)) if among in several]


def _rank_note(result: StudyResult, facts: ProtocolFacts) -> str:
    found = stability(result, facts)
    if found is None:
        return ""
    names, ranks = found
    leader = names[int(ranks.ranks[:, 0].argmax())]
    share = f"{100 * ranks.best:.0f} %"
    return f"Ranking on {facts.name}: in {share} of the resamples the best row stays best; most often first: {leader}."


RECOMPUTED = "Recomputed from the tracker's published raw results, by the rules of this column."


def _recomputed(cited: CitedRow, facts: ProtocolFacts, metric: Metric, notes: Notes) -> Cell:
    """A cited tracker's figure, blank where nobody has its raw results."""
    found = cited.protocols.get(facts.name)
    if found is None:
        return NOT_APPLICABLE
    cell = cell_of(row_estimate(*samples(found, facts, metric.key)), metric.scale, bounded=True)
    return replace(cell, footnotes=(notes.add(RECOMPUTED),))


def not_one_shot(records: Sequence[RunRecord], facts: ProtocolFacts) -> list[str]:
    """Why the figure of these runs does not compare with those published under the one-shot rule, where it does not."""
    others = [record.asked for record in records if facts.one_shot and not record.asked.one_shot]
    return [
        f"{facts.name} is for trackers trained on its own training videos alone; this one was trained on"
        f" {run.trained_on}: not comparable with figures published under that rule."
        for run in others[:1]
    ]


def _rules(facts: ProtocolFacts, dialect: Dialect) -> str:
    metrics = [METRICS[name] for name, of in facts.dialects.items() if of.name == dialect.name]
    meanings = "; ".join(f"{metric.symbol}: {metric.description}" for metric in metrics)
    return f"Dialect {dialect.name}, {dialect.description}. {meanings}."


def _incomplete(row: RowResult, facts: ProtocolFacts) -> str:
    found = row.protocols[facts.name]
    return f"{row.name} on {facts.name}: {len(found.tallies)} of {found.expected} sequences, so no mean."


def _difference(
    result: StudyResult, facts: ProtocolFacts, metric: Metric, found: Effects, block: Block, notes: Notes
) -> None:
    """The difference to the baseline: on the metric's own cells, and as two columns of its own."""
    baseline = next((row for row in result.rows if row.baseline), None)
    if baseline is None or complete(baseline, facts) is None:
        return
    key = metric_key(facts.name, metric.key)
    for row in result.rows:
        if row.baseline or complete(row, facts) is None:
            continue
        effect = found.get((facts.name, row.name))
        cell = _delta_cell(effect, metric.scale, notes)
        own = block.cells[row.name][key]
        shown = replace(own, delta=cell.delta, delta_low=cell.delta_low, delta_high=cell.delta_high, p=cell.p)
        block.put(row.name, key, shown)
        block.put(row.name, f"{key}:delta", cell)
        block.put(row.name, f"{key}:p", Cell(cell.p))
    block.put(baseline.name, f"{key}:delta", Cell(text="baseline"))
    for name in (baseline.name, *(cited.name for cited in result.cited)):
        block.put(name, f"{key}:p", NOT_APPLICABLE)
    for cited in result.cited:
        block.put(cited.name, f"{key}:delta", NOT_APPLICABLE)
    note = "two-sided p value of the difference, corrected for the number of differences in the table (Holm)"
    difference = difference_column(facts, metric, baseline.name, notes.add(PAIRED))
    p = Column(f"{key}:p", "p", "", 3, None, facts.name, note, "accuracy", footnotes=(notes.add(HOLM),))
    block.columns += [difference, p]


def _delta_cell(effect: Effect | None, scale: float, notes: Notes) -> Cell:
    if effect is None:
        return Cell(footnotes=(notes.add(NO_PAIRS),))
    cell = cell_of(effect.estimate, scale)
    adjusted = effect.verdict.adjusted if effect.verdict else None
    cell = replace(cell, delta=cell.value, delta_low=cell.low, delta_high=cell.high, p=adjusted)
    return replace(cell, footnotes=(notes.add(_unresolved(effect.needed)),)) if cell.resolved is False else cell


def _unresolved(wanted: Needed | None) -> str:
    """What would resolve the difference, if it is as large as it looks."""
    ways = [] if wanted is None else [(wanted.sequences, "sequences"), (wanted.seeds, "seeds per row")]
    numbers = " or ".join(f"about {_rounded(count)} {what}" for count, what in ways if count is not None)
    return f"{UNRESOLVED} To resolve one of this size it takes {numbers}." if numbers else UNRESOLVED


def _rounded(count: int) -> int:
    """Two digits: these are orders of magnitude."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step


def _sequences(result: StudyResult, facts: ProtocolFacts, block: Block) -> None:
    key = f"{facts.name}:n"
    for row in result.rows:
        if complete(row, facts):
            block.put(row.name, key, Cell(value=float(len(row.protocols[facts.name].tallies))))
        elif found := row.protocols.get(facts.name):
            block.put(row.name, key, Cell(text=f"{len(found.tallies)} of {found.expected}"))
    for cited in result.cited:
        scored = cited.protocols.get(facts.name)
        block.put(cited.name, key, Cell(value=float(len(scored.tallies))) if scored else NOT_APPLICABLE)
    block.columns.append(Column(key, "n", "seq.", 0, group=facts.name, note="number of sequences", panel="accuracy"))


def _floors_rule(result: StudyResult, facts: ProtocolFacts, metric: str, block: Block, notes: Notes) -> None:
    """A floor or control that no variant is shown to beat is named, by the interval of its difference to the best one."""
    variants = [(row, found) for row in result.rows if row.role == "variant" and (found := complete(row, facts))]
    if not variants:
        return
    best, of_best = max(variants, key=lambda pair: _share(pair[1], facts, metric))
    for floor in (row for row in result.rows if row.role != "variant"):
        found = complete(floor, facts)
        difference = paired(found, of_best, facts, metric) if found else None
        if difference is None or difference.low is None or difference.high is None or difference.high < 0:
            continue
        key = metric_key(facts.name, metric)
        cell = block.cells[floor.name][key]
        note = notes.add(_floor_note(floor, best.name, METRICS[metric], difference))
        block.put(floor.name, key, replace(cell, footnotes=(*cell.footnotes, note)))


def _floor_note(floor: RowResult, best: str, metric: Metric, difference: Estimate) -> str:
    what, by = f"{floor.role} {floor.name}", _in_words(difference, metric)
    if difference.low is not None and difference.low > 0:
        return f"The {what} beats the best variant, {best}: {by}."
    return f"The best variant, {best}, is not shown to beat the {what}: {floor.name} minus {best} is {by}."


def _in_words(difference: Estimate, metric: Metric) -> str:
    low, high = (metric.scale * (bound or 0.0) for bound in (difference.low, difference.high))
    shown = f"{metric.scale * difference.value:+.1f} {metric.symbol} [{low:+.1f}, {high:+.1f}]"
    return shown.replace("-", "−")


def _share(found: ProtocolResult, facts: ProtocolFacts, metric: str) -> float:
    share = row_value(found, facts, metric)
    return -math.inf if math.isnan(share) else -share if METRICS[metric].lower_is_better else share


def cell_of(estimated: Estimate, scale: float, *, bounded: bool = False) -> Cell:
    """A cell in the printed unit; a dash where the value is undefined. bounded: the figure is a share, and no interval of
    it reaches beyond 0 and 1.
    """
    if not math.isfinite(estimated.value):
        return Cell(n=estimated.n)
    if estimated.n < FEWEST_SEQUENCES or estimated.low is None or estimated.high is None:
        return Cell(value=estimated.value * scale, n=estimated.n)
    low, high = estimated.low, estimated.high
    if bounded:
        low, high = max(low, 0.0), min(high, 1.0)
    return Cell(value=estimated.value * scale, low=low * scale, high=high * scale, n=estimated.n)
