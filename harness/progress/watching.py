"""What is at work in a store, for whoever looks from another terminal: the store alone says it. Imports no torch."""

import time

from trackablate.harness.progress.pace import Line, Stage, line_of
from trackablate.harness.record import StudyRecord
from trackablate.harness.running.executors.slurm_orders import handed_in_and_replied
from trackablate.harness.store import RunFolder, Store

SILENT, GONE = 30.0, 600.0
"""Seconds without a sign of life after which that is said of a run, and after which it counts as not at work."""


class Watch:
    """Looks at a store again and again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stages: dict[tuple[str, str], Stage] = {}
        self._done: set[tuple[str, str]] = set()

    def look(self) -> list[Line]:
        """Return a line for each study that the store has a record of, followed by its runs that are at work.

        The last one is of jobs, if there are any whose replies no command has taken up.
        """
        return [*(line for record in self._store.studies() for line in self._study(record)), *self._jobs()]

    def _study(self, record: StudyRecord) -> list[Line]:
        name, key = f"{record.study} at {record.profile.name}", (record.study, record.profile.name)
        if key in self._done:
            count = len(record.evaluations())
            return [Line(name, "done", count, count)]
        lines, done, failed, found = list[Line](), 0, 0, list(self._store.missing(record))
        for folder, missing in found:
            if missing and missing.nothing:
                done += 1
            elif folder.failure():
                failed += 1
            elif line := self._at_work(folder):
                lines.append(line)
        if done == len(found):
            self._done.add(key)
        phase = "done" if done == len(found) else "running" if lines else "not running"
        return [Line(name, phase, done, len(found), numbers=f"{failed} failed" if failed else ""), *lines]

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
