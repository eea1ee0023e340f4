"""The archives that the evaluation servers of GOT-10k and TrackingNet take, built from a tracker's boxes and checked against
the servers' rules before they are there.

GOT-10k: 180 folders SEQUENCE/ with SEQUENCE_001.txt (a file for each repetition; a deterministic tracker sends one) and
SEQUENCE_time.txt (seconds, a column for each repetition). TrackingNet: 511 files SEQUENCE.txt. Both: x,y,w,h of every frame,
the first the given box, separated by commas without blanks, in the pixel numbers of the data set's files.

Decimals are those of each data set's own files: 4 on GOT-10k (its annotation), 2 on TrackingNet (its devkit's example, whose
metrics round to integers anyway).
"""

import io
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trackablate.datasets.errors import DataError, raise_all, shown
from trackablate.datasets.reading.files import Files
from trackablate.datasets.registry import Registry
from trackablate.harness.errors import BadInput
from trackablate.harness.exchange.writing import Tracked, file_name, in_pixels_of, per_frame
from trackablate.harness.scoring.result_files import ResultFiles, open_results

TIME_DECIMALS = 8
"""As the got10k toolkit writes them."""
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The date of every entry, the first that a zip archive can name: equal boxes make equal bytes."""


@dataclass(frozen=True)
class Server:
    """An evaluation server's rules: how many sequences, where boxes (of a sequence and a repetition) and times lie, None
    where it asks for no times, and how many decimals we write.
    """

    name: str
    sequences: int
    boxes: str
    decimals: int
    times: str | None = None


SERVERS: Registry[Server] = Registry("evaluation server")
for _server in (
    Server("got10k", 180, "{0}/{0}_{1:03d}.txt", decimals=4, times="{0}/{0}_time.txt"),
    Server("trackingnet", 511, "{0}.txt", decimals=2),
):
    SERVERS.add(_server.name, _server)


@dataclass(frozen=True)
class Asked:
    """What a server wants of one sequence: rows, and as the first of them the given box, x, y, w, h as in the data set's
    file. box: None where it is not known; then it is not checked.
    """

    frames: int
    box: tuple[float, float, float, float] | None = None


def build_submission(
    protocol: str, results: Iterable[Tracked], out: Path, asked: Mapping[str, Asked], *, origin: int
) -> Path:
    """Write the archive of a tracker's boxes (0-based) for a server and return its path.

    origin: how the data set's files number the first pixel. Raises DataError with every problem that `check_submission`
    finds, BadInput where `out` is there already; then nothing is left behind. Equal results make equal bytes.
    """
    server = SERVERS[protocol]
    if out.exists():
        raise BadInput(f"{out} is there already: name another file")
    content = _packed(_entries(server, results, origin))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        draft = Path(folder) / out.name
        draft.write_bytes(content)
        # The problems name files of the draft, which nobody ever sees.
        raise_all([p.replace(f"{draft}", f"{out}") for p in check_submission(draft, protocol, asked)])
        draft.replace(out)
    return out


def check_submission(path: Path, protocol: str, asked: Mapping[str, Asked]) -> list[str]:
    """Everything in an archive that the server of a protocol would refuse or score as a miss; empty for a good one."""
    server = SERVERS[protocol]
    problems = []
    if len(asked) != server.sequences:
        problems.append(
            f"{server.sequences} sequences make up the test set of {protocol}, not {len(asked)}: open it whole"
        )
    if path.is_dir():
        return [*problems, str(DataError.at(path, "is a folder", "the server takes a zip archive"))]
    try:
        every = [open_results(protocol, path, list(asked))]
        every += [open_results(protocol, path, list(asked), repetition=r) for r in every[0].found.repetitions if r > 1]
    except DataError as error:
        return [*problems, *error.problems]
    problems += [
        str(DataError.at(path / file, "is no sequence of the test set", "remove it")) for file in every[0].unknown()
    ]
    for repetition, results in enumerate(every, 1):
        for name, wanted in asked.items():
            problems += _problems_of(server, results, name, repetition, wanted)
    return problems


def _entries(server: Server, results: Iterable[Tracked], origin: int) -> dict[str, bytes]:
    entries: dict[str, bytes] = {}
    for name, boxes, seconds in results:
        rows = in_pixels_of(name, boxes, origin)
        place = server.boxes.format(file_name(name), 1)
        if place in entries:
            raise DataError(f"the sequence {shown(name)} has two results: give one")
        entries[place] = _fixed(rows, server.decimals)
        if server.times:
            entries[server.times.format(name)] = _fixed(per_frame(seconds, len(rows)), TIME_DECIMALS)
    return entries


def _fixed(rows: NDArray[np.float64], decimals: int) -> bytes:
    return "".join(",".join(f"{v:.{decimals}f}" for v in row) + "\n" for row in rows.tolist()).encode()


def _packed(entries: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, EARLIEST)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, entries[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _problems_of(server: Server, results: ResultFiles, name: str, repetition: int, asked: Asked) -> list[str]:
    found = results.read(name, asked.frames)
    if found.faults:
        return [fault.message for fault in found.faults]
    (file,) = results.found.results[name]
    place, wanted = results.files.place(file), server.boxes.format(name, repetition)
    problems = [*found.remarks, *_badly_separated(results.files, file)]
    if not _fits(server, wanted, file):
        problems.append(str(DataError.at(place, "is not where the server looks", f"call it {wanted}")))
    if asked.box is not None and not _is_first(found.boxes[0], asked.box):
        given = ",".join(f"{v:g}" for v in asked.box)
        problems.append(str(DataError.at(place, "is not the given box", f"write {given}", line=1)))
    if server.times and not found.remarks:
        problems += _bad_times(server.times.format(name), results, name, found.seconds)
    return problems


def _fits(server: Server, wanted: str, file: str) -> bool:
    """Whether a file is where the server looks: GOT-10k's in its folder, below one more folder or none; TrackingNet's
    anywhere, by its base name.
    """
    return file == wanted or (file.endswith(f"/{wanted}") and (server.times is None or file.count("/") == 2))


def _badly_separated(files: Files, file: str) -> list[str]:
    lines = files.read(file).splitlines()
    wrong = [
        number for number, line in enumerate(lines, 1) if line and (line.count(b",") != 3 or line.split() != [line])
    ]
    if not wrong:
        return []
    problem = "the server takes commas without blanks"
    return [str(DataError.at(files.place(file), problem, "write x,y,w,h", line=wrong[0]))]


def _is_first(box: ArrayLike, given: ArrayLike) -> bool:
    """Whether a first row is the given box, which some writers round and some truncate."""
    return bool((np.abs(np.subtract(box, given)) < 1).all())


def _bad_times(wanted: str, results: ResultFiles, name: str, seconds: NDArray[np.float64] | None) -> list[str]:
    if seconds is None:
        return [
            str(DataError.at(results.files.root, f"holds no times for the sequence {shown(name)}", f"add {wanted}"))
        ]
    wrong = np.flatnonzero(np.isnan(seconds))
    place = results.files.place(results.found.times[name])
    return [str(DataError.at(place, "the time is NaN", "write seconds", line=int(wrong[0]) + 1))] if len(wrong) else []
