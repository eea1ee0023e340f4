"""What a result says in one to three sentences with the table's figures.

They say whether what was varied helps, who leads, whether the best passes the checks, and what it costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trackablate.ablations.study import Study
from trackablate.datasets.errors import counted
from trackablate.harness.record import RunRecord
from trackablate.harness.scoring.metrics import METRICS, Metric
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker
from trackablate.reports.results import Result, primary_metric
from trackablate.reports.statistics.bootstrap import FEWEST_SEQUENCES
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.accuracy import in_words, metric_key, p_in_words
from trackablate.reports.tables.block import si, time_unit
from trackablate.reports.tables.costs import cost_of, tracked_on, trained_on
from trackablate.reports.tables.printed import printed_order

FLOORS = {
    "static": "a box that stands still",
    "ncc": "correlation without learning",
    "shuffled-template": "the baseline with a wrong template",
}
COSTS = {
    "train_device": "took {} of device time to train",
    "memory": "held {} of memory at most",
    "fps": "tracks {}",
}
"""The costs of the sentence, by the keys of their columns."""
FACTORS = {
    "head.layers": "decoder layers in training",
    "head.test_layers": "decoder layers in testing",
    "embedding.trainable_positions": "training of the positions",
    "embedding.template_positions": "positions of the template",
}
"""What a study varies in words, by field, where the title of its column alone does not say it."""
MOST_NAMES = 4
"""Rows that are named one by one; of more, the number is given."""


@dataclass(frozen=True)
class Standing:
    """A protocol's rows by its primary metric.

    Attributes:
        variants: Those with a figure, the best first.
        first: The one that the others are compared with, if it has a figure: a study's baseline, the best of raw results.
        floors: Floors and controls with a figure.
    """

    facts: ScoredProtocol
    metric: Metric
    column: Column
    variants: tuple[TableRow, ...]
    first: TableRow | None
    floors: tuple[TableRow, ...]

    @property
    def leaders(self) -> tuple[TableRow, ...]:
        """The best and those whose figure is written alike."""
        return tuple(row for row in self.variants if self.figure(row) == self.figure(self.variants[0]))

    @property
    def rival(self) -> TableRow | None:
        """The row that the best is held against: the first, or the second best if the best is itself the first."""
        return (self.variants[1:2] or (None,))[0] if self.first is self.variants[0] else self.first

    @property
    def tested(self) -> TableRow:
        """The row whose difference to the first tells the best from its rival."""
        best = self.variants[0]
        return self.rival if self.first is best and self.rival else best

    def cell(self, row: TableRow) -> Cell:
        """Return a row's figure."""
        return row.cells[self.column.key]

    def figure(self, row: TableRow) -> str:
        """Return a row's figure with its unit."""
        return f"{self.column.written(self.cell(row).value or 0.0)} {self.column.unit}".strip()

    def verdict(self, row: TableRow) -> str:
        """Return whether a row is "better" or "worse" than the first, "not told apart" from it, or "not tested"."""
        cell = self.cell(row)
        if cell.resolved is None or cell.delta is None:
            return "not tested"
        return "not told apart" if not cell.resolved else "better" if self.metric.sign * cell.delta > 0 else "worse"


def standings(result: Result, table: Table) -> list[Standing]:
    """Return the standing on each protocol that has a column."""
    columns, found = {column.key: column for column in table.columns}, []
    for facts in result.protocols:
        metric = METRICS[primary_metric(result, facts)]
        key = metric_key(facts, metric.key)
        rows = [row for row in table.rows if row.cells.get(key, Cell()).value is not None]
        variants = [row for row in rows if row.role == "variant"]
        if result.study:
            variants.sort(key=lambda row: -metric.sign * (row.cells[key].value or 0.0))
        elif facts.allow_incomplete:  # means over a part compare with nothing, unless there are no others
            complete = {row.name for row in result.rows if row.protocols[facts.name].complete}
            variants = [row for row in variants if row.name in complete] or variants
        first = next((row for row in variants if row.baseline or not result.study), None)
        floors = tuple(row for row in rows if row.role in ("floor", "control"))
        if key in columns:
            found.append(Standing(facts, metric, columns[key], tuple(variants), first, floors))
    return found


def answers(result: Result, table: Table) -> tuple[str, ...]:
    """Return a few sentences that answer the result's question."""
    found = [one for one in standings(result, table) if one.variants]
    scope = _scope(result, table, {row.name for one in found for row in one.variants})
    if not found:
        return (f"{scope}nothing can be said yet: no {result.subject} has a score.",)
    said = {_effect(result, one) for one in found}
    effect = said.pop() if len(said) == 1 else ""  # protocols that disagree have clauses of their own
    lead = effect + (f"{_leader(found[0])}{_rest(found[0])}" if len(found) == 1 else _leaders(found))
    sentences = (f"{scope}{lead}.", _order(result, found[0]), _tracking(found), _cost(result, table, found))
    return tuple(sentence for sentence in sentences if sentence)


def _order(result: Result, one: Standing) -> str:
    # After a part of the published training: does the order agree? Of other sizes nobody expects it.
    if result.profile is None or result.profile.length == 1:
        return ""
    return printed_order(result, {row.name: one.metric.sign * (one.cell(row).value or 0.0) for row in one.variants})


def _scope(result: Result, table: Table, scored: set[str]) -> str:
    """Return what the sentences are about if it is not everything, up to a comma: the profile, and how much is there."""
    wanted = [row.name for row in table.rows if row.role == "variant"]
    parts = []
    if result.profile:
        against = "" if result.comparable_with_paper else " (not comparable with the paper)"
        parts = [f"at profile {result.profile_name}{against}"]
    if len(scored) < len(wanted):
        parts += [f"with {len(scored)} of {len(wanted)} {result.subject}s {'scored' if result.study else 'complete'}"]
    text = " and ".join(parts)
    return f"{text[0].upper()}{text[1:]}, " if text else ""


def _effect(result: Result, one: Standing) -> str:
    """Return whether what the study varies helps, up to a colon; "" if there is nothing to compare."""
    own = {row.name for row in result.study.rows} if result.study else set()  # not those that stand beside
    verdicts = {row.name: one.verdict(row) for row in one.variants if row is not one.first and row.name in own}
    if result.study is None or one.first is None or not verdicts:
        return ""
    if better := [name for name, verdict in verdicts.items() if verdict == "better"]:
        changed = _varied(result.study, one.first.name, better)
        return f"changing {_and(changed)} helps: " if changed else ""
    shown = "help" if "worse" in verdicts.values() else "make a difference"
    changed = _varied(result.study, one.first.name, list(verdicts))
    return f"no change of {_and(changed, 'or')} is shown to {shown}: " if changed else ""


def _varied(study: Study, baseline: str, rows: Sequence[str]) -> list[str]:
    """Return in words the factors in which rows differ from the baseline."""
    cells = {row.name: row.cells for row in study.rows}
    pairs = [(cells[name], cells[baseline]) for name in rows if name in cells and baseline in cells]
    differ = {
        at for ours, base in pairs for at, (one, other) in enumerate(zip(ours, base, strict=True)) if one != other
    }
    return [f"the {_factor(*factor)}" for at, factor in enumerate(study.factors.items()) if at in differ]


def _factor(title: str, field: str) -> str:
    return FACTORS.get(field) or (title.lower() if title[1:].islower() else title)


def _leader(one: Standing) -> str:
    best, metric = one.variants[0], one.metric
    baseline = ", the baseline," if len(one.leaders) == 1 else " (the baseline)"
    name = _and([f"{row.name}{baseline}" if row.baseline else row.name for row in one.leaders])
    rules = " by the evaluation server" if one.facts.on_server else ""
    meaning, on = f"{metric.description.split(':')[0]} ({metric.symbol})", f"on {_whole(one.facts)}{rules}"
    if len(one.variants) == 1:
        return f"{name} has {one.figure(best)} {meaning} {on}"
    verb, extreme = "has" if len(one.leaders) == 1 else "have", "highest" if metric.better == "higher" else "lowest"
    return f"{name} {verb} the {extreme} {meaning} {on}, {one.figure(best)}"


def _rest(one: Standing) -> str:
    """Return how the best compares with its rival and the others with the first."""
    best, rival = one.variants[0], one.rival
    if rival is None:
        return (
            "; there is nothing to compare it with" if one.first else "; the baseline has no score to compare it with"
        )
    groups: dict[str, list[str]] = {}
    for row in one.variants:
        if row not in (best, rival, one.first):
            groups.setdefault(one.verdict(row), []).append(row.name)
    role, either = "the baseline " if rival.baseline else "", one.verdict(one.tested) == "not told apart"
    clauses = [_clause(word, names, one.first.name if one.first else "", either) for word, names in groups.items()]
    against = f"; {_and(clauses)}" if clauses else ""
    if rival in one.leaders:
        return against
    subject = f"; {best.name} is " if len(one.leaders) > 1 else ", "
    return f"{subject}{_apart(one, f'{role}{rival.name} ({one.figure(rival)})')}{against}"


def _clause(verdict: str, names: list[str], first: str, either: bool) -> str:
    """Return what is known of some rows against the first; `either`: nothing is of the best."""
    verb = "is" if len(names) == 1 else "are"
    if verdict == "not told apart":
        return f"{_named(names)} cannot be told from {first}{' either' if either else ''}"
    return (
        f"{_named(names)} {verb} not tested"
        if verdict == "not tested"
        else f"{_named(names)} {verb} {verdict} than {first}"
    )


def _apart(one: Standing, rival: str) -> str:
    """Return how far the best is from its rival, and whether that is chance."""
    cell, unit = one.cell(one.tested), "points" if one.column.unit == "%" else one.column.unit
    if cell.delta is None:
        return f"not compared with {rival} on the same sequences"
    side = "above" if one.metric.better == "higher" else "below"
    size = f"{one.column.written(abs(cell.delta))} {unit} {side} {rival}"
    corrected = "" if cell.p is None else p_in_words(cell.p)
    if cell.resolved is None:
        few = cell.n is not None and cell.n < FEWEST_SEQUENCES
        told = f"{counted(cell.n or 0, 'sequence')} {'is' if cell.n == 1 else 'are'} too few to test it"
        return f"{size}, which may be chance ({told if few else 'not tested'})"
    if cell.resolved:
        return f"{size}, more than chance explains ({corrected})"
    wanted = f"; it would take {in_words(cell.needed)} to tell" if cell.needed else ""
    wanted += f", and there are {cell.n}" if cell.needed and not cell.needed.seeds else ""
    return f"{size}, which may be chance ({corrected}{wanted})"


def _leaders(found: Sequence[Standing]) -> str:
    """Return who leads on which of several protocols."""
    by_name: dict[str, list[Standing]] = {}
    for one in found:
        verb = "leads" if len(one.leaders) == 1 else "lead"
        by_name.setdefault(f"{_and([row.name for row in one.leaders])} {verb}", []).append(one)
    clauses = []
    for name, led in by_name.items():
        on = [
            f"on {_whole(one.facts)} with {one.figure(one.variants[0])} {one.metric.symbol}{_margin(one)}"
            for one in led
        ]
        clauses.append(f"{name} {', and '.join(on)}")
    return "; ".join(clauses)


def _whole(facts: ScoredProtocol) -> str:
    """Return a protocol's name, and how much of it is here if that is a part."""
    here, _, whole = facts.coverage.partition(" of ")
    return f"{facts.name} ({facts.coverage})" if whole and here != whole.split()[0] else facts.name


def _margin(one: Standing) -> str:
    if one.rival is None or one.rival in one.leaders:
        return ""
    subject = f"{one.variants[0].name} " if len(one.leaders) > 1 else ""
    return f", {subject}{_apart(one, one.rival.name)}"


def _tracking(found: Sequence[Standing]) -> str:
    """Return whether the best variant is shown to beat the floors and the wrong template."""
    groups: dict[bool | None, dict[str, None]] = {True: {}, False: {}, None: {}}
    for one in found:
        for row in one.floors:
            beaten = one.cell(row).beaten
            where = f", {one.figure(row)}" if len(found) == 1 else "" if beaten else f", on {one.facts.name}"
            groups[beaten][f"{row.name} ({FLOORS.get(row.name, row.role)}{where})"] = None
    subject = _subject(found, "it", "the best variant")
    if groups[False]:
        subject = found[0].variants[0].name if len(found) == 1 else subject  # the sentence before ends with other rows
        return f"Caution: {subject} is not shown to beat {_and(list(groups[False]), 'or')}."
    if groups[None]:
        return f"Whether {subject} beats {_and(list(groups[None]))} is not tested."
    subject = _subject(found, "It", "The best variant")
    passed = _and(list(groups[True]))
    return f"{subject} does track: it beats {passed} by more than chance." if passed else ""


def _subject(found: Sequence[Standing], pronoun: str, of_several: str) -> str:
    """Return how a sentence names the best: a pronoun is clear after a single leader."""
    return of_several if len(found) > 1 else pronoun if len(found[0].leaders) == 1 else found[0].variants[0].name


def _cost(result: Result, table: Table, found: Sequence[Standing]) -> str:
    """Return what the best costs, against the baseline, and where that was measured."""
    best, base = found[0].variants[0], found[0].first
    parts: dict[str, str] = {}
    for column in (column for column in table.columns if column.key in COSTS):
        value, other = (row.cells.get(column.key, Cell()).value if row else None for row in (best, base))
        if value is None:
            continue
        parts[column.key] = COSTS[column.key].format(f"{_rounded(value)} {column.unit}")
        apart = column.key == "fps" and base and not _measured_together(result, best.name, base.name)
        if base and base is not best and other is not None and not apart:
            parts[column.key] += f" ({base.name}: {_rounded(other)} {column.unit})"
    trained, tracked = f", on {trained_on(result.rows)}{_beside(result, best)}", f", on {tracked_on(result.variants)}"
    speed = parts.pop("fps", "") if tracked_on(result.variants) != trained_on(result.rows) else ""
    clauses = [f"{_and(list(parts.values()))}{trained}"] if parts else []
    clauses += [f"{'it ' if parts else ''}{speed}{tracked}"] if speed else []
    return f"{_subject(found, 'It', best.name)} {'; '.join(clauses)}." if clauses else ""


def cost_of_run(record: RunRecord) -> str:
    """Return what one run costs, in the words of the answer to a study."""
    cost = cost_of(ScoredTracker("it", "variant", {}, records=(record,)))
    (shorter, second), (divisor, prefix) = time_unit(cost.device_seconds or 0.0), si(cost.peak_memory_bytes or 0)
    figures = {
        "train_device": (cost.device_seconds, shorter, second),
        "memory": (cost.peak_memory_bytes, divisor, f"{prefix}B"),
        "fps": (cost.fps, 1.0, "frames/s"),
    }
    known = {key: (value, scale, unit) for key, (value, scale, unit) in figures.items() if value is not None}
    parts = [COSTS[key].format(f"{_rounded(value / scale)} {unit}") for key, (value, scale, unit) in known.items()]
    trained = record.training.where.device if record.training else "no device"
    return f"It {_and(parts)}, on {trained}." if parts else ""


def _measured_together(result: Result, *names: str) -> bool:
    """Return whether the tracking speeds of rows may be compared: another study may have measured one of them again."""
    records = [row.record for row in result.rows if row.name in names]
    return len({tuple(one.speed.measured_with) if one and one.speed else None for one in records}) == 1


def _rounded(value: float) -> str:
    """Return three significant figures without zeros at the end."""
    return f"{float(f'{value:.3g}'):,.10g}"


def _beside(result: Result, best: TableRow) -> str:
    record = next((row.record for row in result.rows if row.name == best.name), None)
    workers = record.training.where.concurrent_workers if record and record.training else 1
    return f", trained while {workers} runs shared the machine" if workers > 1 else ""


def _named(names: Sequence[str]) -> str:
    return _and(names) if len(names) <= MOST_NAMES else f"{len(names)} others"


def _and(parts: Sequence[str], word: str = "and") -> str:
    return f" {word} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
