"""The report: what the table decides, and that every renderer prints exactly that."""

import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

import report_factory as factory
from places import ROOT
from trackablate.harness.profiles import load_profile
from trackablate.harness.scoring.metrics import DIALECTS, values
from trackablate.reports.figures import pictures
from trackablate.reports.formats import documents, export, text
from trackablate.reports.formats import panels as layout
from trackablate.reports.pages.filmstrips import jpeg_size, strips
from trackablate.reports.pages.provenance import moment
from trackablate.reports.pages.write import write_report
from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Table, TableRow
from trackablate.reports.tables import accuracy
from trackablate.reports.tables.failures import failure_table
from trackablate.reports.tables.pivot import pivot
from trackablate.reports.tables.sequences import attribute_table, sequence_table

AO = f"{factory.PROTOCOL}:ao"
FIGURES = (
    *("success", "precision", "norm_precision", "accuracy-cost", "training", "distributions", "pairs"),
    *("attribute-radar", "attribute-differences"),
)
NASTY = "<script>alert('x')</script>$\\input{/etc/passwd}$ & 50% #_^~{}|[red]*`"


@pytest.fixture(scope="module")
def result() -> Result:
    return factory.study_result()


@pytest.fixture(scope="module")
def table(result: Result) -> Table:
    return pivot(result)


@pytest.fixture(scope="module")
def written(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    write_report(result, out)
    return out


def cells(table: Table, key: str) -> dict[str, float]:
    found = {row.name: row.cells[key].value for row in table.rows if key in row.cells}
    return {name: value for name, value in found.items() if value is not None}


def bounds(cell: Cell) -> tuple[float, float]:
    assert cell.low is not None
    assert cell.high is not None
    return cell.low, cell.high


def shown_in_terminal(table: Table, width: int) -> str:
    file = io.StringIO()
    Console(width=width, file=file, color_system=None).print(text.TerminalTable(table))
    return file.getvalue()


def row_of(table: Table, name: str) -> TableRow:
    return next(row for row in table.rows if row.name == name)


def notes_at(table: Table, footnotes: tuple[int, ...]) -> str:
    return " ".join(table.footnotes[index] for index in footnotes)


# What the table says


def test_figures_are_the_counts_own(result: Result, table: Table) -> None:
    for row in result.rows:
        numerators, weights = values(list(row.protocols[factory.PROTOCOL].tallies.values()), "ao", DIALECTS["got10k"])
        cell = row_of(table, row.name).cells[AO]
        assert cell.value is not None
        assert cell.value == pytest.approx(100 * numerators.sum() / weights.sum())
        low, high = bounds(cell)
        assert low < cell.value < high
        assert cell.n == factory.SEQUENCES


def test_the_order_of_sequences_in_the_store_does_not_matter(result: Result, table: Table) -> None:
    rows = []
    for row in result.rows:
        found = row.protocols[factory.PROTOCOL]
        counts = dict(reversed(list(found.tallies.items()))) if row.name == "decoder" else found.tallies
        rows.append(replace(row, protocols={factory.PROTOCOL: replace(found, seeds=(counts,))}))
    assert pivot(replace(result, rows=tuple(rows))) == table


def test_rows_are_variants_then_floors_then_controls(result: Result, table: Table) -> None:
    expected = ["conv", "decoder", "ce-conv", "ce-decoder", "static", "ncc", "shuffled-template"]
    assert [row.name for row in table.rows] == expected
    assert [row.name for row in pivot(replace(result, rows=result.rows[::-1])).rows][:4] == expected[:4]


def test_best_and_second_are_variants_even_where_a_floor_is_better(result: Result) -> None:
    better = replace(factory.protocol_result("ncc", 0.001))
    table = pivot(factory.with_row(result, "ncc", protocols={factory.PROTOCOL: better}))
    marks = {row.name: row.cells[AO].mark for row in table.rows}
    assert marks["decoder"] == "best"
    assert marks["ce-decoder"] == "second"
    assert {name for name, mark in marks.items() if mark} == {"decoder", "ce-decoder"}
    assert cells(table, AO)["ncc"] > cells(table, AO)["decoder"]


def test_what_prints_alike_ranks_alike(result: Result) -> None:
    same = result.rows[1].protocols
    table = pivot(factory.with_row(result, "ce-decoder", protocols=same))
    ranks = {row.name: row.cells[AO].rank for row in table.rows[:4]}
    assert ranks["decoder"] == ranks["ce-decoder"] == 1
    assert ranks["conv"] == 2


def test_nothing_is_best_of_one(result: Result) -> None:
    for name in ("decoder", "ce-conv", "ce-decoder"):
        result = factory.with_row(result, name, protocols={})
    assert row_of(pivot(result), "conv").cells[AO].rank is None


def test_a_partial_protocol_is_a_dash_ranks_last_and_is_named(result: Result) -> None:
    found = result.rows[1].protocols[factory.PROTOCOL]
    part = replace(found, seeds=(dict(list(found.tallies.items())[:40]),))
    table = pivot(factory.with_row(result, "decoder", protocols={factory.PROTOCOL: part}))
    cell = row_of(table, "decoder").cells[AO]
    column = next(c for c in table.columns if c.key == AO)
    assert cell.value is None
    assert layout.figure(cell, column) == layout.DASH
    assert cell.rank == 4
    assert cell.mark is None
    assert "40 of 48 sequences" in notes_at(table, cell.footnotes)
    assert table.missing == (f"decoder on {factory.PROTOCOL}: incomplete: 40 of 48 sequences",)


def test_one_undefined_sequence_poisons_the_mean(result: Result) -> None:
    found = result.rows[1].protocols[factory.PROTOCOL]
    name, counts = next(iter(found.tallies.items()))
    unknown = {key: m._replace(overlap=m.overlap * np.nan) for key, m in counts.measured.items()}
    broken = replace(counts, measured=unknown)
    part = replace(found, seeds=({**found.tallies, name: broken},))
    table = pivot(factory.with_row(result, "decoder", protocols={factory.PROTOCOL: part}))
    assert row_of(table, "decoder").cells[AO].value is None
    assert row_of(table, "decoder").cells[f"{AO}:delta"].value is None
    json.loads(documents.results_json(result, table))


def test_an_absent_run_is_a_row_of_dashes_and_named(result: Result) -> None:
    table = pivot(replace(result, rows=tuple(row for row in result.rows if row.name != "ce-conv")))
    row = row_of(table, "ce-conv")
    assert row.cells[AO].value is None
    assert row.cells[AO].mark is None
    assert row.cells["factor:Sparsity"].text == "CE"
    assert "ce-conv: not asked for" in table.missing


def test_a_failed_run_says_why(result: Result) -> None:
    table = pivot(factory.failed(result, "decoder", "out of memory"))
    row = row_of(table, "decoder")
    assert "params" not in row.cells
    assert "Failed: out of memory" in notes_at(table, row.footnotes)
    assert table.missing == (f"decoder on {factory.PROTOCOL}: failed: out of memory",)


def test_a_failed_training_is_named_where_it_was_to_be_evaluated_alone(result: Result) -> None:
    """A row of two trainings: the one that failed serves another protocol than the one that lacks sequences."""
    row = next(row for row in result.rows if row.name == "decoder")
    own = factory.record_of(row)
    other = factory.record_of(factory.failed(result, "decoder", "out of memory").rows[1])
    found = row.protocols[factory.PROTOCOL]
    part = replace(found, seeds=(dict(list(found.tallies.items())[:40]),), records=(own,))
    both = factory.with_row(result, "decoder", protocols={factory.PROTOCOL: part}, records=(own, other))
    assert pivot(both).missing == (f"decoder on {factory.PROTOCOL}: incomplete: 40 of 48 sequences",)
    served = replace(part, records=(own, other))
    both = factory.with_row(result, "decoder", protocols={factory.PROTOCOL: served}, records=(own, other))
    assert "failed (seed 0): out of memory" in pivot(both).missing[0]


def test_pictures_of_one_seed_say_so_where_there_are_more(result: Result, written: Path, tmp_path: Path) -> None:
    words = "those of the first of"
    assert words not in (written / "index.html").read_text(encoding="utf-8")
    found = result.rows[0].protocols[factory.PROTOCOL]
    several = replace(found, seeds=(found.tallies,) * 3)
    write_report(factory.with_row(result, "conv", protocols={factory.PROTOCOL: several}), tmp_path, ("html",))
    assert (tmp_path / "index.html").read_text(encoding="utf-8").count(f"{words} 3") == 2


def test_without_the_baseline_there_is_no_difference(result: Result) -> None:
    table = pivot(factory.failed(result, "conv"))
    assert not any(column.signed for column in table.columns)


def test_differences_are_row_minus_baseline_and_say_when_unresolved(table: Table) -> None:
    ao = cells(table, AO)
    for name in ("decoder", "ce-conv", "ce-decoder", "static", "ncc", "shuffled-template"):
        cell = row_of(table, name).cells[f"{AO}:delta"]
        assert cell.value == pytest.approx(ao[name] - ao["conv"])
        assert cell.delta == row_of(table, name).cells[AO].delta == cell.value
        noted = accuracy.UNRESOLVED in notes_at(table, cell.footnotes)
        assert noted == (bounds(cell)[0] <= 0 <= bounds(cell)[1]) == (not cell.resolved)
    assert row_of(table, "decoder").cells[f"{AO}:delta"].resolved
    assert not row_of(table, "ce-decoder").cells[f"{AO}:delta"].resolved
    assert row_of(table, "conv").cells[f"{AO}:delta"].text == "baseline"


def test_other_sequences_give_no_difference_but_a_footnote(result: Result) -> None:
    found = result.rows[1].protocols[factory.PROTOCOL]
    tallies = {f"other-{name}": counts for name, counts in found.tallies.items()}
    renamed = replace(found, sequences=tuple(tallies), seeds=(tallies,))
    table = pivot(factory.with_row(result, "decoder", protocols={factory.PROTOCOL: renamed}))
    cell = row_of(table, "decoder").cells[f"{AO}:delta"]
    assert cell.value is None
    assert accuracy.NO_PAIRS in notes_at(table, cell.footnotes)
    assert row_of(table, "decoder").cells[AO].value is not None


@pytest.mark.parametrize(
    ("noise", "said", "unsaid"),
    [
        (0.001, "The floor ncc beats the best variant, decoder", "not shown to beat"),
        (0.085, "is not shown to beat the floor ncc", "beats the best"),
        (0.4, "", "ncc beats"),
    ],
)
def test_a_floor_that_is_not_beaten_is_named_by_rule(result: Result, noise: float, said: str, unsaid: str) -> None:
    changed = factory.with_row(result, "ncc", protocols={factory.PROTOCOL: factory.protocol_result("ncc", noise)})
    table = pivot(changed)
    note = notes_at(table, row_of(table, "ncc").cells[AO].footnotes)
    assert said in note
    assert bool(said) == bool(note)
    assert unsaid not in note
    assert "floor static" not in " ".join(table.footnotes)


def test_couplings_stand_at_the_rows_that_they_touch(table: Table) -> None:
    assert "Also differs in labels" in notes_at(table, row_of(table, "decoder").footnotes)
    assert row_of(table, "conv").footnotes == ()
    assert row_of(table, "ce-conv").footnotes == ()


def test_each_metric_names_its_dialect(table: Table) -> None:
    columns = {column.key: column for column in table.columns}
    assert "Dialect got10k" in notes_at(table, columns[AO].footnotes)
    assert "Dialect ostrack" in notes_at(table, columns[f"{factory.PROTOCOL}:auc"].footnotes)
    assert "bootstrap over sequences" in notes_at(table, columns[AO].footnotes)


def test_a_printed_size_that_cannot_be_is_noted(table: Table) -> None:
    params = row_of(table, "conv").cells["paper_params"]
    assert params.value == pytest.approx(92.366469)
    note = notes_at(table, params.footnotes)
    assert "conv 92.4 (+30.3 %) against 70.9 M" in note
    assert "A figure below 85.1 M cannot include the whole vit-b16" in note
    assert "ours is within 1 % of the printed figure: conv 71.1 M, decoder 69.4 M" in note
    macs = notes_at(table, row_of(table, "conv").cells["paper_macs"].footnotes)
    assert "conv 30.9 (+38.6 %) and 29.0 (+30.2 %) against 22.3 G" in macs
    assert "is within 1 % of the printed figure: conv 22.2 G, ce-conv 16.4 G." in macs
    assert "That does not explain decoder 21.0 against 21.4 G." in macs
    assert len(row_of(table, "conv").cells["paper_macs"].footnotes) == 1
    assert row_of(table, "ce-decoder").cells["paper_macs"].footnotes == ()
    assert row_of(table, "conv").cells["published_got10k:ao"].value == 71.5
    assert row_of(table, "ncc").cells["published_got10k:ao"].text == ""


def test_a_printed_size_that_agrees_is_not_noted(result: Result) -> None:
    for row in result.rows[:4]:
        assert row.paper_scale is not None
        size = row.paper_scale.model_copy(update={"params": 70_900_000 if "conv" in row.name else 68_900_000})
        result = factory.with_row(result, row.name, paper_scale=size)
    assert not any(note.startswith("Params") for note in pivot(result).footnotes)


def test_speeds_measured_apart_carry_their_own_conditions(result: Result, table: Table) -> None:
    fps = next(column for column in table.columns if column.key == "fps")
    assert "6 trackers interleaved in one process" in notes_at(table, fps.footnotes)
    changed = pivot(measured_with(result, "decoder", ["decoder"]))
    assert next(column for column in changed.columns if column.key == "fps").footnotes == ()
    cell = row_of(changed, "decoder").cells["fps"]
    assert row_of(table, "ce-conv").cells["fps"].mark == "best"
    assert row_of(changed, "ce-conv").cells["fps"].mark is None
    assert "measured alone" in notes_at(changed, cell.footnotes)


def test_speeds_of_two_measurements_are_not_ranked_together(result: Result) -> None:
    """Two measurements of equally many trackers, and trackers that were each measured alone."""
    for first, second in ((["conv", "ce-conv"], ["decoder", "ce-decoder"]), (["conv"], ["decoder"])):
        changed = result
        for row in result.variants:
            changed = measured_with(changed, row.name, first if row.name in first else second)
        table = pivot(changed)
        assert {row_of(table, row.name).cells["fps"].mark for row in result.variants} == {None}
    apart = pivot(measured_with(result, "conv", ["conv", "x", "y", "z", "u", "v"]))
    said = notes_at(apart, row_of(apart, "conv").cells["fps"].footnotes)
    assert "6 trackers interleaved in one process, of these rows conv: not comparable with others" in said
    others = notes_at(apart, row_of(apart, "decoder").cells["fps"].footnotes)
    assert "of these rows decoder, ce-conv, ce-decoder" in others


def measured_with(result: Result, row: str, names: list[str]) -> Result:
    record = factory.record_of(next(one for one in result.rows if one.name == row))
    assert record.speed is not None
    speed = record.speed.model_copy(update={"measured_with": names})
    return factory.with_row(result, row, records=(record.model_copy(update={"speed": speed}),))


def test_few_sequences_are_warned_of() -> None:
    few = pivot(factory.study_result(6))
    assert accuracy.FEW in notes_at(few, row_of(few, "conv").cells[AO].footnotes)


def test_a_trial_is_marked(result: Result) -> None:
    record = factory.record(result.study.spec(result.study.rows[2]), "ce-conv", dirty=True)
    table = pivot(factory.with_row(result, "ce-conv", records=(record,)))
    assert "not to be published" in notes_at(table, row_of(table, "ce-conv").footnotes)


def test_several_protocols_stand_side_by_side(result: Result, tmp_path: Path) -> None:
    second = replace(result.protocols[0], name="other", dialects=factory.dialects("auc", "precision"))
    rows = tuple(replace(r, protocols=r.protocols | {"other": r.protocols[factory.PROTOCOL]}) for r in result.rows)
    both = replace(result, protocols=(*result.protocols, second), rows=rows)
    table = pivot(both)
    assert cells(table, "other:auc") == cells(table, f"{factory.PROTOCOL}:auc")
    assert any(column.key == "other:auc:delta" for column in table.columns)
    document = json.loads(documents.results_json(both, table))
    assert set(document["rows"][0]["protocols"]) == {factory.PROTOCOL, "other"}
    write_report(both, tmp_path)


# That every renderer prints the table


def main_table(page: str) -> str:
    return page.split('<section id="table">')[1].split("</section>")[0]


def expected_figures(table: Table) -> list[str]:
    return [
        layout.figure(row.cells[c.key], c)
        for row in table.rows
        for c in table.columns
        if c.key in row.cells and row.cells[c.key].value is not None
    ]


class _Texts(HTMLParser):
    """The texts of the figures' spans in the page, and every reference that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.references += [found[name] or "" for name in ("src", "href", "xlink:href", "action") if name in found]
        self._open = tag == "span" and found.get("class") == "value"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.values.append(data)
        self._open = False


def read(page: str) -> _Texts:
    parser = _Texts()
    parser.feed(page)
    return parser


def test_the_page_prints_the_table(table: Table, written: Path) -> None:
    shown = read(main_table((written / "index.html").read_text())).values
    assert sorted(set(expected_figures(table)) - set(shown)) == []
    assert len([v for v in shown if re.fullmatch(r"[+−]?[\d.]+", v)]) == len(expected_figures(table))


def test_markdown_prints_the_table(table: Table, written: Path) -> None:
    markdown = (written / "table.md").read_text()
    line = next(line for line in markdown.splitlines() if line.startswith("| decoder"))
    for column in table.columns:
        cell = row_of(table, "decoder").cells[column.key]
        assert layout.figure(cell, column).replace("(", "\\(").replace(")", "\\)") in line
    assert "| **83.7** \\[79.6, 86.8\\] |" in line
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert markdown.startswith("> **Not comparable with the paper")


def test_csv_keeps_full_precision(table: Table, written: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((written / "table.csv").read_text())))
    assert [row["row"] for row in rows] == [row.name for row in table.rows]
    for read_row, row in zip(rows, table.rows, strict=True):
        assert float(read_row[f"{AO} [%]"]) == row.cells[AO].value
        assert float(read_row[f"{AO} low"]) == row.cells[AO].low
    assert rows[-1]["params [M]"] == ""
    assert {row["comparable_with_paper"] for row in rows} == {"no"}
    comparable = csv.DictReader(io.StringIO(export.comma_separated(replace(table, caveat=""))))
    assert {row["comparable_with_paper"] for row in comparable} == {"yes"}


@pytest.mark.parametrize("width", [80, 100, 220])
def test_the_terminal_prints_the_table_and_cuts_no_figure(table: Table, width: int) -> None:
    shown = shown_in_terminal(table, width)
    assert "…" not in shown
    assert shown.startswith("Not comparable with the paper")
    assert max(len(line) for line in shown.splitlines()) <= width
    for value in [*expected_figures(table), *(row.name for row in table.rows)]:
        assert value in shown


def test_json_keeps_the_contract(result: Result, table: Table, written: Path) -> None:
    document = json.loads((written / "results.json").read_text())
    assert (document["study"], document["profile"], document["comparable_with_paper"]) == ("table3", "mini", False)
    rows = {row["name"]: row for row in document["rows"]}
    assert {name: row["role"] for name, row in rows.items() if row["role"] != "variant"} == {
        "static": "floor",
        "ncc": "floor",
        "shuffled-template": "control",
    }
    conv = rows["conv"]
    cell = row_of(table, "conv").cells[AO]
    assert conv["metrics"]["ao"] == {"mean": cell.value, "ci95": [cell.low, cell.high], "n": 48}
    assert conv["protocols"][factory.PROTOCOL] == conv["metrics"]
    training = factory.record_of(result.rows[0]).training
    assert training is not None
    cost = training.cost
    assert conv["cost"] == {
        "params": cost.params,
        "trainable_params": cost.trainable_params,
        "macs": cost.macs,
        "train_seconds": cost.wall(),
        "device_hours": cost.device() / 3600,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "fps": 190.0,
        "mfu": None,
        "reserved_bytes": None,
        "driver_bytes": None,
        "forward": "eager",
        "fps_from_jpeg": None,
        "latency": None,
        "latency95": None,
    }
    assert conv["paper_scale"] == {
        "params": 92_366_469,
        "macs": 30_911_537_152,
        "macs_linear_conv": 29_024_100_352,
    }
    assert conv["published"]["ao"]["value"] == 71.5
    assert set(conv["published"]["params"]) == {"value", "source", "trust", "note"}
    assert rows["static"]["cost"]["params"] is None
    assert rows["shuffled-template"]["cost"]["fps"] is None


def test_json_of_an_incomplete_row_is_null(result: Result) -> None:
    broken = factory.failed(result, "decoder")
    rows = {row["name"]: row for row in json.loads(documents.results_json(broken, pivot(broken)))["rows"]}
    assert rows["decoder"]["metrics"]["ao"] == {"mean": None, "ci95": None, "n": None}
    assert rows["decoder"]["verdict"] == "failed"
    assert set(rows["decoder"]["cost"].values()) == {None}


# The page


def test_the_first_words_of_the_page_are_the_caveat(written: Path) -> None:
    body = (written / "index.html").read_text().split("<body>")[1]
    assert re.sub(r"<[^>]+>", "", body).strip().startswith("Not comparable with the paper")


def test_a_comparable_profile_has_no_caveat(result: Result, tmp_path: Path) -> None:
    profile = result.profile.model_copy(update={"comparable_with_paper": True})
    write_report(replace(result, profile=profile), tmp_path, ("html", "json"))
    assert 'class="caveat"' not in (tmp_path / "index.html").read_text()
    assert json.loads((tmp_path / "results.json").read_text())["comparable_with_paper"] is True


def test_the_page_needs_no_network_and_runs_our_script_alone(written: Path) -> None:
    page = (written / "index.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:" in page
    assert f"script-src 'sha256-{digest}'" in page
    assert "unsafe-inline'; script-src" in page  # which is of the styles: no other script runs
    found = read(page)
    assert found.references
    links = [r for r in found.references if not r.startswith(("#", "data:image/jpeg;base64,"))]
    files = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert set(links) == files - {"index.html"}, "it links its own files, and nothing else"
    assert found.tags.count("script") == 1
    assert "link" not in found.tags
    assert not re.search(r"url\((?!#)|@import", page)
    assert not re.search(r"\b(fetch|XMLHttpRequest|eval|innerHTML|import)\b", script)


def test_ids_are_unique_and_every_reference_is_answered(written: Path) -> None:
    page = (written / "index.html").read_text()
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    wanted = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert set(wanted) <= set(ids)
    assert any(name.startswith("note-") for name in wanted)


def test_markup_in_names_stays_text(result: Result, tmp_path: Path) -> None:
    study = replace(result.study, title=NASTY, question=NASTY)
    rows = (replace(result.rows[0], cells=(NASTY, NASTY)), *result.rows[1:-1], replace(result.rows[-1], name=NASTY))
    nasty = replace(result, study=study, rows=rows, missing=(NASTY,), command=NASTY)
    write_report(factory.failed(nasty, "decoder", NASTY), tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert read(page).tags.count("script") == 1
    assert "&lt;script&gt;" in page
    assert "<script" not in (tmp_path / "table.md").read_text()
    for svg in (tmp_path / "figures").glob("*.svg"):
        ElementTree.fromstring(svg.read_bytes())
    assert "[red]" in shown_in_terminal(pivot(nasty), 400)


def test_a_formula_in_a_name_is_no_formula(result: Result) -> None:
    named = replace(result, rows=(*result.rows[:-1], replace(result.rows[-1], name="=cmd()")))
    assert "'=cmd()," in export.comma_separated(pivot(named))


def test_provenance_names_verdicts_commits_and_commands(result: Result, tmp_path: Path) -> None:
    record = factory.record(result.study.spec(result.study.rows[2]), "ce-conv", dirty=True)
    changed = factory.failed(factory.with_row(result, "ce-conv", records=(record,)), "decoder", "out of <memory>")
    write_report(changed, tmp_path, ("html",))
    page = (tmp_path / "index.html").read_text()
    assert "out of &lt;memory&gt;" in page
    assert "9e65990c0f + uncommitted changes" in page
    for words in (
        result.command,
        "concurrent",
        "torch 2.15.0",
        factory.record_of(result.rows[0]).asked.name,
        "reproducible",
    ):
        assert words in page, words


def test_film_strips_show_the_best_and_the_worst(result: Result) -> None:
    found = {(strip.row, strip.which): strip for strip in strips(result)}
    assert {row for row, _ in found} == {"conv", "decoder", "ce-conv", "ce-decoder"}
    for row in result.rows[:4]:
        counts = row.protocols[factory.PROTOCOL].tallies
        dialect = DIALECTS["got10k"]
        shares = {n: 100 * float(np.divide(*values([c], "ao", dialect))[0]) for n, c in counts.items()}
        assert found[row.name, "best"].sequence == max(shares, key=shares.__getitem__)
        assert found[row.name, "worst"].score == pytest.approx(min(shares.values()))
        assert found[row.name, "worst"].sequence == min(shares, key=shares.__getitem__)
        assert found[row.name, "best"].stills[0].iou == pytest.approx(1)
        assert found[row.name, "best"].verdict == "easy"


def test_attributes_average_their_own_sequences(result: Result, written: Path) -> None:
    found = attribute_table(result, result.protocols[0])
    assert found is not None
    assert [row.name for row in found.rows] == ["distractors", "occlusion", "rotation"]
    counts = result.rows[0].protocols[factory.PROTOCOL].tallies
    members = [name for name in counts if "rotation" in factory.attributes(name)]
    numerators, weights = values([counts[name] for name in members], "ao", DIALECTS["got10k"])
    rotation = row_of(found, "rotation")
    assert rotation.cells[":n"].value == len(members) == 7
    assert rotation.cells["conv ao"].value == pytest.approx(100 * numerators.sum() / weights.sum())
    assert sorted(rotation.cells[f"{row.name} ao"].rank or 0 for row in result.rows[:4]) == [1, 2, 3, 4]
    assert rotation.cells["ncc ao"].rank is None
    assert "AO by attribute" in (written / "index.html").read_text()


def test_failures_and_the_hardest_sequences_are_on_a_studys_page_too(result: Result, written: Path) -> None:
    page, facts = (written / "index.html").read_text(), result.protocols[0]
    sections = re.findall(r'<section id="([^"]+)"', page)
    assert [name for name in sections if name in ("every-pair", "ranking", "attributes", "failures", "hardest")] == [
        *("every-pair", "ranking", "attributes", "failures", "hardest"),
    ]
    table = failure_table(result, facts)
    assert table is not None
    for row in result.rows:
        found = row.protocols[facts.name].total_failures
        assert found is not None
        assert row_of(table, row.name).cells["all:frames"].value == sum(found.frames)
    hardest = sequence_table(result, facts).rows[0]
    variants = [hardest.cells[f"{row.name} ao"].value or 0 for row in result.variants]
    assert hardest.cells[":mean"].value == pytest.approx(np.mean(variants)), "floors do not make a sequence hard"
    rows = {row["name"]: row for row in json.loads((written / "results.json").read_text())["rows"]}
    details = rows["conv"]["sequences"][factory.PROTOCOL]
    assert set(details["by_sequence"]) == set(factory.names())
    assert details["failures"]["frames_looked_at"] == factory.SEQUENCES * factory.FRAMES


def test_jpeg_size_reads_the_header() -> None:
    assert jpeg_size(factory.film_strip("thermal-000").jpegs[0]) == (factory.WIDTH, factory.HEIGHT)
    with pytest.raises(ValueError, match="not a JPEG"):
        jpeg_size(b"\x89PNG\r\n\x1a\n" + bytes(40))


# Files


def test_everything_is_left_behind(written: Path) -> None:
    names = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    figures = {f"figures/{n}.{kind}" for n in FIGURES for kind in ("svg", "pdf")}
    assert names == {"index.html", "table.tex", "tables.tex", "table.md", "table.csv", "results.json"} | figures


def test_the_same_input_gives_the_same_bytes(result: Result, written: Path, tmp_path: Path) -> None:
    for path in write_report(factory.study_result(), tmp_path):
        assert path.read_bytes() == (written / path.relative_to(tmp_path)).read_bytes(), path.name


def test_only_what_was_asked_for_is_written(result: Result, tmp_path: Path) -> None:
    assert write_report(result, tmp_path, ("csv", "json")) == [tmp_path / "table.csv", tmp_path / "results.json"]
    with pytest.raises(ValueError, match="no report format is called pdf"):
        write_report(result, tmp_path / "none", ("pdf",))
    assert not (tmp_path / "none").exists()


def test_the_page_links_only_what_is_written(result: Result, tmp_path: Path) -> None:
    write_report(result, tmp_path, ("html", "csv"))
    page = (tmp_path / "index.html").read_text()
    links = {r for r in read(page).references if not r.startswith(("#", "data:"))}
    assert links == {"table.csv"} | {f"figures/{name}.svg" for name in FIGURES}
    told = f"<code>{result.command.replace(' run ', ' report ')}</code> also writes table.tex, table.md, results.json."
    assert told in page


def test_times_are_for_readers_and_for_programs(written: Path) -> None:
    page = (written / "index.html").read_text()
    assert '<time datetime="2026-05-09T07:35:25Z">9 May 2026, 07:35 UTC</time>' in page
    assert not re.search(r">[^<]*\d{4}-\d\d-\d\dT", page)
    assert moment("2026-01-02T01:04:05+02:00") == '<time datetime="2026-01-01T23:04:05Z">1 Jan 2026, 23:04 UTC</time>'
    assert moment("") == "–"
    assert moment("<b>") == "&lt;b&gt;"


def test_a_figure_that_shows_nothing_is_left_out(result: Result, table: Table) -> None:
    """All were trained as long; one that was trained longer makes a figure of it. One variant alone has no front."""
    longer = factory.record_of(result.rows[1])
    recipe = longer.asked.recipe.model_copy(update={"steps": 9 * longer.asked.recipe.steps})
    asked = longer.asked.model_copy(update={"recipe": recipe})
    changed = factory.with_row(result, "decoder", records=(longer.model_copy(update={"asked": asked}),))
    assert "epochs" not in drawn(result)
    assert "epochs" in drawn(changed)
    alone = replace(result, rows=(result.rows[0], *result.rows[4:]))
    assert drawn(result) - drawn(alone) == {"accuracy-cost", "pairs", "attribute-differences"}


def drawn(result: Result) -> set[str]:
    return {picture.name for picture in pictures(result, pivot(result), pdf=False)}


def test_distributions_stand_beside_the_means(written: Path) -> None:
    page = (written / "index.html").read_text()
    assert 'id="distributions"' in page.split('<section id="results">')[1].split("</section>")[0]
    assert page.count('id="distributions"') == 1


def test_figures_over_few_sequences_are_grey(result: Result, written: Path) -> None:
    page = (written / "index.html").read_text()
    assert "few" not in {
        word for words in re.findall(r'<td class="([^"]*)"', main_table(page)) for word in words.split()
    }
    attributes = page.split('<section id="attributes">')[1].split("</section>")[0]
    greyed = {
        row: " few" in cells for row, cells in re.findall(r'class="name">(\w+)</th>(.*?)</tr>', attributes, re.DOTALL)
    }
    counts = {row.name: row.cells[":n"].value for row in given(attribute_table(result, result.protocols[0])).rows}
    assert greyed == {name: (count or 0) < 10 for name, count in counts.items()}
    assert set(greyed.values()) == {True, False}
    assert "fewer than ten sequences" in attributes


def given(table: Table | None) -> Table:
    assert table is not None
    return table


def test_a_configuration_is_in_words_and_the_command_is_said_once(result: Result, tmp_path: Path) -> None:
    profile = load_profile("mini")
    write_report(replace(result, profile=profile), tmp_path, ("html",))
    page = unescape((tmp_path / "index.html").read_text())
    assert "batch size 22" in page
    assert "backbones (dinov2-s: vit-mini-1, " in page
    assert not re.search(r"\{'|\(\d, \d|None\b", page.split('id="provenance"')[1].split("</section>")[0])
    assert page.count(result.command) == 1


def test_footnotes_are_marked_by_letters(table: Table, written: Path) -> None:
    marks = re.findall(r'<li id="note-(\w+)"><b>(\w+)</b>', (written / "index.html").read_text())
    assert marks == [(layout.mark(at),) * 2 for at in range(len(table.footnotes))]
    printed = re.findall(r"<sup>(.*?)</sup>", main_table((written / "index.html").read_text()))
    assert printed
    assert all(re.fullmatch(r"\u202f[a-z]+(,[a-z]+)*", unescape(re.sub(r"<.*?>", "", one))) for one in printed)
    assert f"- ({layout.mark(3)}) " in (written / "table.md").read_text()


def test_a_report_of_nothing_is_a_page_that_says_so(result: Result, tmp_path: Path) -> None:
    write_report(replace(result, rows=()), tmp_path)
    assert "conv: not asked for" in (tmp_path / "index.html").read_text()


def test_reports_import_no_torch_and_formats_import_what_they_need() -> None:
    code = (
        "import sys\nfrom trackablate.reports.formats import latex, text\n"
        "from trackablate.reports.pages import html, write\n"
        "import trackablate.reports.figures\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_numbers_keep_their_sign_and_lose_that_of_zero(table: Table) -> None:
    delta = next(column for column in table.columns if column.signed)
    assert [delta.written(v) for v in (1.25, -3.14, 0.04, -0.04)] == ["+1.2", "−3.1", "0.0", "0.0"]


def test_a_lower_is_better_difference_is_coloured_the_other_way(table: Table) -> None:
    delta = next(column for column in table.columns if column.signed)
    cell = row_of(table, "decoder").cells[delta.key]
    assert layout.direction(cell, delta) == "better"
    assert layout.direction(cell, replace(delta, better="lower")) == "worse"
    assert layout.direction(row_of(table, "ce-decoder").cells[delta.key], delta) == ""


def test_success_numbers_in_the_figure_are_the_tables(table: Table, written: Path) -> None:
    drawn = (written / "figures" / "success.svg").read_text()
    for row in table.rows:
        value = row.cells[f"{factory.PROTOCOL}:auc"].value
        assert isinstance(value, float)
        assert np.isfinite(value)
        assert f"{row.name}  {value:.1f}" in drawn or f"{row.name} {value:.1f}" in drawn


def test_a_control_that_scores_like_the_best_variant_is_named(result: Result) -> None:
    best = max(result.rows[:4], key=lambda row: row_of(pivot(result), row.name).cells[AO].value or 0)
    same = pivot(factory.with_row(result, "shuffled-template", protocols=best.protocols))
    note = f"The best variant, {best.name}, is not shown to beat the control shuffled-template"
    assert note in notes_at(same, row_of(same, "shuffled-template").cells[AO].footnotes)
    assert not any("the control" in text for text in pivot(result).footnotes if text.startswith("The best"))


def test_two_sequences_give_no_interval_and_no_verdict(result: Result) -> None:
    names = result.protocols[0].name
    for row in result.rows:
        found = row.protocols[names]
        tallies = dict(list(found.tallies.items())[:2])
        few = replace(found, sequences=tuple(tallies), seeds=(tallies,))
        result = factory.with_row(result, row.name, protocols={names: few})
    cell = row_of(pivot(result), "decoder").cells[f"{AO}:delta"]
    assert cell.value is not None
    assert (cell.low, cell.high, cell.resolved) == (None, None, None)
    assert row_of(pivot(result), "decoder").cells[AO].low is None


def test_a_one_shot_protocol_says_what_was_trained_on_other_videos(result: Result) -> None:
    facts = replace(result.protocols[0], one_shot=True)
    table = pivot(replace(result, protocols=(facts,)))
    for row in result.rows:
        cell = row_of(table, row.name).cells[AO]
        trained = factory.record_of(row).asked.data is not None
        assert ("trained on generated clips" in notes_at(table, cell.footnotes)) == trained, row.name
    untouched = pivot(result)
    assert not any("trained on generated clips" in note for note in untouched.footnotes)
