"""The nouns of a benchmark: a list of sequences, a protocol, and a data set that has both. Filled in by
`datasets.protocols`, which lists all there are.
"""

import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trackablate.datasets.sequence import Sequence

OnProgress = Callable[[int, int], None]
"""Told how much of a long piece of work is done, and of how much: (done, total)."""


class SequenceList(typing.Protocol):
    """The sequences of a protocol as they lie on this machine, like a list."""

    @property
    def names(self) -> tuple[str, ...]:
        """The sequences' names, unique and in order."""

    @property
    def coverage(self) -> str:
        """How much of the protocol is there: "2 of 100 sequences". Said beside every score that comes from less."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sequence: ...

    def __iter__(self) -> Iterator[Sequence]: ...

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all that scores depend on but pixels: equal digests, comparable results."""

    def stamp(self, index: int) -> str:
        """A text that changes whenever the annotation of one sequence may have changed. Reads no file's content."""

    def lengths(self) -> tuple[int, ...]:
        """How many frames each sequence has, in order. Raises DataError for an annotation that cannot be read."""

    def check_annotations(self) -> None:
        """Raise DataError with everything that is wrong for scoring, for which no frame is needed."""

    def check(self, *, deep: bool = False, progress: OnProgress | None = None) -> None:
        """Raise DataError with everything that can be known to be wrong before tracking; silent where all is well.
        deep: open every frame's file, not only some of each sequence. progress: told how many sequences are done.
        """

    def notes(self) -> list[str]:
        """What is no error but should be known: what is missing of the protocol, what else lies there, known oddities."""


class Opener(typing.Protocol):
    """Makes a sequence list. root: the data's folder or archive; index: a folder where an index may be kept, None for
    nowhere; progress: told when making an index takes long. Raises DataError where root has no sequence.
    """

    def __call__(
        self, root: Path | None, index: Path | None = None, progress: OnProgress | None = None, /
    ) -> SequenceList: ...


@dataclass(frozen=True)
class Protocol:
    """data: the name of the folder that `datasets.roots.data_root` finds, None where nothing need be downloaded.
    metrics: the columns of its table, in order: (metric, dialect), keys of `harness.scoring.metrics.METRICS` and
    `.DIALECTS`; the
    first pair's dialect is the default one, which papers use. attributes: the groups a score can be split by, in the
    order of the benchmark's paper. open: makes the sequences. origin: how the annotation and raw result files number the
    first pixel; boxes of a `Sequence` are 0-based all the same. one_shot: its rules want trackers that were trained on the
    benchmark's own training videos alone (`datasets.pairs.training_sets.one_shot`); reports say which were not.
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


@dataclass(frozen=True)
class DataSet:
    """What lies in one folder or archive. parts: its splits by name, those of protocols by their protocol's name; each is
    checked by `data check` where any of it is there. protocols: those that are scored on one of the parts.
    """

    name: str
    title: str
    parts: Mapping[str, Opener]
    protocols: tuple[Protocol, ...] = ()
