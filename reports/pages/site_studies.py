"""The studies of a store, from the documents that their starts left, and how far each is."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from trackablate.ablations.study import Study
from trackablate.harness.documents import undamaged
from trackablate.harness.record import StudyRecord
from trackablate.harness.store import Store


@dataclass(frozen=True)
class StoredStudy:
    """A study at a profile's size, as the store says it was asked for."""

    study: Study
    record: StudyRecord

    @property
    def folder(self) -> str:
        """The place of its page in the site."""
        return re.sub(r"[^\w.-]", "_", f"{self.record.study}-{self.record.profile.name}")


def stored_studies(store: Store, studies: Iterable[Study], profiles: Collection[str] = ()) -> Iterator[StoredStudy]:
    """Yield those of these studies that were started in the store, in their order.

    `profiles` are the names of the profiles wanted; all without any.
    """
    records = store.studies()
    for study in studies:
        found = [record for record in records if record.study == study.name]
        yield from (StoredStudy(study, one) for one in found if not profiles or one.profile.name in profiles)


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is.

    Attributes:
        failed: Name of each failed run, and why it failed.
        started: When its latest training started.
    """

    done: int
    wanted: int
    failed: tuple[tuple[str, str], ...]
    started: str

    @property
    def state(self) -> str:
        """The progress in words."""
        if self.done == self.wanted:
            return "done"
        words = f"{self.done} of {self.wanted} runs"
        return f"{words}, {len(self.failed)} failed" if self.failed else words


def progress(record: StudyRecord, store: Store) -> StudyProgress:
    """Return a study's progress; a run is done when it is trained and every sequence of its protocols is tracked."""
    done, failed, started, found = 0, [], [""], list(store.missing(record))
    for folder, missing in found:
        training, failure = undamaged(folder.training), folder.failure()
        if failure is not None:
            failed.append((folder.run.name, failure.summary))
        if training is not None:
            started.append(training.where.started)
        done += missing is not None and failure is None and not missing.scores
    return StudyProgress(done, len(found), tuple(failed), max(started))
