"""The official lists and facts, from the data files in splits/: sequence names, attributes, frame sizes, known quirks."""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parents[1] / "splits"

QUIRKS = ("evaluate-first", "flags-longer", "damaged-frame", "not-for-training", "changes-size", "note")
"""What splits/quirks.csv may say of a sequence.

- evaluate-first: it has more images than rows of annotation, and the value's number of both are evaluated.
- flags-longer: its flags go on behind its annotation; of them the value's number count.
- damaged-frame: the published file of the value's name is damaged, for which the source has a replacement.
- not-for-training: its images do not show what its boxes say; training lists leave it out and count it.
- changes-size: its frames do not all have the same size.
- note: nothing follows from it here, but `data check` says so.
"""


class Quirk(NamedTuple):
    """What a rule of QUIRKS says of one sequence, and who says so."""

    value: str
    source: str


@cache
def names(file: str) -> tuple[str, ...]:
    """The lines of splits/<file>: a list of sequences."""
    return tuple((_FOLDER / file).read_text(encoding="utf-8").split("\n")[:-1])


@cache
def rows(file: str) -> tuple[Mapping[str, str], ...]:
    """The rows of splits/<file>, a CSV table with a header."""
    with (_FOLDER / file).open(encoding="utf-8", newline="") as opened:
        return tuple(csv.DictReader(opened))


@cache
def attribute_table(file: str) -> Mapping[str, frozenset[str]]:
    """Attributes by sequence from a CSV table with the columns name and attributes ("FM OV")."""
    return {row["name"]: frozenset(row["attributes"].split()) for row in rows(file)}


@cache
def frame_sizes(data: str) -> Mapping[str, tuple[int, int]]:
    """(width, height) of the published frames by sequence, for a data set; {} where that is not known."""
    found = (row for row in rows("frame_sizes.csv") if row["data"] == data)
    return {row["name"]: (int(row["width"]), int(row["height"])) for row in found}


@cache
def quirks(data: str) -> Mapping[str, Mapping[str, Quirk]]:
    """What is known to be odd in a published data set: by sequence, then by rule (one of QUIRKS)."""
    found: dict[str, dict[str, Quirk]] = {}
    for row in rows("quirks.csv"):
        if row["data"] == data:
            found.setdefault(row["sequence"], {})[row["rule"]] = Quirk(row["value"], row["source"])
    return found
