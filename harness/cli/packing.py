"""`data pack`: training sets as crops, for slow disks and few cores; and what `data check` says of them."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackablate.ablations.plan import run_of
from trackablate.datasets.errors import DataError, raise_all, shown
from trackablate.datasets.pairs.packed import PackedSequences, Packing, read_folder
from trackablate.datasets.pairs.packing import begin, pack_set
from trackablate.datasets.pairs.training_sets import TRAINING_SETS
from trackablate.datasets.protocols import DATA_SETS
from trackablate.datasets.roots import data_root, parse_data_options
from trackablate.harness.cli.options import writable
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile
from trackablate.harness.progress.bars import step_bar
from trackablate.harness.spec import VideoData
from trackablate.trackers.spec import TrackerSpec
from trackablate.trackers.variants import VARIANTS

PAIR_BYTES = 60_000
"""Disk space of a packed frame, about."""


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
