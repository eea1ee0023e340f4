"""The nouns of a benchmark: a list of sequences, a protocol that scores trackers on it, and the data set it comes from.

`datasets.protocols` lists all protocols and data sets there are.
"""

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trackablate.datasets.atomic import file_clock
from trackablate.datasets.changes import DataState
from trackablate.datasets.progress import OnProgress
from trackablate.datasets.sequence import FrameFiles, Sequence


class SequenceList(typing.Protocol):
    """The sequences of a protocol as found on this machine, like a list.

    `check_annotations`, `check` and `notes` find nothing unless a class overrides them.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The sequences' names, unique and in order."""

    @property
    def coverage(self) -> str:
        """How much of the protocol is there, such as "2 of 100 sequences". Reported beside every score."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sequence: ...

    def __iter__(self) -> Iterator[Sequence]:
        return (self[index] for index in range(len(self)))

    def digest(self) -> str:
        """Return the SHA-256 of all that scores depend on except pixels. Scores compare if their digests are equal."""

    def stamp(self, index: int) -> str:
        """Return a text that changes whenever one sequence's annotation may have changed. Reads no file's content."""

    def frame_files(self, index: int) -> FrameFiles | None:
        """Return the image files of one sequence, None if there are none. Reads no file's content."""
        return None

    def reordered(self, index: int) -> bool:
        """Return whether versions of trackablate that sorted frames by name read one sequence in another order."""
        return False

    def state(self, store: Path) -> DataState:
        """Return the state of the data when a training on them begins. `store` is any folder that can be written to."""
        return DataState(since=file_clock(store))

    def refuse_changed(self, state: DataState) -> None:
        """Raise DataError, now or when a file is read, if the data have changed since that state."""
        return

    def lengths(self) -> tuple[int, ...]:
        """Return the number of frames of each sequence. Raises DataError for an annotation that cannot be read."""

    def check_annotations(self) -> None:
        """Raise one DataError with everything that prevents scoring. Reads no frames."""
        return

    def check(self, *, deep: bool = False, progress: OnProgress | None = None) -> str:
        """Raise one DataError with everything that is wrong for tracking. A deep check decodes every frame.

        Return how many frames were decoded, in words; "" if frames are not read from files.
        """
        return ""

    def notes(self) -> list[str]:
        """Return remarks that are not errors: missing sequences, other files in the folder, known oddities."""
        return []


class Opener(typing.Protocol):
    """Makes a sequence list."""

    def __call__(self, root: Path | None, index: Path | None = None, /) -> SequenceList:
        """Return the sequences of a folder or archive. Raises DataError if there are none.

        An index may be kept in the folder `index`.
        """


@dataclass(frozen=True)
class Protocol:
    """The sequences and metrics by which trackers are scored.

    Attributes:
        data: Name of the data set that `datasets.roots.data_root` finds; None for generated sequences.
        metrics: The columns of its table: (metric, dialect), keys of `harness.scoring.metrics.METRICS` and
            `harness.scoring.dialects.DIALECTS`. The first pair's dialect is the default of `score`, which papers use.
        attributes: The groups by which a score can be split, in the order of the benchmark's paper.
        open: Makes the sequences.
        origin: Number of the first pixel in annotation and raw result files. Boxes of a `Sequence` are always 0-based.
        one_shot: Whether its rules allow training on the benchmark's own training videos only
            (`datasets.pairs.training_sets.one_shot`). Reports mark trackers that break the rule.
        sparse: Whether frames whose box is NaN are not annotated, and so not scored; else the dialect decides on them.
        scored_as: The protocol whose special rules a dialect applies (`Dialect.by_protocol`); "" for its own name's.
    """

    name: str
    title: str
    description: str
    source: str
    data: str | None
    metrics: tuple[tuple[str, str], ...]
    attributes: tuple[str, ...]
    open: Opener
    origin: int = 0
    one_shot: bool = False
    sparse: bool = False
    scored_as: str = ""


@dataclass(frozen=True)
class DataSet:
    """The content of one folder or archive.

    Attributes:
        parts: Its splits by name. A split that is scored has the name of its protocol.
        protocols: The protocols that score trackers on one of the parts.
    """

    name: str
    title: str
    parts: Mapping[str, Opener]
    protocols: tuple[Protocol, ...] = ()
