"""A site over a store: a page for every study that was started in it, and an index of studies and runs."""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trackablate.ablations.study import Study
from trackablate.datasets.atomic import write_text
from trackablate.harness.errors import BadInput
from trackablate.harness.store import NOT_ASKED, RunFolder, Store, Unreadable
from trackablate.reports.assemble import assemble
from trackablate.reports.figures import pictures
from trackablate.reports.pages.html import page, render
from trackablate.reports.pages.sections import sections
from trackablate.reports.pages.site_studies import StoredStudy, progress, stored_studies
from trackablate.reports.tables.answers import standings
from trackablate.reports.tables.pivot import pivot


@dataclass(frozen=True)
class RunEntry:
    """One run of the store, with the studies of the index that use it and the places of their pages."""

    name: str
    verdict: str
    reason: str
    seed: int
    started: str
    device: str
    studies: tuple[tuple[str, str], ...]


def write_site(store: Store, out: Path, studies: Iterable[Study], profiles: Collection[str] = ()) -> list[Path]:
    """Write index.html and STUDY-PROFILE/index.html for every study found, and return them, the index first.

    `profiles` are the names of the profiles wanted; all without any.
    """
    entries, written = [], []
    used: dict[str, list[tuple[str, str]]] = {}
    folders = [folder for folder in store.folders() if isinstance(folder, RunFolder) or folder.reason != NOT_ASKED]
    for found in _whole(stored_studies(store, studies, profiles), store):
        record, href = found.record, f"{found.folder}/index.html"
        result = assemble(found.study, record.profile, record.rows, record.digests, store, record.command)
        table = pivot(result)
        written.append(out / href)
        write_text(written[-1], page(result, table, pictures(result, table, pdf=False), sections(result)))
        standing = next((one for one in standings(result, table) if one.variants), None)
        entries.append((found, progress(record, store), standing, href))
        for run, _ in record.evaluations().values():
            used.setdefault(run.name, []).append((f"{found.study.name}, {record.profile.name}", href))
    runs = [_run(folder, used) for folder in folders]
    write_text(out / "index.html", render("site.html", {"entries": entries, "runs": runs}))
    return [out / "index.html", *written]


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
        return RunEntry(name, "cannot be read", str(error), seed=0, started="", device="", studies=())
    where = record.failure.where if record.failure else record.training.where if record.training else None
    floor = record.asked.data is None
    return RunEntry(
        name=name,
        verdict=record.verdict if where else "needs no training" if floor else "not finished",
        reason=record.failure.summary if record.failure else "",
        seed=record.asked.seed,
        started=where.started if where else "",
        device=where.device if where else "",
        studies=tuple(used.get(name, ())),
    )
