r"""How figures look in a paper: serif type that goes with LaTeX's, embedded as TrueType, at the size it is printed in.

`with rc_context(STYLE | PAPER_STYLE)` draws with it, `reports.figures.drawing.paper_file` makes the file. Include the PDF
unscaled: \includegraphics{figures/success.pdf}. Imports no matplotlib.
"""

from typing import Any

COLUMN_WIDTH, TEXT_WIDTH = 3.25, 6.9
"""Inches of one column and of both columns of a two-column article."""

PAPER_STYLE: dict[str, Any] = {
    # STIX is Times with mathematics, and comes with matplotlib: the same letters on every machine.
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.handlelength": 1.8,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.linewidth": 0.4,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # TrueType: conferences refuse Type 3
    "ps.fonttype": 42,
    "savefig.bbox": None,  # not "tight": that would change the size
}
