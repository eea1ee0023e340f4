"""LaTeX: what the paper's table and the full set print, that nothing in a name is TeX, and that a real TeX sets them."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import report_factory as factory
from trackablate.reports.formats import panels as layout
from trackablate.reports.formats.latex import all_tables, paper_table
from trackablate.reports.formats.tex_text import escape
from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.pivot import pivot

PACKAGES = "texlive-latex-base texlive-latex-recommended texlive-science lmodern poppler-utils"
NEEDED = ("pdflatex", "pdftotext")
needs_tex = pytest.mark.skipif(
    any(shutil.which(program) is None for program in NEEDED),
    reason=f"NOT TESTED: table.tex is not compiled; it takes `apt-get install --no-install-recommends {PACKAGES}`",
)
TWO_COLUMNS = (
    r"\documentclass[twocolumn]{article}\usepackage[letterpaper,textwidth=6.75in,textheight=8.875in]{geometry}"
)
ONE_COLUMN = r"\documentclass{article}"
TEXT_WIDTH = 345
"""Points of its text at 10 pt."""
DOCUMENTS = {
    "two columns": TWO_COLUMNS,
    "one column": ONE_COLUMN,
    "one column at 12 pt": r"\documentclass[12pt,a4paper]{article}",
    "T1 fonts": ONE_COLUMN + r"\usepackage[T1]{fontenc}\usepackage{lmodern}",
}
ATTACKS = (
    r"\input{/etc/passwd}",
    r"\write18{touch pwned}",
    r"\immediate\write18{touch pwned}",
    r"\end{tabular}\end{table*}\end{document}",
    r"a % comment",
    r"#1 & 100% $x_1^2$ {~}",
    r"\fi\else\fi",
    r"^^5cinput ^^M",
    "[opens a bracket",
    "*stars \\\\[3pt]",
    "line\n\nbreak\r\u2028\x00\x7f",
    "Δ-net, λ=0.5, µ±1 – ≤ «quoted» “quoted” --plugin ?` ''",
    "Čapek Łódź São Müller straße naïve Ødegård",
    "汉字跟踪器 トラッカー 🎯 тест",
    "a_very_long_identifier_without_any_break_" * 4,
)


@pytest.fixture(scope="module")
def result() -> Result:
    return factory.study_result()


@pytest.fixture(scope="module")
def table(result: Result) -> Table:
    return pivot(result)


def attacked(result: Result) -> Table:
    """A table whose every free text is an attack."""
    table = pivot(factory.failed(result, "decoder", ATTACKS[0]))
    texts = iter(ATTACKS * 4)
    rows = tuple(
        replace(row, name=f"{next(texts)} {at}", cells=row.cells | {"factor:Head": Cell(text=next(texts))})
        for at, row in enumerate(table.rows)
    )
    columns = tuple(replace(c, symbol=next(texts)[:30]) if c.key.startswith("factor") else c for c in table.columns)
    notes = tuple(f"{note} {next(texts)}" for note in table.footnotes)
    everything = " ".join(ATTACKS)
    return replace(
        table, title=everything, caveat=ATTACKS[1], columns=columns, rows=rows, footnotes=notes, missing=ATTACKS[:4]
    )


def compiled(tex: str, folder: Path, document: str) -> tuple[str, str]:
    """The log of pdflatex and the text of its PDF; fails where it does."""
    (folder / "table.tex").write_text(tex, encoding="ascii")
    packages = "".join(re.findall(r"\\usepackage\{\w+\}", tex[: tex.index(r"\providecommand")]))
    content = f"{document}{packages}\n\\begin{{document}}\n\\input{{table}}\nreached the end\n\\end{{document}}\n"
    (folder / "paper.tex").write_text(content, encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper"]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    shown = subprocess.run(["pdftotext", "-layout", "paper.pdf", "-"], check=True, cwd=folder, capture_output=True)
    log = (folder / "paper.log").read_text(errors="replace")
    return log.replace("\n", " "), shown.stdout.decode()


def expected_figures(table: Table) -> set[str]:
    cells = [(row.cells[c.key], c) for row in table.rows for c in table.columns if c.key in row.cells]
    return {layout.figure(cell, column) for cell, column in cells if cell.value is not None}


# What the file says


def test_the_full_set_prints_the_whole_table(table: Table) -> None:
    tex = all_tables([table])
    for value in expected_figures(table):
        assert value.replace("−", "$-$") in tex
    for index, note in enumerate(table.footnotes):
        assert rf"\textsuperscript{{{layout.mark(index)}}}\,{escape(note)}" in tex
    assert tex.index("Not comparable with the paper") < tex.index(r"\toprule")


def test_a_part_of_a_benchmark_is_said_in_the_caption(result: Result) -> None:
    (facts, *more) = result.protocols
    part = replace(result, protocols=(replace(facts, coverage="4 of 280 sequences"), *more))
    tex = " ".join(paper_table(part, pivot(part)).split())
    assert "On 4 of 280 sequences of" in tex
    assert "not comparable with figures of the whole benchmark" in tex
    elsewhere = replace(result, protocols=(replace(facts, name="lasot"), *more))
    assert r"\label{tab:table3-mini-lasot" in paper_table(elsewhere, pivot(elsewhere)), (
        "two tables of a study in one paper"
    )


def test_the_papers_table_is_one_with_a_label_and_says_its_caveat_once(result: Result, table: Table) -> None:
    tex = paper_table(result, table)
    assert tex.count(r"\begin{table*}") == tex.count("Not comparable with the paper") == tex.count(r"\label{") == 1
    assert r"\label{tab:table3-mini}" in tex
    assert r"\textbf{83.7}" in tex
    assert r"\underline{79.1}" in tex
    for words in ("dialect got10k", "Brackets: 95 \\% interval over 48 sequences", "Also differs in labels"):
        assert words in tex, words


def test_the_papers_table_has_what_a_paper_prints(result: Result, table: Table) -> None:
    head = paper_table(result, table).split(r"\toprule")[1].split(r"\midrule")[0].splitlines()[3]
    plain = re.sub(
        r"\\multicolumn\{1\}\{r\}|\\(begin|end)\{tabular\}(\[t\]\{@\{\}r@\{\}\})?|\\\\.*?\{\}|\{\}", "", head
    )
    symbols = [cell.partition(r"\,")[0].strip("{} ") for cell in plain.rpartition(r" \\")[0].split(" & ")]
    measured = ["Train device", "FPS", "Params", "MACs"]
    assert symbols == ["Row", "Sparsity", "Head", "AO", r"$\Delta$AO", *measured, "AO"]


def test_its_footnotes_are_few_and_marked_by_letters(result: Result, table: Table) -> None:
    tex = paper_table(result, table)
    notes = re.findall(r"^(?:\{.*\n)?\\textsuperscript\{(\w+)\}\\,", tex, flags=re.MULTILINE)
    assert notes == [layout.mark(index) for index in range(len(notes))]
    assert len(notes) < len(table.footnotes) / 2
    used = {mark for marks in re.findall(r"\\,\\textsuperscript\{([\w,]+)\}", tex) for mark in marks.split(",")}
    assert used == set(notes)


def test_a_difference_has_a_star_where_it_is_told_from_chance(result: Result, table: Table) -> None:
    lines = {line.split(" & ")[0].split(r"\,")[0]: line for line in paper_table(result, table).splitlines()}
    for row in table.rows:
        starred = r"\textsuperscript{*}" in lines[escape(row.name)].replace(r"\hphantom{\textsuperscript{*}}", "")
        assert starred == bool(row.cells[f"{factory.PROTOCOL}:ao"].resolved), row.name


def test_a_missing_run_is_named_once(result: Result) -> None:
    failed = factory.failed(result, "decoder", "out of memory")
    tex = paper_table(failed, pivot(failed))
    assert "Missing: decoder on" in tex
    assert tex.count("out of memory") == 2, "in the list, and at the row's name"


def test_it_says_what_it_needs_before_anything_else(result: Result, table: Table) -> None:
    for tex in (paper_table(result, table), all_tables([table])):
        head = tex.split(r"\providecommand")[0].splitlines()
        assert all(line.startswith("%") for line in head)
        assert set(re.findall(r"usepackage\{(\w+)\}", "".join(head))) == {"booktabs", "graphicx"}


def test_a_wide_table_of_the_full_set_is_cut_and_a_small_one_is_not(table: Table) -> None:
    assert all_tables([table]).count(r"\begin{table*}") > 3
    assert all_tables([replace(table, columns=table.columns[:4])]).count(r"\begin{table*}") == 1


def test_a_long_table_of_the_full_set_is_cut_into_pages(table: Table) -> None:
    rows = tuple(replace(table.rows[0], name=f"row {at}", baseline=False) for at in range(90))
    tex = all_tables([replace(table, rows=rows, columns=table.columns[:4])])
    assert tex.count(r"\begin{table*}") > 2
    assert all(f"row {at} &" in tex for at in range(90))


def test_a_long_table_of_a_paper_has_no_intervals(result: Result, table: Table) -> None:
    rows = tuple(replace(table.rows[1], name=f"row {at}") for at in range(31))
    assert "[" not in paper_table(result, replace(table, rows=rows)).split(r"\midrule", 1)[1].replace(
        "[1pt]", ""
    ).replace("[weights]", "")
    assert r"[$-$" in paper_table(result, table)


def test_what_is_no_figure_is_printed_too() -> None:
    column = Column("a:x", "X", group="g", better="higher")
    cells = (Cell(float("nan")), Cell(text="40 of 48"), None, Cell(1234.5, rank=2), Cell(-3.0, rank=1))
    rows = tuple(TableRow(f"r{at}", "variant", {} if c is None else {"a:x": c}) for at, c in enumerate(cells))
    tex = all_tables([Table("t", "q", "", (column,), rows)])
    assert r"\begin{tabular}{@{}lr@{}}" in tex
    for line in ("r0 & nan", "r1 & 40 of 48", r"r2 & \textendash{}", r"r3 & \underline{1234.5}"):
        assert line in tex, line
    assert r"r4 & \textbf{$-$3.0}" in tex


def test_marks_hang_beside_their_figures_so_that_decimal_points_stay_in_line() -> None:
    column = Column("a:x", "X", group="g")
    noted = {"r0": Cell(1.0, footnotes=(0, 1)), "r1": Cell(2.0, footnotes=(1,)), "r2": Cell(3.0)}
    rows = tuple(TableRow(name, "variant", {"a:x": cell}) for name, cell in noted.items())
    tex = all_tables([Table("t", "q", "", (column,), rows, footnotes=("one", "two"))])
    widest = r"\,\textsuperscript{a,b}"
    assert f"r0 & 1.0{widest}" in tex
    assert rf"r1 & 2.0\rlap{{\,\textsuperscript{{b}}}}\hphantom{{{widest}}}" in tex
    assert rf"r2 & 3.0\hphantom{{{widest}}}" in tex


@pytest.mark.parametrize(("index", "mark"), [(0, "a"), (25, "z"), (26, "aa"), (27, "ab"), (52, "ba"), (702, "aaa")])
def test_marks_of_footnotes_are_letters(index: int, mark: str) -> None:
    assert layout.mark(index) == mark


# Text


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("a&b%c$d#e_f{g}", r"a\&b\%c\$d\#e\_f\{g\}"),
        ("h~i^j\\k", r"h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("Δ of λ", r"$\Delta$ of $\lambda$"),
        ("汉字 x", "[U+6C49 U+5B57] x"),
        ("cafe\u0301 Š", r"caf\'{e} \v{S}"),
        ("--plugin ---", "-{}-plugin -{}-{}-"),
        ("a\n\n\tb\u2028c", "a b c"),
        ("\x00", "[U+0000]"),
        ("", ""),
    ],
)
def test_text_is_printed_as_it_is(text: str, tex: str) -> None:
    assert escape(text) == tex


@pytest.mark.parametrize("text", ATTACKS)
def test_no_text_has_a_command_of_its_own(text: str) -> None:
    tex = escape(text)
    assert tex.isascii()
    commands = r"\\(?:text\w+\{\}|[&%$#_{}]|allowbreak\{\}|[`'^~=.\"uvrHc]\{|ss\{\}|[oOlL]\{\}|a[ea]\{\})"
    known = commands + r"|\$(?:\\\w+|\^\\circ|-)\$"
    rest = re.sub(known, "", tex)
    assert "\\" not in rest
    assert not set(rest) & set("%#&_~^$")


def test_a_long_word_may_break() -> None:
    assert escape("a" * 40).count(r"\allowbreak{}") == 2


# A real TeX


@needs_tex
@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
@pytest.mark.parametrize("full", [False, True], ids=["paper", "full set"])
def test_a_real_tex_sets_it_without_overfull_boxes(
    result: Result, table: Table, tmp_path: Path, document: str, full: bool
) -> None:
    log, shown = compiled(all_tables([table]) if full else paper_table(result, table), tmp_path, document)
    for fault in ("Overfull", "Float too large", "Missing character", "Warning: Font"):
        assert fault not in log, fault
    printed = set(shown.replace("\N{MINUS SIGN}", "−").split())
    for value in expected_figures(table if full else replace(table, columns=table.columns[:4])):
        assert any(value in word for word in printed), value
    for row in table.rows:
        assert row.name in shown


@needs_tex
@pytest.mark.parametrize("document", [TWO_COLUMNS, ONE_COLUMN], ids=["two columns", "one column"])
@pytest.mark.parametrize("full", [False, True], ids=["paper", "full set"])
def test_a_real_tex_prints_what_names_say_and_runs_nothing(
    result: Result, tmp_path: Path, document: str, full: bool
) -> None:
    nasty = attacked(result)
    log, shown = compiled(all_tables([nasty]) if full else paper_table(result, nasty), tmp_path, document)
    assert "Missing character" not in log
    assert "Overfull" not in log
    assert "reached the end" in shown
    assert not (tmp_path / "pwned").exists()
    assert "root:" not in shown
    for words in ("input{/etc/passwd}", "write18{touch", "U+6C49", "100%"):
        assert words in shown, words


@needs_tex
@pytest.mark.parametrize("full", [False, True], ids=["paper", "full set"])
def test_a_real_tex_sets_many_rows_on_pages_that_they_fit(
    result: Result, table: Table, tmp_path: Path, full: bool
) -> None:
    rows = tuple(replace(table.rows[at % 7], name=f"row-{at}", baseline=False) for at in range(60))
    many = replace(table, rows=rows)
    log, shown = compiled(all_tables([many]) if full else paper_table(result, many), tmp_path, ONE_COLUMN)
    assert "Float too large" not in log
    assert "row-59" in shown


@needs_tex
def test_long_notes_leave_the_table_readable(result: Result, table: Table, tmp_path: Path) -> None:
    """22 rows and a dozen notes of a line, as table1 has; what follows a first sentence is in the full set."""
    cited = tuple(replace(table.rows[-1], name=f"cited-{at}", role="cited", footnotes=()) for at in range(15))
    notes = tuple(f"A long first sentence of a note{' that goes on' * 5}. {text}" for text in table.footnotes)
    tex = paper_table(result, replace(table, rows=(*table.rows, *cited), footnotes=notes))
    assert not any(escape(text) in tex for text in table.footnotes)
    compiled(tex, tmp_path, ONE_COLUMN)
    words = subprocess.run(["pdftotext", "-bbox", "paper.pdf", "-"], check=True, cwd=tmp_path, capture_output=True)
    found = re.search(r'yMin="([\d.]+)" xMax="[\d.]+" yMax="([\d.]+)">cited-3<', words.stdout.decode())
    assert found
    assert float(found[2]) - float(found[1]) > 4.5, "points"


@needs_tex
def test_a_real_tex_hardly_scales_a_study_and_scales_what_is_too_wide(
    result: Result, table: Table, tmp_path: Path
) -> None:
    reporting = ONE_COLUMN + r"\newcommand{\trackablatefit}[3]{\sbox0{#2}\typeout{natural width \the\wd0}\usebox0}"
    for tex in (paper_table(result, table), all_tables([table])):
        log, _ = compiled(tex, tmp_path, reporting)
        natural = [float(width) for width in re.findall(r"natural width ([\d.]+)pt", log)]
        assert 250 < max(natural) < TEXT_WIDTH / 0.72
    columns = tuple(Column(f"g:{at}", f"a symbol of many words, {at}", group="g") for at in range(9))
    row = TableRow("row", "variant", {column.key: Cell(text="WWWW " * 4) for column in columns})
    log, shown = compiled(all_tables([Table("t", "q", "", columns, (row,))]), tmp_path, ONE_COLUMN)
    assert "Overfull" not in log
    assert shown.count("WWWW") == 4 * 9
