"""Brings a store of format 2 to format 3: the only code that knows the old form.

Format 2 hashed every field of a specification, said nowhere which evaluation a folder holds or which tracker a counted size
belongs to, and once kept counted sizes in `paper-scale`.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel

from trackablate.datasets.atomic import write_text
from trackablate.datasets.lease import Held
from trackablate.harness.documents import read_document, write_document
from trackablate.harness.errors import BadInput
from trackablate.harness.record import PaperScale, ProtocolRecord
from trackablate.harness.spec import TRACKING_REVISION, Control, Evaluation, RunSpec
from trackablate.harness.store import EVALUATION, FORMAT, MIGRATED, RunFolder, Store, stored_format
from trackablate.trackers.spec import TrackerSpec, fingerprint


class Migrated(NamedTuple):
    """What the migration found: numbers of runs and of evaluations, and counted sizes of trackers that nobody knows."""

    runs: int
    evaluations: int
    uncounted: int


Plan = tuple[RunFolder, dict[Path, Evaluation]]
"""One run to be migrated, and the folder of each of its evaluations."""


def migrate(
    root: Path, trackers: Iterable[TrackerSpec], finish: Callable[[Store], None] = lambda store: None
) -> Migrated:
    """Bring a store of format 2 to this version's format.

    Everything is checked before anything is changed, and the format number is raised last, after `finish` was called with
    the migrated store: a migration that was killed goes on when it is started again. A counted size is kept if its
    tracker is among the given ones, and else counted again when it is needed. Calibrations and logs of predictions are
    not kept: they are measured anew. Raises BadInput, naming every such file, if there is no store of format 2, a run is
    being worked on, or something cannot be read.
    """
    marker = root / "store.json"
    if not marker.exists():
        raise BadInput(f"there is no store at {root}: name the folder that `run` was given as --store")
    if (found := stored_format(marker)) != MIGRATED:
        raise BadInput(f"the store {root} has format {found}, only format {MIGRATED} is migrated: nothing was changed")
    store = Store(root, make=False, accept=MIGRATED)
    plans = _plans(store)
    names = {f"{folder.run.slug}-{_old_fingerprint(folder.run)[:8]}": folder.run.name for folder, _ in plans}
    for plan in plans:
        _carry_out(plan, store, names)
    for name in ("calibration", "estimates"):  # measured anew in a minute, and logs of another form
        shutil.rmtree(root / name, ignore_errors=True)
    uncounted = _move_sizes(store, trackers)
    finish(store)
    write_text(marker, json.dumps({"format": FORMAT}))
    return Migrated(len(plans), sum(len(evaluations) for _, evaluations in plans), uncounted)


def _carry_out(plan: Plan, store: Store, names: dict[str, str]) -> None:
    folder, evaluations = plan
    for old, evaluation in evaluations.items():
        write_document(old / EVALUATION, evaluation, indent=1)
        server = folder.path / "server" / f"{old.name}.json"
        if server.exists():
            server.rename(folder.server_file(evaluation))
        old.rename(old.with_name(evaluation.key))
    for file in sorted(folder.path.glob("speed*.json")):
        _rename_in(file, names)
    folder.path.rename(store.run(folder.run).path)


def _plans(store: Store) -> list[Plan]:
    protocols = store.protocols()
    plans: list[Plan] = []
    problems = []
    for found in store.folders():
        try:
            if isinstance(found, RunFolder):
                with found.lock().acquire(timeout=0):
                    plans.append((found, dict(_evaluations(found, protocols))))
            elif (store.root / "runs" / found.name / "spec.json").exists():
                problems.append(found.reason)
        except Held as error:
            problems.append(f"{error}: wait until that has ended")
        except BadInput as error:
            problems.append(str(error))
    if problems:
        raise BadInput("nothing was changed, since not everything can be read:\n" + "\n".join(problems))
    return plans


def _evaluations(folder: RunFolder, protocols: list[ProtocolRecord]) -> Iterator[tuple[Path, Evaluation]]:
    possible = {_old_key(evaluation): evaluation for evaluation in _possible(folder.run, protocols)}
    for path in sorted((folder.path / "evaluations").glob("*")):
        evaluation = read_document(path / EVALUATION, Evaluation) or possible.get(path.name)
        if evaluation is None:
            raise BadInput(f"{path} belongs to none of the protocols that the store knows: move it away")
        yield path, evaluation


def _possible(run: RunSpec, protocols: list[ProtocolRecord]) -> Iterator[Evaluation]:
    layers = getattr(run.tracker.head, "layers", 0) if isinstance(run.tracker, TrackerSpec) else 0
    depths, revisions = (None, *range(1, layers + 1)), range(1, TRACKING_REVISION + 1)
    for known, depth, control, revision in product(protocols, depths, get_args(Control), revisions):
        yield Evaluation(protocol=known.name, data=known.digest, control=control, test_layers=depth, revision=revision)


def _move_sizes(store: Store, trackers: Iterable[TrackerSpec]) -> int:
    known = {f"{_old_fingerprint(tracker)}.json": tracker for tracker in trackers}
    done = {f"{fingerprint(tracker)}.json" for tracker in known.values()}
    unknown = 0
    # What was counted into `paper-scale` counted the activations' weights once per pair.
    folders: dict[str, dict[str, None]] = {"counted": {}, "paper-scale": {"activation_bytes": None}}
    for folder, update in folders.items():
        for file in sorted((store.root / folder).glob("*.json")):
            tracker = known.get(file.name)
            if tracker is not None and (size := read_document(file, PaperScale)):
                if store.paper_scale(tracker) is None:
                    store.set_paper_scale(tracker, size.model_copy(update=update))
            elif file.name not in done:
                unknown += 1
            if file.name not in done:
                file.unlink()
    if (store.root / "paper-scale").is_dir():
        (store.root / "paper-scale").rmdir()
    return unknown


def _rename_in(file: Path, names: dict[str, str]) -> None:
    old = text = file.read_text(encoding="utf-8")
    for before, after in names.items():
        text = text.replace(before, after)
    if text != old:
        write_text(file, text)


def _old_key(evaluation: Evaluation) -> str:
    return evaluation.key.rsplit("-", 1)[0] + "-" + _old_fingerprint(evaluation)[:8]


def _old_fingerprint(value: BaseModel) -> str:
    content: dict[str, Any] = value.model_dump(mode="json")
    if content.get("recipe") and content["recipe"]["micro_batch"] is None:
        del content["recipe"]["micro_batch"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
