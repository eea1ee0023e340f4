"""Scored raw results on disk: the same kind of page and files that a study gets."""

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from trackablate.datasets.atomic import write_bytes
from trackablate.harness.scoring.raw_scoring import Scored
from trackablate.reports.figures.drawing import Picture
from trackablate.reports.figures.score_figures import score_pictures
from trackablate.reports.formats import panels as layout
from trackablate.reports.formats.export import comma_separated, markdown
from trackablate.reports.formats.latex import latex
from trackablate.reports.formats.score_json import as_text, results_document
from trackablate.reports.pages.html import render
from trackablate.reports.table import Table
from trackablate.reports.tables.comparison import Comparison, comparison_table, comparisons, largest_table
from trackablate.reports.tables.score_failures import failure_table
from trackablate.reports.tables.score_sequences import attribute_table, hardest_table, sequence_file, sequence_table
from trackablate.reports.tables.score_table import (
    Gains,
    dialect_tables,
    flattering,
    incompleteness,
    score_table,
    standing,
)


@dataclass(frozen=True)
class ScoreTables:
    """All tables of the page. dialects: where there are several; attributes: where sequences have any; compared, largest:
    where two trackers are compared.
    """

    scores: Table
    dialects: tuple[Table, ...]
    attributes: Table | None
    hardest: Table
    sequences: Table
    failures: Table
    compared: Table | None
    largest: Table | None

    def in_print(self) -> list[Table]:
        """Those for paper, in order: all but the one of all sequences."""
        shown = (self.scores, *self.dialects, self.attributes, self.compared, self.largest, self.hardest, self.failures)
        return [table for table in shown if table is not None]


def score_tables(scored: Scored, compared: list[Comparison], gains: Gains) -> ScoreTables:
    """The tables. compared: as `comparisons` gives them, empty for none; gains: as `flattering` gives them."""
    sequences = sequence_table(scored)
    return ScoreTables(
        scores=score_table(scored),
        dialects=dialect_tables(scored, gains),
        attributes=attribute_table(scored),
        hardest=hardest_table(sequences),
        sequences=sequences,
        failures=failure_table(scored),
        compared=comparison_table(scored, compared) if compared else None,
        largest=largest_table(scored, compared[0]) if compared else None,
    )


def score_page(scored: Scored, compare: tuple[str, str] | None = None) -> dict[str, bytes]:
    """Every file by its name, the page first. Raises BadInput for a pair that cannot be compared."""
    compared = comparisons(scored, *compare) if compare else []
    gains = flattering(scored)
    tables = score_tables(scored, compared, gains)
    pictures = score_pictures(scored, compared[0] if compared else None)
    document = results_document(scored, tables.scores, gains, compared)
    texts = {
        "index.html": _html(scored, tables, pictures),
        "table.tex": latex(*tables.in_print()),
        "table.md": "\n".join(markdown(table) for table in tables.in_print()),
        "table.csv": comma_separated(tables.scores),
        "sequences.csv": comma_separated(sequence_file(scored, tables.sequences)),
        "results.json": as_text(document),
    }
    files = {name: text.encode() for name, text in texts.items()}
    for each in pictures:
        files |= each.files()
    return files


def write_scores(scored: Scored, out: Path, compare: tuple[str, str] | None = None) -> list[Path]:
    """Write the page and its files and return them, the page first. Nothing is written where the pair to be compared is
    refused (BadInput).
    """
    files = score_page(scored, compare)
    for name, content in files.items():
        write_bytes(out / name, content)
    return [out / name for name in files]


def _html(scored: Scored, tables: ScoreTables, pictures: list[Picture]) -> str:
    return render(
        "score.html",
        {
            "scored": scored,
            "tables": tables,
            "dialects": [(f"dialects-{at}", table) for at, table in enumerate(tables.dialects)],
            "layout": layout,
            "pictures": [(each, Markup(each.inline)) for each in pictures if each.name != "differences"],
            "differences": [(each, Markup(each.inline)) for each in pictures if each.name == "differences"],
            "dialect": scored.dialects[0],
            "incomplete": [(t.name, text) for t in standing(scored) if (text := incompleteness(scored, t))],
        },
    )
