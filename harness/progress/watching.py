"""What is at work in a store, for whoever looks from another terminal: the store alone says it. Imports no torch."""

import time
from pathlib import Path
from typing import NamedTuple

from trackablate.datasets.errors import shown
from trackablate.harness.progress.announcing import GONE, CommandProgress, commands_at_work
from trackablate.harness.progress.pace import Line, Stage, line_of
from trackablate.harness.record import StudyRecord
from trackablate.harness.running.executors.slurm_orders import handed_in_and_replied
from trackablate.harness.store import RunFolder, Store

SILENT = 30.0
"""Seconds without a sign of life after which that is said of a run."""


class Watch:
    """Looks at a store again and again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stages: dict[tuple[str, str], Stage] = {}
        self._done: set[str] = set()
        self._stamps: list[tuple[Path, int]] = []
        self._studies: list[_Study] = []
        self.idle = ""
        """A sentence for a store in which nothing was at work at the last look, "" for another one."""

    def look(self) -> list[Line]:
        """Return a line for each study that the store has a record of, each other command, and each run that is at work.

        Runs follow the study that they belong to. The last line is of jobs whose replies no command has taken up, if any.
        """
        now = time.time()
        folders = {name: self._store.named(name) for when, name in self._store.touched() if now - when <= GONE}
        lines = {n: line for n, f in folders.items() if isinstance(f, RunFolder) and (line := self._at_work(f))}
        commands, studies = commands_at_work(self._store), self._known()
        found = [line for study in studies for line in self._study(study, lines, commands)]
        named = {study.name for study in studies}
        found += [Line(said.name, said.phase, left=said.left) for said in commands if said.name not in named]
        of_studies = {run for study in studies for run in study.runs}
        self.idle = "" if lines or commands else self._idle()
        return [*found, *(line for run, line in lines.items() if run not in of_studies), *self._jobs()]

    def _known(self) -> list["_Study"]:
        """Return the studies. Their records are read again when one has changed: those of thousands of runs take seconds."""
        stamps = [(file, file.stat().st_mtime_ns) for file in self._store.study_files()]
        if stamps != self._stamps:
            self._stamps, self._studies = stamps, list(map(_Study.of, self._store.studies()))
            self._done.clear()
        return self._studies

    def _study(self, study: "_Study", at_work: dict[str, Line], said: list[CommandProgress]) -> list[Line]:
        """Return the line of a study, and those of its runs that are at work."""
        commands = [one for one in said if one.name == study.name]
        lines = [at_work[run] for run in study.runs if run in at_work]
        done, failed = self._counted(study, at_work)
        count = len(study.runs)
        otherwise = "running" if lines else "done" if done == count else "not running"
        phase = " and ".join(dict.fromkeys(one.phase for one in commands)) or otherwise
        hosts = ", ".join(dict.fromkeys(one.holder.host for one in commands)) if len(commands) > 1 else ""
        numbers = [f"{failed} failed" if failed else "", f"{len(commands)} commands on {hosts}" if hosts else ""]
        left = min((one.left for one in commands if one.left is not None), default=None)
        return [Line(study.name, phase, done, count, left, ", ".join(filter(None, numbers))), *lines]

    def _counted(self, study: "_Study", at_work: dict[str, Line]) -> tuple[int, int]:
        """Return how many runs of a study are done, and how many have failed and are not at work again."""
        if study.name in self._done:
            return len(study.runs), 0
        done, failed, found = 0, 0, list(self._store.missing(study.record))
        for folder, missing in found:
            if missing and missing.nothing:
                done += 1
            elif folder.path.name not in at_work and folder.failure():
                failed += 1
        if done == len(found):
            self._done.add(study.name)
        return done, failed

    def _jobs(self) -> list[Line]:
        handed_in, replied = handed_in_and_replied(self._store)
        return [Line("jobs handed in to SLURM", "ended", replied, handed_in)] if handed_in else []

    def _at_work(self, folder: RunFolder) -> Line | None:
        said, silent = folder.progress(), folder.silent()
        if said is None or silent > GONE or not folder.held():
            return None
        now, key = time.monotonic() - silent, (folder.path.name, "" if said.trains else said.phase)
        stage = self._stages.setdefault(key, Stage(said.total, said.total, said.done, now, setup=0.0))
        if said.done != stage.done:
            stage.saw(said.done, now)
        left = (said.total - said.done) * max(0.0, stage.seconds) / stage.steps if stage.steps else None
        silence = [f"silent for {silent:.0f} s"] if silent > SILENT else []
        return line_of(said, folder.run.slug, stage, left, *silence)

    def _idle(self) -> str:
        """Say that nothing is at work, and what became of the last run."""
        nothing = f"nothing is at work in {shown(self._store.root)}"
        for when, name in self._store.touched():
            folder = self._store.named(name)
            if isinstance(folder, RunFolder) and (said := folder.progress()):
                whole = folder.trained and (said.done >= said.total or said.phase == "speed")
                ended = "finished" if whole else f"stopped ({said.words} {said.done}/{said.total})"
                row, ended = shown(said.row or folder.run.slug), "failed" if folder.failure() else ended
                return f"{nothing}; the last run, {row}, {ended} at {time.strftime('%Y-%m-%d %H:%M', time.localtime(when))}"
        return f"{nothing}, and no run of it has begun"


class _Study(NamedTuple):
    """A study's record, its name with that of the profile, and the names of its runs."""

    record: StudyRecord
    name: str
    runs: tuple[str, ...]

    @classmethod
    def of(cls, record: StudyRecord) -> "_Study":
        runs = tuple(run.name for run, _ in record.evaluations().values())
        return cls(record, f"{record.study} at {record.profile.name}", runs)
