"""Where runs live on disk. Only this module knows the paths, and only it decides what is done and what is missing.

    STORE/store.json                        format of the store
    STORE/runs/NAME/spec.json               what was asked (NAME: RunSpec.name)
    STORE/runs/NAME/.lease-N                held by the one process that works on the run (datasets.lease)
    STORE/runs/NAME/checkpoint.pt           while training, with checkpoint-before.pt, the one before it
    STORE/runs/NAME/diverged.pt             the batch at which the loss was not finite
    STORE/runs/NAME/weights.safetensors     result of the training, with training.json as its record
    STORE/runs/NAME/evaluations/KEY/        evaluation.json says which evaluation; one more file per tracked sequence
    STORE/runs/NAME/server/KEY.json         submitted to an evaluation server, returned by it (harness.exchange)
    STORE/runs/NAME/speed.json, failure.json, progress.json
    STORE/runs/NAME/speed-beside-*.json     speeds of earlier measurements, beside other runs
    STORE/studies/STUDY/PROFILE.json        what each study was asked to be when it was last started
    STORE/protocols/KEY/                    protocol.json with annotations, and thumbnails
    STORE/counted/FINGERPRINT.json          sizes counted on the meta device
    STORE/calibration/, forecasts/          measured steps of devices, and forecasts (harness.planning)
    STORE/scores/, pretraining/             tallies of raw result files, and checkpoints of pretraining
    STORE/index/, logs/                     indices of data sets, and what workers printed
    STORE/commands/                         what each command that is at work does (harness.progress.announcing)
    STORE/jobs/                             jobs of a cluster, their replies and logs (harness.running.executors)

Every file is written atomically, and none is changed in place. Documents have digests (harness.documents).
A damaged file that is made again is kept as NAME.damaged. Imports no torch.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trackablate.datasets.atomic import read_ordinary, sweep, whole_archive, write_text
from trackablate.datasets.errors import shown, unsafe
from trackablate.datasets.protocols import PROTOCOLS, declared
from trackablate.harness.documents import (
    DIGESTS,
    MARKER,
    is_whole,
    left_out,
    read_document,
    readable,
    undamaged,
    write_document,
)
from trackablate.harness.errors import BadInput
from trackablate.harness.record import SHARED, PaperScale, ProtocolRecord, SizeRecord, StudyRecord
from trackablate.harness.run_folder import EVALUATION, Missing, RunFolder, timed_layers
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.trackers.spec import TrackerSpec, fingerprint

FORMAT = 3
MIGRATED = 2  # the format that `python -m harness store migrate` brings up to date
PROTOCOL, STRIPS = "protocol.json", "strips.npz"
NO_RUNS = ("scores", "pretraining")
"""Folders that `score` and `pretrain` keep in a place that is no store yet."""
NOT_ASKED = "nothing is written down of it"
"""Why a run folder without spec.json cannot be read: a process has just begun it, or was killed before it wrote anything."""

__all__ = ["EVALUATION", "Missing", "RunFolder", "Store", "timed_layers"]


class Unreadable(NamedTuple):
    """A run folder that cannot be read, and why."""

    name: str
    reason: str


class Store:
    """A folder of runs.

    Opening makes it, unless `make` is False. Raises BadInput for a store of another format than `accept`, or a place that is
    no store.
    """

    def __init__(self, root: Path, *, make: bool = True, accept: int = FORMAT) -> None:
        self.root = root.expanduser().resolve()
        if unsafe(str(self.root)):
            raise BadInput(f"--store {shown(root)} has characters that are no text: name another folder")
        self.logs, self.index = self.root / "logs", self.root / "index"
        self.calibration, self.forecasts = self.root / "calibration", self.root / "forecasts"
        self.commands = self.root / "commands"
        self._marker = self.root / MARKER
        others = self._others()  # before looking for the marker: another process may be making this store now
        if self.exists:
            self._check(accept)
        elif make:
            self._create(others)

    @property
    def exists(self) -> bool:
        """Whether the store has been made."""
        return self._marker.exists()

    def refuse_gone(self) -> None:
        """Raise BadInput if the store was removed, or its disk is away."""
        if not self.exists:
            raise BadInput(f"the store {self.root} is gone: bring it back, and the same command goes on from there")

    def run(self, run: RunSpec) -> RunFolder:
        """Return the folder of a run, whether or not it exists."""
        return RunFolder(self.root / "runs" / run.name, run)

    def runs(self) -> Iterator[RunFolder]:
        """Yield the runs whose specification can be read, by name; a warning is logged for each other one."""
        for found in self.folders():
            if isinstance(found, RunFolder):
                yield found
            elif found.reason != NOT_ASKED:
                left_out(found.reason)

    def folders(self) -> Iterator[RunFolder | Unreadable]:
        """Yield every run folder by name, also those that cannot be read, with the reason."""
        return map(self.named, sorted(path.name for path in (self.root / "runs").glob("*") if path.is_dir()))

    def touched(self) -> list[tuple[float, str]]:
        """Return when each run last said how far it is, and its folder's name, the latest first; reads no document."""
        found = []
        for path in (self.root / "runs").glob("*/progress.json"):
            with suppress(OSError):
                found.append((path.stat().st_mtime, path.parent.name))
        return sorted(found, reverse=True)

    def named(self, name: str) -> RunFolder | Unreadable:
        """Return the run folder of a name."""
        path = self.root / "runs" / name
        try:
            run = read_document(path / "spec.json", RunSpec)
        except BadInput as error:
            return Unreadable(name, str(error))
        return RunFolder(path, run) if run else Unreadable(name, NOT_ASKED)

    def studies(self) -> list[StudyRecord]:
        """Return what each study was asked to be when it was last started; a warning is logged for an unreadable one."""
        return list(filter(None, (readable(read_document, file, StudyRecord) for file in self.study_files())))

    def study_files(self) -> list[Path]:
        """Return the files of the records of studies."""
        return sorted((self.root / "studies").glob("*/[!.]*.json"))

    def study(self, name: str, profile: str) -> StudyRecord | None:
        """Return the record of a study at a profile's size, None if it was never started."""
        return undamaged(read_document, self._study(name, profile), StudyRecord)

    def set_study(self, record: StudyRecord) -> None:
        """Write the record of a study, unless the store has it already."""
        before, text = self.study(record.study, record.profile.name), record.model_dump_json()
        if before is None or before.model_dump_json() != text:  # as text, since a tracker's name is not stored
            write_document(self._study(record.study, record.profile.name), record, indent=1)

    def paper_scale(self, tracker: TrackerSpec) -> PaperScale | None:
        """Return the counted size of a tracker, None while it is not counted."""
        found = undamaged(read_document, self._counted(tracker), SizeRecord)
        return found.size if found else None

    def set_paper_scale(self, tracker: TrackerSpec, size: PaperScale) -> None:
        """Write the counted size of a tracker."""
        write_document(self._counted(tracker), SizeRecord(tracker=tracker, size=size), indent=1)

    def protocol(self, evaluation: Evaluation) -> Path:
        """Return the folder for what reports show of a protocol's sequences."""
        return self.root / "protocols" / f"{evaluation.protocol}-{evaluation.data[:12]}"

    def knows_protocol(self, evaluation: Evaluation) -> bool:
        """Whether the store has the record of an evaluation's protocol, and its thumbnails, whole and by present rules."""
        return protocol_is_whole(folder := self.protocol(evaluation)) and not outdated(folder)

    def protocols(self, name: str = "") -> list[ProtocolRecord]:
        """Return the protocols that anything was evaluated on, or the versions of one."""
        records = map(read_protocol, sorted((self.root / "protocols").glob(f"{name}-*" if name else "*")))
        return [record for record in records if record is not None and name in ("", record.name)]

    def missing(self, record: StudyRecord) -> Iterator[tuple[RunFolder, Missing | None]]:
        """Yield the runs of a started study, with what is missing; None while sequences of a protocol are not known."""
        names = {(kept.name, kept.digest): kept.names for kept in self.protocols()}
        for run, evaluations in record.evaluations().values():
            folder = self.run(run)
            known = {e: names[e.protocol, e.data] for e in evaluations if (e.protocol, e.data) in names}
            yield folder, folder.missing(known) if len(known) == len(evaluations) else None

    def sweep(self) -> None:
        """Remove temporary files of processes that were killed, but for those of runs, which `RunFolder.clean` removes."""
        for folder in self.root.iterdir():
            if folder.is_dir() and folder.name != "runs":
                sweep(folder)

    def free_bytes(self) -> int:
        """Return the free space on the store's disk."""
        place = next(p for p in (self.root, *self.root.parents) if p.exists())
        return shutil.disk_usage(place).free

    def _study(self, name: str, profile: str) -> Path:
        folder, file = (re.sub(r"[^\w.-]", "_", part) for part in (name, profile))
        return self.root / "studies" / folder / f"{file}.json"

    def _counted(self, tracker: TrackerSpec) -> Path:
        return self.root / "counted" / f"{fingerprint(tracker)}.json"

    def _check(self, accept: int) -> None:
        found = stored_format(self._marker)
        if found == accept:
            return
        problem = (
            f"the store {self.root} has format {found}, this version of trackablate reads and writes format {FORMAT}:"
        )
        if found == MIGRATED:
            raise BadInput(f"{problem} `python -m harness store migrate {self.root}` brings it up to date")
        raise BadInput(f"{problem} use the version that wrote it")

    def _others(self) -> list[Path]:
        # All that lies in the folder, but for a marker that is being written, and what other commands keep here.
        if self.root.exists() and not self.root.is_dir():
            raise BadInput(f"--store {self.root} is a file: name a folder")
        found = list(self.root.iterdir()) if self.root.exists() else []
        return [path for path in found if not path.name.startswith(".store.json.") and path.name not in NO_RUNS]

    def _create(self, others: Sequence[Path]) -> None:
        if (self.root / "runs").is_dir():
            raise BadInput(f'{self.root} has runs, but no {MARKER}: write {{"format": {FORMAT}}} into {self._marker}')
        if others:
            raise BadInput(f"--store {self.root} is neither empty nor a store: name another folder")
        try:
            write_text(self._marker, json.dumps({"format": FORMAT, DIGESTS: True}))
        except OSError as error:
            raise BadInput(f"cannot write the store {self.root}: {error}") from error


def stored_format(marker: Path) -> int:
    """Return the format that a store's marker names. Raises BadInput for a damaged marker."""
    try:
        found = json.loads(read_ordinary(marker))["format"]
        if not isinstance(found, int):
            raise TypeError("`format` is no number")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f'{marker} is damaged ({error}): write {{"format": {FORMAT}}} into it') from error
    return found


def read_protocol(folder: Path) -> ProtocolRecord | None:
    """Return the record in a protocol's folder, None if nothing was evaluated on it, or if it is damaged."""
    found = undamaged(read_document, folder / PROTOCOL, ProtocolRecord)
    return found and as_declared(found)


def as_declared(record: ProtocolRecord) -> ProtocolRecord:
    """Return a record with the present words and rules of scoring, if a file of the user declares its protocol."""
    if not declared(record.name):
        return record
    protocol = PROTOCOLS[record.name]
    return record.model_copy(update={field: getattr(protocol, field) for field in SHARED})


def outdated(folder: Path) -> ProtocolRecord | None:
    """Return the record in a protocol's folder by its present rules, None if it says them already."""
    kept = read_document(folder / PROTOCOL, ProtocolRecord)
    now = kept and as_declared(kept)
    return now if now != kept else None


def protocol_is_whole(folder: Path) -> bool:
    """Return whether a protocol's folder has its record and its thumbnails, neither of them damaged."""
    return is_whole(folder / PROTOCOL) and whole_archive(folder / STRIPS)
