"""Figures for a paper: their size, and fonts that are embedded, serif and no Type 3."""

import re
from xml.etree import ElementTree

import pytest

from trackablate.reports.figures.drawing import Drawing, canvas, paper_file, picture
from trackablate.reports.figures.paper_style import COLUMN_WIDTH, PAPER_STYLE, TEXT_WIDTH


@pytest.mark.parametrize(("columns", "width"), [(1, COLUMN_WIDTH), (2, TEXT_WIDTH), (3, TEXT_WIDTH)])
def test_a_figure_has_the_papers_width_and_embedded_serif_type(columns: int, width: float) -> None:
    from matplotlib import rc_context

    with rc_context({**PAPER_STYLE, "pdf.compression": 0, "text.parse_math": False}):
        figure, axes = canvas(columns, height=3.0)
        for at, ax in enumerate(axes):
            ax.plot([0, 1], [0, 1], label="decoder")
            ax.set(xlabel="overlap threshold", ylabel="success (%)", title=f"protocol {at}")
            ax.legend()
        pdf = paper_file(figure)
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", pdf)
    assert box is not None
    assert float(box[1]) == pytest.approx(72 * width)
    assert {name.split(b"+")[-1] for name in re.findall(rb"/BaseFont /(\S+)", pdf)} == {b"STIXGeneral-Regular"}
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_every_setting_is_matplotlibs() -> None:
    from matplotlib import rcParams

    assert set(PAPER_STYLE) <= set(rcParams)


def test_names_that_no_xml_file_may_hold_are_escaped() -> None:
    figure, (axes,) = canvas(1, height=2.0)
    axes.set(title="bird\x1b[31m-1", xlabel="plain")
    drawn = picture(Drawing("one", figure, "", ""))
    assert ElementTree.fromstring(drawn.svg) is not None
    assert rb"bird\x1b[31m-1" in drawn.svg
