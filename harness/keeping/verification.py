"""Looks for damage in a store: every document by its digest, archives by their checksums, weights by their record."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from trackablate.datasets.atomic import whole_archive
from trackablate.harness.documents import MARKER, is_whole
from trackablate.harness.run_folder import holds_its_sequence
from trackablate.harness.store import Store

RESTORE = "restore it from a copy; `run` fails this run until then"
AGAIN = "`run` makes it again"
NEEDED = "it is made again when it is needed"
REMOVED = "weights-removed.json"
"""The document in the folder of a run whose weights the user has removed by `store gc`."""
CHECKS: dict[str, tuple[Callable[[Path], bool], str]] = {
    "runs/*/spec.json": (is_whole, RESTORE),
    "runs/*/training.json": (
        is_whole,
        f"{RESTORE}, or move it away to train the run again; an imported run is imported again",
    ),
    "runs/*/server/[!.]*.json": (
        is_whole,
        "restore it from a copy, or move it away, submit the boxes and enter the scores again",
    ),
    "runs/*/evaluations/*/[!.]*.json": (holds_its_sequence, AGAIN),
    f"runs/*/{REMOVED}": (is_whole, "restore the weights, or let `run` train the run again"),
    "runs/*/speed*.json": (is_whole, AGAIN),
    "runs/*/failure.json": (is_whole, AGAIN),
    "runs/*/progress.json": (is_whole, AGAIN),
    "runs/*/checkpoint*.pt": (
        whole_archive,
        "the training goes on from the other checkpoint; without one, move it away",
    ),
    "studies/*/[!.]*.json": (is_whole, AGAIN),
    "counted/[!.]*.json": (is_whole, AGAIN),
    "protocols/*/protocol.json": (is_whole, AGAIN),
    "protocols/*/strips.npz": (whole_archive, AGAIN),
    "forecasts/[!.]*.json": (is_whole, "it is left out of the predictions"),
    "commands/[!.]*.json": (is_whole, "the next command removes it"),
    "calibration/**/[!.]*.json": (is_whole, "`plan --calibrate` makes it again"),
    "scores/[!.]*.npz": (whole_archive, NEEDED),
    "index/**/index.json": (is_whole, NEEDED),
}
"""How each kind of file is checked, and what to do if one is damaged."""


class RemovedWeights(BaseModel):
    """The weights that were removed."""

    sha256: str
    bytes: int


class Verified(NamedTuple):
    """The number of files that were checked, and each damaged one with its remedy."""

    files: int
    damaged: dict[str, str]


def verify(store: Store) -> Verified:
    """Check every file of a store that is ever read back. Changes nothing."""
    kinds = [(file, check, remedy) for kind, (check, remedy) in CHECKS.items() for file in store.root.glob(kind)]
    found = [one for one in kinds if one[0].name != MARKER]  # of a calibration, which is a store of its own
    damaged = {str(file): remedy for file, check, remedy in found if not check(file)}
    weights = {str(file): fault for file, fault in _weights(store)}
    damaged |= {file: fault for file, fault in weights.items() if fault}
    return Verified(len(found) + len(weights), damaged)


def _weights(store: Store) -> Iterator[tuple[Path, str]]:
    """Yield the weights of each run that is trained or imported, and what is wrong with them, with the remedy.

    A damaged record has been reported already, and its weights cannot be checked.
    """
    for folder in store.runs():
        record = folder.path / "training.json"
        if not folder.weights.exists() and is_whole(folder.path / REMOVED):
            continue
        if is_whole(record) or (folder.run.imported and not record.exists()):
            fault = folder.fault_of_weights()
            yield folder.weights, fault and f"{fault}: {folder.remedy_of_weights}"
