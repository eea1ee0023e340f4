"""Archives for the evaluation servers of GOT-10k and TrackingNet, checked against the servers' rules.

GOT-10k takes 180 folders SEQUENCE/ with SEQUENCE_001.txt (one file per repetition; a deterministic tracker sends one)
and SEQUENCE_time.txt (seconds, one column per repetition). TrackingNet takes 511 files SEQUENCE.txt. Both want x,y,w,h
of every frame, separated by commas without blanks, in the pixel numbers of the data set's files. The first box is the
given one. We write the decimals of the data set's own files.
"""

import io
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.atomic import write_bytes
from trackablate.datasets.errors import DataError, raise_all, shown
from trackablate.datasets.reading.files import Files
from trackablate.datasets.registry import Registry
from trackablate.harness.errors import BadInput
from trackablate.harness.exchange.writing import Tracked, file_name, in_pixels_of, per_frame
from trackablate.harness.scoring.layouts import FLAT, REPEATED, Shape
from trackablate.harness.scoring.result_files import ResultFiles, open_results

TIME_DECIMALS = 8
"""The number that the got10k toolkit writes."""
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The date of every entry, the earliest of a zip archive. With a fixed date, equal boxes make equal bytes."""


@dataclass(frozen=True)
class Server:
    """An evaluation server's rules: the number of sequences, the files of each, and the decimals that we write."""

    sequences: int
    files: Shape
    decimals: int


SERVERS: Registry[Server] = Registry("evaluation server")
SERVERS.add("got10k", Server(180, REPEATED, decimals=4))
SERVERS.add("trackingnet", Server(511, FLAT, decimals=2))


@dataclass(frozen=True)
class ExpectedRows:
    """What a server wants of one sequence: the number of rows, and the first `box` as in the data set's file."""

    frames: int
    box: tuple[float, float, float, float]


def build_submission(
    protocol: str,
    results: Iterable[Tracked],
    out: Path,
    asked: Mapping[str, ExpectedRows],
    *,
    origin: int,
    truncate: bool = False,
) -> Path:
    """Write the archive of a tracker's 0-based boxes for a protocol's server, and return its path.

    Equal results make equal bytes. `origin` is the number of the first pixel in the data set's files. `truncate` cuts
    numbers to integers, towards zero, as the writers of pytracking and OSTrack do.

    Raises:
        BadInput: `out` exists.
        DataError: `check_submission` finds problems. No archive is left behind.
    """
    server = SERVERS[protocol]
    if out.exists():
        raise BadInput(f"{out} exists already: name another file")
    content = _packed(_entries(server, results, origin, truncate=truncate))
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / out.name
        draft.write_bytes(content)
        # The problems name the draft, which the user does not see.
        raise_all([p.replace(f"{draft}", f"{out}") for p in check_submission(draft, protocol, asked)])
    write_bytes(out, content)
    return out


def check_submission(path: Path, protocol: str, asked: Mapping[str, ExpectedRows]) -> list[str]:
    """Return everything in an archive that the protocol's server would refuse, or score as a miss."""
    server = SERVERS[protocol]
    problems = []
    if len(asked) != server.sequences:
        wanted = f"{server.sequences} sequences make up the test set of {protocol}"
        problems.append(f"{wanted}, and there are results of {len(asked)}: evaluate the run on the whole test set")
    if path.is_dir():
        return [*problems, str(DataError.at(path, "is a folder", "the server takes a zip archive"))]
    try:
        every = [open_results(protocol, path, list(asked))]
        every += [open_results(protocol, path, list(asked), repetition=r) for r in every[0].found.repetitions if r > 1]
    except DataError as error:
        return [*problems, *error.problems]
    problems += [
        str(DataError.at(path / file, "is not a sequence of the test set", "remove it"))
        for file in every[0].found.unknown
    ]
    for repetition, results in enumerate(every, 1):
        for name, rows in asked.items():
            problems += _problems_of(server.files, results, name, repetition, rows)
    return problems


def _entries(server: Server, results: Iterable[Tracked], origin: int, *, truncate: bool) -> dict[str, bytes]:
    entries: dict[str, bytes] = {}
    for name, boxes, seconds in results:
        rows = in_pixels_of(name, boxes, origin)
        place = server.files.boxes.format(file_name(name), 1)
        if place in entries:
            raise DataError(f"the sequence {shown(name)} has two results: give one")
        entries[place] = _fixed(np.trunc(rows) + 0.0, 0) if truncate else _fixed(rows, server.decimals)
        if server.files.times:
            entries[server.files.times.format(name)] = _fixed(per_frame(seconds, len(rows)), TIME_DECIMALS)
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


def _problems_of(shape: Shape, results: ResultFiles, name: str, repetition: int, asked: ExpectedRows) -> list[str]:
    found = results.read(name, asked.frames)
    if found.faults:
        return list(found.faults)
    (file,) = results.found.results[name]
    place, wanted = results.files.place(file), shape.boxes.format(name, repetition)
    problems = [*found.remarks, *_badly_separated(results.files, file)]
    if not _fits(shape, wanted, file):
        problems.append(str(DataError.at(place, "is not where the server looks", f"call it {wanted}")))
    if (np.abs(np.subtract(found.boxes[0], asked.box)) >= 1).any():  # some writers round, some truncate
        given = ",".join(f"{v:g}" for v in asked.box)
        problems.append(str(DataError.at(place, "is not the given box", f"write {given}", line=1)))
    if shape.times and not found.remarks:
        problems += _bad_times(shape.times.format(name), results, name, found.seconds)
    return problems


def _fits(shape: Shape, wanted: str, file: str) -> bool:
    """Return whether the server finds a file: GOT-10k's below at most one more folder, TrackingNet's anywhere."""
    return file == wanted or (file.endswith(f"/{wanted}") and (shape == FLAT or file.count("/") == 2))


def _badly_separated(files: Files, file: str) -> list[str]:
    for number, line in enumerate(files.read(file).splitlines(), 1):
        if line and (line.count(b",") != 3 or line.split() != [line]):
            problem = "the server takes commas without blanks"
            return [str(DataError.at(files.place(file), problem, "write x,y,w,h", line=number))]
    return []


def _bad_times(wanted: str, results: ResultFiles, name: str, seconds: NDArray[np.float64] | None) -> list[str]:
    if seconds is None:
        problem = f"holds no times for the sequence {shown(name)}"
        return [str(DataError.at(results.files.root, problem, f"add {wanted}"))]
    if not np.isnan(seconds).any():
        return []
    place, line = results.files.place(results.found.times[name]), int(np.isnan(seconds).argmax()) + 1
    return [str(DataError.at(place, "the time is NaN", "write seconds", line=line))]
