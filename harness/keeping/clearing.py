"""Finds what can go from a store, by kind, and removes the kinds that the user names.

Nothing goes that is not understood, and nothing of a run that a process works on. What remains is a whole store: reports
show the same numbers, and `store verify` finds no damage.
"""

import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from trackablate.datasets.atomic import LEFTOVER
from trackablate.datasets.lease import Held, held
from trackablate.harness.documents import write_document
from trackablate.harness.keeping.verification import REMOVED, RemovedWeights
from trackablate.harness.run_folder import BEGAN, DIVERGED, RunFolder, older
from trackablate.harness.store import STRIPS, Store

KINDS = {
    "temporary": "files that killed processes left behind",
    "damaged": "damaged files that were made again, kept as *.damaged",
    "checkpoints": "checkpoints of trainings that are finished",
    "former": "results that `evaluate --again` and replaced images have set aside",
    "orders": "orders to jobs of SLURM that have ended while no command read their replies",
    "logs": "what workers and jobs printed",
    "thumbnails": "thumbnails of sequences; `run` makes them again from the data",
    "caches": "indices of data sets and tallies of raw results; they are made again when they are needed",
    "weights": "weights of runs that no stored study names; their results and records stay",
    "runs": "whole runs that no stored study names",
}
"""The kinds that can go, and what each is."""
UNDERSTOOD = (
    *(
        "spec.json",
        "lock",
        ".lease-*",
        "checkpoint*.pt",
        BEGAN,
        DIVERGED,
        "weights.safetensors",
        "training.json",
        "evaluations",
    ),
    *("speed*.json", "failure.json", "progress.json", REMOVED, "*.damaged", ".*.tmp"),
)
"""Names in a run's folder. A run with any other goes never; `server` has what an evaluation server returned."""


class Item(NamedTuple):
    """A file or a folder that can go, its bytes, and the run that it belongs to."""

    path: Path
    bytes: int
    run: RunFolder | None = None


@dataclass
class Clearing:
    """What can go, by kind, and why something else stays."""

    items: dict[str, list[Item]] = field(default_factory=dict)
    stays: list[str] = field(default_factory=list)


def clearing(store: Store, kinds: Collection[str] = tuple(KINDS), orders: Collection[Path] = ()) -> Clearing:
    """Return what of these kinds can go; `orders` are the files of that kind. Changes nothing."""
    folders = [folder for folder in store.runs() if not folder.path.is_symlink()]
    busy = {folder.path for folder in folders if folder.held()}
    free = [folder for folder in folders if folder.path not in busy]
    unnamed, stays = _unnamed(store, free) if {"weights", "runs"} & set(kinds) else ([], [])
    foreign = {folder.path: reason for folder in unnamed if (reason := _foreign(folder))}
    whole = [folder for folder in unnamed if folder.path not in foreign]
    stays += foreign.values() if "runs" in kinds else []
    found = Clearing(stays=[f"{path.name} is at work" for path in sorted(busy)] + stays)
    finders: dict[str, Callable[[], Iterator[Item]]] = {
        "temporary": lambda: _temporary(store, free),
        "damaged": lambda: _files(free, "**/*.damaged"),
        "checkpoints": lambda: _checkpoints(free),
        "former": lambda: _former(free),
        "orders": lambda: map(item, orders),
        "logs": lambda: (
            item(path) for path in (*store.logs.glob("*.log"), *_of_ended_jobs(store, orders)) if not busy
        ),
        "thumbnails": lambda: (item(file) for file in store.root.glob(f"protocols/*/{STRIPS}")),
        "caches": lambda: (item(path) for name in ("index", "scores") for path in (store.root / name).glob("[!.]*")),
        "weights": lambda: _weights(unnamed, whole if "runs" in kinds else []),
        "runs": lambda: (item(folder.path, folder) for folder in whole),
    }
    found.items = {kind: sorted(finders[kind](), key=lambda one: one.path) for kind in KINDS if kind in kinds}
    return found


def clear(store: Store, found: Clearing) -> None:
    """Remove everything that was found. What another process has begun to work on stays, and is added to `stays`."""
    for kind, items in found.items.items():
        gone = []
        for one in items:
            with _held(one.run) as free:
                if free:
                    _remove(store, kind, one)
                    gone.append(one)
                else:
                    found.stays.append(f"{one.path} is at work")
        found.items[kind] = gone


def item(path: Path, run: RunFolder | None = None) -> Item:
    """Return a file or folder with its bytes. What another process removes meanwhile has none."""
    found = [about.st_size for file in ([path] if not path.is_dir() else _inside(path)) if (about := _about(file))]
    return Item(path, sum(found), run)


def _inside(folder: Path) -> Iterator[Path]:
    return (Path(place, name) for place, _, names in os.walk(folder) for name in names)


def _about(file: Path) -> os.stat_result | None:
    try:
        return file.lstat()
    except FileNotFoundError:
        return None


def _unnamed(store: Store, folders: list[RunFolder]) -> tuple[list[RunFolder], list[str]]:
    """Return the runs that no study names; none if a study cannot be read, since nobody knows which runs that one names."""
    records, files = store.studies(), store.study_files()
    if len(records) < len(files):
        return [], ["runs and their weights stay, since not every study in the store can be read"]
    named = {run.name for record in records for run, _ in record.evaluations().values()}
    return [folder for folder in folders if not {folder.path.name, folder.run.name} & named], []


def _foreign(folder: RunFolder) -> str:
    """Return why a run never goes, "" if it may."""
    names = [path.name for path in folder.path.iterdir()]
    odd = sorted(name for name in names if not any(fnmatch(name, known) for known in UNDERSTOOD))
    return f"{folder.path.name} stays, since it has {', '.join(odd)}" if odd else ""


def _temporary(store: Store, free: list[RunFolder]) -> Iterator[Item]:
    places = [path for path in store.root.iterdir() if path.name != "runs"]
    files = [file for path in places if path.is_dir() for file in _inside(path)] + places
    items = [item(file) for file in files if fnmatch(file.name, ".*.tmp")] + list(_files(free, "**/.*.tmp"))
    before = time.time() - LEFTOVER
    return (one for one in items if (about := _about(one.path)) and about.st_mtime < before)


def _files(folders: list[RunFolder], pattern: str) -> Iterator[Item]:
    return (item(file, folder) for folder in folders for file in folder.path.glob(pattern) if file.is_file())


def _checkpoints(free: list[RunFolder]) -> Iterator[Item]:
    for folder in (folder for folder in free if folder.training() is not None):
        files = (folder.checkpoint, older(folder.checkpoint), folder.checkpoint.with_name(DIVERGED))
        yield from (item(file, folder) for file in files if file.exists())


def _of_ended_jobs(store: Store, orders: Collection[Path]) -> Iterator[Path]:
    # A job's pickle goes when its reply is read, or with its order; a command holds the folder of its tasks of Ray. A
    # command may be handing in a young batch that has nothing of its jobs yet.
    folders = (path for path in (store.root / "jobs").glob("[!.]*") if path.is_dir())
    ended = (path for path in folders if not held(path) and not set(path.glob("*.pkl")) - set(orders))
    young = time.time() - LEFTOVER
    return (
        path for path in ended if {file.suffix for file in path.glob("*")} != {".json"} or path.stat().st_mtime < young
    )


def _former(free: list[RunFolder]) -> Iterator[Item]:
    for folder in free:
        former = folder.path.glob("evaluations/*/former")
        yield from (item(path, folder) for path in former if not (path / "unfinished").exists())


def _weights(unnamed: list[RunFolder], go_whole: list[RunFolder]) -> Iterator[Item]:
    kept = [folder for folder in unnamed if folder not in go_whole and folder.training() is not None]
    return (item(folder.weights, folder) for folder in kept)


@contextmanager
def _held(folder: RunFolder | None) -> Iterator[bool]:
    """Hold a run's lock, if it is one's, and say whether that worked."""
    lock = folder.lock() if folder else None
    try:
        if lock:
            lock.acquire(timeout=0)
    except Held:
        yield False
        return
    try:
        yield True
    finally:
        if lock:
            lock.release()


def _remove(store: Store, kind: str, one: Item) -> None:
    if kind == "weights" and one.run and (record := one.run.training()):
        # Written first: a run whose weights are gone without it is damaged.
        write_document(one.run.path / REMOVED, RemovedWeights(sha256=record.weights_digest, bytes=one.bytes))
    if kind == "runs":  # at once, so that no half of a run is left if this is killed
        aside = store.root / f".{one.path.name}.tmp"
        one.path.replace(aside)
        shutil.rmtree(aside)
    elif one.path.is_dir() and not one.path.is_symlink():
        shutil.rmtree(one.path)
    else:
        one.path.unlink(missing_ok=True)
