"""The work of `data check`, `data make` and `data pack`."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackablate.ablations.plan import run_of
from trackablate.datasets.errors import DataError, NothingThereError, raise_all, shown
from trackablate.datasets.pairs.packed import PackedSequences, Packing, read_folder
from trackablate.datasets.pairs.packing import begin, pack_set
from trackablate.datasets.pairs.training_sets import TRAINING_SETS
from trackablate.datasets.progress import followed, told_each
from trackablate.datasets.protocols import DATA_SETS, SequenceList
from trackablate.datasets.reading.frames import NoFrames
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.datasets.roots import data_root, packed_name, parse_data_options
from trackablate.datasets.synthetic.writing import LAYOUTS, videos, write
from trackablate.harness.cli.options import writable
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile
from trackablate.harness.progress.bars import step_bar
from trackablate.harness.scoring.dialects import known_protocol
from trackablate.harness.spec import VideoData
from trackablate.trackers.spec import TrackerSpec
from trackablate.trackers.variants import VARIANTS

PAIR_BYTES = 60_000
"""Disk space of a packed frame, about."""
PIXEL_BYTES = 0.5
"""Disk space of a written frame, by pixel, about."""


@dataclass(frozen=True)
class PackRequest:
    """What `data pack` is asked for, as the user typed it.

    Attributes:
        entry: NAME=PATH of the data set, or its NAME alone.
        sets: Names of training sets; none for those that the variant's training reads.
    """

    entry: str
    out: Path
    variant: str
    profile: str
    sets: Sequence[str]


def pack_data(asked: PackRequest) -> dict[str, Any]:
    """Pack the training sets of a data set for a variant's recipe. What is packed already is kept.

    Raises:
        BadInput: The variant does not train on that data set, or --out cannot be written.
        DataError: The data are not in order, or --out holds something else.
    """
    data = DATA_SETS[asked.entry.partition("=")[0]].name
    given = parse_data_options([asked.entry] if "=" in asked.entry else [])
    run = run_of(VARIANTS[asked.variant], load_profile(asked.profile), seed=0)
    assert isinstance(run.tracker, TrackerSpec)
    assert run.recipe is not None
    packing = Packing.of(run.tracker.crop, run.recipe)
    trained_on = run.data.all_sets if isinstance(run.data, VideoData) else ()
    kinds = [TRAINING_SETS[name] for name in dict.fromkeys(asked.sets or trained_on)]
    kinds = [kind for kind in kinds if kind.data == data]
    if not kinds:
        raise BadInput(
            f"{asked.variant} at profile {asked.profile} trains on no set of {data}"
            f" ({', '.join(trained_on) or 'generated clips'}): name sets of it with --sets, or choose another data set"
        )
    root = data_root(data, given)
    sets = {kind.name: kind.open(root) for kind in kinds}
    frames = sum(sum(found.lengths()) for found in sets.values())
    kept = sum(file.stat().st_size for file in asked.out.glob("*.zip")) if asked.out.is_dir() else 0
    writable(asked.out, needed=max(1e6, PAIR_BYTES * frames - kept))
    begin(asked.out, data, packing, sets)
    for name, found in sets.items():
        sys.stderr.write(f"{name}: {found.coverage}\n")
        with step_bar(f"packing {name}", len(found)) as bar:
            pack_set(found, name, packing, asked.out, lambda done, _total: bar(done), os.cpu_count() or 1)
    return check_packed(asked.out) | {"use": f"--data {data}={shown(asked.out)}"}


def check_packed(root: Path, *, deep: bool = False) -> dict[str, Any]:
    """Return what a folder of packed training sets holds. A deep check reads every frame. Raises DataError for damage."""
    about, problems = read_folder(root), list[str]()
    sets = {name: PackedSequences(root, name) for name in about.sets}
    for found in sets.values() if deep else ():
        with step_bar(f"checking {shown(root)}", len(found)) as bar:
            for number, sequence in enumerate(found, start=1):
                try:
                    for index in sequence.visible.nonzero()[0].tolist():
                        sequence.frames[index]
                except DataError as error:
                    problems += error.problems
                bar(number)
    raise_all(problems)
    size = sum(file.stat().st_size for file in root.glob("*.zip"))
    return {
        "data": about.data,
        "packed": {name: found.coverage for name, found in sets.items()},
        "packing": about.packing.words,
        "bytes": size,
    }


def check_data(entry: str, options: list[str] | None = None, *, deep: bool = False) -> dict[str, Any]:
    """Verify all parts of a data set without tracking.

    Args:
        entry: NAME=PATH of the data set, or its NAME alone, for the place that is configured. NAME may be the TOML file
            that declares it.
        options: NAME=PATH of the data set, as any command takes it.
        deep: Whether to decode every frame.

    Returns:
        Under `protocols` the coverage of each part, under `frames` how many of its frames were decoded, under `problems`
        what should be known but is no error.

    Raises:
        DataError: Something is wrong, or nothing of the data set is there; the message has all of it.
        UnknownName: There is no such data set.
    """
    name = entry.partition("=")[0]
    data, parts = DATA_SETS[name].name, DATA_SETS[name].parts
    known_protocol(name) if name.endswith(".toml") else None
    given = parse_data_options([*(options or []), *([entry] if "=" in entry else [])])
    if packed_name(data) in given:
        return check_packed(data_root(packed_name(data), given), deep=deep)
    root = data_root(data, given)
    found: dict[str, str] = {}
    frames: dict[str, str] = {}
    problems: list[str] = []
    faults: list[str] = []
    absent: list[str] = []
    for name, opener in parts.items():
        try:
            sequences = opener(root)
        except NothingThereError as error:
            absent.extend(error.problems)
            continue
        except DataError as error:
            faults.extend(error.problems)
            continue
        found[name] = sequences.coverage
        try:
            decoded, remarks = _checked(name, sequences, deep=deep)
            problems += remarks
            frames |= {name: decoded} if decoded else {}
        except DataError as error:
            faults.extend(error.problems)
    # A root that cannot be opened at all is refused by each part in the same words.
    raise_all(list(dict.fromkeys(faults)) or ([] if found else absent))
    place = {} if given else {"place": str(root)}
    return {"data": data, **place, "protocols": found, "frames": frames, "problems": problems + absent}


def _checked(name: str, sequences: SequenceList, *, deep: bool) -> tuple[str, list[str]]:
    """Verify one part, whose files are read once. Return how many of its frames were decoded, and remarks."""
    try:
        with followed(f"checking {name}"):
            numbers = told_each("reading annotation", range(len(sequences)))
            frames = (sequences[number].frames for number in numbers)
            bare = all(isinstance(one, NoFrames) and not one.unread() for one in frames)
    except DataError:
        sequences.check_annotations()  # all that is wrong with them, not the first alone
        raise
    if bare:
        remark = f"{name}: annotations only, enough to score results; add the images to track them"
        return "", [remark, *sequences.notes()]
    with step_bar(f"checking {name}", len(sequences), after=1.0) as bar:
        decoded = sequences.check(deep=deep, progress=lambda done, _total: bar(done))
    return decoded, sequences.notes()


def make_data(
    what: str,
    layout: str,
    out: Path,
    *,
    count: int,
    length: int | None,
    size: tuple[int, int],
    seed: int,
    test_boxes: bool,
) -> dict[str, Any]:
    """Write synthetic videos in a benchmark's layout. Raises UnknownName or DataError before anything is written."""
    if what != "synthetic":
        raise UnknownName(unknown("generator", what, ["synthetic"]))
    chosen = videos(layout, count=count, length=length, size=size, seed=seed, test_boxes=test_boxes)
    pixels = sum(video.length for video in chosen) * size[0] * size[1]
    writable(out, file=out.suffix == ".zip", needed=PIXEL_BYTES * pixels)
    with step_bar(f"writing {layout}", len(chosen), after=1.0) as bar:
        write(layout, chosen, out, lambda done, _total: bar(done))
    return {
        "layout": layout,
        "description": LAYOUTS[layout].description,
        "videos": len(chosen),
        "frames": sum(video.length for video in chosen),
        "out": str(out),
    }
