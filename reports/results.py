"""What a report is made of: one study's records, scores and pictures, read from the store by the composition root."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trackablate.ablations.study import Study
from trackablate.harness.exchange.server_scores import Returned
from trackablate.harness.record import PaperScale, RunRecord, Verdict
from trackablate.harness.scoring.metrics import Dialect, Tally
from trackablate.harness.spec import Profile
from trackablate.reports.statistics.bootstrap import Sample
from trackablate.reports.table import Role


@dataclass(frozen=True)
class ProtocolResult:
    """One row on one protocol. tallies: sequence name to its tally, of the first seed; expected: how many sequences the
    protocol has; boxes: sequence name to predicted boxes (N, 4), of the first seed; more_seeds: the tallies of every
    further seed; seconds: wall time of tracking it, of the first seed, None where that is not known; records: of the runs
    that were evaluated on it, seed by seed; known: samples that were asked for before, by metric and dialect.
    """

    tallies: dict[str, Tally]
    expected: int
    boxes: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    more_seeds: tuple[dict[str, Tally], ...] = ()
    seconds: float | None = None
    records: tuple[RunRecord, ...] = ()
    known: dict[tuple[str, str], Sample] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def seeds(self) -> tuple[dict[str, Tally], ...]:
        """Tallies by sequence name, seed by seed."""
        return (self.tallies, *self.more_seeds)


@dataclass(frozen=True)
class ServerResult:
    """One row on a protocol of an evaluation server: what was returned for each seed, and the records of those runs."""

    returned: tuple[Returned, ...]
    records: tuple[RunRecord, ...]


@dataclass(frozen=True)
class RowResult:
    """One row of the report. record: that of the first seed; more_records: those of every further seed or training. For
    floors and controls, paper_scale is None; for a control, record is that of the run whose weights it uses. protocols:
    protocol name to result; a protocol that is missing was not evaluated. on_server: the same for
    protocols of evaluation servers.
    """

    name: str
    role: Role
    cells: tuple[str, ...]
    description: str
    record: RunRecord
    protocols: dict[str, ProtocolResult]
    paper_scale: PaperScale | None = None
    baseline: bool = False
    more_records: tuple[RunRecord, ...] = ()
    on_server: dict[str, ServerResult] = field(default_factory=dict)

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """The record of every run behind the row."""
        return (self.record, *self.more_records)

    @property
    def verdict(self) -> Verdict:
        """The worst of its runs'."""
        found = {record.verdict for record in self.records}
        return "failed" if "failed" in found else "trial" if "trial" in found else "publishable"


@dataclass(frozen=True)
class CitedRow:
    """A tracker that is only cited: its printed figures come from `ablations.published`; protocols: what its raw results,
    where the reader has them, score by our own rules, by protocol.
    """

    name: str
    protocols: dict[str, ProtocolResult] = field(default_factory=dict)


@dataclass(frozen=True)
class FilmStrip:
    """A few frames of one sequence of a protocol, from the store. frames: indices; jpegs: encoded thumbnails, same order;
    scale: thumbnail pixels per image pixel; truth: (len(frames), 4) true boxes in image pixels; path: (N, 4) those of
    every frame of the sequence, None where only those of the thumbnails are at hand.
    """

    sequence: str
    frames: tuple[int, ...]
    jpegs: tuple[bytes, ...]
    scale: float
    truth: NDArray[np.float64]
    path: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class ProtocolFacts:
    """What a protocol is, for the page. dialects: each metric's, as it applies to this protocol, in the columns' order;
    one_shot: whether its rules restrict what trackers may be trained on; attributes: those of each sequence; strips: film
    strips by sequence.
    """

    name: str
    description: str
    source: str
    sequences: int
    frames: int
    dialects: dict[str, Dialect]
    one_shot: bool = False
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    strips: dict[str, FilmStrip] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of its columns, in order."""
        return tuple(self.dialects)


@dataclass(frozen=True)
class StudyResult:
    """Everything a report shows. command: how to get it again; cited: rows that nobody here trained; on_server: protocols
    that are scored by an evaluation server alone.
    """

    study: Study
    profile: Profile
    protocols: tuple[ProtocolFacts, ...]
    rows: tuple[RowResult, ...]
    missing: tuple[str, ...]
    command: str
    cited: tuple[CitedRow, ...] = ()
    on_server: tuple[ProtocolFacts, ...] = ()

    @property
    def every_protocol(self) -> tuple[ProtocolFacts, ...]:
        """Those that are scored here, then those of evaluation servers."""
        return (*self.protocols, *self.on_server)

    @property
    def seeds(self) -> int:
        """The most seeds that any row has."""
        return max((len(found.seeds) for row in self.rows for found in row.protocols.values()), default=1)
