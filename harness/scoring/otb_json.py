"""OTB's result files (tracker_benchmark): for each sequence a JSON object {"res": [[x, y, w, h], ...], "type": "rect",
"fps": 30.0}, or a list of such runs, of which one-pass evaluation has one. The newer code calls the type "resType".
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from trackablate.datasets.errors import DataError, shown


def text_of_json(content: bytes, file: Path) -> tuple[bytes, float | None]:
    """The boxes as lines of text, whatever they are, to be judged like any others; and the frames per second, None where
    the file says none. Raises DataError, naming `file`, for what is no result of one run.
    """
    try:
        runs = from_json(content)
    except ValueError as error:
        raise DataError.at(file, f"is no JSON ({error})", "restore it") from None
    runs = runs if isinstance(runs, list) else [runs]
    if len(runs) != 1 or not isinstance(runs[0], dict) or not isinstance(runs[0].get("res"), list):
        raise DataError.at(
            file, 'does not hold one run with a list of boxes called "res"', "give that of one pass (OPE)"
        )
    (run,) = runs
    kind = run.get("type", run.get("resType", "rect"))
    if kind != "rect":
        raise DataError.at(file, f"has boxes of the type {shown(kind)!r}", "convert them to x, y, w, h, called rect")
    rate = run.get("fps")
    known = isinstance(rate, int | float) and 0 < rate < np.inf
    return "\n".join(map(_line, run["res"])).encode(), float(rate) if known else None


def _line(row: object) -> str:
    numbers = row if isinstance(row, list) else [row]
    return ",".join(json.dumps(number) for number in numbers) or '""'


def as_json(rows: NDArray[np.float64], seconds: NDArray[np.float64], *, integers: bool = False) -> bytes:
    """The file of one sequence. rows: (N, 4); seconds: (N, 1)."""
    boxes = (rows.astype(np.int64) if integers else rows).tolist()
    spent = float(seconds.sum())
    run = {"type": "rect", "res": boxes, "len": len(boxes), "fps": len(boxes) / spent if spent > 0 else None}
    return (json.dumps([run]) + "\n").encode()
