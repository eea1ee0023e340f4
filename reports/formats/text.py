"""The table for the terminal, by rich. Every name is plain text: brackets in it are no markup."""

from collections.abc import Iterator
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from trackablate.datasets.errors import counted
from trackablate.reports.formats.panels import Panel, beginning, direction, figure, interval, panel_of, references
from trackablate.reports.formats.summary import DIFFERENCE, VERDICT, Summary
from trackablate.reports.table import Cell, Column, Table, TableRow

STYLES = {"best": "bold", "second": "underline", "better": "green", "worse": "red"}
GAP = 2
"""Characters between two columns."""
NAMES = 20
"""Characters that the rows' names keep in a short table. It gives up further columns before it folds names to fewer."""
READABLE = 100
"""Characters of a line of sentences in a wide terminal."""


class TerminalTable:
    """A table for the terminal: caveat, figures, footnotes, missing runs.

    It is cut into as many parts as the width needs, since a figure that is cut short misleads.
    """

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table = self.table
        if table.caveat:
            yield Text(table.caveat, style="bold yellow")
        yield Text(f"{table.title}: {table.question}", style="bold")
        for columns in _fitting(table, options.max_width - _names(table) - GAP, inline=False):
            yield from ("", _rich(panel_of(table, columns), table.corner, inline=False))
        baseline = "*: baseline; " if any(row.baseline for row in table.rows) else ""
        marks = f"bold: best {table.subject}; underlined: second; –: missing; blank: cannot exist"
        yield Text(baseline + marks, style="dim")
        yield from _footnotes(table.footnotes)
        for text in table.missing:
            yield Text(f"missing: {text}", style="bold red")


class TerminalSummary:
    """The short form of a result: what it answers, a table of one line per row, and what qualifies or lacks."""

    def __init__(self, found: Summary) -> None:
        self.found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        kept = [_kept(table, options.max_width) for table in self.found.tables]
        found = self.found.with_columns(kept)
        yield from (Constrain(text, READABLE) for text in self._before())
        for table in found.tables:
            left = options.max_width - GAP - sum(_width(table, column, True) + GAP for column in table.columns)
            names = min(_names(table), max(NAMES, left))
            for columns in _fitting(table, options.max_width - names - GAP, inline=True):
                yield from ("", _rich(panel_of(table, columns), table.corner, inline=True, names=names))
        yield from (Constrain(text, READABLE) for text in self._after(found))

    def _before(self) -> Iterator[RenderableType]:
        yield Text(self.found.title, style="bold")
        if self.found.caveat:
            yield Text(self.found.caveat, style="bold yellow")
        yield from (Text(sentence) for sentence in ("", *self.found.sentences))

    def _after(self, found: Summary) -> Iterator[RenderableType]:
        whole = found.tables[0].footnotes if found.tables else ()
        short = tuple(map(beginning, whole))
        yield from _footnotes(short)
        starred = any(row.baseline for table in found.tables for row in table.rows)
        pairs = zip(self.found.tables, found.tables, strict=True)
        dropped = [column.symbol for whole, table in pairs for column in whole.columns[len(table.columns) :]]
        narrow = f"Too wide for this terminal: {', '.join(dropped)}." if dropped else ""
        more = f" and {counted(found.left_out, 'more footnote')}" if found.left_out else ""
        more += "; its footnotes are whole" if short != whole else ""
        more = f"--full prints every column{more}." if more or dropped else ""
        yield Text(" ".join(filter(None, ["*: baseline." if starred else "", found.legend, narrow, more])), style="dim")
        yield from (Text(f"missing: {text}", style="bold red") for text in found.missing)


def _footnotes(texts: tuple[str, ...]) -> Iterator[RenderableType]:
    for index, text in enumerate(texts):
        yield Padding(Text(f"{references((index,))} {text}"), (0, 0, 0, 1))


def _kept(table: Table, width: int) -> list[str]:
    """Return figure, difference and verdict, and those of the further columns for which there is room."""
    widths = {column.key: _width(table, column, True) + GAP for column in table.columns}
    kept = [key for key in widths if key in (table.columns[0].key, DIFFERENCE, VERDICT)]
    left = width - GAP - min(_names(table), NAMES) - sum(widths[key] for key in kept)
    for key in list(widths)[len(kept) :]:
        left -= widths[key]
        kept += [key] if left >= 0 else []
    return kept


def _names(table: Table) -> int:
    return max([len(table.corner), *(_name(row).cell_len for row in table.rows)])


def _fitting(table: Table, width: int, *, inline: bool) -> Iterator[tuple[Column, ...]]:
    """Return the columns in runs of at most this width; a new run begins where the columns' panel changes."""
    run: list[Column] = []
    left = width
    for column in table.columns:
        needed = _width(table, column, inline) + GAP
        other = bool(run) and bool(run[-1].panel) and run[-1].panel != column.panel
        if run and (needed > left or other):
            yield tuple(run)
            run, left = [], width
        run.append(column)
        left -= needed
    if run:
        yield tuple(run)


def _width(table: Table, column: Column, inline: bool) -> int:
    texts = [_head(column), *(_cell(row.cells.get(column.key), column, inline) for row in table.rows)]
    return max(len(line) for text in texts for line in text.plain.split("\n"))


def _rich(panel: Panel, corner: str, *, inline: bool, names: int = 1000) -> RichTable:
    """Return a part of a table; names longer than `names` characters are folded."""
    titles = dict.fromkeys(column.group for column in panel.columns if column.group)
    title = Text(" | ".join(titles), style="italic") if titles else None
    shown = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    shown.add_column(Text(corner), max_width=names, overflow="fold")
    for column in panel.columns:
        shown.add_column(_head(column), justify="right" if column.group else "left", no_wrap=True)
    for row, following in zip(panel.rows, (*panel.rows[1:], None), strict=True):
        last = following is not None and following.role != row.role
        shown.add_row(
            _name(row, names), *(_cell(row.cells.get(c.key), c, inline) for c in panel.columns), end_section=last
        )
    return shown


def _head(column: Column) -> Text:
    head = Text(column.symbol).append(_refs(column.footnotes))
    return head.append(f"\n{column.unit}", style="dim") if column.unit else head


def _name(row: TableRow, width: int = 1000) -> Text:
    refs = f"({references(row.footnotes)})" if row.footnotes else ""
    words = " ".join(filter(None, [row.name, "*" * row.baseline, refs]))
    text = Text("\n".join(wrap(words, width, subsequent_indent="  ")))
    text.stylize("dim", -len(refs) if refs else len(text))
    return text


def _cell(cell: Cell | None, column: Column, inline: bool) -> Text:
    style = "" if cell is None else STYLES.get(direction(cell, column) or cell.mark or "", "")
    text = Text().append(figure(cell, column), style=style)
    if cell is not None:
        text.append(_refs(cell.footnotes))
        if bounds := interval(cell, column):
            text.append(f"{' ' if inline else chr(10)}{bounds}", style="dim")
    return text


def _refs(footnotes: tuple[int, ...]) -> Text:
    return Text(f" ({references(footnotes)})" if footnotes else "", style="dim")
