"""Whether data have changed since a training on them began: what a training would else go on with, unnoticed."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel

from trackablate.datasets.atomic import file_clock
from trackablate.datasets.errors import DataError

PUT_BACK = "put back what was there, with its time (cp -p), or move the run's checkpoints away to train anew"
"""What to do about data that have changed in the middle of a training."""
SETTLED_SECONDS = 60.0
"""How much later than a folder its last file may have been written."""


class DataState(BaseModel):
    """What tells whether data have changed since a training on them began.

    Attributes:
        since: The begin by the clock of the data's file system, in seconds: no file may be written later.
        archives: Size and time of the last writing, in whole seconds, of each archive or database; None if not known.
    """

    since: float
    archives: tuple[tuple[int, int], ...] | None = None


def joined_states(states: Sequence[DataState]) -> DataState:
    """Return the state of data of which several machines have copies."""
    return DataState(
        since=max(state.since for state in states),
        archives=tuple(stamp for state in states for stamp in state.archives or ()),
    )


def stamp_of(archive: Path) -> tuple[int, int]:
    """Return size and time of the last writing, in whole seconds."""
    about = archive.stat()
    return about.st_size, int(about.st_mtime)


def refuse_replaced(archive: Path, state: DataState) -> None:
    """Raise DataError for an archive that is not one of those of the state."""
    if state.archives is not None and stamp_of(archive) not in state.archives:
        raise DataError.at(archive, "is not the file that it was when the training on it began", PUT_BACK)


def state_now(root: Path, archives: tuple[tuple[int, int], ...], newest: Callable[[], float], store: Path) -> DataState:
    """Return the present state of a root's files.

    The time is that of the root's file system, which may have another clock than the store's. If nobody may write there, it
    is the store's; or, if the data are ahead of that, the newest time that is known of them and a minute more.
    """
    try:
        since = file_clock(store if _same_disk(root, store) else root)
    except OSError:
        since = file_clock(store)
        if (last := newest()) > since:
            since = last + SETTLED_SECONDS
    return DataState(since=since, archives=archives)


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev
