"""A site over a store: a page for every study that was started in it, and an index of studies and runs."""

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from trackablate.ablations.study import Study
from trackablate.datasets.atomic import write_text
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.documents import read_document, readable, undamaged, write_document
from trackablate.harness.errors import BadInput
from trackablate.harness.record import Provenance, StudyRecord
from trackablate.harness.store import NOT_ASKED, RunFolder, Store, Unreadable
from trackablate.reports.assemble import assemble
from trackablate.reports.figures import pictures
from trackablate.reports.formats.panels import DASH, figure, interval
from trackablate.reports.pages.html import page, render
from trackablate.reports.pages.made_from import folder_digest, keep_source, source_digest, unchanged
from trackablate.reports.pages.provenance import Run
from trackablate.reports.pages.sections import sections
from trackablate.reports.tables.answers import Standing, standings
from trackablate.reports.tables.pivot import pivot
from trackablate.trackers.plugins import load_plugins

BEST = ".best.json"


@dataclass(frozen=True)
class StoredStudy:
    """A study at a profile's size, as the store says it was asked for."""

    study: Study
    record: StudyRecord

    @property
    def folder(self) -> str:
        """The place of its page in the site."""
        return re.sub(r"[^\w.-]", "_", f"{self.record.study}-{self.record.profile.name}")


@dataclass(frozen=True)
class RunEntry:
    """One run of the store, with the studies of the index that use it and the places of their pages."""

    name: str
    verdict: str
    reason: str
    seed: int = 0
    where: Provenance | None = None
    studies: tuple[tuple[str, str], ...] = ()


class Best(BaseModel):
    """What the index says of a study's best variants, kept beside the page: their names, their figure as text and value."""

    names: str
    figure: str
    value: float | None


def write_site(store: Store, out: Path, studies: Iterable[Study], profiles: Collection[str] = ()) -> list[Path]:
    """Write index.html and STUDY-PROFILE/index.html for every study found, and return them, the index first.

    Pages stay as they are if they were made from the same files. `profiles` are the names of the profiles wanted; all
    without any.
    """
    studies = list(studies)
    known = {path: folder_digest(path) for path in _looked_through(store)}
    source = source_digest(repr((studies, profiles, load_plugins())), known, known)
    if written := unchanged(out, source):
        return written
    entries, written = [], []
    used: dict[str, list[tuple[str, str]]] = {}
    folders = [folder for folder in store.folders() if isinstance(folder, RunFolder) or folder.reason != NOT_ASKED]
    for found in _whole(stored_studies(store, studies, profiles), store):
        record, href = found.record, f"{found.folder}/index.html"
        best = _page(found, store, out / found.folder, known)
        written.append(out / href)
        entries.append((found, *_progress(record, store), best, href))
        for run, _ in record.evaluations().values():
            used.setdefault(run.name, []).append((f"{found.study.name}, {record.profile.name}", href))
    runs = [_run(folder, used) for folder in folders]
    write_text(out / "index.html", render("site.html", {"entries": entries, "runs": runs}))
    keep_source(out, source, [out / "index.html", *written])
    return [out / "index.html", *written]


def stored_studies(store: Store, studies: Iterable[Study], profiles: Collection[str] = ()) -> Iterator[StoredStudy]:
    """Yield those of these studies that were started in the store, at these profiles or without any at all, in order."""
    records = [record for record in store.studies() if not profiles or record.profile.name in profiles]
    for study in studies:
        yield from (StoredStudy(study, record) for record in records if record.study == study.name)


def _progress(record: StudyRecord, store: Store) -> tuple[str, list[tuple[str, str]], str]:
    """Return how far a study is in words, each failed run with the reason, and when its latest training started.

    A run is done when it is trained and every sequence of its protocols is tracked.
    """
    done, failed, started, found = 0, [], [""], list(store.missing(record))
    for folder, missing in found:
        training, failure = undamaged(folder.training), folder.failure()
        if failure is not None:
            failed.append((folder.run.name, failure.summary))
        if training is not None:
            started.append(training.where.started)
        done += missing is not None and failure is None and not missing.scores
    words = "done" if done == len(found) else f"{done} of {len(found)} runs"
    return words + (f", {len(failed)} failed" if failed else ""), failed, max(started)


def _looked_through(store: Store) -> list[Path]:
    """Return the folders of the store that pages are made from."""
    runs = [path for path in (store.root / "runs").glob("*") if path.is_dir()]
    return [*runs, *(store.root / name for name in ("studies", "protocols", "counted"))]


def _page(found: StoredStudy, store: Store, folder: Path, known: Mapping[Path, str]) -> Best:
    """Write the page of a study, unless it was made from the same files, and return its best variants."""
    record, file = found.record, folder / "index.html"
    paths = [store.run(run).path for run, _ in record.evaluations().values()]
    paths += [store.root / "protocols", store.root / "counted"]
    own = [(name, PROTOCOLS[name].metrics, PROTOCOLS[name].scored_as) for name in record.digests if name in PROTOCOLS]
    source = source_digest(repr((found.study, record.model_dump_json(), load_plugins(), own)), paths, known)
    if unchanged(folder, source) and (kept := readable(read_document, folder / BEST, Best)):
        return kept
    result = assemble(found.study, record, store)
    table = pivot(result)
    write_text(file, page(result, table, pictures(result, table, pdf=False), sections(result)))
    best = _best(next((one for one in standings(result, table) if one.variants), None))
    write_document(folder / BEST, best)
    keep_source(folder, source, [file])
    return best


def _best(standing: Standing | None) -> Best:
    if standing is None:
        return Best(names=DASH, figure=DASH, value=None)
    cell, column = standing.cell(standing.variants[0]), standing.column
    shown = f"{figure(cell, column)} {interval(cell, column)}".strip()
    return Best(
        names=", ".join(row.name for row in standing.leaders),
        figure=f"{standing.metric.symbol} {shown}, {standing.facts.name}",
        value=cell.value,
    )


def _whole(found: Iterable[StoredStudy], store: Store) -> list[StoredStudy]:
    """Return the studies of which every run can be read. A warning, before anything is drawn, names each other one."""
    whole = []
    for one in found:
        try:
            for run, _ in one.record.evaluations().values():
                store.run(run).record()
        except BadInput as error:
            logging.getLogger(__name__).warning("no page for %s: %s", one.folder, error)
        else:
            whole.append(one)
    return whole


def _run(folder: RunFolder | Unreadable, used: Mapping[str, list[tuple[str, str]]]) -> RunEntry:
    try:
        if isinstance(folder, Unreadable):
            raise BadInput(folder.reason)
        record, name = folder.record(), folder.run.name
    except BadInput as error:
        name = folder.name if isinstance(folder, Unreadable) else folder.path.name
        return RunEntry(name, "cannot be read", str(error))
    run, reason = Run(record, ()), record.failure.summary if record.failure else ""
    return RunEntry(name, run.verdict, reason, record.asked.seed, run.where, tuple(used.get(name, ())))
