"""The columns of one protocol: each metric with its interval, the difference to the baseline, the number of sequences.

Scores of an evaluation server stand in the same columns, without intervals: a server says nothing of single sequences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trackablate.harness.record import RunRecord
from trackablate.harness.scoring.metrics import METRICS, Dialect, Metric
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker
from trackablate.reports.results import Result, primary_metric
from trackablate.reports.statistics.bootstrap import RESAMPLES, Estimate
from trackablate.reports.statistics.sample_size import Needed
from trackablate.reports.statistics.variance import row_estimate
from trackablate.reports.table import Cell, Column
from trackablate.reports.tables.block import NOT_APPLICABLE, Block, Footnotes, cell_of
from trackablate.reports.tables.effects import Effect, Effects, paired, stability

METHOD = (
    f"Brackets: 95 % interval, BCa bootstrap over sequences, {RESAMPLES} resamples, fixed seed, stretched for small samples."
    " One run per row: the interval covers other sequences of the same kind, not another training or run of the tracker."
)
METHOD_OF_SEEDS = (
    "Brackets of rows with several seeds or repetitions: 95 % interval over seeds and sequences, Student's t on the"
    " variance components of seed, sequence and residual (docs/statistics.md)."
)
PAIRED = "Row minus baseline on the same sequences, with its own 95 % interval."
PLAIN_DIFFERENCE = (
    "Row minus baseline, from two figures of the evaluation server. It says nothing of single sequences, so it is unknown"
    " how much of the difference is chance."
)
HOLM = "Two-sided p value of the difference, corrected (Holm) for all differences of this table: resolved below 0.05."
UNRESOLVED = "Not resolved: the difference is not told from chance (corrected p of 0.05 or more)."
NO_PAIRS = "No difference: this row was not evaluated on the baseline's sequences."
FEW = (
    "With fewer than 20 sequences an interval covers a little less than it says (docs/statistics.md); with fewer than 4"
    " none is given, and no difference counts as resolved."
)
FEW_SEQUENCES = 20
RECOMPUTED = "Recomputed from the tracker's published raw results, by the rules of this column."


def metric_key(facts: ScoredProtocol, metric: str) -> str:
    """Return the key of a metric's column: raw results are of one protocol, and their columns do not name it."""
    return metric if facts.rules else f"{facts.name}:{metric}"


def protocol_block(result: Result, facts: ScoredProtocol, found: Effects, footnotes: Footnotes) -> Block:
    """Return all columns of one protocol, none for a server that has returned nothing.

    `found` are the study's differences to its baseline.
    """
    columns = _Columns(result, facts, found, footnotes, Block())
    if facts.on_server and not any(facts.name in row.protocols and _returned(row, facts) for row in result.rows):
        return columns.block
    primary = primary_metric(result, facts)
    for name in facts.metrics:
        columns.add_metric(METRICS[name])
        if name == primary and (facts.on_server or _has_scores(result.baseline, facts)):
            columns.add_difference(METRICS[name])
    if not facts.on_server:
        columns.add_sequences()
        columns.note_floors(METRICS[primary])
    return columns.block


def value_of(row: ScoredTracker, facts: ScoredProtocol, metric: Metric) -> float | None:
    """Return a row's figure in the printed unit, wherever it comes from; None where there is none."""
    if not facts.on_server:
        return row.percent(facts, metric.key)
    found = row.protocols.get(facts.name)
    share = found.of_server(metric.key) if found else None
    return None if share is None else share * metric.scale


def _returned(row: ScoredTracker, facts: ScoredProtocol) -> bool:
    return any(returned.scores for returned in row.protocols[facts.name].returned)


def _has_scores(row: ScoredTracker | None, facts: ScoredProtocol) -> bool:
    return row is not None and row.usable(facts) is not None


@dataclass(frozen=True)
class _Columns:
    """One protocol's columns while they are made."""

    result: Result
    facts: ScoredProtocol
    effects: Effects
    footnotes: Footnotes
    block: Block

    def _note(self, *texts: str) -> tuple[int, ...]:
        return tuple(self.footnotes.add(text) for text in texts if text)

    def add_metric(self, metric: Metric) -> None:
        """Add a metric's column with a cell for each row."""
        facts, key = self.facts, metric_key(self.facts, metric.key)
        if facts.on_server:
            how, notes = "by the evaluation server", self._note(_by_the_server(self.result, facts))
        else:
            dialect = facts.dialects[metric.key]
            how, notes = f"dialect {dialect.name}", self._note(_rules(facts, dialect), *_methods(self.result, facts))
            if metric.key == primary_metric(self.result, facts):
                notes += self._note(_rank_note(self.result, facts))
        for row in self.result.rows:
            cell = self._server_cell(row, metric) if facts.on_server else self._cell(row, metric)
            if cell is not None:
                self.block.put(row.name, key, cell)
        self.block.columns.append(_metric_column(facts, metric, how, notes))

    def _cell(self, row: ScoredTracker, metric: Metric) -> Cell | None:
        """Return the figure with its interval; None is a dash."""
        facts, scores = self.facts, row.protocols.get(self.facts.name)
        if scores is None:
            return NOT_APPLICABLE if row.role == "cited" else None
        if row.usable(facts) is None:
            return Cell(footnotes=self._note(incomplete(row, facts)))
        sample = scores.samples(metric.key, facts.dialects[metric.key])
        cell = cell_of(row_estimate(*sample), metric.scale, bounded=True)
        remarks = [FEW] if len(scores.names) < FEW_SEQUENCES and row.role != "cited" else []
        remarks += _not_one_shot(scores.records or row.records[:1], facts)
        remarks += [RECOMPUTED] if row.role == "cited" else [incomplete(row, facts)]
        return replace(cell, footnotes=self._note(*remarks))

    def _server_cell(self, row: ScoredTracker, metric: Metric) -> Cell:
        value = value_of(row, self.facts, metric)
        if value is None:
            return Cell() if row.role == "variant" else NOT_APPLICABLE
        return Cell(value, footnotes=self._note(*_not_one_shot(row.protocols[self.facts.name].records, self.facts)))

    def add_difference(self, metric: Metric) -> None:
        """Add the differences to the baseline: on the metric's own cells, and as columns of their own."""
        facts, baseline, key = self.facts, self.result.baseline, metric_key(self.facts, metric.key)
        reference = value_of(baseline, facts, metric) if baseline else None
        if baseline is None or (facts.on_server and reference is None):
            return
        for row in self.result.rows:
            if row.role == "cited":
                self.block.put(row.name, f"{key}:delta", NOT_APPLICABLE)
            elif row.baseline:
                self.block.put(row.name, f"{key}:delta", Cell(text="baseline"))
            elif facts.on_server:
                value = value_of(row, facts, metric)
                if value is not None and reference is not None:
                    self.block.put(row.name, f"{key}:delta", Cell(value - reference))
                elif row.role != "variant":
                    self.block.put(row.name, f"{key}:delta", NOT_APPLICABLE)
            elif row.usable(facts):
                self._put_effect(row, key, metric)
        method = PLAIN_DIFFERENCE if facts.on_server else PAIRED
        self.block.columns.append(_difference_column(facts, metric, baseline.name, self._note(method)))
        if not facts.on_server:
            self._add_p(key)

    def _put_effect(self, row: ScoredTracker, key: str, metric: Metric) -> None:
        cell = _delta_cell(self.effects.get((self.facts.name, row.name)), metric.scale, self.footnotes)
        own = self.block.cells[row.name][key]
        shown = replace(own, delta=cell.delta, delta_low=cell.delta_low, delta_high=cell.delta_high, p=cell.p)
        self.block.put(row.name, key, shown)
        self.block.put(row.name, f"{key}:delta", cell)
        self.block.put(row.name, f"{key}:p", Cell(cell.p))

    def _add_p(self, key: str) -> None:
        for row in self.result.rows:
            if row.baseline or row.role == "cited":
                self.block.put(row.name, f"{key}:p", NOT_APPLICABLE)
        note = "two-sided p value of the difference, corrected for the number of differences in the table (Holm)"
        group = _group(self.facts)
        self.block.columns.append(
            Column(f"{key}:p", "p", "", 3, None, group, note, "accuracy", footnotes=self._note(HOLM))
        )

    def add_sequences(self) -> None:
        """Add the number of sequences, or how many an incomplete row has."""
        key = metric_key(self.facts, "sequences" if self.facts.rules else "n")
        for row in self.result.rows:
            scores = row.protocols.get(self.facts.name)
            if scores is not None:
                number = Cell(value=float(len(scores.names)))
                self.block.put(row.name, key, number if scores.complete else Cell(text=scores.incompleteness))
            elif row.role == "cited":
                self.block.put(row.name, key, NOT_APPLICABLE)
        group = _group(self.facts)
        self.block.columns.append(
            Column(key, "n", "seq.", 0, group=group, note="number of sequences", panel="accuracy")
        )

    def note_floors(self, metric: Metric) -> None:
        """Name every floor or control that no variant is shown to beat, by the interval of its difference to the best."""
        facts, key = self.facts, metric_key(self.facts, metric.key)
        variants = [(row, scores) for row in self.result.variants if (scores := row.usable(facts))]
        if not variants:
            return
        best, of_best = max(variants, key=lambda pair: _goodness(pair[0], facts, metric))
        for floor in self.result.of_role("floor", "control"):
            found = floor.usable(facts)
            difference = paired(found, of_best, facts, self.result) if found else None
            if difference is None or difference.low is None or difference.high is None or difference.high < 0:
                continue
            cell = self.block.cells[floor.name][key]
            note = self._note(_floor_note(floor, best.name, metric, difference))
            self.block.put(floor.name, key, replace(cell, footnotes=(*cell.footnotes, *note)))


def incomplete(row: ScoredTracker, facts: ScoredProtocol) -> str:
    """Return the footnote of an incomplete row, empty for a complete one."""
    scores = row.protocols[facts.name]
    if scores.complete:
        return ""
    mean = "scored over those alone" if row.usable(facts) else "so no mean"
    return f"{row.name} on {facts.name}: {scores.incompleteness}, {mean}."


def _group(facts: ScoredProtocol) -> str:
    """Return the heading above a protocol's columns: raw results are all by one dialect, which stands there."""
    return f"dialect {facts.rules[0].name}" if facts.rules else facts.name


def _metric_column(facts: ScoredProtocol, metric: Metric, how: str, footnotes: tuple[int, ...]) -> Column:
    return Column(
        key=metric_key(facts, metric.key),
        symbol=metric.symbol,
        unit=metric.unit,
        decimals=metric.decimals,
        better=metric.better,
        group=_group(facts),
        panel="accuracy",
        note=f"{metric.symbol}: {metric.description}; {how}",
        footnotes=footnotes,
    )


def _difference_column(facts: ScoredProtocol, metric: Metric, baseline: str, footnotes: tuple[int, ...]) -> Column:
    column = _metric_column(facts, metric, "", footnotes)
    return replace(
        column,
        key=f"{column.key}:delta",
        symbol=f"Δ{metric.symbol}",
        unit="points" if metric.unit == "%" else metric.unit,
        note=f"{metric.symbol} minus that of {baseline}",
        signed=True,
    )


def _methods(result: Result, facts: ScoredProtocol) -> Iterator[str]:
    """Yield how the intervals are made: one text for rows of one seed, another for rows of several."""
    several = {len(scores.seeds) > 1 for row in result.rows if (scores := row.usable(facts))}
    yield from (text for among, text in ((False, METHOD), (True, METHOD_OF_SEEDS)) if among in several)


def _rank_note(result: Result, facts: ScoredProtocol) -> str:
    found = stability(result, facts)
    if found is None:
        return ""
    names, ranks = found
    leader = names[int(ranks.ranks[:, 0].argmax())]
    share = f"{100 * ranks.best:.0f} %"
    return f"Ranking on {facts.name}: in {share} of the resamples the best row stays best; most often first: {leader}."


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


def _by_the_server(result: Result, facts: ScoredProtocol) -> str:
    on = [row.protocols[facts.name] for row in result.rows if facts.name in row.protocols]
    dates = sorted({returned.entered for scores in on for returned in scores.returned if returned.entered})
    return (
        f"By the evaluation server of {facts.name}, as entered by hand on {', '.join(dates)} for the boxes that were"
        " submitted: no scores of single sequences, so no interval."
    )


def _delta_cell(effect: Effect | None, scale: float, footnotes: Footnotes) -> Cell:
    if effect is None:
        return Cell(footnotes=(footnotes.add(NO_PAIRS),))
    cell = cell_of(effect.estimate, scale)
    adjusted = effect.verdict.adjusted if effect.verdict else None
    cell = replace(cell, delta=cell.value, delta_low=cell.low, delta_high=cell.high, p=adjusted)
    note = footnotes.add(_unresolved(effect.needed)) if cell.resolved is False else None
    return cell if note is None else replace(cell, footnotes=(note,))


def _unresolved(wanted: Needed | None) -> str:
    """Return what would resolve the difference if it is as large as it looks."""
    ways = [] if wanted is None else [(wanted.sequences, "sequences"), (wanted.seeds, "seeds per row")]
    numbers = " or ".join(f"about {_rounded(count)} {what}" for count, what in ways if count is not None)
    return f"{UNRESOLVED} To resolve one of this size it takes {numbers}." if numbers else UNRESOLVED


def _rounded(count: int) -> int:
    """Return the count to two digits: these are orders of magnitude."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step


def _goodness(row: ScoredTracker, facts: ScoredProtocol, metric: Metric) -> float:
    value = row.percent(facts, metric.key)
    return float("-inf") if value is None else metric.sign * value


def _floor_note(floor: ScoredTracker, best: str, metric: Metric, difference: Estimate) -> str:
    what, by = f"{floor.role} {floor.name}", _in_words(difference, metric)
    if difference.low is not None and difference.low > 0:
        return f"The {what} beats the best variant, {best}: {by}."
    return f"The best variant, {best}, is not shown to beat the {what}: {floor.name} minus {best} is {by}."


def _in_words(difference: Estimate, metric: Metric) -> str:
    low, high = (metric.scale * (bound or 0.0) for bound in (difference.low, difference.high))
    shown = f"{metric.scale * difference.value:+.1f} {metric.symbol} [{low:+.1f}, {high:+.1f}]"
    return shown.replace("-", "−")
