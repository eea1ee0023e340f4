"""Which files below a folder or in an archive are a tracker's results. File names decide; no content is read here.

The files of a tracker may lie in any sub-folder, but all in the same one, or in a folder for each class of sequences.
Results in two folders belong to two trackers or two runs, and the user has to name one of them, unless some lie in the named
folder itself: then those below are left alone, and named.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from trackablate.datasets.errors import DataError, counted, shown, some
from trackablate.datasets.reading.files import Files
from trackablate.harness.scoring import layouts
from trackablate.harness.scoring.layouts import GOT10K_NAMES, PREFIXES, PYSOT_NAMES

OTHER_NAMES = {other: name for names in (PYSOT_NAMES, GOT10K_NAMES) for name, other in names.items()}
MOST_ENTRIES = 200_000
DEEPEST = 8
OSTRACK_FOLDERS = ("trackingnet", "got10k", "lasot", "lasot_extension_subset", "tnl2k", "nfs", "uav", "otb")
Role = Literal["result", "times", "other"]
_PATHS: tuple[tuple[str | None, Role], ...] = (
    *((shape.times, "times") for shape in (layouts.REPEATED, layouts.TIMES_APART, layouts.TIMED)),
    # What pytracking and OSTrack write beside the boxes.
    *((f"{{0}}_{kind}.txt", "other") for kind in ("object_presence_scores", "all_boxes", "all_scores")),
    *((shape.boxes, "result") for shape in (layouts.REPEATED, layouts.NESTED)),
    ("{class}/{class}-{0}.txt", "result"),
    (layouts.FLAT.boxes, "result"),
)


def _pattern(path: str) -> re.Pattern[str]:
    """Compile the path of a shape. OTB's toolkit ends names in .json; some systems write .TXT."""
    text = re.escape(path).replace(r"\{1:03d\}", r"(?P<repetition>\d{3})").replace(r"\.txt", r"\.(?i:txt|json)")
    text = text.replace(r"\{class\}/\{class\}\-\{0\}", "(?P<class>[^/]+)/(?P<name>(?P=class)-[^/]*)")
    text = text.replace(r"\{0\}", "(?P<name>[^/]*)", 1).replace(r"\{0\}", "(?P=name)")
    return re.compile(rf"(?:(?P<folder>.*)/)?{text}", re.DOTALL)


_PATTERNS = [(_pattern(path), role) for path, role in _PATHS if path]


class ResultFile(NamedTuple):
    """A file, as its path describes it.

    Attributes:
        folder: The tracker's folder that the file would belong to.
        name: The sequence's name in the path, which may have a prefix or another spelling.
    """

    file: str
    folder: str
    name: str
    role: Role
    repetition: int | None


class FoundResults(NamedTuple):
    """The result files of one tracker.

    Attributes:
        layout: The recognised layout in words.
        results: The files of each sequence; more than one is a contradiction.
        times: The file of each sequence's times.
        repetitions: The repetitions that exist; empty for a layout without any.
        column: The column of these results in the file of times.
        unknown: Result files that belong to no sequence, relative to the root.
        beside: Folders below the named one that hold results too, which are not looked at.
    """

    layout: str
    results: Mapping[str, tuple[str, ...]]
    times: Mapping[str, str]
    repetitions: tuple[int, ...]
    column: int
    unknown: tuple[str, ...]
    beside: tuple[str, ...] = ()


def find_results(files: Files, folder: str, sequences: Sequence[str], repetition: int) -> FoundResults:
    """Find one tracker's results below a folder.

    Raises DataError if there are no results, those of more than one tracker, or none of that repetition.
    """
    every = [_described(file) for file in _text_files(files, folder)]
    base, prefix, beside = _one_tracker(files, folder, every, sequences)
    names = _names(prefix, sequences)
    own = [file for file in every if file.folder == base]
    candidates = [file for file in own if file.role == "result" and file.name in names]
    repetitions = tuple(sorted({file.repetition for file in candidates if file.repetition is not None}))
    if repetition not in (repetitions or (1,)):
        there = ", ".join(map(str, repetitions)) or "1 alone"
        raise DataError.at(files.place(base), f"holds repetition {there}, not {repetition}", "choose one of these")
    results: dict[str, list[str]] = {}
    for file in candidates:
        if file.repetition in (None, repetition):
            results.setdefault(names[file.name], []).append(file.file)
    number = f"repetition {repetition} of {len(repetitions)}" if repetitions else ""
    in_json = any(file.file.lower().endswith(".json") for file in candidates)
    return FoundResults(
        layout="OTB toolkit" if in_json else _layout(files, base, own, prefix, number),
        results={name: tuple(found) for name, found in results.items()},
        times={names[f.name]: f.file for f in own if f.role == "times" and f.name in names},
        repetitions=repetitions,
        column=repetition - 1,
        # JSON files with other names may be settings or scores.
        unknown=tuple(
            f.file for f in own if f.role == "result" and f.name not in names and f.file.lower().endswith(".txt")
        ),
        beside=beside,
    )


def _text_files(files: Files, folder: str) -> list[str]:
    """Return all .txt and .json files below a folder, sorted. Raises DataError if there are too many entries."""
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
            if name.lower().endswith((".txt", ".json")):
                found.append(path)
            elif files.is_folder(path):
                folders.append(path)
    return sorted(found)


def _described(file: str) -> ResultFile:
    """Describe a file by the first pattern that its path matches; the last pattern matches every path."""
    match, role = next((match, role) for pattern, role in _PATTERNS if (match := pattern.fullmatch(file)))
    groups = match.groupdict()
    number = groups.get("repetition")
    return ResultFile(file, groups["folder"] or "", groups["name"], role, int(number) if number else None)


def _names(prefix: str, sequences: Iterable[str]) -> dict[str, str]:
    """Return the sequences by their possible names in paths. Either of the two may have the prefix."""
    if prefix:
        return {(s.removeprefix(prefix) if s.startswith(prefix) else prefix + s): s for s in sequences}
    names = {s: s for s in sequences}
    return {other: name for other, name in OTHER_NAMES.items() if name in names} | names


def _one_tracker(
    files: Files, folder: str, every: list[ResultFile], sequences: Sequence[str]
) -> tuple[str, str, tuple[str, ...]]:
    """Return the folder that holds results, the prefix that most of their names have, and folders to be left alone.

    pytracking keeps all benchmarks in one folder, so that only one prefix may count: "tpl_Basketball" is not OTB's
    "Basketball".
    """
    there: dict[str, set[str]] = {}
    for file in every:
        if file.role == "result":
            there.setdefault(file.folder, set()).add(file.name)
    best: dict[str, tuple[int, str]] = {}
    for prefix in ("", *PREFIXES.values()):
        names = _names(prefix, sequences)
        for base, found in there.items():
            count = len({names[name] for name in found if name in names})
            if count > best.get(base, (0, ""))[0]:
                best[base] = (count, prefix)
    place = shown(files.place(folder))
    if not best:
        example = f"{sequences[0]}.txt" if sequences else "SEQUENCE.txt"
        others = [file.file for file in every if file.role == "result"]
        like = [f"{shown(file)}, which is like {name}" for name, file in like_names(sequences, others).items()]
        said = f", but {some(like, 3)}" if like else f", but {some(others, 3)}" if others else ""
        remedy = "give the files these names" if like else f"name a folder or archive with {example} etc."
        raise DataError(f"{place}: holds no result file of any sequence{said}; {remedy}")
    if len(best) > 1 and folder.strip("/") in best:
        base = folder.strip("/")
        return base, best[base][1], tuple(sorted(best.keys() - {base}))
    if len(best) > 1:
        listed = ", ".join(
            f"{shown(files.place(base))} ({counted(n, 'sequence')})" for base, (n, _) in sorted(best.items())
        )
        raise DataError(f"{place}: holds results in {len(best)} folders, {listed}; name one of these folders")
    ((base, (_, prefix)),) = best.items()
    return base, prefix, ()


def like_names(sequences: Iterable[str], files: Iterable[str]) -> dict[str, str]:
    """Return a file for each sequence whose name differs from that of a file in case, blanks, "_", "-" or "." only."""
    plain = {_plain(PurePosixPath(file).stem): file for file in files}
    return {name: plain[_plain(name)] for name in sequences if _plain(name) in plain}


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]+", "", name).casefold()


def _layout(files: Files, base: str, own: list[ResultFile], prefix: str, repetition: str) -> str:
    """Return the layout in words for the user."""
    folder = files.place(base).name
    times = {PurePosixPath(file.file).parent.name for file in own if file.role == "times"}
    nested = any(PurePosixPath(file.file).parent.name == file.name for file in own if file.role == "result")
    layouts = {
        f"GOT-10k, {repetition}": bool(repetition),
        "TrackingNet, a folder for each sequence": nested,
        "LaSOT toolkit": folder.endswith("_tracking_result"),
        "got10k toolkit": "times" in times,
        "OSTrack, a folder for each benchmark": folder in OSTRACK_FOLDERS,
        "pytracking": bool(times),
        "one file for each sequence": True,
    }
    layout = next(layout for layout, holds in layouts.items() if holds)
    return f"{layout}, names with {prefix}" if prefix else layout
