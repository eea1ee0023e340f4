"""Ranks by the figure as printed: what prints alike ranks alike, and what is missing ranks last."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from trackablate.reports.table import Cell


def ranked(
    cells: Mapping[str, Cell], decimals: int, better: Literal["higher", "lower"], last: frozenset[str] = frozenset()
) -> dict[str, Cell]:
    """The cells with their ranks; last: keys that rank last although they have a figure. No ranks where all that is left
    prints alike, or only one has a figure: there is no best then.
    """
    printed = {key: round(c.value, decimals) for key, c in cells.items() if c.value is not None and key not in last}
    distinct = sorted(set(printed.values()), reverse=better == "higher")
    if len(distinct) < 2:
        return dict(cells)
    places = {value: place for place, value in enumerate(distinct, 1)}
    return {
        key: replace(c, rank=places[printed[key]] if key in printed else len(distinct) + 1) for key, c in cells.items()
    }
