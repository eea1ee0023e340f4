"""A site over a store: a page for every study that was started in it, and an index of studies and runs."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from trackablate.ablations.study import Study
from trackablate.datasets.atomic import write_text
from trackablate.harness.scoring.metrics import METRICS
from trackablate.harness.store import Store
from trackablate.reports.assemble import assemble
from trackablate.reports.figures import pictures
from trackablate.reports.formats import panels as layout
from trackablate.reports.pages.html import page, render
from trackablate.reports.pages.provenance import Run
from trackablate.reports.pages.sections import sections
from trackablate.reports.pages.site_studies import progress, stored_studies
from trackablate.reports.results import Result, primary_metric
from trackablate.reports.table import Table
from trackablate.reports.tables.accuracy import metric_key
from trackablate.reports.tables.pivot import pivot


@dataclass(frozen=True)
class _Best:
    """The best variant on the first protocol that has one, and its figure with its interval; empty without any."""

    name: str = ""
    figure: str = ""
    value: float | None = None


def write_site(store: Store, out: Path, studies: Iterable[Study], profiles: Collection[str] = ()) -> list[Path]:
    """Write index.html and STUDY-PROFILE/index.html for every study found, and return them, the index first.

    `profiles` are the names of the profiles wanted; all without any.
    """
    entries, written = [], []
    used: dict[str, list[tuple[str, str]]] = {}
    for found in stored_studies(store, studies, profiles):
        record, href = found.record, f"{found.folder}/index.html"
        result = assemble(found.study, record.profile, record.rows, record.digests, store, record.command)
        table = pivot(result)
        written.append(out / href)
        write_text(written[-1], page(result, table, pictures(result, table, pdf=False), sections(result)))
        entries.append((found, progress(record, store), _best(result, table), href))
        for run, _ in record.evaluations().values():
            used.setdefault(run.name, []).append((f"{found.study.name}, {record.profile.name}", href))
    runs = [(Run(folder.record(), ()), used.get(folder.run.name, [])) for folder in store.runs()]
    write_text(out / "index.html", render("site.html", {"entries": entries, "runs": runs}))
    return [out / "index.html", *written]


def _best(result: Result, table: Table) -> _Best:
    for facts in result.protocols:
        metric = METRICS[primary_metric(result, facts)]
        key = metric_key(facts, metric.key)
        column = next((column for column in table.columns if column.key == key), None)
        if column is None:  # an evaluation server has returned nothing yet
            continue
        scored = [r for r in table.rows if r.role == "variant" and key in r.cells and r.cells[key].value is not None]
        if scored:
            best = max(scored, key=lambda row: metric.sign * (row.cells[key].value or 0.0))
            cell = best.cells[key]
            text = f"{layout.figure(cell, column)} {layout.interval(cell, column)}".strip()
            return _Best(best.name, f"{metric.symbol} {text}, {facts.name}", cell.value)
    return _Best()
