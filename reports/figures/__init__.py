"""The report's figures: what each module here draws, as SVG for the page and PDF for the paper."""

from dataclasses import replace
from functools import partial

from trackablate.reports.figures.attributes import differences, radar
from trackablate.reports.figures.cost import against_cost
from trackablate.reports.figures.curves import TITLES, curves
from trackablate.reports.figures.distributions import distributions
from trackablate.reports.figures.drawing import STYLE, Draw, Picture, looks_of, paper_file, picture
from trackablate.reports.figures.epochs import against_epochs
from trackablate.reports.figures.frame_grid import frame_grid
from trackablate.reports.figures.pairs import compared, pairs
from trackablate.reports.figures.paper_style import PAPER_STYLE
from trackablate.reports.figures.survival import survival
from trackablate.reports.figures.training import training
from trackablate.reports.results import Result
from trackablate.reports.table import Table

DRAWN: tuple[Draw, ...] = (
    *(partial(curves, kind) for kind in TITLES),
    *(survival, against_cost, against_epochs, training, distributions, pairs, compared, radar, differences, frame_grid),
)
"""In the page's order. Each draws what it can of any result, or nothing."""


def pictures(result: Result, table: Table, pdf: bool = True) -> list[Picture]:
    """Return the figures that the data allow, for paper too if `pdf` is set."""
    from matplotlib import rc_context

    looks, made = looks_of(result), []
    for draw in DRAWN:
        with rc_context(STYLE):
            drawing = draw(result, table, looks)
            if drawing is None:
                continue
            shown = picture(drawing)
        if pdf:  # drawn once more, since type and size of a paper's figure differ from a page's
            with rc_context(STYLE | PAPER_STYLE):
                again = draw(result, table, looks)
                if again:
                    png = paper_file(again.figure, "png", again.dpi) if again.dpi else None
                    shown = replace(shown, pdf=paper_file(again.figure, dpi=again.dpi), png=png)
        made.append(shown)
    return made
