"""Reference scores. Of the project's own small benchmark, by every dialect. And every published figure: three trackers' raw
results on LaSOT by nine rule sets, and three generated trackers on LaSOT and TNL2K by five, from annotation and results that
lie beside this checkout."""

import csv
import re
from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

import make_mini_benchmark as generate
from places import SHARED
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.reading.numbers import parse_rows
from trackablate.datasets.reading.opening import open_files
from trackablate.harness.scoring.dialects import DIALECTS, Dialect
from trackablate.harness.scoring.metrics import Tally, tally, treatments, values
from trackablate.harness.scoring.result_files import open_results

SCORES = SHARED / "protocols" / "lasot_reference_scores.csv"
GENERATED = SHARED / "protocols" / "generated_reference_scores.txt"
TRACKERS = ("ATOM", "SiamRPN++", "Ocean-online")
TOLERANCE = 0.01
LONGER = {"monkey-17"}
"""Results may be longer than the ground truth, which was shortened."""

needs_shared = pytest.mark.skipif(
    not (SCORES.exists() and (SHARED / "real").exists()),
    reason=f"the reference scores and real results ({SHARED}) are not beside this checkout",
)

Boxes = NDArray[np.float64]
COLUMNS = {
    "auc": "auc",
    "precision_20px": "precision",
    "norm_precision_at_0.2": "norm_precision_at_20",
    "norm_precision_mean_0_0.5": "norm_precision_mean",
    "op50": "op50",
    "op75": "op75",
}
ON_LASOT = {
    **{
        n: DIALECTS[n].on("lasot")
        for n in ("lasot_matlab", "got10k_ope", "pytracking", "ostrack", "pysot", "lorat_plain")
    },
    "pytracking as lasot_ext": DIALECTS["pytracking"].on("lasot_ext"),
    "ostrack, results truncated to int": DIALECTS["ostrack"].on("lasot"),
    "ostrack, invalid frames excluded": DIALECTS["ostrack_exclude_invalid"].on("lasot"),
}
GENERATED_DIALECTS = {
    "got10k": "got10k_ope",
    "matlab": "lasot_matlab",
    "ostrack": "ostrack",
    "pysot": "pysot",
    "pytracking": "pytracking",
}
LINE = re.compile(
    r"(?P<data>\w+) (?P<kind>\w+) +(?P<toolkit>\w+)\b.*?"
    r"AUC (?P<auc>[\d.]+) P20 (?P<precision>[\d.]+) NP.2 (?P<norm_precision_at_20>[\d.]+)"
    r" NPauc (?P<norm_precision_mean>[\d.]+) OP50 (?P<op50>[\d.]+) (?P<sequences>\d+)"
)


@cache
def annotation(data: str) -> dict[str, tuple[Boxes, NDArray[np.bool_]]]:
    """Truth and visibility by sequence, in the data set's own numbers."""
    files = open_files(SHARED / "real" / data / "annotations_test.zip")
    found = {}
    for name in files.read("testing_set.txt").decode().split("\n"):
        if name.strip():
            truth = parse_rows(files.read(f"{name.strip()}/groundtruth.txt"), 4).values
            flags = parse_rows(files.read(f"{name.strip()}/absent.txt"), 1).values[: len(truth), 0]
            found[name.strip()] = truth, flags == 0
    return found


def tallies(data: str, predicted: Mapping[str, Boxes]) -> list[Tally]:
    return [tally(predicted[name], *known, treatments=("held",)) for name, known in annotation(data).items()]


def percent(found: list[Tally], metric: str, dialect: Dialect) -> float:
    numerators, weights = values(found, metric, dialect)
    return float(100 * numerators.sum() / weights.sum())


@cache
def results(tracker: str) -> dict[str, Boxes]:
    files = open_files(SHARED / "real" / "lasot" / f"results_{tracker}.zip")
    found = {}
    for name, (truth, _) in annotation("lasot").items():
        boxes = parse_rows(files.read(f"{name}.txt"), 4).values
        assert len(boxes) == len(truth) or (name in LONGER and len(boxes) > len(truth)), name
        found[name] = boxes[: len(truth)]
    return found


@needs_shared
@pytest.mark.parametrize("tracker", TRACKERS)
def test_real_results_on_lasot(tracker: str) -> None:
    with SCORES.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["tracker"] == tracker]
    assert {row["dialect"] for row in rows} == set(ON_LASOT)
    as_given = tallies("lasot", results(tracker))
    truncated = tallies("lasot", {name: np.trunc(boxes) for name, boxes in results(tracker).items()})
    assert len(as_given) == 280
    for row in rows:
        found = truncated if "truncated" in row["dialect"] else as_given
        ours = {column: percent(found, metric, ON_LASOT[row["dialect"]]) for column, metric in COLUMNS.items()}
        assert ours == pytest.approx({c: float(row[c]) for c in COLUMNS}, abs=TOLERANCE), row["dialect"]


def generated_rows() -> Iterator[tuple[str, str, Dialect, dict[str, float], int]]:
    for line in GENERATED.read_text(encoding="utf-8").splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        of = match.groupdict()
        dialect = DIALECTS[GENERATED_DIALECTS[of["toolkit"]]].on("lasot_ext" if "naming" in line else of["data"])
        scores = {m: float(of[m]) for m in ("auc", "precision", "norm_precision_at_20", "norm_precision_mean", "op50")}
        yield of["data"], of["kind"], dialect, scores, int(of["sequences"])


def generated(kind: str, truth: Boxes, visible: NDArray[np.bool_]) -> Boxes:
    """oracle: the true box, the last good one while there is none; lag10: the oracle ten frames late; static: the first."""
    if kind == "static":
        return np.repeat(truth[:1], len(truth), axis=0)
    good = visible & (truth[:, 2:] > 0).all(axis=1)
    oracle = truth[np.maximum.accumulate(np.where(good, np.arange(len(truth)), 0))]
    return oracle if kind == "oracle" else oracle[[*range(10), *range(len(truth) - 10)]][: len(truth)]


@needs_shared
@pytest.mark.parametrize("kind", ["oracle", "lag10", "static"])
@pytest.mark.parametrize(("data", "dialects"), [("lasot", 6), ("tnl2k", 5)])
def test_generated_trackers(data: str, dialects: int, kind: str) -> None:
    rows = [row[2:] for row in generated_rows() if row[:2] == (data, kind)]
    assert len(rows) == dialects
    found = tallies(data, {name: generated(kind, *known) for name, known in annotation(data).items()})
    for dialect, scores, sequences in rows:
        assert len(found) == sequences
        ours = {metric: percent(found, metric, dialect) for metric in scores}
        assert ours == pytest.approx(scores, abs=TOLERANCE), dialect.name


def test_the_small_benchmark_is_what_its_script_makes() -> None:
    made = dict(generate.files())
    there = [p for folder in ("annotations", "results") for p in (generate.HERE / folder).rglob("*.txt")]
    assert {p.relative_to(generate.HERE).as_posix() for p in there} | {"scores.csv"} == set(made)
    for name, text in made.items():
        assert (generate.HERE / name).read_bytes().decode() == text, (
            f"run python tests/support/make_mini_benchmark.py: {name}"
        )
    assert sum(len(text) for text in made.values()) < 150_000


@pytest.mark.parametrize("tracker", generate.TRACKERS)
def test_the_small_benchmark_scores_what_the_toolkits_give(tracker: str) -> None:
    """Through the reader of LaSOT and that of raw results, as a user's own files go."""
    protocol = PROTOCOLS[generate.PROTOCOL]
    sequences = protocol.open(generate.HERE / "annotations")
    assert sequences.coverage == "6 of 280 sequences"
    results = open_results(tracker, generate.HERE / "results" / tracker, sequences.names)
    dialects = {name: dialect.on(protocol.name) for name, dialect in DIALECTS.items()}
    found = []
    for sequence in sequences:
        raw = results.read(sequence.name, len(sequence))
        assert not raw.faults
        shift = np.array([protocol.origin, protocol.origin, 0, 0])
        rules = {"size": sequence.size, "treatments": treatments(dialects.values())}
        found.append(tally(raw.boxes - shift, sequence.boxes, sequence.visible, origin=protocol.origin, **rules))
    with (generate.HERE / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["tracker"] == tracker]
    wanted = {(row["dialect"], row["metric"]): 100 * float(row["score"]) for row in rows}
    ours = {(name, metric): percent(found, metric, d) for name, d in dialects.items() for metric in d.metrics}
    assert ours == pytest.approx(wanted, rel=0, abs=1e-7)


def test_the_small_benchmark_tells_dialects_apart() -> None:
    """Each pair of dialects that has a metric in common prints something else for some tracker."""
    with (generate.HERE / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    by_dialect = {
        name: {(r["tracker"], r["metric"]): r["score"] for r in rows if r["dialect"] == name} for name in DIALECTS
    }
    alike = {
        frozenset((a, b))
        for a, ours in by_dialect.items()
        for b, theirs in by_dialect.items()
        if a != b and {ours[key] == theirs[key] for key in ours.keys() & theirs.keys()} == {True}
    }
    assert alike == {frozenset(("ostrack", "lorat_compatible"))}, "whose first frames are all right"
