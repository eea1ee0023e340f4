"""The page of scored raw results: what its tables decide, that incomplete trackers are said to be so everywhere, and that
the files are as safe and as whole as a study's."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

import score_factory as factory
from places import ROOT
from trackablate.harness.errors import BadInput
from trackablate.harness.scoring.failure_modes import KINDS, FailureCounts
from trackablate.harness.scoring.metrics import DIALECTS, METRICS, Tally, values
from trackablate.harness.scoring.raw_scoring import distinct_metrics
from trackablate.harness.scoring.scored import Scored, ScoredTracker, TrackerScores
from trackablate.reports.figures import pictures
from trackablate.reports.figures.drawing import Picture
from trackablate.reports.formats import panels as layout
from trackablate.reports.formats.latex import all_tables, paper_table
from trackablate.reports.formats.summary import summary
from trackablate.reports.formats.text import TerminalTable
from trackablate.reports.pages.sections import sections, unfolded
from trackablate.reports.pages.write import report_files, write_report
from trackablate.reports.results import result_of, standing
from trackablate.reports.table import Cell, Table, TableRow
from trackablate.reports.tables import comparison, dialects, failures, sequences
from trackablate.reports.tables.block import ranked
from trackablate.reports.tables.comparison import Comparison
from trackablate.reports.tables.dialects import Gains
from trackablate.reports.tables.pivot import pivot
from trackablate.reports.tables.sequences import hardest_table

A, B, C = "SiamSteady", "OceanDrift", "StaticBox"
NASTY = "<script>alert('x')</script>$\\input{/etc/passwd}$ & 50% #_^~{}|[red]*`"
PART = "incomplete: 12 of 30 sequences"


def score_table(scored: Scored) -> Table:
    return pivot(result_of(scored))


def score_page(scored: Scored, compare: tuple[str, str] | None = None) -> dict[str, bytes]:
    return report_files(result_of(scored, compare))


def score_pictures(scored: Scored, compare: tuple[str, str] | None) -> list[Picture]:
    result = result_of(scored, compare)
    return pictures(result, pivot(result), pdf=False)


def printed_tables(scored: Scored, compare: tuple[str, str] | None = None) -> list[Table]:
    result = result_of(scored, compare)
    return [pivot(result), *unfolded(sections(result))]


def comparisons(scored: Scored, a: str, b: str) -> list[Comparison]:
    return comparison.comparisons(result_of(scored, (a, b)))


def failure_table(scored: Scored) -> Table:
    return given(failures.failure_table(result_of(scored), scored.protocol))


def attribute_table(scored: Scored) -> Table | None:
    return sequences.attribute_table(result_of(scored), scored.protocol)


def sequence_table(scored: Scored) -> Table:
    return sequences.sequence_table(result_of(scored), scored.protocol)


def flattering(scored: Scored) -> Gains:
    return dialects.flattering(result_of(scored), scored.protocol)


def dialect_tables(scored: Scored, gains: Gains) -> list[Table]:
    return dialects.dialect_tables(result_of(scored), scored.protocol, gains)


def scores_of(tracker: ScoredTracker) -> TrackerScores:
    return tracker.protocols["lasot"]


def tallies_of(tracker: ScoredTracker) -> list[Tally]:
    return list(scores_of(tracker).tallies.values())


def with_protocol(scored: Scored, **changes: Any) -> Scored:
    return replace(scored, protocol=replace(scored.protocol, **changes))


@pytest.fixture(scope="module")
def scored() -> Scored:
    return factory.scored()


@pytest.fixture(scope="module")
def written(scored: Scored, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scores")
    write_report(result_of(scored, (A, B)), out)
    return out


@pytest.fixture(scope="module", params=[False, True], ids=["refused", "allowed"])
def part(scored: Scored, request: pytest.FixtureRequest) -> Scored:
    """The best tracker with 12 of its 30 sequences, means of a part allowed or not."""
    return factory.partial(scored, A, 12, request.param)


def row_of(table: Table, name: str) -> TableRow:
    return next(row for row in table.rows if row.name == name)


def given(table: Table | None) -> Table:
    assert table is not None
    return table


def notes_at(table: Table, footnotes: tuple[int, ...]) -> str:
    return " ".join(table.footnotes[index] for index in footnotes)


def shown_in_terminal(table: Table, width: int = 200) -> str:
    file = io.StringIO()
    Console(width=width, file=file, color_system=None).print(TerminalTable(table))
    return file.getvalue()


def figures(table: Table) -> list[str]:
    """What a renderer prints of a table, panel by panel."""
    return [
        layout.figure(row.cells.get(column.key), column)
        for panel in layout.page_panels(table)
        for row in panel.rows
        for column in panel.columns
    ]


# The main table


def test_figures_are_the_tallies_own(scored: Scored) -> None:
    table = score_table(scored)
    for tracker in scored.trackers:
        for key in ("auc", "precision", "norm_precision"):
            cell = row_of(table, tracker.name).cells[key]
            numerators, weights = values(tallies_of(tracker), key, scored.protocol.rules[0])
            assert cell.value is not None and cell.low is not None and cell.high is not None
            assert cell.value == pytest.approx(100 * numerators.sum() / weights.sum())
            assert cell.low < cell.value < cell.high
            assert cell.n == factory.SEQUENCES


def test_trackers_stand_by_the_main_dialects_headline(scored: Scored) -> None:
    table = score_table(scored)
    assert [row.name for row in table.rows] == [A, B, C]
    assert [row.cells["auc"].mark for row in table.rows] == ["best", "second", None]
    turned = replace(scored, trackers=scored.trackers[::-1])
    assert score_table(turned) == table


def test_a_metric_under_a_second_name_is_no_column(scored: Scored) -> None:
    assert distinct_metrics(DIALECTS["ostrack"]) == [
        *("auc", "precision", "norm_precision", "op50", "op75", "norm_precision_mean"),
    ]
    assert "norm_precision_at_20" in distinct_metrics(DIALECTS["got10k_ope"])
    assert factory.scored(main="got10k").protocol.metrics[0] == "ao"


def test_each_column_names_its_dialect_and_method(scored: Scored) -> None:
    table = score_table(scored)
    for column in table.columns[:-1]:
        note = notes_at(table, column.footnotes)
        assert "Dialect ostrack. OSTrack: all frames" in note
        assert "bootstrap over sequences" in note
    assert "truncated" not in table.question
    assert "cut to integers" in score_table(with_protocol(scored, truncated=True)).question


def test_few_sequences_are_warned_of_and_fewer_have_no_interval() -> None:
    few = score_table(factory.scored(6))
    assert "fewer than 20 sequences" in notes_at(few, row_of(few, A).cells["auc"].footnotes)
    assert row_of(score_table(factory.scored(3)), A).cells["auc"].low is None


# Incomplete trackers


def test_an_incomplete_tracker_ranks_last_and_has_a_mean_only_where_allowed(part: Scored) -> None:
    table = score_table(part)
    assert [row.name for row in table.rows] == [B, C, A]
    cell = row_of(table, A).cells["auc"]
    assert (cell.value is not None) == part.protocol.allow_incomplete
    assert cell.rank == 3
    assert cell.mark is None
    assert [row.cells["auc"].mark for row in table.rows] == ["best", "second", None]
    assert row_of(table, A).cells["sequences"].text == PART
    assert PART in notes_at(table, cell.footnotes)
    assert table.missing == (f"{A} on lasot: {PART}",)
    assert bool(table.caveat) == part.protocol.allow_incomplete


def test_a_mean_of_a_part_is_over_that_part(scored: Scored) -> None:
    allowed = factory.partial(scored, A, 12, True)
    numerators, _ = values(tallies_of(scored.trackers[0])[:12], "auc", scored.protocol.rules[0])
    assert row_of(score_table(allowed), A).cells["auc"].value == pytest.approx(100 * numerators.mean())
    assert row_of(score_table(allowed), A).cells["auc"].n == 12


def test_every_output_says_incomplete(part: Scored) -> None:
    files = score_page(part)
    for name in ("index.html", "table.tex", "tables.tex", "table.md", "table.csv", "results.json"):
        assert PART in " ".join(files[name].decode().split()), name
    assert PART in " ".join(shown_in_terminal(score_table(part)).split())
    assert (PART in files["figures/success.svg"].decode()) == part.protocol.allow_incomplete
    for table in printed_tables(part):
        if "stable" not in table.title:  # which incomplete trackers have no part in
            assert f"{A} on lasot: {PART}" in table.missing
    page = files["index.html"].decode()
    assert "line 4: 3 numbers instead of 4; restore the file" in page
    assert ('class="caveat"' in page) == part.protocol.allow_incomplete
    lacking = {
        line["sequence"]: line["incomplete"] for line in csv.DictReader(io.StringIO(files["sequences.csv"].decode()))
    }
    assert lacking == {name: "" if name in factory.names()[:12] else A for name in factory.names()}


def test_a_tracker_without_any_whole_result_is_a_row_of_dashes(scored: Scored) -> None:
    none = factory.partial(scored, A, 0, True)
    table = score_table(none)
    assert row_of(table, A).cells["auc"].value is None
    assert row_of(table, A).cells["sequences"].text == "incomplete: 0 of 30 sequences"
    assert row_of(failure_table(none), A).cells == {}
    assert A not in score_page(none)["figures/success.svg"].decode()


def test_nothing_scored_at_all_is_a_page_that_says_so(scored: Scored) -> None:
    nothing = replace(scored, trackers=tuple(factory.with_only(t, []) for t in scored.trackers))
    files = score_page(nothing)
    assert "incomplete: 0 of 30 sequences" in files["index.html"].decode()
    assert not [name for name in files if name.startswith("figures/")]


# Dialects


def test_each_dialect_shows_its_own_score(scored: Scored) -> None:
    table = dialect_tables(scored, flattering(scored))[0]
    assert [c.key for c in table.columns] == [
        *("ostrack", "lasot_matlab", "pysot", "got10k_ope", "lorat_plain", "got10k"),
    ]
    assert [c.group for c in table.columns] == ["AUC"] * 5 + ["AO"]
    for dialect in scored.protocol.rules:
        metric = "ao" if dialect.name == "got10k" else "auc"
        expected = scored.trackers[0].percent(scored.protocol, metric, dialect)
        assert row_of(table, A).cells[dialect.name].value == expected
    assert row_of(table, A).cells["lorat_plain"].mark == "best"


def test_dialects_that_flatter_are_marked(scored: Scored) -> None:
    gains = flattering(scored)
    assert "lorat_plain" in gains
    assert "strict" not in gains
    assert set(gains["lorat_plain"]) >= {"auc", "precision", "norm_precision"}
    strict = DIALECTS["strict"].on("lasot")
    by_tracker = [
        (t.percent(scored.protocol, "auc", factory.dialect("lorat_plain")) or 0)
        - (t.percent(scored.protocol, "auc", strict) or 0)
        for t in scored.trackers
    ]
    assert gains["lorat_plain"]["auc"] == pytest.approx(max(by_tracker))
    table = dialect_tables(scored, {"pysot": {"auc": 1.26, "precision": 3.0}})[0]
    marked = {c.key: notes_at(table, c.footnotes) for c in table.columns if "flatters" in c.unit}
    assert set(marked) == {"pysot"}
    assert "up to 1.3 points above the strict reading" in marked["pysot"]
    assert "flatters" in score_page(scored)["table.md"].decode()


def test_one_dialect_makes_no_table(scored: Scored) -> None:
    assert dialect_tables(with_protocol(scored, rules=scored.protocol.rules[:1]), {}) == []


def test_many_dialects_of_a_metric_are_parted_for_print(scored: Scored) -> None:
    rules = tuple(factory.dialect(name) for name in DIALECTS)
    table = dialect_tables(with_protocol(scored, rules=rules), {})[0]
    widths = [len(group.columns) for group in layout.groups(table.columns)]
    assert max(widths) == 6
    assert sum(widths) == len(DIALECTS)


# Attributes and sequences


def key(tracker: str) -> str:
    return f"{tracker} auc"


def test_attributes_average_their_own_sequences(scored: Scored) -> None:
    table = given(attribute_table(scored))
    assert [row.name for row in table.rows] == [
        "partial occlusion (POC)",
        "fast motion (FM)",
        "motion blur (MB)",
        "night",
    ]
    night = row_of(table, "night")
    members = [s.name for s in scored.protocol.sequences if "night" in s.attributes]
    tracker = next(t for t in scored.trackers if t.name == B)
    numerators, _ = values([scores_of(tracker).tallies[name] for name in members], "auc", scored.protocol.rules[0])
    assert night.cells[key(B)].value == pytest.approx(100 * numerators.mean())
    assert night.cells[":n"].value == len(members) == 5
    assert night.cells[key(A)].mark == "best"
    assert row_of(table, "motion blur (MB)").cells[key(A)].low is None, "two sequences have no interval"


def test_an_attribute_whose_sequences_are_all_there_has_a_mean(scored: Scored) -> None:
    """Of the first 22 sequences: all of "night" but bird-28."""
    lacking = given(attribute_table(factory.partial(scored, A, 22, False)))
    assert row_of(lacking, "night").cells[key(A)].value is None
    enough = given(attribute_table(factory.partial(scored, A, 29, False)))
    assert row_of(enough, "night").cells[key(A)].value is not None
    assert row_of(enough, "night").cells[key(A)].mark == "best"
    allowed = given(attribute_table(factory.partial(scored, A, 22, True)))
    assert row_of(allowed, "night").cells[key(A)].value is not None
    assert row_of(allowed, "night").cells[key(A)].mark is None


def test_without_attributes_there_is_no_table(scored: Scored) -> None:
    plain = with_protocol(
        scored, sequences=tuple(replace(s, attributes=frozenset()) for s in scored.protocol.sequences)
    )
    assert attribute_table(plain) is None
    assert 'id="attributes"' not in score_page(plain)["index.html"].decode()


def test_sequences_stand_with_the_hardest_first(scored: Scored) -> None:
    table = sequence_table(scored)
    means = [row.cells[":mean"].value for row in table.rows]
    assert None not in means
    assert means == sorted(means, key=lambda mean: mean or 0)
    assert len(table.rows) == factory.SEQUENCES
    for row in table.rows[:3]:
        single = [row.cells[key(t.name)].value or 0 for t in scored.trackers]
        assert row.cells[":mean"].value == pytest.approx(np.mean(single))
    hardest = hardest_table(table)
    assert hardest.rows == table.rows[:10]
    assert hardest.title == "LaSOT test: AUC on the 10 hardest sequences"


def test_an_incomplete_tracker_does_not_move_the_order_of_sequences(scored: Scored) -> None:
    """Its own values are shown, but the mean is over the others."""
    table = sequence_table(factory.partial(scored, A, 12, False))
    row = row_of(table, "bird-03")
    assert row.cells[key(A)].value is not None
    assert row_of(table, "bird-20").cells[key(A)].value is None
    assert row.cells[":mean"].value == pytest.approx(
        ((row.cells[key(B)].value or 0) + (row.cells[key(C)].value or 0)) / 2
    )


# Failures


def test_failures_are_counted_and_shared_out(scored: Scored) -> None:
    table = failure_table(scored)
    for tracker in scored.trackers:
        found = FailureCounts.total(scores_of(tracker).failures[0].values())
        cells = row_of(table, tracker.name).cells
        assert [cells[f"{kind}:frames"].value for kind in KINDS] == list(found.frames)
        assert [cells[f"{kind}:episodes"].value for kind in KINDS] == list(found.episodes)
        assert cells["all:frames"].value == sum(found.frames) > 0
        assert cells["all:episodes"].value == sum(found.episodes)
        assert cells["lost:share"].value == pytest.approx(100 * found.frames[0] / found.counted)
    assert (row_of(table, A).cells["distractor:frames"].value or 0) > 0
    text = notes_at(table, tuple(range(len(table.footnotes))))
    assert "a suspicion, since only the target is annotated" in text
    assert "at most 0.5" in text


# Ranks


def test_ranks_are_by_the_figure_as_printed() -> None:
    cells = {"a": Cell(50.04), "b": Cell(50.01), "c": Cell(49.0), "d": Cell(), "e": Cell(60.0)}
    found = ranked(cells, 1, "higher", last=frozenset({"e"}))
    assert {name: cell.rank for name, cell in found.items()} == {"a": 1, "b": 1, "c": 2, "d": 3, "e": 3}
    assert {name: cell.rank for name, cell in ranked(cells, 1, "lower").items()} == {
        "a": 2,
        "b": 2,
        "c": 1,
        "d": 4,
        "e": 3,
    }
    assert all(cell.rank is None for cell in ranked({"a": Cell(1.0), "b": Cell(1.0)}, 1, "higher").values())


# Figures


def test_there_is_a_figure_for_every_curve_of_the_dialect(scored: Scored) -> None:
    more = ["distributions", "attribute-radar"]
    assert [p.name for p in score_pictures(scored, None)] == ["success", "precision", "norm_precision", *more]
    assert [p.name for p in score_pictures(factory.scored(main="got10k"), None)] == ["success", *more]
    drawn = {picture.name: picture for picture in score_pictures(scored, (A, B))}["differences"]
    assert "incomplete" not in drawn.svg.decode()
    both = factory.partial(factory.partial(scored, A, 12, True), B, 12, True)
    drawn = {picture.name: picture for picture in score_pictures(both, (A, B))}["differences"]
    assert PART in drawn.svg.decode()


def test_legends_show_the_tables_figures(scored: Scored, written: Path) -> None:
    table = score_table(scored)
    for name, key in (("success", "auc"), ("precision", "precision"), ("norm_precision", "norm_precision")):
        drawn = re.sub(r"\s+", " ", (written / "figures" / f"{name}.svg").read_text())
        for row in table.rows:
            assert f"{row.name} {row.cells[key].value:.{METRICS[key].decimals}f}" in drawn


def test_many_trackers_are_told_apart(scored: Scored) -> None:
    many = replace(scored, trackers=tuple(replace(scored.trackers[0], name=f"t{i:02d}") for i in range(20)))
    from trackablate.reports.figures.drawing import distinct_looks

    assert len(set(distinct_looks([t.name for t in standing(result_of(many))]).values())) == 20
    drawn = score_pictures(many, None)[0]
    ElementTree.fromstring(drawn.svg)
    assert "t19" in drawn.svg.decode()


# The files


class _Found(HTMLParser):
    """Tags and references of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "action")]


def read(page: str) -> _Found:
    parser = _Found()
    parser.feed(page)
    return parser


def test_everything_is_left_behind(written: Path) -> None:
    names = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    curves = ("success", "precision", "norm_precision", "distributions", "differences", "attribute-radar")
    figures = {f"figures/{n}.{kind}" for n in curves for kind in ("svg", "pdf")}
    documents = {"index.html", "table.tex", "tables.tex", "table.md", "table.csv", "sequences.csv", "results.json"}
    assert names == documents | figures


def test_the_same_input_gives_the_same_bytes(scored: Scored, written: Path) -> None:
    for name, content in score_page(scored, (A, B)).items():
        assert content == (written / name).read_bytes(), name


def test_a_refused_pair_leaves_nothing_behind(scored: Scored, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        write_report(result_of(scored, (A, "nobody")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_page_needs_no_network_and_runs_our_script_alone(written: Path) -> None:
    page = (written / "index.html").read_text()
    found = read(page)
    assert found.references
    files = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert {r for r in found.references if not r.startswith("#")} == files - {"index.html"}
    assert not {"link", "iframe"} & set(found.tags)
    assert found.tags.count("script") == 1
    assert "script-src 'sha256-" in page
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_ids_are_unique_and_every_reference_is_answered(written: Path) -> None:
    page = (written / "index.html").read_text()
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    wanted = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert set(wanted) <= set(ids)
    assert any(name.startswith("failures-note-") for name in wanted)


def test_the_page_shows_every_part(scored: Scored, written: Path) -> None:
    page = (written / "index.html").read_text()
    assert re.findall(r'<section id="([^"]+)"', page) == [
        *("results", "table", "figures", "comparison", "every-pair", "ranking", "dialects", "attributes", "failures"),
        *("hardest", "sequences", "provenance"),
    ]
    found = sections(result_of(scored, (A, B)))
    short = summary(result_of(scored, (A, B)), score_table(scored)).parts
    assert len(next(section for section in found if section.anchor == "dialects").tables) == 3
    in_order = (*short, score_table(scored), *(table for section in found for table in section.tables))
    expected = [figure for table in in_order for figure in figures(table)]
    assert [unescape(text) for text in re.findall(r'<span class="value">(.*?)</span>', page)] == expected
    assert scored.command in page
    assert page.count("POC: partial occlusion") == 2, "below the hardest and below all sequences"
    assert "results in the layout of pytracking, 30 of 30 sequences whole" in page


def test_json_has_all_of_it(scored: Scored, written: Path) -> None:
    document = json.loads((written / "results.json").read_text())
    assert document["protocol"] == "lasot"
    assert (document["sequences"], document["frames"], document["problems"]) == (30, 30 * factory.FRAMES, [])
    assert set(document["dialects"]) == {d.name for d in scored.protocol.rules}
    for dialect in scored.protocol.rules:
        of_tracker = document["dialects"][dialect.name][A]
        assert of_tracker == {m: scored.trackers[0].percent(scored.protocol, m, dialect) for m in dialect.metrics}
    tracker = document["trackers"][0]
    cell = row_of(score_table(scored), A).cells["auc"]
    assert tracker["metrics"]["auc"] == {"mean": cell.value, "ci95": [cell.low, cell.high], "n": 30}
    assert set(tracker["attributes"]) == {"POC", "FM", "MB", "night"}
    assert set(tracker["by_sequence"]) == set(factory.names())
    assert tracker["incomplete"] is None
    assert sum(tracker["failures"]["frames"].values()) == row_of(failure_table(scored), A).cells["all:frames"].value
    first = document["comparison"][0]
    difference = comparisons(scored, A, B)[0].difference
    assert (first["a"], first["b"], first["metric"]) == (A, B, "auc")
    assert first["difference"]["mean"] == pytest.approx(100 * difference.value)
    assert first["difference"]["ci95"] == pytest.approx(
        [100 * (bound or 0) for bound in (difference.low, difference.high)]
    )
    assert len(first["sequences"]) == 30


def test_json_of_an_incomplete_tracker(part: Scored) -> None:
    document = json.loads(score_page(part)["results.json"])
    assert document["incomplete"] == {A: PART}
    assert document["allow_incomplete"] is part.protocol.allow_incomplete
    assert (document["dialects"]["ostrack"][A]["auc"] is not None) == part.protocol.allow_incomplete
    assert document["trackers"][0]["incomplete"] == PART
    assert len(document["trackers"][0]["by_sequence"]) == 12
    assert document["comparison"] == []


def test_csv_has_full_precision_and_no_role(scored: Scored, written: Path) -> None:
    lines = list(csv.DictReader(io.StringIO((written / "table.csv").read_text())))
    assert [line["tracker"] for line in lines] == [A, B, C]
    assert float(lines[0]["auc [%]"]) == row_of(score_table(scored), A).cells["auc"].value
    assert "role" not in lines[0]
    by_sequence = list(csv.DictReader(io.StringIO((written / "sequences.csv").read_text())))
    assert len(by_sequence) == 30
    assert {line["sequence"] for line in by_sequence} == set(factory.names())
    assert list(by_sequence[0])[:4] == ["sequence", "frames", "attributes", "mean [%]"]
    assert "incomplete" not in by_sequence[0]


def test_markup_in_names_stays_text(scored: Scored) -> None:
    first, *others = scored.protocol.sequences
    sequences = (replace(first, attributes=frozenset({NASTY})), *others)
    nasty = replace(with_protocol(scored, title=NASTY, source=NASTY, sequences=sequences), command=NASTY)
    nasty = factory.renamed(nasty, A, NASTY)
    nasty = replace(nasty, problems=(NASTY,))
    nasty = replace(nasty, trackers=tuple(replace(t, layout=NASTY) for t in nasty.trackers))
    files = score_page(nasty, (NASTY, B))
    page = files["index.html"].decode()
    assert read(page).tags.count("script") == 1
    assert "&lt;script&gt;" in page
    for name in ("table.tex", "tables.tex"):
        tex = files[name].decode().replace(r"\allowbreak{}", "")
        assert r"\input{" not in tex.split("\\begin{table*}", 1)[1]
        assert r"\textbackslash{}input\{" in tex
    assert "<script" not in files["table.md"].decode()
    for name, content in files.items():
        if name.endswith(".svg"):
            assert not any("script" in e.tag for e in ElementTree.fromstring(content).iter())
    assert "[red]" in shown_in_terminal(score_table(nasty), 400)


def test_a_formula_in_a_name_is_no_formula(scored: Scored) -> None:
    files = score_page(factory.renamed(scored, A, "=cmd()"))
    assert "\n'=cmd()," in files["table.csv"].decode()
    header = next(csv.reader(io.StringIO(files["sequences.csv"].decode())))
    assert "=cmd() auc [%]" not in header
    assert "'=cmd() auc [%]" in header


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="NOT TESTED: pdflatex is not installed, table.tex unchecked"
)
@pytest.mark.parametrize("margin", ["2cm", "43mm"], ids=["wide text", "narrow text"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("nasty", [False, True])
def test_latex_compiles(scored: Scored, tmp_path: Path, nasty: bool, full: bool, margin: str) -> None:
    rules = tuple(factory.dialect(name) for name in DIALECTS)
    scored = factory.partial(with_protocol(scored, rules=rules), C, 12, True)
    first = NASTY + '"é – − Δ 漢 «»' if nasty else A
    scored = factory.renamed(with_protocol(scored, title=first if nasty else scored.protocol.title), A, first)
    tables = printed_tables(scored, (first, B))
    tex = all_tables(tables) if full else paper_table(result_of(scored), tables[0])
    (tmp_path / "table.tex").write_text(tex, encoding="ascii")
    document = (
        rf"\documentclass[a4paper]{{article}}\usepackage[margin={margin}]{{geometry}}\usepackage{{booktabs,graphicx}}"
        "\n\\begin{document}\n\\input{table.tex}\n\\end{document}\n"
    )
    (tmp_path / "document.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "-draftmode", "document"]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "Float too large" not in done.stdout
    assert "Missing character" not in (tmp_path / "document.log").read_text(errors="replace")


def test_tables_import_neither_torch_nor_matplotlib_nor_scipy() -> None:
    code = (
        "import sys, trackablate.reports.pages.write, trackablate.reports.pages.sections\n"
        "import trackablate.reports.formats.documents\n"
        "assert not {'torch', 'matplotlib', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
