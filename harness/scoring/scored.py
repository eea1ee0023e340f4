"""Scored trackers: the one form in which stored runs, raw result files and evaluation servers give their scores."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import Floats
from trackablate.harness.record import PaperScale, RunRecord, Verdict
from trackablate.harness.scoring.failure_modes import FailureCounts
from trackablate.harness.scoring.metrics import METRICS, Dialect, Metric, Tally, values

Role = Literal["variant", "floor", "control", "cited"]


@dataclass(frozen=True)
class SequenceInfo:
    """One sequence of a protocol."""

    name: str
    frames: int
    attributes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ScoredProtocol:
    """A protocol as trackers were scored on it.

    Attributes:
        dialects: Each metric's dialect as it applies to this protocol, in the order of the columns.
        rules: All dialects that raw results were asked for, the main one first; empty for a study.
        attributes: The protocol's sequence attributes in its own order.
        one_shot: Whether the protocol restricts the videos that trackers may be trained on.
        on_server: Whether only an evaluation server has the true boxes.
        coverage: How many of the protocol's official sequences there are, in words.
        truncated: Whether predicted boxes were cut to integers.
        allow_incomplete: Whether means over a part of the sequences are shown.
    """

    name: str
    title: str
    description: str
    source: str
    sequences: tuple[SequenceInfo, ...]
    dialects: Mapping[str, Dialect]
    rules: tuple[Dialect, ...] = ()
    attributes: tuple[str, ...] = ()
    one_shot: bool = False
    on_server: bool = False
    coverage: str = ""
    truncated: bool = False
    allow_incomplete: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the columns, in order."""
        return tuple(self.dialects)

    @property
    def readings(self) -> tuple[tuple[Dialect, tuple[str, ...]], ...]:
        """The dialects of raw results with their metrics: all of those asked for, the columns' of any other."""
        asked = {rule.name for rule in self.rules}
        others = {dialect.name: dialect for dialect in self.dialects.values() if dialect.name not in asked}
        return tuple(
            (one, tuple(metric for metric in one.metrics if one.name in asked or self.dialects.get(metric) == one))
            for one in (*self.rules, *others.values())
        )

    @property
    def frames(self) -> int:
        """The frames of all sequences."""
        return sum(sequence.frames for sequence in self.sequences)

    @cached_property
    def members(self) -> dict[str, list[str]]:
        """The sequences of each attribute: the protocol's attributes in its order, then any others by name."""
        found = sorted({name for s in self.sequences for name in s.attributes} - set(self.attributes))
        members = {a: [s.name for s in self.sequences if a in s.attributes] for a in (*self.attributes, *found)}
        return {attribute: names for attribute, names in members.items() if names}


@dataclass(frozen=True)
class Returned:
    """What an evaluation server returned for one run.

    Attributes:
        scores: Shares in 0..1 by metric; empty where there are none, for the given reason.
        entered: The date on which the scores were entered.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    entered: str = ""
    reason: str = ""


@dataclass(frozen=True)
class TrackerScores:
    """One tracker on one protocol.

    Attributes:
        sequences: The protocol's sequences by name, in the order of samples. It is the same for all trackers of a
            result, so that they pair.
        seeds: Tallies by sequence, for each training seed or repetition. Only whole results are tallied.
        failures: Failures by sequence, for each seed; empty where they were not counted.
        boxes: The first seed's predicted boxes (N, 4) by sequence; empty where they are unknown.
        seconds: Wall time of tracking, of the first seed.
        records: The runs that were evaluated, seed by seed; empty for raw results.
        returned: What an evaluation server returned, seed by seed; empty where scores are made here.
    """

    sequences: tuple[str, ...]
    seeds: tuple[Mapping[str, Tally], ...] = ()
    failures: tuple[Mapping[str, FailureCounts], ...] = ()
    boxes: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    seconds: float | None = None
    records: tuple[RunRecord, ...] = ()
    returned: tuple[Returned, ...] = ()
    _samples: dict[tuple[str, str], tuple[Floats, Floats]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """The tallies of the first seed."""
        return self.seeds[0] if self.seeds else {}

    @cached_property
    def names(self) -> list[str]:
        """The sequences that every seed has, in order."""
        return [name for name in self.sequences if all(name in tallies for tallies in self.seeds)] if self.seeds else []

    @property
    def complete(self) -> bool:
        """Whether every seed has every sequence."""
        return bool(self.seeds) and len(self.names) == len(self.sequences)

    @property
    def incompleteness(self) -> str:
        """How much is there, in words; empty for complete scores."""
        if self.complete:
            return ""
        total = len(self.sequences)
        counts = [len(tallies) for tallies in self.seeds] or [0]
        if len(set(counts)) == 1:
            return f"incomplete: {counts[0]} of {total} sequences"
        kind, first = ("seed", 0) if self.records or self.returned else ("repetition", 1)
        return "incomplete: " + "; ".join(f"{kind} {i}: {n} of {total} sequences" for i, n in enumerate(counts, first))

    def samples(self, metric: str, dialect: Dialect, sequences: Collection[str] | None = None) -> tuple[Floats, Floats]:
        """Return numerators and weights (seeds, sequences) of a metric, of some sequences or of all that every seed has."""
        key = (metric, dialect.name)
        if key not in self._samples:
            pairs = [values([tallies[n] for n in self.names], metric, dialect) for tallies in self.seeds]
            whole = np.stack([numerators for numerators, _ in pairs]), np.stack([weights for _, weights in pairs])
            for part in whole:
                part.setflags(write=False)  # it is handed out again
            self._samples[key] = whole
        numerators, weights = self._samples[key]
        if sequences is None:
            return numerators, weights
        wanted = set(sequences)
        columns = [index for index, name in enumerate(self.names) if name in wanted]
        return numerators[:, columns], weights[:, columns]

    def percent(self, metric: Metric, dialect: Dialect) -> float | None:
        """Return the mean over seeds in the printed unit, None where nothing counts."""
        if not self.names:
            return None
        sums = [(n.sum(), w.sum()) for n, w in zip(*self.samples(metric.key, dialect), strict=True)]
        value = float(np.mean([metric.scale * n / w for n, w in sums])) if all(w > 0 for _, w in sums) else math.nan
        return value if math.isfinite(value) else None

    def by_sequence(self, metric: Metric, dialect: Dialect) -> dict[str, float]:
        """Return each sequence's own figure over all seeds in the printed unit, where it is defined."""
        if not self.names:
            return {}
        numerators, weights = (of_seeds.sum(axis=0) for of_seeds in self.samples(metric.key, dialect))
        shares = np.divide(numerators, weights, out=np.full_like(numerators, np.nan), where=weights > 0)
        found = zip(self.names, shares, strict=True)
        return {name: float(metric.scale * share) for name, share in found if np.isfinite(share)}

    def of_server(self, metric: str) -> float | None:
        """Return the mean of what a server returned, a share; None where the figure of any seed is missing."""
        figures = [returned.scores.get(metric) for returned in self.returned]
        known = [figure for figure in figures if figure is not None]
        return sum(known) / len(known) if known and len(known) == len(figures) else None

    @property
    def total_failures(self) -> FailureCounts | None:
        """The failures of all sequences and seeds, None where they were not counted."""
        return FailureCounts.total(one for seed in self.failures for one in seed.values()) if self.failures else None


@dataclass(frozen=True)
class ScoredTracker:
    """One row of every table: a tracker with its scores, and with its costs and records where they are known.

    Attributes:
        protocols: Scores by protocol; a protocol that is absent was not evaluated.
        cells: What the study varies, in words.
        records: The run records of all seeds and trainings, that behind the first protocol first. Empty for raw
            results. For a control, those of the runs whose weights it uses.
        paper_scale: The size at the published scale.
        layout: How the result files were recognised, for raw results.
        faults: What is wrong with the result files.
    """

    name: str
    role: Role
    protocols: Mapping[str, TrackerScores]
    cells: tuple[str, ...] = ()
    description: str = ""
    records: tuple[RunRecord, ...] = ()
    paper_scale: PaperScale | None = None
    baseline: bool = False
    layout: str = ""
    faults: tuple[str, ...] = ()

    @property
    def record(self) -> RunRecord | None:
        """The record of the first run."""
        return self.records[0] if self.records else None

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict of its runs, None without runs."""
        found = {record.verdict for record in self.records}
        worst: Sequence[Verdict] = ("failed", "trial", "reproducible")
        return next((verdict for verdict in worst if verdict in found), None)

    def usable(self, protocol: ScoredProtocol) -> TrackerScores | None:
        """Return the scores on a protocol if means of them are shown: those of every sequence, or of a part if allowed."""
        found = self.protocols.get(protocol.name)
        shown = found is not None and (found.complete or (protocol.allow_incomplete and bool(found.names)))
        return found if shown else None

    def percent(self, protocol: ScoredProtocol, metric: str, dialect: Dialect | None = None) -> float | None:
        """Return a mean in the printed unit, by the metric's own dialect unless another is given; None where none is."""
        found = self.usable(protocol)
        return found.percent(METRICS[metric], dialect or protocol.dialects[metric]) if found else None


@dataclass(frozen=True)
class Scored:
    """Raw results scored on one protocol.

    Attributes:
        problems: Everything that is wrong or worth knowing, for people.
        command: The command that gives the same again.
    """

    protocol: ScoredProtocol
    trackers: tuple[ScoredTracker, ...]
    problems: tuple[str, ...]
    command: str

    @property
    def incomplete(self) -> list[str]:
        """The names of the trackers that lack a sequence."""
        name = self.protocol.name
        return [tracker.name for tracker in self.trackers if not tracker.protocols[name].complete]
