"""A tracker's boxes as raw result files, in the layouts that the field's toolkits read.

Numbers are written in full, the shortest text that reads back as the same double, also where a toolkit's own writer rounds
or truncates: its reader takes either. `truncate` gives what the integer writers of pytracking and OSTrack would have left.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.registry import Registry
from trackablate.harness.errors import BadInput
from trackablate.harness.scoring.finding import OTHER_SPELLINGS
from trackablate.harness.scoring.otb_json import as_json

Tracked = tuple[str, ArrayLike, ArrayLike]
"""A sequence's name, its boxes (N, 4) x, y, w, h in pixels, 0-based, and its seconds: (N,), or their sum."""


@dataclass(frozen=True)
class ResultLayout:
    """boxes, times: paths below the output folder, of {dataset}, {tracker} and {sequence}; times: None where the toolkit
    reads none. folders: what the toolkit calls a protocol in its paths, where that is not the protocol's own name.
    names: by protocol, what the toolkit calls its sequences. official: how the toolkit's own writer writes numbers.
    separator: between numbers; "" for OTB's JSON, which holds the speed too.
    """

    name: str
    reader: str
    boxes: str
    separator: str
    official: str
    times: str | None = None
    folders: tuple[tuple[str, str], ...] = ()
    names: tuple[tuple[str, Callable[[str], str]], ...] = ()

    def paths(self, tracker: str, dataset: str, sequence: str) -> tuple[str, str | None]:
        """Where one sequence's boxes and times belong."""
        folder, name = dict(self.folders).get(dataset, dataset), dict(self.names).get(dataset, str)(sequence)
        boxes, times = (
            template and template.format(tracker=tracker, dataset=folder, sequence=name)
            for template in (self.boxes, self.times)
        )
        return str(boxes), times


def _prefixed(prefix: str) -> Callable[[str], str]:
    return lambda sequence: f"{prefix}{sequence}"


def _otb_name(mark: str) -> Callable[[str], str]:
    """How a toolkit that puts `mark` before the target's number calls OTB100's videos of two targets."""
    others = {name: other for other, name in OTHER_SPELLINGS.items() if mark in other}
    return lambda sequence: others.get(sequence, sequence)


def _got10k_otb_name(sequence: str) -> str:
    """The got10k toolkit passes over Human4's first annotation, which is empty, and so needs no number."""
    return "Human4" if sequence == "Human4_2" else _otb_name(".")(sequence)


LAYOUTS: Registry[ResultLayout] = Registry("result layout")

_OSTRACK = (("lasot_ext", "lasot_extension_subset"), ("uav123", "uav"))
_PYSOT = (
    ("lasot", "LaSOT"),
    ("otb", "OTB100"),
    ("uav123", "UAV123"),
    ("nfs", "NFS30"),
    ("got10k", "GOT-10k"),
    ("got10k-val", "GOT-10k"),
)
_GOT10K = (
    *(("got10k", "GOT-10k"), ("got10k-val", "GOT-10k"), ("otb", "OTB2015"), ("lasot", "LaSOT"), ("uav123", "UAV123")),
    *(("nfs", "NfS/30"), ("trackingnet", "TrackingNet")),
)

_PREFIXED = (("uav123", _prefixed("uav_")), ("nfs", _prefixed("nfs_")))

for _layout in (
    ResultLayout(
        "pytracking",
        "pytracking, OSTrack, SUTrack",
        "{tracker}/default/{sequence}.txt",
        "\t",
        "truncates to integers",
        times="{tracker}/default/{sequence}_time.txt",
        names=_PREFIXED,
    ),
    ResultLayout(
        "pytracking-comma",
        "pytracking, OSTrack, SUTrack",
        "{tracker}/default/{sequence}.txt",
        ",",
        "truncates to integers and writes tabs",
        times="{tracker}/default/{sequence}_time.txt",
        names=_PREFIXED,
    ),
    ResultLayout(
        "ostrack",
        "OSTrack (TrackingNet, GOT-10k), SUTrack (all benchmarks)",
        "{tracker}/default/{dataset}/{sequence}.txt",
        "\t",
        "truncates to integers",
        times="{tracker}/default/{dataset}/{sequence}_time.txt",
        folders=_OSTRACK,
        names=_PREFIXED,
    ),
    ResultLayout(
        "pysot",
        "pysot",
        "{dataset}/{tracker}/{sequence}.txt",
        ",",
        "writes them in full",
        folders=_PYSOT,
        names=(("otb", _otb_name("-")),),
    ),
    ResultLayout(
        "pysot-got10k",
        "pysot on GOT-10k",
        "{dataset}/{tracker}/{sequence}/{sequence}_001.txt",
        ",",
        "writes them in full",
        times="{dataset}/{tracker}/{sequence}/{sequence}_time.txt",
        folders=_PYSOT,
    ),
    ResultLayout(
        "lasot-toolkit",
        "the LaSOT and TNL2K evaluation toolkits (MATLAB)",
        "{tracker}_tracking_result/{sequence}.txt",
        ",",
        "has no writer",
    ),
    ResultLayout(
        "got10k",
        "the got10k toolkit's GOT-10k experiment",
        "{dataset}/{tracker}/{sequence}/{sequence}_001.txt",
        ",",
        "writes 3 decimals",
        times="{dataset}/{tracker}/{sequence}/{sequence}_time.txt",
        folders=_GOT10K,
    ),
    ResultLayout(
        "got10k-ope",
        "the got10k toolkit's other experiments",
        "{dataset}/{tracker}/{sequence}.txt",
        ",",
        "writes 3 decimals",
        times="{dataset}/{tracker}/times/{sequence}_time.txt",
        folders=_GOT10K,
        names=(("otb", _got10k_otb_name),),
    ),
    ResultLayout(
        "lorat",
        "LoRAT, which packs the folder as results.zip",
        "{tracker}/{sequence}.txt",
        "\t",
        "writes 3 decimals, on GOT-10k and TrackingNet whole pixels",
        names=_PREFIXED,
    ),
    ResultLayout(
        "otb",
        "OTB's toolkit (tracker_benchmark)",
        "{tracker}/{sequence}.json",
        "",
        "writes them in full",
        names=(("otb", _otb_name("-")),),
    ),
    ResultLayout(
        "trackingnet", "TrackingNet's devkit", "{tracker}/{sequence}.txt", ",", "has no writer; users write 2 decimals"
    ),
):
    LAYOUTS.add(_layout.name, _layout)


def write_results(
    layout: str,
    out: Path,
    tracker: str,
    results: Iterable[Tracked],
    *,
    dataset: str,
    origin: int,
    truncate: bool = False,
) -> int:
    """Write one tracker's results on one protocol (`dataset`) below a new folder, and return how many sequences they are.

    origin: how the data set's files number the first pixel; x and y are written so. truncate: integers, cut towards zero.
    The folder appears whole or not at all. Raises BadInput where it is there and not empty and for a name that is none of
    a file, DataError for boxes that are not (N, 4) finite numbers, UnknownName for no layout.
    """
    chosen, out = LAYOUTS[layout], out.absolute()
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise BadInput(f"{out} is there already and not empty: name another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp"))
    count = 0
    try:
        for name, boxes, seconds in results:
            box_file, time_file = chosen.paths(file_name(tracker), dataset, file_name(name))
            rows = in_pixels_of(name, boxes, origin)
            times = per_frame(seconds, len(rows))
            if chosen.separator:
                _write(temporary / box_file, rows_as_text(rows, chosen.separator, integers=truncate))
            else:
                _write(temporary / box_file, as_json(rows, times, integers=truncate))
            if time_file:
                _write(temporary / time_file, rows_as_text(times, chosen.separator))
            count += 1
        temporary.chmod(0o755)
        temporary.replace(out)
    except BaseException:
        shutil.rmtree(temporary)
        raise
    return count


def _write(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as file:
        file.write(content)


def in_pixels_of(name: str, boxes: ArrayLike, origin: int) -> NDArray[np.float64]:
    """A sequence's 0-based boxes in the pixel numbers of the data set's files; raises DataError for what are no boxes."""
    found = np.array(boxes, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 4 or not np.isfinite(found).all():
        raise DataError(f"the boxes of {shown(name)} are not (N, 4) finite numbers: track the sequence again")
    found[:, :2] += origin
    return found


def per_frame(seconds: ArrayLike, frames: int) -> NDArray[np.float64]:
    """Seconds of each frame as a column (N, 1). Where only their sum is known, each frame gets the mean."""
    found = np.asarray(seconds, dtype=np.float64)
    return np.broadcast_to(found / frames if found.ndim == 0 else found, (frames,))[:, None]


def rows_as_text(rows: NDArray[np.float64], separator: str, *, integers: bool = False) -> bytes:
    """A line for each row: each number's shortest text, or integers, cut towards zero."""
    values: list[list[int | float]] = (rows.astype(np.int64) if integers else rows).tolist()
    return "".join(f"{separator.join(map(repr, row))}\n" for row in values).encode()


def file_name(name: str) -> str:
    """The name, if a file may be called so. Raises BadInput for another."""
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise BadInput(f"{shown(name)!r} is no file name: rename the sequence or the tracker")
    return name
