"""The columns of one protocol: each metric with its interval, the number of sequences, the difference to the baseline."""

import math
from dataclasses import replace

from harness.metrics import METRICS, Dialect, Metric, Tally, values
from reports.block import NOT_APPLICABLE, Block
from reports.notes import Notes
from reports.results import CitedRow, ProtocolFacts, ProtocolResult, RowResult, StudyResult
from reports.statistics import RESAMPLES, Estimate, Floats, paired_difference, ratio_estimate
from reports.table import Cell, Column

METHOD = (
    f"Brackets: 95 % interval, BCa bootstrap over sequences, {RESAMPLES} resamples, fixed seed. One training run per row:"
    " the interval covers other sequences of the same kind, not another training seed."
)
PAIRED = (
    "Row minus baseline on the same sequences, with the 95 % interval of the paired bootstrap; not corrected for the"
    " number of comparisons."
)
UNRESOLVED = "Not resolved: the 95 % interval of the difference contains 0."
NO_PAIRS = "No difference: this row was not evaluated on the baseline's sequences."
FEW = (
    "With fewer than 20 sequences a bootstrap interval is too narrow: read it as a lower bound of the uncertainty; with"
    " fewer than 4 none is given, and no difference counts as resolved."
)
FEW_SEQUENCES = 20
FEWEST_SEQUENCES = 4
"""Below this many a bootstrap interval is little more than the smallest and the largest value: none is printed."""


def metric_key(protocol: str, metric: str) -> str:
    """The key of a metric's column."""
    return f"{protocol}:{metric}"


def protocol_block(result: StudyResult, facts: ProtocolFacts, notes: Notes) -> Block:
    """All columns of one protocol."""
    block = Block()
    primary = primary_metric(result, facts)
    for name in facts.metrics:
        _metric(result, facts, METRICS[name], block, notes)
        if name == primary:
            _difference(result, facts, METRICS[name], block, notes)
    _sequences(result, facts, block)
    _floors_rule(result, facts, primary, block, notes)
    return block


def primary_metric(result: StudyResult, facts: ProtocolFacts) -> str:
    """The study's primary metric where the protocol has it, else the protocol's first."""
    wanted = result.study.primary_metric
    return wanted if wanted in facts.metrics else facts.metrics[0]


def complete(row: RowResult, facts: ProtocolFacts) -> ProtocolResult | None:
    """The row's result on a protocol, or None where it is absent or any seed lacks a sequence: no mean is ever of a part."""
    found = row.protocols.get(facts.name)
    whole = found is not None and all(len(tallies) == found.expected for tallies in found.seeds)
    return found if whole else None


def samples(found: ProtocolResult, facts: ProtocolFacts, metric: str) -> tuple[Floats, Floats]:
    """Numerators and weights of each sequence, in the order of the sequences' names."""
    return values(ordered(found), metric, facts.dialects[metric])


def ordered(found: ProtocolResult) -> list[Tally]:
    """Tallies in the order of the sequences' names, so that rows pair and the result does not depend on the store."""
    return [found.tallies[name] for name in sorted(found.tallies)]


def row_value(found: ProtocolResult, facts: ProtocolFacts, metric: str) -> float:
    """The row's figure as a share: the mean over its seeds."""
    numerators, weights = samples(found, facts, metric)
    return float(numerators.sum() / weights.sum())


def paired(row: ProtocolResult, other: ProtocolResult, facts: ProtocolFacts, metric: str) -> Estimate | None:
    """Row minus other, or None where they were not evaluated on the same sequences."""
    if row.tallies.keys() != other.tallies.keys():
        return None
    return paired_difference(samples(row, facts, metric), samples(other, facts, metric))


def _metric(result: StudyResult, facts: ProtocolFacts, metric: Metric, block: Block, notes: Notes) -> None:
    key, dialect = metric_key(facts.name, metric.key), facts.dialects[metric.key]
    footnotes = (notes.add(_rules(facts, dialect)), notes.add(METHOD))
    for row in result.rows:
        if found := complete(row, facts):
            cell = cell_of(ratio_estimate(*samples(found, facts, metric.key)), metric.scale)
            remarks = [FEW] if len(found.tallies) < FEW_SEQUENCES else []
            remarks += [_not_one_shot(row, facts)] if facts.one_shot and not row.record.asked.one_shot else []
            block.put(row.name, key, replace(cell, footnotes=tuple(notes.add(text) for text in remarks)))
        elif facts.name in row.protocols:
            block.put(row.name, key, Cell(footnotes=(notes.add(_incomplete(row, facts)),)))
    for cited in result.cited:
        block.put(cited.name, key, _recomputed(cited, facts, metric, notes))
    block.columns.append(
        Column(
            key=key,
            symbol=metric.symbol,
            unit=metric.unit,
            decimals=metric.decimals,
            better="lower" if metric.lower_is_better else "higher",
            group=facts.name,
            panel="accuracy",
            note=f"{metric.symbol}: {metric.description}; dialect {dialect.name}",
            footnotes=footnotes,
        )
    )


RECOMPUTED = "Recomputed from the tracker's published raw results, by the rules of this column."


def _recomputed(cited: CitedRow, facts: ProtocolFacts, metric: Metric, notes: Notes) -> Cell:
    """A cited tracker's figure, blank where nobody has its raw results."""
    found = cited.protocols.get(facts.name)
    if found is None:
        return NOT_APPLICABLE
    cell = cell_of(ratio_estimate(*samples(found, facts, metric.key)), metric.scale)
    return replace(cell, footnotes=(notes.add(RECOMPUTED),))


def _not_one_shot(row: RowResult, facts: ProtocolFacts) -> str:
    return (
        f"{facts.name} is for trackers trained on its own training videos alone; this one was trained on"
        f" {row.record.asked.trained_on}: not comparable with figures published under that rule."
    )


def _rules(facts: ProtocolFacts, dialect: Dialect) -> str:
    metrics = [METRICS[name] for name, of in facts.dialects.items() if of.name == dialect.name]
    meanings = "; ".join(f"{metric.symbol}: {metric.description}" for metric in metrics)
    return f"Dialect {dialect.name}, {dialect.description}. {meanings}."


def _incomplete(row: RowResult, facts: ProtocolFacts) -> str:
    found = row.protocols[facts.name]
    return f"{row.name} on {facts.name}: {len(found.tallies)} of {found.expected} sequences, so no mean."


def _difference(result: StudyResult, facts: ProtocolFacts, metric: Metric, block: Block, notes: Notes) -> None:
    """The difference to the baseline: on the metric's own cells, and as a column of its own."""
    baseline = next((row for row in result.rows if row.baseline), None)
    reference = complete(baseline, facts) if baseline else None
    if baseline is None or reference is None:
        return
    key = metric_key(facts.name, metric.key)
    for row in result.rows:
        found = complete(row, facts)
        if row.baseline or found is None:
            continue
        cell = _delta_cell(paired(found, reference, facts, metric.key), metric.scale, notes)
        own = block.cells[row.name][key]
        block.put(row.name, key, replace(own, delta=cell.delta, delta_low=cell.delta_low, delta_high=cell.delta_high))
        block.put(row.name, f"{key}:delta", cell)
    block.put(baseline.name, f"{key}:delta", Cell(text="baseline"))
    for cited in result.cited:
        block.put(cited.name, f"{key}:delta", NOT_APPLICABLE)
    block.columns.append(
        Column(
            key=f"{key}:delta",
            symbol=f"Δ{metric.symbol}",
            unit="points" if metric.unit == "%" else metric.unit,
            decimals=metric.decimals,
            better="lower" if metric.lower_is_better else "higher",
            group=facts.name,
            panel="accuracy",
            note=f"{metric.symbol} minus that of {baseline.name}",
            signed=True,
            footnotes=(notes.add(PAIRED),),
        )
    )


def _delta_cell(difference: Estimate | None, scale: float, notes: Notes) -> Cell:
    if difference is None:
        return Cell(footnotes=(notes.add(NO_PAIRS),))
    cell = cell_of(difference, scale)
    cell = replace(cell, delta=cell.value, delta_low=cell.low, delta_high=cell.high)
    return replace(cell, footnotes=(notes.add(UNRESOLVED),)) if cell.resolved is False else cell


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
    numerators, weights = samples(found, facts, metric)
    share = float(numerators.sum() / weights.sum()) if weights.sum() else math.nan
    return -math.inf if math.isnan(share) else -share if METRICS[metric].lower_is_better else share


def cell_of(estimated: Estimate, scale: float) -> Cell:
    """A cell in the printed unit; a dash where the value is undefined."""
    if not math.isfinite(estimated.value):
        return Cell(n=estimated.n)
    bounds = (estimated.low, estimated.high) if estimated.n >= FEWEST_SEQUENCES else (None, None)
    low, high = (None if bound is None else bound * scale for bound in bounds)
    return Cell(value=estimated.value * scale, low=low, high=high, n=estimated.n)
