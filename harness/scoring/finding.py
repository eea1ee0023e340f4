"""Which files below a folder or in an archive are a tracker's results: the layouts of the field's toolkits, told apart by
the files themselves. No content is read here.

Layouts (SEQ: a sequence's name, which pytracking and LoRAT precede by uav_, nfs_ or tpl_ on three benchmarks):

    SEQ.txt                              pytracking, pysot, LaSOT and TNL2K toolkits, TrackingNet; also SEQ_time.txt
    SEQ.txt, times/SEQ_time.txt          got10k toolkit, all benchmarks but GOT-10k
    SEQ/SEQ_001.txt, SEQ/SEQ_time.txt    GOT-10k: got10k toolkit, pysot, its server; a file for each repetition
    SEQ/SEQ.txt                          TrackingNet as LoRAT packs it
    SEQ.json                             OTB's toolkit

each in any sub-folder, but all in one: two of them are two trackers or two runs, and which is meant is for the user to say.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.reading.files import Files

PREFIXES = ("", "uav_", "nfs_", "tpl_")
"""What pytracking, OSTrack and LoRAT put before the sequence names of UAV123, NFS and TempleColor128."""
NOT_RESULTS = ("_time", "_object_presence_scores", "_all_boxes", "_all_scores")
"""Endings of what pytracking, OSTrack and the got10k toolkit write beside the boxes."""
OSTRACK_FOLDERS = ("trackingnet", "got10k", "lasot", "lasot_extension_subset", "tnl2k", "nfs", "uav", "otb")
OTHER_SPELLINGS = {f"{name}{mark}{k}": f"{name}_{k}" for name in ("Jogging", "Skating2") for mark in "-." for k in "12"}
OTHER_SPELLINGS |= {"Human4": "Human4_2", "Human4-2": "Human4_2"}
"""OTB100's videos of two targets, as pysot ("-") and the got10k toolkit (".") call them, to pytracking's names."""
MOST_ENTRIES = 200_000
DEEPEST = 8
_REPETITION = re.compile(r"(?P<sequence>.+)_(?P<number>\d{3})")


@dataclass(frozen=True)
class TextFile:
    """A file by what its path says. base: the folder of the tracker's results that it would belong to; stem: the sequence's
    name as it is spelled there; role: "result", "_time", or another of NOT_RESULTS.
    """

    file: str
    base: str
    stem: str
    role: str
    repetition: int | None = None
    own_folder: bool = False


@dataclass(frozen=True)
class FoundResults:
    """One tracker's results. results: a sequence's files, several where they contradict each other; times: likewise, one;
    repetitions: those that there are, () where the layout has none; column: of the time file that belongs to these boxes;
    unknown: result files of no sequence.
    """

    layout: str
    results: Mapping[str, tuple[str, ...]]
    times: Mapping[str, str]
    repetitions: tuple[int, ...]
    column: int
    unknown: tuple[str, ...]


def find_results(files: Files, folder: str, sequences: Sequence[str], repetition: int) -> FoundResults:
    """The results of one tracker below a folder. Raises DataError where there are none, more than one tracker's, or not
    that repetition.
    """
    every = [_read_path(file) for file in _text_files(files, folder)]
    base, prefix = _one_tracker(files, folder, every, sequences)
    names = _names(prefix, sequences)
    own = [text for text in every if text.base == base]
    candidates = [text for text in own if text.role == "result" and text.stem in names]
    repetitions = tuple(sorted({text.repetition for text in candidates if text.repetition is not None}))
    if repetition not in (repetitions or (1,)):
        there = ", ".join(map(str, repetitions)) or "1 alone"
        raise DataError.at(files.place(base), f"holds repetition {there}, not {repetition}", "choose one that is there")
    results: dict[str, list[str]] = {}
    for text in candidates:
        if text.repetition in (None, repetition):
            results.setdefault(names[text.stem], []).append(text.file)
    said = f"repetition {repetition} of {len(repetitions)}" if repetitions else ""
    in_json = any(text.file.endswith(".json") for text in candidates)
    return FoundResults(
        layout="OTB toolkit" if in_json else _layout(files, base, own, prefix, said),
        results={name: tuple(found) for name, found in results.items()},
        times={names[t.stem]: t.file for t in own if t.role == "_time" and t.stem in names},
        repetitions=repetitions,
        column=repetition - 1,
        # JSON of another name is anything: settings, scores.
        unknown=tuple(
            text.file for text in own if text.role == "result" and text.stem not in names and text.file.endswith(".txt")
        ),
    )


def _text_files(files: Files, folder: str) -> list[str]:
    """All files below a folder that results could be in, sorted. Raises DataError where that is no end of looking."""
    found, folders, seen = [], [folder], 0
    while folders:
        place = folders.pop()
        entries = [name for name in files.names(place) if name != "__MACOSX"]
        seen += len(entries)
        if seen > MOST_ENTRIES or place.count("/") > DEEPEST:
            too = f"goes deeper than {DEEPEST} folders" if seen <= MOST_ENTRIES else f"holds over {MOST_ENTRIES} files"
            raise DataError.at(files.place(place), too, "name the folder of one tracker's results")
        for name in entries:
            path = f"{place}/{name}" if place else name
            if name.endswith((".txt", ".json")):
                found.append(path)
            elif files.is_folder(path):
                folders.append(path)
    return sorted(found)


def _read_path(file: str) -> TextFile:
    path = PurePosixPath(file)
    stem, parent = path.stem, path.parent.name
    base, above = (str(p) if p.name else "" for p in (path.parent, path.parent.parent))
    for ending in NOT_RESULTS:
        if stem.endswith(ending):
            stem = stem.removesuffix(ending)
            return TextFile(file, above if parent in (stem, "times") else base, stem, ending)
    repeated = _REPETITION.fullmatch(stem)
    if repeated and repeated["sequence"] == parent:
        return TextFile(file, above, parent, "result", int(repeated["number"]), own_folder=True)
    if stem == parent:
        return TextFile(file, above, stem, "result", own_folder=True)
    return TextFile(file, base, stem, "result")


def _names(prefix: str, sequences: Iterable[str]) -> dict[str, str]:
    """What files may be called under a prefix, to the sequence's name: the prefix may be in either of the two."""
    if prefix:
        return {(s.removeprefix(prefix) if s.startswith(prefix) else prefix + s): s for s in sequences}
    names = {s: s for s in sequences}
    return {other: name for other, name in OTHER_SPELLINGS.items() if name in names} | names


def _one_tracker(files: Files, folder: str, every: list[TextFile], sequences: Sequence[str]) -> tuple[str, str]:
    """The folder that holds results, and the prefix under which most of them are found: pytracking keeps all benchmarks in
    one folder, where "tpl_Basketball" is no stand-in for OTB's "Basketball".
    """
    stems: dict[str, set[str]] = {}
    for text in every:
        if text.role == "result":
            stems.setdefault(text.base, set()).add(text.stem)
    best: dict[str, tuple[int, str]] = {}
    for prefix in PREFIXES:
        names = _names(prefix, sequences)
        for base, there in stems.items():
            count = len({names[stem] for stem in there if stem in names})
            if count > best.get(base, (0, ""))[0]:
                best[base] = (count, prefix)
    place = shown(files.place(folder))
    if not best:
        example = f"{sequences[0]}.txt" if sequences else "SEQUENCE.txt"
        raise DataError(
            f"{place}: holds no result file of any sequence; name a folder or archive with {example} and so on"
        )
    if len(best) > 1:
        listed = ", ".join(
            f"{shown(files.place(base))} ({count} sequences)" for base, (count, _) in sorted(best.items())
        )
        raise DataError(f"{place}: holds results in {len(best)} folders, {listed}; name one of these folders")
    ((base, (_, prefix)),) = best.items()
    return base, prefix


def _layout(files: Files, base: str, own: list[TextFile], prefix: str, repetition: str) -> str:
    """The layout in the words that the user is told."""
    folder = files.place(base)
    times = {PurePosixPath(text.file).parent.name for text in own if text.role == "_time"}
    if repetition:
        layout = f"GOT-10k, {repetition}"
    elif any(text.own_folder for text in own if text.role == "result"):
        layout = "TrackingNet, a folder for each sequence"
    elif folder.name.endswith("_tracking_result"):
        layout = "LaSOT toolkit"
    elif "times" in times:
        layout = "got10k toolkit"
    elif folder.name in OSTRACK_FOLDERS:
        layout = "OSTrack, a folder for each benchmark"
    elif times:
        layout = "pytracking"
    else:
        layout = "one file for each sequence"
    return f"{layout}, names with {prefix}" if prefix else layout
