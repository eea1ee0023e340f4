"""A result: scored trackers with all that a report shows of them, and of the study if they belong to one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trackablate.ablations.study import Study
from trackablate.datasets.errors import counted
from trackablate.datasets.sequence import Image
from trackablate.harness.scoring.metrics import METRICS
from trackablate.harness.scoring.scored import Scored, ScoredProtocol, ScoredTracker
from trackablate.harness.spec import Profile

PART = (
    "Scores of incomplete trackers are over the sequences that are there, as --allow-incomplete asks: they do not compare"
    " with those of complete ones."
)


@dataclass(frozen=True)
class FilmStrip:
    """A few frames of one sequence, from the store.

    Attributes:
        frames: Indices of the frames.
        jpegs: Encoded thumbnails of these frames.
        scale: Thumbnail pixels per image pixel.
        truth: True boxes (len(frames), 4) in image pixels.
        path: True boxes (N, 4) of every frame, None where only those of the thumbnails are known.
    """

    sequence: str
    frames: tuple[int, ...]
    jpegs: tuple[bytes, ...]
    scale: float
    truth: NDArray[np.float64]
    path: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class FrameRow:
    """Some frames of one sequence as a figure for papers shows them.

    Attributes:
        frames: Indices of the frames, from 0.
        images: These frames.
        truth: True boxes (N, 4) of every frame, NaN where there is none; the first one alone if a server has the others.
    """

    protocol: str
    sequence: str
    frames: tuple[int, ...]
    images: tuple[Image, ...]
    truth: NDArray[np.float64]


def has_returned(rows: Sequence[ScoredTracker], protocol: str) -> bool:
    """Return whether an evaluation server has returned scores of any of these rows."""
    on = (row.protocols[protocol] for row in rows if protocol in row.protocols)
    return any(returned.scores for scores in on for returned in scores.returned)


@dataclass(frozen=True)
class Result:
    """Everything that a report shows, of a study or of raw results.

    Attributes:
        protocols: Those that are scored here, then those of evaluation servers.
        rows: The trackers. Cited ones that nobody ran here have role "cited".
        command: The command that gives the report again.
        study: The study, None for raw results.
        profile: The size at which the study ran, None for raw results.
        missing: What should be in the report and is not, besides rows.
        problems: What is wrong with raw result files.
        compare: Two trackers to compare by every metric.
        strips: Film strips by protocol and sequence.
        grid: Frames for the figure that `report --grid` asks for.
    """

    protocols: tuple[ScoredProtocol, ...]
    rows: tuple[ScoredTracker, ...]
    command: str
    study: Study | None = None
    profile: Profile | None = None
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    compare: tuple[str, str] | None = None
    strips: Mapping[str, Mapping[str, FilmStrip]] = field(default_factory=dict)
    grid: tuple[FrameRow, ...] = ()

    @property
    def scored_here(self) -> tuple[ScoredProtocol, ...]:
        """The protocols whose true boxes are here."""
        return tuple(facts for facts in self.protocols if not facts.on_server)

    @property
    def variants(self) -> list[ScoredTracker]:
        """The trackers that are ranked."""
        return self.of_role("variant")

    def has_returned(self, protocol: str) -> bool:
        """Return whether an evaluation server has returned scores of any row."""
        return has_returned(self.rows, protocol)

    def of_role(self, *roles: str) -> list[ScoredTracker]:
        """Return the trackers of these roles, in order."""
        return [row for row in self.rows if row.role in roles]

    @property
    def baseline(self) -> ScoredTracker | None:
        """The study's baseline, None where it is absent."""
        return next((row for row in self.rows if row.baseline), None)

    @property
    def seeds(self) -> int:
        """The largest number of seeds of any row."""
        return max((len(found.seeds) for row in self.rows for found in row.protocols.values()), default=1)

    @property
    def figures(self) -> int:
        """The number of results behind the report: the sequences of each row that is complete, for each of its seeds."""
        found = [scores for row in self.rows for scores in row.protocols.values()]
        scored = sum(len(scores.names) * len(scores.seeds) for scores in found if scores.complete)
        return scored + sum(bool(one.scores) for scores in found for one in scores.returned)

    @property
    def title(self) -> str:
        """The title of the report."""
        return self.study.title if self.study else f"{self.protocols[0].title}: raw results scored"

    @property
    def question(self) -> str:
        """The study's question, or what the scores are of."""
        return self.study.question if self.study else coverage(self.protocols[0])

    @property
    def profile_name(self) -> str:
        """The name of the profile, empty for raw results."""
        return self.profile.name if self.profile else ""

    @property
    def subject(self) -> str:
        """What the best and the second are among."""
        return "variant" if self.study else "tracker"

    @property
    def comparable_with_paper(self) -> bool:
        """Whether measured figures compare with published ones."""
        return self.profile is None or self.profile.comparable_with_paper

    @property
    def caveat(self) -> str:
        """The first thing that a reader must know, empty if there is none."""
        if self.profile and not self.profile.comparable_with_paper:
            default = f"Profile {self.profile.name}: not comparable with the paper's figures."
            return self.profile.caveat or default
        partial = [facts for facts in self.protocols if facts.allow_incomplete]
        return PART if any(not row.protocols[f.name].complete for f in partial for row in self.rows) else ""


def result_of(scored: Scored, compare: tuple[str, str] | None = None) -> Result:
    """Return the result of raw files; `compare` names two trackers to compare."""
    return Result((scored.protocol,), scored.trackers, scored.command, problems=scored.problems, compare=compare)


def primary_metric(result: Result, facts: ScoredProtocol) -> str:
    """Return the study's primary metric if the protocol has it, else the protocol's first."""
    wanted = result.study.primary_metric if result.study else ""
    return wanted if wanted in facts.metrics else facts.metrics[0]


def standing(result: Result) -> list[ScoredTracker]:
    """Return a study's rows in its order, raw results best first by their first metric and incomplete ones last."""
    if result.study:
        return list(result.rows)
    (facts,) = result.protocols
    metric = METRICS[primary_metric(result, facts)]

    def place(row: ScoredTracker) -> tuple[bool, bool, float, str]:
        value = row.percent(facts, metric.key)
        signed = 0.0 if value is None else -metric.sign * value
        return not row.protocols[facts.name].complete, value is None, signed, row.name

    return sorted(result.rows, key=place)


def coverage(facts: ScoredProtocol) -> str:
    """Return what scores of a protocol are over and by whose rules, in words."""
    cut = "; predicted boxes cut to integers" if facts.truncated else ""
    names = dict.fromkeys(dialect.name for dialect in facts.dialects.values()) if facts.rules else ()
    rules = f"; dialect{'s' * (len(names) > 1)} {', '.join(names)}" if names else ""
    there = facts.coverage or f"{counted(len(facts.sequences), 'sequence')} of {facts.name}"
    return f"{there}, {counted(facts.frames, 'frame')}{cut}{rules}"
