"""The columns of one protocol: each metric with its interval, the difference to the baseline, the number of sequences.

Scores of an evaluation server stand in the same columns, without intervals: a server says nothing of single sequences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from trackablate.harness.record import RunRecord
from trackablate.harness.scoring.metrics import METRICS, Dialect, Metric
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker
from trackablate.reports.results import Result, primary_metric
from trackablate.reports.statistics.bootstrap import FEWEST_SEQUENCES, RESAMPLES
from trackablate.reports.statistics.sample_size import MOST_SEQUENCES, Needed
from trackablate.reports.statistics.variance import row_estimate
from trackablate.reports.table import Cell, Column
from trackablate.reports.tables.block import NOT_APPLICABLE, Block, Footnotes, cell_of
from trackablate.reports.tables.effects import Effect, Effects, best_variant, reference, stability

METHOD = (
    f"Brackets: 95 % interval, BCa bootstrap over sequences, {RESAMPLES} resamples, fixed seed, stretched for small samples."
    " One run per row: the interval covers other sequences of the same kind, not another training or run of the tracker."
)
METHOD_OF_SEEDS = (
    "Brackets of rows with several seeds or repetitions: 95 % interval over seeds and sequences, Student's t on the"
    " variance components of seed, sequence and residual (the project's docs/statistics.md)."
)
PAIRED = "Row minus baseline on the same sequences, with its own 95 % interval."
PLAIN_DIFFERENCE = (
    "Row minus baseline, from two figures of the evaluation server. It says nothing of single sequences, so it is unknown"
    " how much of the difference is chance."
)
HOLM = "Two-sided p value of the difference, corrected (Holm) for all differences of this table: resolved below 0.05."
UNRESOLVED = "Not resolved: the difference is not told from chance (corrected p of 0.05 or more)."
TO_RESOLVE = f"{UNRESOLVED} To resolve one of this size it takes: {{}}."
NO_PAIRS = "No difference: this row was not evaluated on the baseline's sequences."
RANKING = (
    "The row that is most often first when the sequences are drawn again: {}. That is no test, and few sequences make it"
    " look surer than it is: p says whether a difference is told from chance."
)
UNBEATEN = "The best variant, {best}, is not shown to beat {{}}."
FOOTNOTED_BELOW = 20
"""Sequences below which figures and differences have the footnote `FEW`."""
FEW = (
    f"With fewer than {FOOTNOTED_BELOW} sequences an interval covers a little less than it says (the project's"
    f" docs/statistics.md); with fewer than {FEWEST_SEQUENCES} none is given, and no difference counts as resolved."
)
TRUNCATED = (
    "Predicted boxes are cut to integers before scoring (--truncate), as pytracking's and OSTrack's result files are."
)
RECOMPUTED = "Computed from the raw results that --results names, by the rules of this column."
PART = "On {} of {}: not comparable with figures of the whole benchmark."


def metric_key(facts: ScoredProtocol, metric: str) -> str:
    """Return the key of a metric's column: raw results are of one protocol, and their columns do not name it."""
    return metric if facts.rules else f"{facts.name}:{metric}"


def add_protocol(
    result: Result, facts: ScoredProtocol, found: Effects, floors: Effects, block: Block, footnotes: Footnotes
) -> None:
    """Add all columns of one protocol, none for a server that has returned nothing.

    `found` are the differences to the study's baseline or to the best of raw results, `floors` those to the best variant.
    """
    if facts.on_server and not result.has_returned(facts.name):
        return
    for metric in (METRICS[name] for name in facts.metrics):
        make, column = _server_cell if facts.on_server else _cell, _metric_column(result, facts, metric, footnotes)
        cells = {row.name: cell for row in result.rows if (cell := make(row, facts, metric, footnotes)) is not None}
        block.add(column, cells)
        if metric.key == primary_metric(result, facts):
            _add_differences(result, facts, found, block, footnotes)
    if not facts.on_server:
        _add_sequences(result, facts, block)
        _note_floors(result, facts, floors, block, footnotes)


def value_of(row: ScoredTracker, facts: ScoredProtocol, metric: Metric) -> float | None:
    """Return a row's figure in the printed unit, wherever it comes from; None where there is none."""
    if not facts.on_server:
        return row.percent(facts, metric.key)
    found = row.protocols.get(facts.name)
    share = found.of_server(metric.key) if found else None
    return None if share is None else share * metric.scale


def note_incomplete(row: ScoredTracker, facts: ScoredProtocol, footnotes: Footnotes) -> tuple[int, ...]:
    """Add the footnote of an incomplete row; none for a complete one."""
    scores = row.protocols[facts.name]
    mean = "scored over those alone" if row.usable(facts) else "so no mean"
    text = f"{{}} on {facts.name}: {scores.incompleteness}, {mean}."
    return () if scores.complete else (footnotes.add(text, row.name),)


def _cell(row: ScoredTracker, facts: ScoredProtocol, metric: Metric, footnotes: Footnotes) -> Cell | None:
    """Return the figure with its interval; None is a dash."""
    scores = row.protocols.get(facts.name)
    if scores is None:
        return NOT_APPLICABLE if row.role == "cited" else None
    if row.usable(facts) is None:
        return Cell(footnotes=note_incomplete(row, facts, footnotes))
    cited = row.role == "cited"
    remarks = [FEW] if len(scores.names) < FOOTNOTED_BELOW and not cited else []
    remarks += _not_one_shot(scores.records or row.records[:1], facts) + ([RECOMPUTED] if cited else [])
    notes = tuple(map(footnotes.add, remarks)) + (() if cited else note_incomplete(row, facts, footnotes))
    sample = scores.samples(metric.key, facts.dialects[metric.key])
    return replace(cell_of(row_estimate(*sample), metric.scale, bounded=True), footnotes=notes)


def _server_cell(row: ScoredTracker, facts: ScoredProtocol, metric: Metric, footnotes: Footnotes) -> Cell:
    value = value_of(row, facts, metric)
    if value is None:
        return Cell() if row.role == "variant" else NOT_APPLICABLE
    return Cell(value, footnotes=tuple(map(footnotes.add, _not_one_shot(row.protocols[facts.name].records, facts))))


def _add_differences(result: Result, facts: ScoredProtocol, found: Effects, block: Block, footnotes: Footnotes) -> None:
    """Add the differences to the reference: on the metric's own cells, and for a study as columns of their own."""
    metric, first = METRICS[primary_metric(result, facts)], reference(result, facts)
    base = value_of(first, facts, metric) if first else None
    if first is None or (base is None if facts.on_server else first.usable(facts) is None):
        return
    key, deltas = metric_key(facts, metric.key), dict[str, Cell]()
    notes = footnotes if result.study else Footnotes()  # of raw results the differences are no column
    for row in result.rows:
        if row is first or row.role == "cited":
            continue
        if not facts.on_server and row.usable(facts):
            effect = found.get((facts.name, row.name))
            deltas[row.name] = _delta_cell(row, facts, effect, metric.scale, notes)
        elif facts.on_server and base is not None and (value := value_of(row, facts, metric)) is not None:
            deltas[row.name] = Cell(value - base, delta=value - base)
    for name, cell in deltas.items():
        same = {field: getattr(cell, field) for field in ("delta", "delta_low", "delta_high", "p", "needed")}
        block.put(name, key, replace(block.cells[name][key], **same))
    if not result.study:
        return
    blank = [row.name for row in result.rows if row.role == "cited" or (facts.on_server and row.role != "variant")]
    column = _metric_column(result, facts, metric, Footnotes())
    column = replace(
        column,
        key=f"{key}:delta",
        symbol=f"Δ{metric.symbol}",
        unit="points" if metric.unit == "%" else metric.unit,
        note=f"{metric.symbol} minus that of {first.name}",
        signed=True,
        footnotes=(footnotes.add(PLAIN_DIFFERENCE if facts.on_server else PAIRED),),
    )
    block.add(column, {first.name: Cell(text="baseline")} | deltas, blank)
    if not facts.on_server:
        note = "two-sided p value of the difference, corrected for the number of differences in the table (Holm)"
        column = Column(f"{key}:p", "p", "", 3, None, facts.name, note, "accuracy", footnotes=(footnotes.add(HOLM),))
        block.add(column, {name: Cell(cell.p) for name, cell in deltas.items()}, [first.name, *blank])


def _add_sequences(result: Result, facts: ScoredProtocol, block: Block) -> None:
    """Add the number of sequences, or how many an incomplete row has."""
    key, group = metric_key(facts, "sequences" if facts.rules else "n"), _group(facts, facts.metrics[-1])
    found = {row.name: row.protocols[facts.name] for row in result.rows if facts.name in row.protocols}
    cells = {n: Cell(float(len(of.names))) if of.complete else Cell(text=of.incompleteness) for n, of in found.items()}
    column = Column(key, "n", "seq.", 0, group=group, note="number of sequences", panel="accuracy")
    block.add(column, cells, [row.name for row in result.of_role("cited")])


def _note_floors(result: Result, facts: ScoredProtocol, found: Effects, block: Block, footnotes: Footnotes) -> None:
    """Name every floor or control that no variant is shown to beat, by its tested difference to the best."""
    metric, best = METRICS[primary_metric(result, facts)], best_variant(result, facts)
    key = metric_key(facts, metric.key)
    for floor in result.of_role("floor", "control"):
        effect = found.get((facts.name, floor.name))
        if best is None or effect is None or effect.verdict is None:
            continue
        above = metric.sign * effect.estimate.value > 0
        cell = replace(block.cells[floor.name][key], beaten=effect.verdict.resolved and not above)
        if not cell.beaten:
            what, by = f"{floor.role} {floor.name}", f"{floor.name} minus {best.name}: {_in_words(effect, metric)}"
            beats = f"The {what} beats the best variant, {best.name}, on {facts.name} ({by})."
            text, about = UNBEATEN.format(best=best.name), f"the {what} on {facts.name} ({by})"
            note = footnotes.add(beats) if effect.verdict.resolved else footnotes.add(text, about)
            cell = replace(cell, footnotes=(*cell.footnotes, note))
        block.put(floor.name, key, cell)


def _group(facts: ScoredProtocol, metric: str) -> str:
    """Return the heading above a column: the protocol, or the dialect of raw results, which are of one protocol."""
    return f"dialect {facts.dialects[metric].name}" if facts.rules else facts.name


def _metric_column(result: Result, facts: ScoredProtocol, metric: Metric, footnotes: Footnotes) -> Column:
    if facts.on_server:
        how, notes = "by the evaluation server", [_note_server(result, facts, footnotes)]
    else:
        dialect = facts.dialects[metric.key]
        texts = [_rules(facts, dialect), *_methods(result, facts), *([TRUNCATED] if facts.truncated else [])]
        if result.study and facts.coverage:
            texts.append(PART.format(facts.coverage, facts.title))
        how, notes = f"dialect {dialect.name}", [footnotes.add(text) for text in texts]
        if metric.key == primary_metric(result, facts):
            notes += _note_ranking(result, facts, footnotes)
    return Column(
        key=metric_key(facts, metric.key),
        symbol=metric.symbol,
        unit=metric.unit,
        decimals=metric.decimals,
        better=metric.better,
        group=_group(facts, metric.key),
        panel="accuracy",
        note=f"{metric.symbol}: {metric.description}; {how}",
        footnotes=tuple(notes),
    )


def _methods(result: Result, facts: ScoredProtocol) -> Iterator[str]:
    """Yield how the intervals are made: one text for rows of one seed, another for rows of several."""
    several = {len(scores.seeds) > 1 for row in result.rows if (scores := row.usable(facts))}
    yield from (text for among, text in ((False, METHOD), (True, METHOD_OF_SEEDS)) if among in several)


def _note_ranking(result: Result, facts: ScoredProtocol, footnotes: Footnotes) -> tuple[int, ...]:
    found = stability(result, facts)
    if found is None:
        return ()
    names, ranks = found
    first = ranks.ranks[:, 0]
    leader = names[int(first.argmax())]
    return (footnotes.add(RANKING, f"{leader} in {100 * first.max():.0f} % of the draws on {facts.name}"),)


def _not_one_shot(records: Sequence[RunRecord], facts: ScoredProtocol) -> list[str]:
    """Return why the figure of these runs does not compare with those published under the one-shot rule."""
    others = [record.asked for record in records if facts.one_shot and not record.asked.one_shot]
    return [
        f"{facts.name} is for trackers trained on its own training videos alone; this one was trained on"
        f" {run.trained_on}: not comparable with figures published under that rule."
        for run in others[:1]
    ]


def _rules(facts: ScoredProtocol, dialect: Dialect) -> str:
    metrics = [METRICS[name] for name, of in facts.dialects.items() if of.name == dialect.name]
    meanings = "; ".join(f"{metric.symbol}: {metric.description}" for metric in metrics)
    return f"Dialect {dialect.name}. {dialect.description}. {meanings}."


def _note_server(result: Result, facts: ScoredProtocol, footnotes: Footnotes) -> int:
    on = [row.protocols[facts.name] for row in result.rows if facts.name in row.protocols]
    dates = sorted({returned.entered for scores in on for returned in scores.returned if returned.entered})
    return footnotes.add(
        "By the evaluation server, as entered by hand for the boxes that were submitted: no scores of single sequences, so"
        " no interval. Entered: {}.",
        f"{facts.name} on {' and '.join(dates)}",
    )


def _delta_cell(
    row: ScoredTracker, facts: ScoredProtocol, effect: Effect | None, scale: float, footnotes: Footnotes
) -> Cell:
    if effect is None:
        return Cell(footnotes=(footnotes.add(NO_PAIRS),))
    cell = cell_of(effect.estimate, scale)
    adjusted = effect.verdict.adjusted if effect.verdict else None
    cell = replace(cell, delta=cell.value, delta_low=cell.low, delta_high=cell.high, p=adjusted, needed=effect.needed)
    if cell.resolved is not False:
        return cell
    ways = in_words(effect.needed) if effect.needed else ""
    about = f"{ways} ({row.name} on {facts.name})"
    return replace(cell, footnotes=(footnotes.add(TO_RESOLVE, about) if ways else footnotes.add(UNRESOLVED),))


def in_words(needed: Needed) -> str:
    """Return what would resolve a difference if it is as large as it looks, to two digits: "about 2900 sequences"."""
    ways = ((needed.sequences, "sequences"), (needed.seeds, "seeds per row"))
    numbers = [f"about {_rounded(count)} {what}" for count, what in ways if count is not None]
    return " or ".join(numbers) or f"more than {MOST_SEQUENCES:,} sequences"


def _rounded(count: int) -> int:
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step


def p_in_words(adjusted: float) -> str:
    """Return a p value that was corrected for the number of differences."""
    return f"Holm-corrected p {f'= {adjusted:.3f}' if adjusted >= 0.001 else '< 0.001'}"


def _in_words(effect: Effect, metric: Metric) -> str:
    difference = effect.estimate
    low, high = (metric.scale * (bound or 0.0) for bound in (difference.low, difference.high))
    shown = f"{metric.scale * difference.value:+.1f} {metric.symbol} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
    return f"{shown}, {p_in_words(effect.verdict.adjusted)}" if effect.verdict else shown
