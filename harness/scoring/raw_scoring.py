"""Anyone's raw results scored by anyone's rules: what `python -m harness score` does, without printing.

Sequences are read and tallied by all cores, each once for all trackers; tallies are kept (`harness.scoring.raw_cache`).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.errors import raise_all
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.errors import BadInput
from trackablate.harness.scoring.failure_modes import FailureCounts
from trackablate.harness.scoring.metrics import DIALECTS, METRICS, Dialect, Tally, treatments, values
from trackablate.harness.scoring.raw_cache import FAILURES, ScoredSequence, read_cache, write_cache
from trackablate.harness.scoring.raw_reading import Broken, Report, ScoreRequest, read_all
from trackablate.harness.scoring.result_files import Fault, ResultFiles
from trackablate.harness.scoring.threshold_counts import TALLY_REVISION

SCORING_REVISION = 2
"""Raised whenever the same files would be scored otherwise, besides TALLY_REVISION."""


@dataclass(frozen=True)
class SequenceInfo:
    """What a page says of a sequence."""

    name: str
    frames: int
    attributes: frozenset[str]


@dataclass(frozen=True)
class TrackerScores:
    """One tracker. layout: how its files were recognised; tallies, failures: by sequence, of those that are whole;
    faults: what is wrong with the others; unknown: result files of no sequence of the protocol.
    """

    name: str
    layout: str
    tallies: Mapping[str, Tally]
    failures: Mapping[str, FailureCounts]
    faults: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """All trackers on one protocol. dialects: as they apply to it, the main one first; problems: everything wrong or
    worth knowing, for people; command: how to get it again.
    """

    protocol: str
    title: str
    source: str
    coverage: str
    sequences: tuple[SequenceInfo, ...]
    attributes: tuple[str, ...]
    trackers: tuple[TrackerScores, ...]
    dialects: tuple[Dialect, ...]
    allow_incomplete: bool
    problems: tuple[str, ...]
    command: str
    truncated: bool = False

    def complete(self, tracker: TrackerScores) -> bool:
        """Whether every sequence of the protocol has a whole result."""
        return len(tracker.tallies) == len(self.sequences)

    def tallies(self, tracker: TrackerScores) -> list[Tally]:
        """Its tallies in the order of the sequences; those that are whole."""
        return [tracker.tallies[s.name] for s in self.sequences if s.name in tracker.tallies]

    def score(self, tracker: TrackerScores, metric: str, dialect: Dialect) -> float | None:
        """The metric in percent; None for an incomplete tracker, unless incomplete ones were allowed, and where nothing
        counts.
        """
        if not tracker.tallies or not (self.allow_incomplete or self.complete(tracker)):
            return None
        numerators, weights = values(self.tallies(tracker), metric, dialect)
        return float(METRICS[metric].scale * numerators.sum() / weights.sum()) if weights.sum() > 0 else None


def chosen_dialects(protocol: str, names: Collection[str]) -> tuple[str, ...]:
    """The dialects of a request: as named, all for "all", the protocol's default for none. Raises UnknownName."""
    default = PROTOCOLS[protocol].metrics[0][1]
    if "all" in names:
        return (default, *(name for name in DIALECTS if name != default))
    return tuple(dict.fromkeys(DIALECTS[name].name for name in names)) or (default,)


def score(request: ScoreRequest, sequences: SequenceList, report: Report = lambda done, total: None) -> Scored:
    """Score all trackers. Raises DataError for bad annotations; faulty results are in the answer, not raised."""
    protocol = PROTOCOLS[request.protocol]
    dialects = tuple(DIALECTS[name].on(protocol.name) for name in request.dialects)
    asked = frozenset(treatments(dialects)) | ({FAILURES} if request.with_failures else set())
    files = [_cache_file(request, results) for results in request.results]
    kept = [read_cache(file) if file else {} for file in files]
    where = request.annotations.resolve() if request.annotations else ""
    stamps = [f"{where}|{sequences.stamp(i)}|" for i in range(len(sequences))]
    todo: dict[int, list[int]] = {}
    before: dict[tuple[int, int], str] = {}
    for index, name in enumerate(sequences.names):
        for number, results in enumerate(request.results):
            old, stamp = kept[number].get(name), stamps[index] + results.stamp(name)
            if old is None or old.stamp != stamp or not old.made >= asked:
                todo.setdefault(index, []).append(number)
                before[index, number] = stamp
    faults: list[list[Fault]] = [[] for _ in request.results]
    changed = set()
    broken: list[str] = []
    for index, found in read_all(request, sequences, todo, asked, report):
        if isinstance(found, Broken):
            broken += found.problems
            continue
        for number, one in found:
            name = sequences.names[index]
            changed.add(number)
            if isinstance(one, ScoredSequence):
                # The stamp from before reading: a file that changed meanwhile is read again the next time.
                kept[number][name] = replace(one, stamp=before[index, number])
            else:
                kept[number].pop(name, None)
                faults[number].extend(one)
    raise_all(broken)
    for number in changed:
        if (file := files[number]) and kept[number]:
            write_cache(file, kept[number])
    trackers = tuple(
        _tracker(results, {n: kept[i][n] for n in sequences.names if n in kept[i]}, faults[i])
        for i, results in enumerate(request.results)
    )
    possible = _possible(dialects, trackers, request)
    lost = [dialect.name for dialect in dialects if dialect not in possible]
    return Scored(
        protocol=protocol.name,
        title=protocol.title,
        source=protocol.source,
        coverage=sequences.coverage,
        sequences=tuple(_info(sequences, i, kept) for i in range(len(sequences))),
        attributes=protocol.attributes,
        trackers=trackers,
        dialects=possible,
        allow_incomplete=request.allow_incomplete,
        problems=(
            *_problems(request, sequences, trackers),
            *(f"dialect {name}: left out, {NO_SIZES}" for name in lost),
        ),
        command=request.command,
        truncated=request.truncate,
    )


def flattery(scored: Scored, tracker: TrackerScores, dialect: Dialect, metric: str) -> float | None:
    """How many points a dialect gives beyond the strict reading of the same metric: every frame in the denominator, what
    cannot be measured a miss. None where either cannot be said, and where the dialect reads another quantity off another
    curve under the same name (only of the success curve all readings are the area).
    """
    strict = DIALECTS["strict"].on(scored.protocol)
    if metric not in strict.readings or (metric != "auc" and strict.readings[metric] != dialect.readings[metric]):
        return None
    ours, theirs = scored.score(tracker, metric, dialect), scored.score(tracker, metric, strict)
    return None if ours is None or theirs is None else ours - theirs


def _tracker(results: ResultFiles, found: Mapping[str, ScoredSequence], faults: list[Fault]) -> TrackerScores:
    return TrackerScores(
        name=results.name,
        layout=results.layout,
        tallies={name: one.tally for name, one in found.items()},
        failures={name: one.failures for name, one in found.items()},
        faults=tuple(fault.message for fault in faults),
        unknown=results.unknown(),
    )


def _info(sequences: SequenceList, index: int, kept: list[dict[str, ScoredSequence]]) -> SequenceInfo:
    """From what is kept where any tracker has it, since reading the annotation again takes its time."""
    name = sequences.names[index]
    for tracker in kept:
        if name in tracker:
            return SequenceInfo(name, tracker[name].frames, tracker[name].attributes)
    sequence = sequences[index]
    return SequenceInfo(name, len(sequence.boxes), sequence.attributes)


def _possible(
    dialects: tuple[Dialect, ...], trackers: tuple[TrackerScores, ...], request: ScoreRequest
) -> tuple[Dialect, ...]:
    """Those that every sequence can be scored by: clipping needs to know the image's size. Raises BadInput where one is
    lost that was asked for by name.
    """
    found = [t for tracker in trackers for t in tracker.tallies.values()]
    clips = all("clipped" in t.measured for t in found)
    left = tuple(d for d in dialects if d.boxes != "clipped" or clips)
    if len(left) < len(dialects) and not (left and request.every_dialect):
        lost = ", ".join(d.name for d in dialects if d not in left)
        raise BadInput(f"dialect {lost}: {NO_SIZES}; name the data set with its frames, or another --dialect")
    return left


NO_SIZES = "it clips boxes to the image, and the image sizes of some sequences are not known"


def _problems(request: ScoreRequest, sequences: SequenceList, trackers: tuple[TrackerScores, ...]) -> Iterator[str]:
    if sequences.coverage.startswith("0 of "):
        yield f"the annotation has none of {PROTOCOLS[request.protocol].title}'s sequences: {sequences.coverage}"
    for results in request.results:
        if len(results.found.repetitions) > 1:
            yield f"{results.name}: {results.layout}" + ("" if results.others else "; the others are not scored")
    for tracker in trackers:
        missing = len(sequences) - len(tracker.tallies)
        if missing:
            yield f"{tracker.name}: incomplete, {len(tracker.tallies)} of {len(sequences)} sequences are whole"
        yield from (f"{tracker.name}: {fault}" for fault in tracker.faults)
        if tracker.unknown:
            more = f" and {len(tracker.unknown) - 3} more" if len(tracker.unknown) > 3 else ""
            yield (
                f"{tracker.name}: {len(tracker.unknown)} result files without annotation of {request.protocol}:"
                f" {', '.join(tracker.unknown[:3])}{more}"
            )


def _cache_file(request: ScoreRequest, results: ResultFiles) -> Path | None:
    if request.store is None:
        return None
    first = next((str(results.files.place(f[0])) for f in results.found.results.values() if f), "")
    made_from = (request.protocol, str(Path(first).absolute()), request.truncate, TALLY_REVISION, SCORING_REVISION)
    return request.store / "scores" / f"{request.protocol}-{sha256(repr(made_from).encode()).hexdigest()[:16]}.npz"
