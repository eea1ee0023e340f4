"""The official lists and facts, from the data files in splits/: sequence names, attributes, frame sizes, known quirks."""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parents[1] / "splits"

QUIRKS = (
    *("evaluate-first", "results-longer", "results-early", "flags-longer"),
    *("revised", "damaged-frame", "not-for-training", "changes-size", "note"),
)
"""The rules that splits/quirks.csv has for single sequences.

- evaluate-first: it has more images than rows of annotation; only the first ones are evaluated. The value is their number.
- results-longer: its annotation, or the toolkit's, ends before its images; of longer results only as many rows are evaluated
  as the annotation has. The value says what is known of their numbers.
- results-early: its evaluated frames begin after its first image; of results from the first image on, the first rows are not
  evaluated. The value is their number.
- flags-longer: it has more flags than rows of annotation; only the first ones count. The value is their number.
- revised: its annotation was first published with too many boxes; the value says where the right one is.
- damaged-frame: the published file with the value's name is damaged; the source has a replacement.
- not-for-training: its images do not match its boxes. Training lists leave it out and count it.
- changes-size: its frames do not all have the same size.
- note: a remark for `data check`.
"""


class Quirk(NamedTuple):
    """The value of one of the rules in QUIRKS for one sequence, and its source."""

    value: str
    source: str


@cache
def names(file: str) -> tuple[str, ...]:
    """Return the lines of splits/<file>, a list of sequences."""
    return tuple((_FOLDER / file).read_text(encoding="utf-8").split("\n")[:-1])


@cache
def rows(file: str) -> tuple[Mapping[str, str], ...]:
    """Return the rows of splits/<file>, a CSV table with a header."""
    with (_FOLDER / file).open(encoding="utf-8", newline="") as opened:
        return tuple(csv.DictReader(opened))


@cache
def attribute_table(file: str) -> Mapping[str, frozenset[str]]:
    """Return the attributes by sequence from a CSV table with the columns name and attributes ("FM OV")."""
    return {row["name"]: frozenset(row["attributes"].split()) for row in rows(file)}


@cache
def frame_sizes(data: str) -> Mapping[str, tuple[int, int]]:
    """Return (width, height) of the published frames by sequence; {} for a data set without known sizes."""
    found = (row for row in rows("frame_sizes.csv") if row["data"] == data)
    return {row["name"]: (int(row["width"]), int(row["height"])) for row in found}


@cache
def quirks(data: str) -> Mapping[str, Mapping[str, Quirk]]:
    """Return the known oddities of a published data set: by sequence, then by rule (one of QUIRKS)."""
    found: dict[str, dict[str, Quirk]] = {}
    for row in rows("quirks.csv"):
        if row["data"] == data:
            found.setdefault(row["sequence"], {})[row["rule"]] = Quirk(row["value"], row["source"])
    return found
