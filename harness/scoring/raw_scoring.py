"""Raw results scored by any dialect: the work of `python -m harness score`, without printing.

All cores read and tally sequences, each once for all trackers; tallies are kept (`harness.scoring.raw_cache`).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.errors import raise_all, some
from trackablate.datasets.progress import OnProgress
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.errors import BadInput
from trackablate.harness.scoring.metrics import DIALECTS, Dialect, treatments
from trackablate.harness.scoring.raw_cache import FAILURES, ScoredSequence, read_cache, write_cache
from trackablate.harness.scoring.raw_reading import Broken, ScoreRequest, read_all
from trackablate.harness.scoring.result_files import ResultFiles
from trackablate.harness.scoring.scored import Scored, ScoredProtocol, ScoredTracker, SequenceInfo, TrackerScores
from trackablate.harness.scoring.threshold_counts import TALLY_REVISION

SCORING_REVISION = 3
"""Raised whenever the same files would be scored otherwise, besides TALLY_REVISION."""
NO_SIZES = "it clips boxes to the image, and the image sizes of some sequences are not known"

Kept = list[dict[str, ScoredSequence]]
"""The scored sequences of each result, by name."""


def chosen_dialects(protocol: str, names: Collection[str]) -> tuple[str, ...]:
    """Return the dialects of a request: as named (or UnknownName), all for "all", or the protocol's default for none."""
    default = PROTOCOLS[protocol].metrics[0][1]
    if "all" in names:
        return (default, *(name for name in DIALECTS if name != default))
    return tuple(dict.fromkeys(DIALECTS[name].name for name in names)) or (default,)


def score(request: ScoreRequest, sequences: SequenceList, report: OnProgress = lambda done, total: None) -> Scored:
    """Score all trackers; several repetitions of a tracker are its seeds. Faulty results are named in the answer.

    Raises:
        DataError: The annotation is bad.
        BadInput: A dialect was named that the sequences cannot be scored by.
    """
    protocol = PROTOCOLS[request.protocol]
    data = protocol.scored_as or protocol.name
    dialects = tuple(DIALECTS[name].on(data) for name in request.dialects)
    own = {metric: DIALECTS[name].on(data) for metric, name in protocol.metrics if request.own_metrics}
    every = tuple({dialect.name: dialect for dialect in (*dialects, *own.values())}.values())
    asked = frozenset(treatments(every)) | ({FAILURES} if request.with_failures else set())
    single = [replace(one, others=()) for results in request.results for one in (results, *results.others)]
    kept, faults = _read(replace(request, results=tuple(single)), sequences, asked, report)
    trackers, remarks, first = [], {}, 0
    for results in request.results:
        last = first + 1 + len(results.others)
        trackers.append(_tracker(request, results, tuple(sequences.names), kept[first:last], faults[first:last]))
        remarks[results.name] = _remarks(kept[first:last])
        first = last
    possible = _possible(dialects, kept, request)
    lost = [f"dialect {one.name}: left out, {NO_SIZES}" for one in every if not _can_measure(one, kept)]
    scored = ScoredProtocol(
        name=protocol.name,
        title=protocol.title,
        description=protocol.description,
        source=protocol.source,
        sequences=tuple(_info(sequences, i, kept) for i in range(len(sequences))),
        dialects=_columns(possible[0], {metric: one for metric, one in own.items() if _can_measure(one, kept)}),
        rules=possible,
        attributes=protocol.attributes,
        one_shot=protocol.one_shot,
        coverage=sequences.coverage,
        truncated=request.truncate,
        allow_incomplete=request.allow_incomplete,
    )
    return Scored(scored, tuple(trackers), (*_problems(request, sequences, trackers, remarks), *lost), request.command)


def _columns(main: Dialect, own: Mapping[str, Dialect]) -> dict[str, Dialect]:
    """Return each column's dialect: the protocol's own metrics in its order, then whatever else the main dialect defines."""
    first = [metric for metric, dialect in own.items() if dialect.name == main.name]
    return {**own, **{metric: main for metric in distinct_metrics(main, first) if metric not in own}}


def distinct_metrics(dialect: Dialect, first: Collection[str] = ()) -> list[str]:
    """Return a dialect's metrics, `first` ones first, without those that repeat another under a second name."""
    readings = [(key, dialect.readings[key]) for key in dict.fromkeys((*first, *dialect.readings))]
    return [key for at, (key, how) in enumerate(readings) if how not in [h for _, h in readings[:at]]]


def _read(
    request: ScoreRequest, sequences: SequenceList, asked: frozenset[str], report: OnProgress
) -> tuple[Kept, list[list[str]]]:
    """Return each result's scored sequences and faults, from what is kept and, where that is not enough, from the files."""
    files = [_cache_file(request, results) for results in request.results]
    kept: Kept = [read_cache(file) if file else {} for file in files]
    where = request.annotations.resolve() if request.annotations else ""
    before: dict[int, dict[int, str]] = {}
    for index, name in enumerate(sequences.names):
        annotation = f"{where}|{sequences.stamp(index)}|"
        for number, results in enumerate(request.results):
            old, stamp = kept[number].get(name), annotation + results.stamp(name)
            if old is None or old.stamp != stamp or not old.made >= asked:
                before.setdefault(index, {})[number] = stamp
    faults: list[list[str]] = [[] for _ in request.results]
    broken: list[str] = []
    for index, found in read_all(request, sequences, {index: list(of) for index, of in before.items()}, asked, report):
        if isinstance(found, Broken):
            broken += found.problems
            continue
        for number, one in found:
            if isinstance(one, ScoredSequence):
                # The stamp from before reading: a file that changed meanwhile is read again the next time.
                kept[number][sequences.names[index]] = replace(one, stamp=before[index][number])
            else:
                kept[number].pop(sequences.names[index], None)
                faults[number] += one
    raise_all(broken)
    for number in {number for of in before.values() for number in of}:
        if (file := files[number]) and kept[number]:
            write_cache(file, kept[number])
    return [{name: found[name] for name in sequences.names if name in found} for found in kept], faults


def _tracker(
    request: ScoreRequest, results: ResultFiles, names: tuple[str, ...], kept: Kept, faults: list[list[str]]
) -> ScoredTracker:
    counted = [{name: one.failures for name, one in seed.items()} for seed in kept]
    scores = TrackerScores(
        sequences=tuple(sorted(names)),  # as those of stored runs: resampling depends on the order
        seeds=tuple({name: one.tally for name, one in seed.items()} for seed in kept),
        failures=tuple(counted) if request.with_failures else (),
    )
    told = tuple(fault for seed in faults for fault in seed)
    return ScoredTracker(results.name, "variant", {request.protocol: scores}, layout=results.layout, faults=told)


def _info(sequences: SequenceList, index: int, kept: Kept) -> SequenceInfo:
    """Return a sequence's facts from what is kept of any tracker, since reading its annotation again takes time."""
    name = sequences.names[index]
    for found in kept:
        if name in found:
            return SequenceInfo(name, found[name].frames, found[name].attributes)
    sequence = sequences[index]
    return SequenceInfo(name, len(sequence.boxes), sequence.attributes)


def _possible(dialects: tuple[Dialect, ...], kept: Kept, request: ScoreRequest) -> tuple[Dialect, ...]:
    """Return the dialects that every sequence can be scored by: clipping needs to know the image's size.

    Raises BadInput if a dialect that was asked for by name is not among them.
    """
    left = tuple(d for d in dialects if _can_measure(d, kept))
    if len(left) < len(dialects) and not (left and request.every_dialect):
        lost = ", ".join(d.name for d in dialects if d not in left)
        raise BadInput(f"dialect {lost}: {NO_SIZES}; name the data set with its frames, or another --dialect")
    return left


def _can_measure(dialect: Dialect, kept: Kept) -> bool:
    return dialect.boxes != "clipped" or all("clipped" in one.tally.measured for of in kept for one in of.values())


def _remarks(kept: Kept) -> dict[str, list[str]]:
    """Return the sequences of each remark on the results of one tracker."""
    found: dict[str, list[str]] = {}
    for name, remark in ((name, remark) for seed in kept for name, one in seed.items() for remark in one.remarks):
        text, _, more = remark.partition("\t")
        found.setdefault(text, []).append(name + more)
    return found


def _problems(
    request: ScoreRequest,
    sequences: SequenceList,
    trackers: list[ScoredTracker],
    remarks: Mapping[str, Mapping[str, list[str]]],
) -> Iterator[str]:
    if sequences.coverage.startswith("0 of "):
        yield f"the annotation has none of {PROTOCOLS[request.protocol].title}'s sequences: {sequences.coverage}"
    for results in request.results:
        if len(results.found.repetitions) > 1:
            yield f"{results.name}: {results.layout}" + ("" if results.others else "; the others are not scored")
    for tracker, results in zip(trackers, request.results, strict=True):
        scores = tracker.protocols[request.protocol]
        if not scores.complete:
            yield f"{tracker.name}: incomplete, {len(scores.names)} of {len(sequences)} sequences are whole"
        yield from (f"{tracker.name}: {fault}" for fault in tracker.faults)
        for remark, names in remarks.get(tracker.name, {}).items():
            yield f"{tracker.name}: {remark}: {some(names, 3)}"
        if unknown := results.found.unknown:
            of = f"{len(unknown)} result files without annotation of {request.protocol}"
            yield f"{tracker.name}: {of}: {some(unknown, 3)}"
        if beside := results.found.beside:
            yield f"{tracker.name}: results in {some(beside, 3)} are not looked at; name such a folder to score them"


def _cache_file(request: ScoreRequest, results: ResultFiles) -> Path | None:
    if request.store is None:
        return None
    first = next((str(results.files.place(f[0])) for f in results.found.results.values() if f), "")
    made_from = (request.protocol, str(Path(first).absolute()), request.truncate, TALLY_REVISION, SCORING_REVISION)
    return request.store / "scores" / f"{request.protocol}-{sha256(repr(made_from).encode()).hexdigest()[:16]}.npz"
