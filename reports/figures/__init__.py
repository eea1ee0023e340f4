"""The report's figures: what each module here draws, as SVG for the page and PDF for the paper."""

from reports.figures.attributes import differences, radar
from reports.figures.cost import against_cost
from reports.figures.curves import curves
from reports.figures.drawing import STYLE, Picture, looks_of, picture
from reports.figures.epochs import against_epochs
from reports.figures.pairs import pairs
from reports.figures.training import training
from reports.results import StudyResult
from reports.table import Table

DRAWN = (
    *(curves("success"), curves("precision"), curves("norm_precision")),
    *(against_cost, against_epochs, training, pairs, radar, differences),
)
"""In the page's order."""


def pictures(result: StudyResult, table: Table, pdf: bool = True) -> list[Picture]:
    """The figures that the study's data allow. pdf: whether they are made for paper too."""
    from matplotlib import rc_context

    looks = looks_of(result)
    with rc_context(STYLE):
        drawn = (draw(result, table, looks) for draw in DRAWN)
        return [picture(drawing, pdf) for drawing in drawn if drawing is not None]
