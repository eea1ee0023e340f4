"""Merges finished runs of one store into another. Runs never change once they are done, so that a copy is a merge.

What is there already with the same checksum is skipped. A run of which anything differs is a conflict: it is named, and
nothing of it is copied, since results of other weights must not be mixed. Only times may differ.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial

from pydantic import ValidationError
from pydantic_core import from_json

from trackablate.datasets.atomic import read_ordinary, unsealed
from trackablate.datasets.errors import shown
from trackablate.datasets.lease import Held
from trackablate.harness.documents import DIGESTS, MARKER, Damaged
from trackablate.harness.errors import BadInput
from trackablate.harness.keeping.remotes import End, Entry, LocalEnd, RemoteEnd, checked, chunks_of, read
from trackablate.harness.run_folder import EVALUATION, RunFolder
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Store

OF_THE_MACHINE = ("runs/*/speed*.json", "runs/*/evaluations/*/image_files.npz", "protocols/*/strips.npz")
"""What differs between machines, and is no conflict: each store keeps its own."""


@dataclass
class Copied:
    """What a copy has done.

    Attributes:
        left: Unfinished runs and why they are not copied. Like runs that are there already, they are no fault.
        conflicts: Files that differ at the other end.
        refused: What is damaged or cannot belong to a store.
    """

    files: int = 0
    bytes: int = 0
    same: int = 0
    left: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def push(store: Store, url: str) -> Copied:
    """Copy the finished runs of a store to a remote. Raises BadInput if that cannot be reached."""
    marker = read_ordinary(store.root / MARKER)
    done, here, there = Copied(), LocalEnd(store), _reached(url, marker)
    _refuse_missing_digests(store, there, to=f"{url}/{MARKER}", wanting=there.digests and not _has_digests(store))
    units = [path.relative_to(store.root).as_posix() for path in sorted((store.root / "protocols").glob("[!.]*"))]
    sequences = {record.digest: len(record.sequences) for record in store.protocols()}
    for folder in store.runs():
        if reason := unfinished(folder, sequences):
            done.left.append(f"{folder.path.name} {reason}")
        else:
            units.append(f"runs/{folder.path.name}")
    for unit in (*units, "studies", "counted"):
        if files := _guarded(partial(_merge, unit, here, there, done), done, there.url):
            there.keep(unit, files)
    return done


def pull(store: Store, url: str) -> Copied:
    """Copy the runs of a remote into a store. Raises BadInput if it cannot be reached, or if the disk is too small."""
    done, here, there = Copied(), LocalEnd(store), _reached(url)
    _refuse_missing_digests(
        store, there, to=str(store.root / MARKER), wanting=_has_digests(store) and not there.digests
    )
    units, bad = there.units()
    done.refused += [f"{name} is no manifest of a store" for name in bad]
    for unit in units:
        _guarded(partial(_pull_unit, unit, store, here, there, done), done, there.url)
    return done


def unfinished(folder: RunFolder, sequences: dict[str, int]) -> str:
    """Return why a run is not finished, "" if it is. `sequences` has the number of sequences by digest of the data."""
    if folder.held():
        return "is at work"
    if folder.failure() is not None:
        return "has failed"
    try:
        if not folder.trained:
            return "is not trained"
        if fault := folder.fault_of_weights():
            return f"has damaged weights ({fault})"
        for evaluation in folder.evaluations():
            count = sum(1 for file in folder.evaluation_folder(evaluation).glob("[!.]*.json")) - 1
            if count < sequences.get(evaluation.data, 0):
                return f"has {count} of {sequences[evaluation.data]} sequences of {evaluation.protocol}"
    except BadInput as error:
        return f"cannot be read: {error}"
    return ""


def _reached(url: str, marker: bytes | None = None) -> RemoteEnd:
    try:
        return RemoteEnd(url, marker)
    except OSError as error:
        raise BadInput(f"{shown(url)} cannot be reached: {error}") from error


def _has_digests(store: Store) -> bool:
    return f'"{DIGESTS}"'.encode() in read_ordinary(store.root / MARKER)


def _refuse_missing_digests(store: Store, there: RemoteEnd, *, to: str, wanting: bool) -> None:
    if wanting:
        raise BadInput(
            f"one of {store.root} and {there.url} comes from an older version, whose documents have no digests: remove"
            f' "{DIGESTS}" from {to}'
        )


def _guarded(copy: Callable[[], dict[str, Entry] | None], done: Copied, url: str) -> dict[str, Entry] | None:
    """Return what `copy` returns; what is damaged is noted, and the copy goes on with the next unit."""
    try:
        return copy()
    except Damaged as error:
        done.refused.append(str(error))
    except OSError as error:
        raise BadInput(f"{shown(url)}: {error}; what has arrived stays, and the same command goes on") from error
    return None


def _pull_unit(unit: str, store: Store, here: LocalEnd, there: RemoteEnd, done: Copied) -> None:
    announced = there.files(unit)
    if unit.startswith("runs/"):
        run = _specified(unit, there, announced)
        try:
            with RunFolder(store.root / unit, run).lock().acquire(timeout=0):
                _merge(unit, there, here, done, store)
        except Held:
            done.left.append(f"{run.name} is at work in {store.root}")
    else:
        _merge(unit, there, here, done, store)


def _specified(unit: str, there: RemoteEnd, announced: dict[str, Entry]) -> RunSpec:
    """Return the specification of a remote's run. Raises Damaged if it is not the run that its folder is named after."""
    name = f"{unit}/spec.json"
    if name not in announced:
        raise Damaged(f"{unit} has no spec.json")
    content = b"".join(checked(name, chunks_of(there, name), announced[name]))
    try:
        run = RunSpec.model_validate_json(unsealed(content).content)
    except (ValidationError, ValueError) as error:
        raise Damaged(
            f"{shown(name)} cannot be read by this version, or needs a --plugin: {_first_line(error)}"
        ) from error
    if unit != f"runs/{run.name}":
        raise Damaged(f"{shown(name)} is the specification of {run.name}")
    return run


def _first_line(error: ValueError) -> str:
    found = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
    return shown(found)[:200]


def _merge(unit: str, source: End, target: End, done: Copied, store: Store | None = None) -> dict[str, Entry] | None:
    """Copy what the target lacks of a unit. Return all that the target has then, None if a run is left for a conflict."""
    theirs, ours = source.files(unit), target.files(unit)
    lacking = _in_order(theirs.keys() - ours.keys())
    differing = [name for name in theirs.keys() & ours.keys() if theirs[name] != ours[name]]
    conflicts = sorted(name for name in differing if not _agree(name, source, target))
    done.conflicts += map(shown, conflicts)
    done.same += len(theirs) - len(lacking) - len(conflicts)
    if conflicts and unit.startswith("runs/"):
        return None
    if store and (needed := sum(theirs[name].size for name in lacking)) > (free := store.free_bytes()):
        raise BadInput(f"{store.root} has {free / 1e9:.2f} GB free, {unit} needs {needed / 1e9:.2f} GB: make room")
    for name in lacking:
        target.receive(name, chunks_of(source, name), theirs[name])
        done.files += 1
        done.bytes += theirs[name].size
    return ours | {name: theirs[name] for name in lacking}


def _in_order(names: Iterable[str]) -> list[str]:
    """Return the names, a run's specification last: until then the run counts as not begun."""
    return sorted(names, key=lambda name: (name.endswith("/spec.json"), name.endswith("/training.json"), name))


def _agree(name: str, source: End, target: End) -> bool:
    """Return whether two differing files say the same but for times, or belong to their machines."""
    if any(fnmatchcase(name, known) for known in OF_THE_MACHINE):
        return True
    key = "weights_digest" if name.endswith("/training.json") else "boxes"
    if key == "boxes" and (not fnmatchcase(name, "runs/*/evaluations/*/*.json") or name.endswith(f"/{EVALUATION}")):
        return False
    try:
        said = [from_json(unsealed(read(end, name)).content)[key] for end in (source, target)]
    except (ValueError, LookupError, TypeError):
        return False
    return bool(said[0] == said[1])
