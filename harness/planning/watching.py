"""What is at work in a store, for whoever looks from another terminal: the store alone says it. Imports no torch."""

import time

from trackablate.harness.planning.pace import Part
from trackablate.harness.record import StudyRecord
from trackablate.harness.running.executors.slurm_orders import handed_in_and_replied
from trackablate.harness.running.observer import Line
from trackablate.harness.store import RunFolder, Store

SILENT, GONE = 30.0, 600.0
"""Seconds without a sign of life after which that is said of a run, and after which it counts as not at work."""


class Watch:
    """Looks at a store again and again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parts: dict[tuple[str, str], Part] = {}
        self._done: set[tuple[str, str]] = set()

    def look(self) -> list[Line]:
        """Return a line for each study that the store has a record of, followed by its runs that are at work.

        The last one is of jobs, if there are any whose replies no command has taken up.
        """
        return [*(line for record in self._store.studies() for line in self._study(record)), *self._jobs()]

    def _study(self, record: StudyRecord) -> list[Line]:
        name, key = f"{record.study} at {record.profile.name}", (record.study, record.profile.name)
        runs = record.evaluations().values()
        if key in self._done:
            return [Line(name, "done", len(runs), len(runs))]
        known = {facts.digest: facts for facts in self._store.protocols()}
        lines, done, failed = list[Line](), 0, 0
        for run, evaluations in runs:
            folder = self._store.run(run)
            prepared = all(evaluation.data in known for evaluation in evaluations)
            names = {e: [s.name for s in known[e.data].sequences] for e in evaluations if e.data in known}
            if prepared and folder.lacking(names).nothing:
                done += 1
            elif folder.failure():
                failed += 1
            elif line := self._at_work(folder, run.slug):
                lines.append(line)
        if done == len(runs):
            self._done.add(key)
        phase = "done" if done == len(runs) else "running" if lines else "not running"
        return [Line(name, phase, done, len(runs), numbers=f"{failed} failed" if failed else ""), *lines]

    def _jobs(self) -> list[Line]:
        handed_in, replied = handed_in_and_replied(self._store)
        return [Line("jobs handed in to SLURM", "ended", replied, handed_in)] if handed_in else []

    def _at_work(self, folder: RunFolder, slug: str) -> Line | None:
        said, silent = folder.progress(), folder.silent()
        if said is None or silent > GONE or not folder.held():
            return None
        now, key = time.monotonic() - silent, (folder.path.name, "" if said.trains else said.phase)
        part = self._parts.setdefault(key, Part(said.total, said.total, said.done, now, setup=0.0))
        if said.done != part.done:
            part.saw(said.done, now)
        rate = part.steps / part.seconds if part.seconds else 0.0
        numbers = [] if said.loss is None else [f"loss {said.loss:.4g}"]
        numbers += [f"{rate:.3g} {'steps' if said.trains else 'frames'}/s"] if rate else []
        numbers += [f"silent for {silent:.0f} s"] if silent > SILENT else []
        left = (said.total - said.done) / rate if rate else None
        return Line(said.row or slug, said.words, said.done, said.total, left, ", ".join(numbers))
