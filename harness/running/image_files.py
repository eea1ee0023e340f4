"""The image files that results were tracked on: kept with each evaluation, compared when it is asked for again.

A result counts as long as names and sizes of its sequence's image files are the same. Where their times alone differ it
counts too, and the user is told: copies have other times, and so have other images of the same sizes.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.atomic import read_arrays, write_arrays
from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.errors import counted, some
from trackablate.datasets.lease import Held
from trackablate.datasets.progress import followed, told_each
from trackablate.datasets.reading.frames import ImageFiles
from trackablate.datasets.sequence import FrameFiles
from trackablate.harness.errors import BadInput
from trackablate.harness.running.tasks import RunTask
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import PROTOCOL, RunFolder, Store

KEPT = "image_files.npz"
"""The file in an evaluation's folder."""

MOST_DECODED = 20
"""Number of a sequence's changed images that are decoded before its results are set aside."""

Replaced = dict[tuple[str, Evaluation], list[str]]
"""Names of the sequences to be tracked again, by the name of the run and the evaluation."""


def keep_image_files(folder: RunFolder, evaluation: Evaluation, sequences: SequenceList) -> None:
    """Write down the image files of each sequence that is about to be tracked. Only the lock's holder may call this."""
    _keep(folder, evaluation, _files(sequences, set(folder.untracked(evaluation, sequences.names))))


def find_replaced(
    tasks: Iterable[RunTask], store: Store, opened: Mapping[str, SequenceList], *, act: bool = True, again: bool = False
) -> tuple[Replaced, list[str]]:
    """Return the results whose images were replaced, and messages for the user; `set_aside` moves the results.

    Results of older versions, which do not know their images, are taken for those of the present ones.

    Args:
        tasks: The runs and their evaluations.
        store: Keeps the results.
        opened: The sequences of each protocol that lies on disk.
        act: Whether the results will be tracked again; False only tells.
        again: Whether all results count as replaced, unless they come from an `evaluate --again` that was interrupted.

    Raises:
        BadInput: Another process works on a run whose results will be tracked again.
    """
    found, messages, copies, now = Replaced(), [], dict[str, list[str]](), dict[str, dict[str, FrameFiles]]()
    for task in tasks:
        for evaluation in (e for e in task.evaluations if e.protocol in opened):
            folder, sequences = store.run(task.run), opened[evaluation.protocol]
            done = set(sequences.names) - set(folder.untracked(evaluation, sequences.names))
            before, known = _read(folder, evaluation), now.setdefault(evaluation.protocol, {})
            known |= _files(sequences, (done & before.keys()) - known.keys())
            replaced, copied = _compared(sequences, done, before, known)
            if evaluation.control != "none":  # the control shows the next sequence's first frame
                follows = dict(zip(sequences.names, (*sequences.names[1:], sequences.names[0]), strict=True))
                replaced |= {name: f"its template, {follows[name]}" for name in done if follows[name] in replaced}
            where, begun = f"{folder.run.name} on {evaluation.protocol}", len(done) < len(sequences)
            begun = again and begun and folder.unfinished(evaluation).exists()
            if replaced:
                each = some([f"{name} ({how})" for name, how in sorted(replaced.items())])
                messages.append(f"{where}: tracked again, since the images are not those of its results: {each}")
            elif copied and not again:
                copies[f"{where}: the image files of {some(copied)}"] = [folder.run.name, evaluation.protocol]
            if begun:
                messages.append(
                    f"{where}: the interrupted --again goes on, {len(done)} of {len(sequences)} are tracked"
                )
            stale = done if again and not begun else set(replaced)
            if stale or (again and not begun):
                found[folder.run.name, evaluation] = sorted(stale)
            if act and stale:
                messages.append(f"{where}: former results are kept in {folder.unfinished(evaluation).parent}")
            if act and (stale or done - before.keys()):
                with _held(folder, where if stale else "") as held:
                    _keep(folder, evaluation, _files(sequences, done - before.keys() - stale) if held else {})
    return found, messages + _told(copies)


def set_aside(tasks: Iterable[RunTask], store: Store, replaced: Replaced, *, again: bool = False) -> None:
    """Set replaced results aside, so that they are tracked again, and forget them here.

    Raises:
        BadInput: Another process works on one of the runs. Its results stay.
    """
    for task in tasks:
        for evaluation in (e for e in task.evaluations if (task.run.name, e) in replaced):
            folder = store.run(task.run)
            with _held(folder, f"{folder.run.name} on {evaluation.protocol}"):
                folder.set_aside(evaluation, replaced.pop((task.run.name, evaluation)))
                if again:
                    folder.unfinished(evaluation).touch()
            (store.protocol(evaluation) / PROTOCOL).unlink(missing_ok=True)  # its thumbnails and sizes are made again


@contextmanager
def _held(folder: RunFolder, needed: str) -> Iterator[bool]:
    """Hold the run's lock, and say whether that worked. Raises BadInput if another process has it and it is needed."""
    lock = folder.lock()
    try:
        lock.acquire(timeout=0)
    except Held:
        if needed:
            raise BadInput(
                f"{needed}: its results have to be tracked again, but another process works on this run: start again when"
                " it has ended"
            ) from None
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _keep(folder: RunFolder, evaluation: Evaluation, files: Mapping[str, FrameFiles]) -> None:
    if files:
        _write(folder, evaluation, {**_read(folder, evaluation), **files})


def _told(copies: Mapping[str, list[str]]) -> list[str]:
    """Return one message for all results whose image files differ by their times."""
    if not copies:
        return []
    (first, (run, protocol)), more = next(iter(copies.items())), len(copies) - 1
    others = f" (and of {more} more evaluations)" if more else ""
    return [
        f"{first}{others} have the sizes of those that were tracked, but other times, as copies have. If the images are"
        f" others, `python -m harness evaluate {run} --protocol {protocol} --again` tracks them anew"
    ]


def _compared(
    sequences: SequenceList, done: set[str], before: Mapping[str, FrameFiles], now: Mapping[str, FrameFiles]
) -> tuple[dict[str, str], list[str]]:
    """Return what is different of each sequence whose images were replaced, and the names of those that may be copies."""
    replaced: dict[str, str] = {}
    copied = []
    for index, name in enumerate(sequences.names):
        if name not in done:
            continue
        if name not in before:
            if sequences.reordered(index):  # older versions tracked 1.png, 10.png, 11.png, ..., 2.png
                replaced[name] = "frames count by number now"
            continue
        old, new = before[name], now[name]
        if old.names != new.names or len(old.sizes) != len(new.sizes):
            replaced[name] = "files with other names"
        elif len(others := np.flatnonzero(old.sizes != new.sizes)):
            frames = sequences[index].frames
            for number in others[:MOST_DECODED]:
                frames[int(number)]  # damage is refused here, before a good result gives way to none
            first = frames.file(int(others[0])).rpartition("/")[2] if isinstance(frames, ImageFiles) else ""
            more = f" and {counted(len(others) - 1, 'more file')}" if len(others) > 1 else ""
            replaced[name] = f"{first}{more}: other sizes"
        elif (old.times != new.times).any():
            copied.append(name)
    return replaced, copied


def _files(sequences: SequenceList, wanted: set[str]) -> dict[str, FrameFiles]:
    numbers = [number for number, name in enumerate(sequences.names) if name in wanted]
    with ThreadPoolExecutor() as pool, followed("comparing image files"):  # threads: this waits for disks
        found = zip(told_each("of sequences", numbers), pool.map(sequences.frame_files, numbers), strict=True)
        return {sequences.names[number]: files for number, files in found if files is not None}


def _read(folder: RunFolder, evaluation: Evaluation) -> dict[str, FrameFiles]:
    kept = read_arrays(folder.evaluation_folder(evaluation) / KEPT)
    try:
        ends = kept["lengths"].cumsum().tolist() if kept else []
        parts = [slice(end - length, end) for end, length in zip(ends, kept.get("lengths", ()), strict=True)]
        return {
            str(name): FrameFiles(str(kept["digests"][at]), kept["sizes"][parts[at]], kept["times"][parts[at]])
            for at, name in enumerate(kept.get("names", ()))
        }
    except (LookupError, ValueError):
        return {}


def _write(folder: RunFolder, evaluation: Evaluation, files: Mapping[str, FrameFiles]) -> None:
    found = list(files.values())
    packed: dict[str, NDArray[np.generic]] = {
        "names": np.array(list(files), dtype=np.str_),
        "digests": np.array([one.names for one in found], dtype=np.str_),
        "lengths": np.array([len(one.sizes) for one in found]),
        "sizes": np.concatenate([one.sizes for one in found]),
        "times": np.concatenate([one.times for one in found]),
    }
    write_arrays(folder.evaluation_folder(evaluation) / KEPT, packed)
