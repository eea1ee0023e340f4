"""The primary metric by attribute: a radar of every row, and a heat map of the differences to the baseline."""

from dataclasses import replace
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from trackablate.reports.figures.drawing import Drawing, Look, canvas, legend, panels, short
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import Result
from trackablate.reports.table import GREYED_BELOW, Column, Table
from trackablate.reports.tables.sequences import attribute_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 3
"""Attributes from which a radar encloses an area."""
MOST = 8
"""Rows up to which a radar can be read."""
GREYED = ["#eeeeee"]
FAINT = "#696969"
TWO_SIDED = "PuOr"
"""Orange for less, purple for more: told apart with every kind of colour vision."""


def _tables(result: Result) -> list[Table]:
    """Return the tables by attribute, with the trackers that have any figure in them."""
    found = [table for facts in result.scored_here if (table := attribute_table(result, facts))]
    filled = [[c for c in each.columns if any(r.cells[c.key].value is not None for r in each.rows)] for each in found]
    return [replace(each, columns=tuple(columns)) for each, columns in zip(found, filled, strict=True)]


def radar(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw a panel per protocol with at least three attributes."""
    shown = [each for each in _tables(result) if len(each.rows) >= FEWEST and 1 < len(each.columns) <= MOST + 1]
    if not shown:
        return None
    figure, axes = panels(len(shown), height=4.2, polar=True)
    readings = Readings("attribute")
    for each, ax in zip(shown, axes, strict=True):
        _radar(each, looks, ax, readings.of(each.title) if len(shown) > 1 else readings)
    legend(axes[-1], {column.symbol: looks[column.symbol] for column in shown[0].columns[1:]}, "right")
    titles = "; ".join(each.title for each in shown)
    caption = (
        f"{titles}. Beside each attribute the number of its sequences, grey if fewer than {GREYED_BELOW}; intervals are in"
        " the table below."
    )
    alt = f"Radar of {titles}; the table below has the same figures."
    return Drawing("attribute-radar", figure, alt, caption, readings)


def _radar(each: Table, looks: dict[str, Look], ax: "Axes", readings: Readings) -> None:
    angles = 2 * np.pi * np.arange(len(each.rows)) / len(each.rows)
    for column in each.columns[1:]:
        look = looks[column.symbol]
        values = [row.cells[column.key].value for row in each.rows]
        around = np.array([np.nan if v is None else v for v in [*values, values[0]]])
        ax.plot([*angles, angles[0]], around, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=4)
        for row, angle, value in zip(each.rows, angles, values, strict=True):
            if value is not None:
                readings.add(ax, row.name, column.symbol, (float(angle), value), f"{value:.{column.decimals}f}")
    counts = [row.cells[":n"].value or 0 for row in each.rows]
    ax.set_xticks(angles, [f"{_in_lines(row.name)} ({n:.0f})" for row, n in zip(each.rows, counts, strict=True)])
    for text, angle, count in zip(ax.get_xticklabels(), angles, counts, strict=True):
        side = round(float(np.sin(angle)), 1)  # words left and right of the circle grow away from it
        text.set(color=FAINT if count < GREYED_BELOW else "#000000", fontsize=8)
        text.set_horizontalalignment("left" if side > 0 else "right" if side < 0 else "center")
    ax.set_ylim(bottom=0)
    ax.tick_params(axis="x", pad=4)
    ax.tick_params(axis="y", labelsize=7, labelcolor=FAINT)
    ax.set(theta_offset=np.pi / 2, theta_direction=-1, rlabel_position=180 / len(each.rows))
    ax.set_title(each.title, pad=14)


def differences(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw variant minus baseline by attribute, for the first protocol with attributes, as seaborn's heat map."""
    name = result.baseline.name if result.baseline else ""
    for each in _tables(result):
        columns = {column.symbol: column for column in each.columns[1:]}
        variants = [columns[row.name] for row in result.variants if row.name in columns and not row.baseline]
        if variants and name in columns:
            return _heat_map(each, variants, columns[name])
    return None


def _heat_map(each: Table, variants: list[Column], baseline: Column) -> Drawing:
    import seaborn

    columns = [np.array([row.cells[c.key].value for row in each.rows], dtype=float) for c in (*variants, baseline)]
    values = np.stack(columns[:-1], axis=1) - columns[-1][:, None]
    finite = np.abs(values[np.isfinite(values)])
    limit = float(finite.max()) if finite.size else 1.0
    figure, (ax,) = canvas(1, height=0.9 + 0.3 * len(each.rows), width=3.2 + 0.75 * len(variants))
    few = np.array([[(row.cells[":n"].value or 0) < GREYED_BELOW] * len(variants) for row in each.rows])
    signed = replace(baseline, signed=True)
    texts = np.array([[signed.written(value) if np.isfinite(value) else "" for value in line] for line in values])
    for mask, colours, ink in ((few, TWO_SIDED, {}), (~few, GREYED, {"color": FAINT})):
        seaborn.heatmap(
            values, ax=ax, mask=mask, cmap=colours, center=0, vmin=-limit, vmax=limit, annot=texts, fmt="", linewidths=1,
            annot_kws=ink, cbar=False,
            xticklabels=[short(c.symbol) for c in variants], yticklabels=[short(row.name) for row in each.rows],
        )  # fmt: skip
    ax.tick_params(length=0)
    ax.set_yticklabels(ax.get_yticklabels(), rotation=0)
    readings = Readings("attribute")
    for (at, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            place, text = (column + 0.5, at + 0.5), f"{value:+.1f} points against {baseline.symbol}"
            readings.add(ax, each.rows[at].name, variants[column].symbol, place, text)
    caption = (
        f"{each.title}: variant minus {baseline.symbol}, in points. Grey: fewer than {GREYED_BELOW}"
        " sequences, whose differences are mostly chance."
    )
    alt = f"{each.title}, differences to {baseline.symbol}; the values are in the table below the figure."
    return Drawing("attribute-differences", figure, alt, caption, readings)


def _in_lines(attribute: str) -> str:
    """Return "full occlusion (FOC)" without the abbreviation, in lines that do not reach into the plot."""
    return "\n".join(wrap(attribute.partition(" (")[0], 14))
