"""Result files of the field's toolkits: the paths, names and number formats, for reading and for writing.

Numbers are written in full, as the shortest text that reads back as the same double. Toolkits that round or truncate
accept this as well.
"""

import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.registry import Registry

PREFIXES = {"uav123": "uav_", "nfs": "nfs_", "templecolor128": "tpl_"}
"""Prefixes of pytracking, OSTrack and LoRAT to the sequence names of three benchmarks."""
PYSOT_NAMES, GOT10K_NAMES = (
    {f"{name}_{k}": f"{name}{mark}{k}" for name in ("Jogging", "Skating2") for k in "12"} | {"Human4_2": human4}
    for mark, human4 in (("-", "Human4-2"), (".", "Human4"))
)
"""pysot's and the got10k toolkit's names of OTB100's videos with two targets, by their names in pytracking."""


@dataclass(frozen=True)
class Shape:
    """The files of one sequence, relative to the tracker's folder.

    Attributes:
        boxes: Path of the boxes, with {0} for the sequence's name and {1} for the repetition, from 1.
        times: Path of the seconds; None if there are none.
    """

    boxes: str
    times: str | None = None


FLAT = Shape("{0}.txt")
TIMED = Shape("{0}.txt", "{0}_time.txt")
TIMES_APART = Shape("{0}.txt", "times/{0}_time.txt")
REPEATED = Shape("{0}/{0}_{1:03d}.txt", "{0}/{0}_time.txt")
NESTED = Shape("{0}/{0}.txt")
JSON = Shape("{0}.json")


@dataclass(frozen=True)
class ResultLayout:
    """One toolkit's result files.

    Attributes:
        reader: The toolkits that read them.
        folder: The tracker's folder, with {tracker} and {dataset}.
        separator: The separator of the numbers. OTB's JSON has none.
        official: How the toolkit's own writer writes numbers.
        datasets: The toolkit's folder names of protocols, if they differ from the protocols' names.
        prefixes: Prefixes to sequence names, by protocol.
        otb_names: The toolkit's names of OTB's sequences, if they differ.
    """

    reader: str
    folder: str
    shape: Shape
    separator: str
    official: str
    datasets: Mapping[str, str] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    otb_names: Mapping[str, str] = field(default_factory=dict)

    def paths(self, tracker: str, dataset: str, sequence: str) -> tuple[str, str | None]:
        """Return the paths of one sequence's boxes and times."""
        folder = self.folder.format(tracker=tracker, dataset=self.datasets.get(dataset, dataset))
        name = self.prefixes.get(dataset, "") + sequence
        name = self.otb_names.get(name, name) if dataset == "otb" else name
        times = self.shape.times and f"{folder}/{self.shape.times.format(name)}"
        return f"{folder}/{self.shape.boxes.format(name, 1)}", times

    def encode(self, boxes: NDArray[np.float64], seconds: NDArray[np.float64], *, integers: bool) -> bytes:
        """Return the content of a file of boxes (N, 4), with `integers` cut towards zero. seconds: (N, 1)."""
        rows = boxes.astype(np.int64) if integers else boxes
        if self.shape != JSON:
            return lines_of(rows, self.separator)
        spent = float(seconds.sum())
        run = {"type": "rect", "res": rows.tolist(), "len": len(rows), "fps": len(rows) / spent if spent > 0 else None}
        return (json.dumps([run]) + "\n").encode()


LAYOUTS: Registry[ResultLayout] = Registry("result layout")

_OSTRACK = {"lasot_ext": "lasot_extension_subset", "uav123": "uav"}
_PYSOT = {"lasot": "LaSOT", "otb": "OTB100", "uav123": "UAV123", "nfs": "NFS30"}
_GOT10K = {"lasot": "LaSOT", "otb": "OTB2015", "uav123": "UAV123", "nfs": "NfS/30", "trackingnet": "TrackingNet"}
_PYSOT, _GOT10K = ({"got10k": "GOT-10k", "got10k-val": "GOT-10k"} | names for names in (_PYSOT, _GOT10K))
_PYTRACKING = ("pytracking, OSTrack, SUTrack", "{tracker}/default", TIMED)
_BOTH = "OSTrack (TrackingNet, GOT-10k), SUTrack (all benchmarks)"
_CUT, _FULL, _ROUNDED = "truncates to integers", "writes them in full", "writes 3 decimals"

for _name, _layout in {
    "pytracking": ResultLayout(*_PYTRACKING, "\t", _CUT, prefixes=PREFIXES),
    "pytracking-comma": ResultLayout(*_PYTRACKING, ",", f"{_CUT} and writes tabs", prefixes=PREFIXES),
    "ostrack": ResultLayout(_BOTH, "{tracker}/default/{dataset}", TIMED, "\t", _CUT, _OSTRACK, PREFIXES),
    "pysot": ResultLayout("pysot", "{dataset}/{tracker}", FLAT, ",", _FULL, _PYSOT, otb_names=PYSOT_NAMES),
    "pysot-got10k": ResultLayout("pysot on GOT-10k", "{dataset}/{tracker}", REPEATED, ",", _FULL, _PYSOT),
    "lasot-toolkit": ResultLayout(
        "the LaSOT and TNL2K evaluation toolkits (MATLAB)", "{tracker}_tracking_result", FLAT, ",", "has no writer"
    ),
    "got10k": ResultLayout(
        "the got10k toolkit's GOT-10k experiment", "{dataset}/{tracker}", REPEATED, ",", _ROUNDED, _GOT10K
    ),
    "got10k-ope": ResultLayout(
        *("the got10k toolkit's other experiments", "{dataset}/{tracker}", TIMES_APART, ",", _ROUNDED, _GOT10K),
        otb_names=GOT10K_NAMES,
    ),
    "lorat": ResultLayout(
        *("LoRAT, which packs the folder as results.zip", "{tracker}", FLAT, "\t"),
        f"{_ROUNDED}, on GOT-10k and TrackingNet whole pixels",
        prefixes=PREFIXES,
    ),
    "otb": ResultLayout("OTB's toolkit (tracker_benchmark)", "{tracker}", JSON, "", _FULL, otb_names=PYSOT_NAMES),
    "trackingnet": ResultLayout(
        "TrackingNet's devkit", "{tracker}", FLAT, ",", "has no writer; users write 2 decimals"
    ),
}.items():
    LAYOUTS.add(_name, _layout)


def lines_of(rows: NDArray[np.float64] | NDArray[np.int64], separator: str) -> bytes:
    """Return a line for each row, with each number's shortest text."""
    values: list[list[int | float]] = rows.tolist()
    return "".join(f"{separator.join(map(repr, row))}\n" for row in values).encode()


def lines_of_json(content: bytes, file: Path) -> tuple[bytes, float | None]:
    """Return the boxes of an OTB file as lines of text, and its frames per second if it has them.

    The file holds an object {"res": [[x, y, w, h], ...], "type": "rect", "fps": 30.0}, or a list with that object. The
    newer code writes "resType". Numbers are not checked. Raises DataError, with `file`, if it is not one such run.
    """
    try:
        runs = from_json(content.removeprefix(BOM_UTF8))
    except ValueError as error:
        raise DataError.at(file, f"is not JSON ({error})", "restore it") from None
    runs = runs if isinstance(runs, list) else [runs]
    if len(runs) != 1 or not isinstance(runs[0], dict) or not isinstance(runs[0].get("res"), list):
        problem = 'does not hold one run with a list of boxes called "res"'
        raise DataError.at(file, problem, "give the file of one-pass evaluation (OPE)")
    kind = runs[0].get("type", runs[0].get("resType", "rect"))
    if kind != "rect":
        raise DataError.at(file, f"has boxes of the type {shown(kind)!r}", 'convert them to x, y, w, h of type "rect"')
    rate = runs[0].get("fps")
    rate = float(rate) if isinstance(rate, int | float) and 0 < rate < 1e300 else None
    return "\n".join(map(_line, runs[0]["res"])).encode(), rate


def _line(row: object) -> str:
    numbers = row if isinstance(row, list) else [row]
    return ",".join(json.dumps(number) for number in numbers) or '""'
