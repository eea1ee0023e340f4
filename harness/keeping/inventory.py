"""Lists the runs of a store, from its documents alone: a store of 5,000 runs in two seconds.

Documents are checked by their digests, and read without their models, which would take several times as long.
"""

import os
import re
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from trackablate.datasets.atomic import read_ordinary, unsealed
from trackablate.harness.documents import left_out
from trackablate.harness.run_folder import EVALUATION
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import NOT_ASKED, Store

T = TypeVar("T")
_STARTED = re.compile(rb'"started":\s*"([^"]*)"')


@dataclass(frozen=True)
class Tracked:
    """How many sequences of an evaluation are tracked; `of` is None if the store has no record of the protocol."""

    evaluation: str
    sequences: int
    of: int | None


@dataclass(frozen=True)
class ListedRun:
    """One run of a store.

    Attributes:
        rows: The rows of stored studies that need the run, as "STUDY at PROFILE: ROW".
        state: `unfinished` is a training without a result; `no training` is a floor, or an outside tracker.
        date: When its training began, else when its folder was begun; ISO 8601, "" if nothing is known.
        problem: Why it failed, or cannot be read.
    """

    run: str
    rows: list[str]
    tracker: str
    seed: int
    state: str
    evaluated: list[Tracked]
    bytes: int
    date: str
    problem: str


class _Failed(BaseModel):
    summary: str


class _Scan(NamedTuple):
    """A run folder: its bytes, its files with their times, and the number of results in each evaluation's folder."""

    bytes: int
    files: dict[str, float]
    results: dict[str, int]


def inventory(store: Store) -> Iterator[ListedRun]:
    """Yield a line for each run folder, by name, also for those that cannot be read."""
    # Paths as text: making a Path for each file takes as long as reading it.
    found = [(name, f"{store.root}/runs/{name}") for name in _run_folders(store)]
    specs = [_document(folder, "spec.json", _specification) for _, folder in found]
    rows = _rows(store, {_text(spec): name for (name, _), (spec, _) in zip(found, specs, strict=True) if spec})
    sequences = {record.digest: len(record.sequences) for record in store.protocols()}
    wanted: dict[str, int | None] = {}
    for (name, folder), (spec, problem) in zip(found, specs, strict=True):
        scan = _scan(folder)
        for key in scan.results.keys() - wanted.keys():
            evaluation, _ = _document(f"{folder}/evaluations/{key}", EVALUATION, Evaluation.model_validate_json)
            wanted[key] = sequences.get(evaluation.data) if evaluation else None
        state, date, why = _state(folder, spec, scan) if spec else ("unreadable", "", problem)
        yield ListedRun(
            run=name,
            rows=rows.get(name, []),
            tracker=name.rpartition("-")[0],
            seed=spec.get("seed", 0) if spec else 0,
            state=state,
            evaluated=[
                Tracked(evaluation=key.rpartition("-")[0], sequences=count, of=wanted[key])
                for key, count in sorted(scan.results.items())
            ],
            bytes=scan.bytes,
            date=date,
            problem=why,
        )


def _run_folders(store: Store) -> list[str]:
    runs = store.root / "runs"
    found = (entry.name for entry in (os.scandir(runs) if runs.is_dir() else ()) if not entry.name.startswith("."))
    return sorted(name for name in found if os.path.isdir(f"{runs}/{name}"))  # noqa: PTH112 of links in a circle: False


def _state(folder: str, spec: dict[str, Any], scan: _Scan) -> tuple[str, str, str]:
    """Return state, date and problem of a run."""
    training, problem = _document(folder, "training.json", _started, scan.files)
    failure, _ = _document(folder, "failure.json", _Failed.model_validate_json, scan.files)
    trained = "weights.safetensors" in scan.files and training is not None
    if training is None:
        date = datetime.fromtimestamp(scan.files.get("spec.json", 0.0)).astimezone().isoformat("T", "seconds")
    else:
        date = training
    if failure:
        return "failed", date, failure.summary
    if "backbone" not in spec["tracker"]:
        return "no training", date, problem
    if spec.get("imported"):
        return "imported", date, problem or ("" if trained else "its weights are gone")
    return "trained" if trained else "unfinished", date, problem


def _scan(folder: str) -> _Scan:
    size, files, results = 0, dict[str, float](), dict[str, int]()
    for entry, about in _entries(folder):
        if about:
            size += about.st_size
            files[entry.name] = about.st_mtime
            continue
        for inner, its in _entries(entry.path):
            within, count = (its.st_size, 0) if its else _sizes(inner.path)
            size += within
            if count and entry.name == "evaluations":
                results[inner.name] = count
    return _Scan(size, files, results)


def _entries(folder: str) -> Iterator[tuple[os.DirEntry[str], os.stat_result | None]]:
    """Yield what is in a folder: each file with its size and time, each folder with None.

    What another process removes meanwhile is left out, since a run at work replaces its files, and so is what this user may
    not read.
    """
    entries: Iterator[os.DirEntry[str]] = iter(())
    with suppress(OSError):
        entries = os.scandir(folder)
    for entry in entries:
        try:
            about = None if entry.is_dir(follow_symlinks=False) else entry.stat(follow_symlinks=False)
        except OSError:
            continue
        yield entry, about


def _sizes(folder: str) -> tuple[int, int]:
    """Return the bytes of a folder, and the number of results directly in it."""
    size, count = 0, 0
    for inner, about in _entries(folder):
        size += about.st_size if about else _sizes(inner.path)[0]
        if not about:
            continue
        name = inner.name
        count += name.endswith(".json") and name != EVALUATION and not name.startswith(".")
    return size, count


def _rows(store: Store, folders: dict[bytes, str]) -> dict[str, list[str]]:
    """Return the rows that need each run, by the name of its folder.

    Specifications are compared as text. Only those of another version's text are read, since their names take time.
    """
    found: dict[str, list[str]] = {}
    for file in store.study_files():
        rows, problem = _document(str(file.parent), file.name, _planned)
        if rows is None:
            left_out(problem)
            continue
        for place, runs in rows:
            for run in runs:
                name = folders.get(_text(run)) or _name(run)
                if name and place not in found.setdefault(name, []):
                    found[name].append(place)
    return found


def _planned(content: bytes) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return a study's rows as "STUDY at PROFILE: ROW", each with the specifications of its runs."""
    found = from_json(content)
    try:
        begin = f"{found['study']} at {found['profile']['name']}"
        return [(f"{begin}: {row['name']}", [planned["run"] for planned in row["runs"]]) for row in found["rows"]]
    except (KeyError, TypeError) as error:
        raise ValueError("it is no study") from error


def _name(spec: dict[str, Any]) -> str:
    try:
        return RunSpec.model_validate(spec).name
    except ValidationError:  # of another version, or of a plugin that is not loaded
        return ""


def _text(spec: dict[str, Any]) -> bytes:
    return to_json(spec)


def _specification(content: bytes) -> dict[str, Any]:
    found = from_json(content)
    if not isinstance(found, dict) or not isinstance(found.get("tracker"), dict):
        raise ValueError("it specifies no run")
    return found


def _started(content: bytes) -> str:
    """Return when a training began. Of the rest of its record, which may be long, no objects are made."""
    if (found := _STARTED.search(content)) is None:
        raise ValueError("it does not say when it began")
    return found[1].decode()


def _document(
    folder: str, name: str, read: Callable[[bytes], T], there: Container[str] | None = None
) -> tuple[T | None, str]:
    """Return the content of a document, and what is wrong with it; None if it is not there or damaged.

    `there` has the names of the files in its folder, if they are known.
    """
    if there is not None and name not in there:
        return None, ""
    path = f"{folder}/{name}"
    try:
        return read(unsealed(read_ordinary(path)).content), ""
    except FileNotFoundError:
        return None, NOT_ASKED
    except OSError as error:
        return None, f"{path} is damaged ({error.strerror})"
    except ValueError as error:
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        return None, f"{path} is damaged ({problem})"
