"""`score` from the command line to the numbers: the contract's document, what is refused, and what is kept."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from places import MINI
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.cli import app
from trackablate.harness.scoring import raw_reading as score_reading
from trackablate.harness.scoring import raw_scoring as scoring
from trackablate.harness.scoring.metrics import DIALECTS
from trackablate.harness.scoring.raw_reading import ScoreRequest, first_row_misread
from trackablate.harness.scoring.raw_scoring import score
from trackablate.harness.scoring.result_files import open_results
from trackablate.harness.scoring.scored import Scored
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Store
from trackablate.trackers.spec import FloorSpec
from video_factory import write

TRACKERS = ("oracle", "lag10", "static")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A copy of the shipped raw results, to be spoilt."""
    return Path(shutil.copytree(MINI / "results", tmp_path / "results"))


def run(tmp_path: Path, *words: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(
        app,
        [
            *("score", *words, "--protocol", "lasot", "--annotations", str(MINI / "annotations")),
            *("--store", str(tmp_path / "store")),
        ],
    )
    return found.exit_code, found.stdout, found.stderr


def entries(results: Path) -> list[str]:
    return [f"{name}={results / name}" for name in TRACKERS]


def scored(tmp_path: Path, dialects: tuple[str, ...] = ("ostrack",), cores: int = 1, **more: bool) -> Scored:
    sequences = PROTOCOLS["lasot"].open(MINI / "annotations")
    found = tuple(open_results(name, MINI / "results" / name, sequences.names) for name in TRACKERS)
    request = ScoreRequest(
        "lasot", MINI / "annotations", found, dialects, "", store=tmp_path / "kept", cores=cores, **more
    )
    return score(request, sequences)


def test_the_document(tmp_path: Path, results: Path) -> None:
    status, out, _ = run(tmp_path, *entries(results), "--dialect", "all", "--json")
    document = json.loads(out)
    assert status == 0
    assert set(document) >= {"protocol", "dialects", "sequences", "frames", "problems"}
    assert (document["protocol"], document["sequences"], document["problems"]) == ("lasot", 6, [])
    assert set(document["dialects"]) == set(DIALECTS)
    for name, dialect in DIALECTS.items():
        assert set(document["dialects"][name]) == set(TRACKERS)
        assert set(document["dialects"][name]["oracle"]) == set(dialect.metrics)
    strict = document["dialects"]["strict"]["oracle"]
    assert document["dialects"]["ostrack"]["oracle"]["norm_precision"] >= strict["norm_precision"]
    assert document["dialects"]["lorat_plain"]["oracle"]["auc"] > strict["auc"] + 1


def test_the_document_has_what_is_asked_for_besides(tmp_path: Path, results: Path) -> None:
    words = (*entries(results), "--attributes", "--compare", "oracle", "lag10", "--json")
    document = json.loads(run(tmp_path, *words)[1])
    assert {row["name"] for row in document["trackers"]} == set(TRACKERS)
    assert document["attributes"]
    assert next(found["metric"] for found in document["comparison"]) == "auc"
    assert document["dialects"]["ostrack"]["oracle"]["auc"] > document["dialects"]["ostrack"]["lag10"]["auc"]


def test_the_default_dialect_is_the_protocols(tmp_path: Path, results: Path) -> None:
    document = json.loads(run(tmp_path, *entries(results), "--json")[1])
    assert list(document["dialects"]) == ["ostrack"]


def spoilt(file: Path, line: int, text: str) -> str:
    lines = file.read_text().splitlines()
    lines[line - 1] = text
    file.write_text("\n".join(lines) + "\n")
    return f"{file}, line {line}: "


@pytest.mark.parametrize("text", ["1,2,x,4", "nan,nan,nan,nan", "1,2,-3,4", "1,2,3,4", "1,2,3", "", "1,2,3,inf"])
def test_a_faulty_line_is_named_and_its_tracker_has_no_score(tmp_path: Path, results: Path, text: str) -> None:
    place = spoilt(results / "lag10" / "airplane-1.txt", 3, text)
    status, out, said = run(tmp_path, *entries(results), "--json", "--out", str(tmp_path / "page"))
    document = json.loads(out)
    assert status == 2
    assert f"lag10: {place}" in said
    assert any(place in problem for problem in document["problems"])
    assert set(document["dialects"]["ostrack"]["lag10"].values()) == {None}
    assert document["dialects"]["ostrack"]["static"]["auc"] > 0, "the others are scored"
    assert "--allow-incomplete" in said
    assert not (tmp_path / "page").exists(), "nothing partial is left behind"


def test_incomplete_trackers_say_so_everywhere(tmp_path: Path, results: Path) -> None:
    (results / "lag10" / "airplane-1.txt").unlink()
    words = (*entries(results), "--allow-incomplete", "--out", str(tmp_path / "page"))
    status, out, _ = run(tmp_path, *words)
    assert status == 0
    note = "incomplete: 5 of 6 sequences"
    assert note in out
    for name in ("index.html", "table.tex", "table.md", "table.csv", "results.json"):
        assert note in (tmp_path / "page" / name).read_text(), name
    rows = (tmp_path / "page" / "table.csv").read_text().splitlines()
    assert "lag10" in next(row for row in reversed(rows) if any(t in row for t in TRACKERS)), "it ranks last"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("oracle",), "is not NAME=PATH"),
        (("a=nowhere",), "is not there"),
        ((f"a={MINI / 'results' / 'oracle'}", f"a={MINI / 'results' / 'static'}"), "named twice"),
        ((f"a={MINI / 'annotations'}",), "holds no result file"),
        ((f"a={MINI / 'results' / 'oracle'}", "--dialect", "pysott"), "did you mean pysot"),
        ((f"a={MINI / 'results' / 'oracle'}", "--compare", "a", "b"), "'b'"),
    ],
)
def test_what_cannot_be_scored(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    status, out, said = run(tmp_path, *words)
    assert (status, out) == (2, "")
    assert message in said


def test_a_hostile_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../airplane-1.txt", "1,2,3,4\n")
    status, _, said = run(tmp_path, f"evil={tmp_path / 'evil.zip'}")
    assert status == 2
    assert "leads out" in said
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "store") == ["evil.zip"]


def test_truncation_is_asked_for_and_said(tmp_path: Path, results: Path) -> None:
    file = results / "static" / "airplane-1.txt"
    file.write_text(file.read_text().replace(",", ".9,").replace("\n", ".9\n") if "." not in file.read_text() else "")
    whole = json.loads(run(tmp_path, *entries(results), "--json")[1])
    cut = json.loads(run(tmp_path, *entries(results), "--json", "--truncate")[1])
    original = json.loads(run(tmp_path, *entries(MINI / "results"), "--json")[1])
    assert whole["dialects"] != cut["dialects"] == original["dialects"]
    assert (whole["truncated"], cut["truncated"]) == (False, True)


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts how many results are read."""
    reads: list[int] = []

    def counting(*arguments: object) -> Iterator[object]:
        todo = arguments[2]
        assert isinstance(todo, dict)
        reads.append(sum(map(len, todo.values())))
        return score_reading.read_all(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "read_all", counting)
    return reads


def test_tallies_are_kept(tmp_path: Path, no_reading: list[int]) -> None:
    first = scored(tmp_path)
    again = scored(tmp_path)
    other = scored(tmp_path, ("pytracking", "lasot_matlab"))
    assert no_reading == [18, 0, 0], "another dialect is a re-read of what is kept"
    assert again.protocol.sequences == first.protocol.sequences
    for tracker, same in zip(first.trackers, again.trackers, strict=True):
        for metric in DIALECTS["ostrack"].metrics:
            rules = first.protocol.rules[0]
            assert tracker.percent(first.protocol, metric, rules) == same.percent(again.protocol, metric, rules)
    assert other.trackers[0].percent(other.protocol, "auc", other.protocol.rules[1]) is not None
    scored(tmp_path, ("trackingnet",))
    scored(tmp_path, with_failures=True)
    assert no_reading[3:] == [18, 18], "rounding, and failures, need the boxes"
    scored(tmp_path)
    assert no_reading[-1] == 0


def test_a_changed_result_is_read_again(tmp_path: Path, results: Path, no_reading: list[int]) -> None:
    before = json.loads(run(tmp_path, *entries(results), "--json")[1])
    spoilt(results / "static" / "tiger-6.txt", 2, "1,1,1,1")
    after = json.loads(run(tmp_path, *entries(results), "--json")[1])
    assert no_reading == [18, 1]
    assert before["dialects"]["ostrack"]["static"] != after["dialects"]["ostrack"]["static"]
    assert before["dialects"]["ostrack"]["oracle"] == after["dialects"]["ostrack"]["oracle"]
    for kept in (tmp_path / "store" / "scores").iterdir():
        kept.write_bytes(b"damaged")
    assert json.loads(run(tmp_path, *entries(results), "--json")[1]) == after


def test_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = scored(tmp_path / "a", with_failures=True)
    monkeypatch.setattr(score_reading, "WORTH_A_POOL", 1)
    together = scored(tmp_path / "b", cores=2, with_failures=True)
    for one, other in zip(alone.trackers, together.trackers, strict=True):
        scores, same = one.protocols["lasot"], other.protocols["lasot"]
        assert scores.failures == same.failures
        assert list(scores.tallies) == list(same.tallies)
        for metric in DIALECTS["ostrack"].metrics:
            rules = alone.protocol.rules[0]
            assert one.percent(alone.protocol, metric, rules) == other.percent(together.protocol, metric, rules)


def test_boxes_on_a_server_are_submitted(tmp_path: Path) -> None:
    made = tmp_path / "trackingnet"
    words = [
        "data",
        "make",
        "synthetic",
        "--layout",
        "trackingnet",
        "--out",
        str(made),
        "--count",
        "1",
        "--length",
        "3",
    ]
    assert CliRunner().invoke(app, words).exit_code == 0
    words = [
        "score",
        "a=x",
        "--protocol",
        "trackingnet",
        "--annotations",
        str(made),
        "--store",
        str(tmp_path / "store"),
    ]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 2
    assert "submit" in found.stderr


def test_data_that_were_made_are_found_in_order(tmp_path: Path) -> None:
    made = tmp_path / "lasot.zip"
    words = ["data", "make", "synthetic", "--layout", "lasot", "--out", str(made), "--count", "1", "--length", "3"]
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["videos"] == 2
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    found = json.loads(CliRunner().invoke(app, ["data", "check", f"lasot={made}", "--deep", "--json"]).stdout)
    assert found["protocols"]["lasot"] == "1 of 280 sequences"
    assert any("279 sequences are not here" in problem for problem in found["problems"])


def test_a_run_on_a_servers_videos_has_no_score_and_says_where_it_comes_from(tmp_path: Path) -> None:
    made, store = tmp_path / "got10k", tmp_path / "store"
    words = ["data", "make", "synthetic", "--layout", "got10k", "--out", str(made), "--count", "1", "--length", "3"]
    assert CliRunner().invoke(app, words).exit_code == 0
    Store(store).run(RunSpec(tracker=FloorSpec(kind="static"))).claim()
    words = ["evaluate", "static", "--protocol", "got10k", "--data", f"got10k={made}", "--store", str(store), "--json"]
    found = CliRunner().invoke(app, words)
    document = json.loads(found.stdout)
    assert (document["metrics"], document["sequences"]) == ({}, "1 of 180 sequences")
    assert "python -m harness submit RUN --protocol got10k" in document["note"]
    refused = CliRunner().invoke(app, ["submit", "static", "--protocol", "got10k", "--store", str(store)])
    assert refused.exit_code == 2
    assert "180" in refused.stderr


def test_a_result_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stamp is that from before reading, or the old figures would be believed for good."""
    file, reading = results / "static" / "airplane-1.txt", score_reading._Reader.__call__
    changed = file.read_text().splitlines(keepends=True)
    changed[1:] = changed[:1] * (len(changed) - 1)

    def overtaken(self: score_reading._Reader, job: tuple[int, list[int]]) -> object:
        found = reading(self, job)
        file.write_text("".join(changed).replace("1", "2"))
        return found

    monkeypatch.setattr(score_reading._Reader, "__call__", overtaken)
    first = json.loads(run(tmp_path, *entries(results), "--json")[1])
    monkeypatch.setattr(score_reading._Reader, "__call__", reading)
    second = json.loads(run(tmp_path, *entries(results), "--json")[1])
    fresh = json.loads(run(tmp_path / "elsewhere", *entries(results), "--json")[1])
    assert first != second == fresh


def test_two_copies_of_the_annotation_do_not_share_tallies(tmp_path: Path, no_reading: list[int]) -> None:
    other = Path(shutil.copytree(MINI / "annotations", tmp_path / "other"))
    sequences = PROTOCOLS["lasot"].open(other)
    found = (open_results("oracle", MINI / "results" / "oracle", sequences.names),)
    for annotations in (MINI / "annotations", other):
        score(ScoreRequest("lasot", annotations, found, ("ostrack",), "", store=tmp_path / "kept"), sequences)
    assert no_reading == [6, 6]


def test_every_broken_annotation_is_named(tmp_path: Path) -> None:
    broken = Path(shutil.copytree(MINI / "annotations", tmp_path / "annotations"))
    names = sorted(p.name for p in broken.iterdir() if p.is_dir())[:2]
    for name in names:
        spoilt(broken / name / "groundtruth.txt", 4, "1,2,x,4")
    words = ["score", f"a={MINI / 'results' / 'oracle'}", "--protocol", "lasot", "--annotations", str(broken)]
    found = CliRunner().invoke(app, [*words, "--store", str(tmp_path / "store")])
    assert found.exit_code == 2
    assert all(f"{broken / name / 'groundtruth.txt'}, line 4: " in found.stderr for name in names)


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_output_that_cannot_be_made_is_refused_at_once(tmp_path: Path, no_reading: list[int], out: str) -> None:
    (tmp_path / "file").write_text("")
    status, _, said = run(tmp_path, *entries(MINI / "results"), "--out", str(tmp_path / out))
    assert status == 2
    assert "no folder that can be written" in said
    assert no_reading == []


def test_frames_say_the_size_that_clipping_needs(tmp_path: Path) -> None:
    """GOT-10k's rules on videos whose list says no size."""
    made = tmp_path / "otb"
    words = ["data", "make", "synthetic", "--layout", "otb", "--out", str(made), "--count", "1"]
    assert CliRunner().invoke(app, words).exit_code == 0
    sequences = PROTOCOLS["otb"].open(made)
    (tmp_path / "results").mkdir()
    for sequence in sequences:
        rows = "\n".join(",".join(f"{v:.0f}" for v in box) for box in sequence.boxes + np.array([1, 1, 0, 0]))
        (tmp_path / "results" / f"{sequence.name}.txt").write_text(rows)
    words = [
        "score",
        f"a={tmp_path / 'results'}",
        "--protocol",
        "otb",
        "--annotations",
        str(made),
        "--dialect",
        "got10k",
    ]
    found = CliRunner().invoke(app, [*words, "--store", str(tmp_path / "store"), "--json"])
    assert json.loads(found.stdout)["dialects"]["got10k"]["a"]["ao"] > 95


def test_a_dialect_that_was_named_is_never_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_reading._Reader, "_size", lambda self, sequence: None)
    words = ("--dialect", "ostrack", "--dialect", "got10k")
    status, _, said = run(tmp_path, *entries(MINI / "results"), *words)
    assert status == 2
    assert "dialect got10k: it clips boxes" in said
    status, out, said = run(tmp_path, *entries(MINI / "results"), "--dialect", "all", "--json")
    assert status == 0
    assert "got10k" not in json.loads(out)["dialects"]
    assert "dialect got10k: left out" in said


def test_repetitions_are_averaged_as_got10k_does(tmp_path: Path) -> None:
    """AO is the mean IoU over the frames of all sequences and repetitions (experiments/got10k.py); or one is chosen."""
    made = tmp_path / "got10k"
    words = ["data", "make", "synthetic", "--layout", "got10k", "--out", str(made), "--count", "2", "--length", "6"]
    assert CliRunner().invoke(app, words).exit_code == 0
    for sequence in PROTOCOLS["got10k-val"].open(made):
        folder = tmp_path / "results" / sequence.name
        folder.mkdir(parents=True)
        for number, shift in ((1, 0), (2, 5), (3, 9)):
            rows = sequence.boxes + np.array([shift, 0, 0, 0])
            np.savetxt(folder / f"{sequence.name}_{number:03d}.txt", rows, "%.4f", ",")

    def document(*more: str) -> dict[str, object]:
        words = ["score", f"a={tmp_path / 'results'}", "--protocol", "got10k-val", "--annotations", str(made), *more]
        found = CliRunner().invoke(app, [*words, "--store", str(tmp_path / "store"), "--json"])
        assert found.exit_code == 0, found.stderr
        return dict(json.loads(found.stdout))

    single = [document("--repetition", str(n)) for n in (1, 2, 3)]
    values = [d["dialects"]["got10k"]["a"]["ao"] for d in single]  # type: ignore[index]
    every = document()
    assert values[0] > 99.9 > values[1] > values[2]
    assert every["dialects"]["got10k"]["a"]["ao"] == pytest.approx(np.mean(values))  # type: ignore[index]
    assert every["frames"] == single[0]["frames"] == 12
    (tracker,) = document("--attributes")["trackers"]  # type: ignore[misc]
    assert tracker["repetitions"] == 3
    assert tracker["metrics"]["ao"]["mean"] == pytest.approx(np.mean(values))
    assert "scores are means over all of them" in str(every["problems"])
    assert "not scored" in str(single[0]["problems"])
    assert "--repetition 2" in str(document("--repetition", "2", "--attributes"))
    assert "--repetition" not in str(document("--attributes"))
    assert document() == every, "also from what is kept"


def test_a_dialect_shows_all_its_rules() -> None:
    found = json.loads(CliRunner().invoke(app, ["show", "ostrack", "--json"]).stdout)
    assert set(found) == {f.name for f in fields(DIALECTS["ostrack"])} - {"name"} | {"dialect"}
    assert found["readings"]["precision"] == "at 20 of precision"
    assert found["invalid"] == {"success": "miss", "precision": "miss", "norm_precision": "hit"}
    assert found["by_protocol"]["uav123"]["invalid"]["precision"] == "hit"
    assert "by_protocol: the same on every data set" in CliRunner().invoke(app, ["show", "strict"]).stdout


def test_an_incomplete_repetition_is_no_seed(tmp_path: Path) -> None:
    """Raw results have repetitions, numbered from 1; only stored runs have seeds."""
    (oracle, *_) = scored(tmp_path).trackers
    found = oracle.protocols["lasot"]
    second = dict(found.tallies)
    second.popitem()
    assert (
        "repetition 1: 6 of 6 sequences; repetition 2: 5 of 6"
        in replace(found, seeds=(found.tallies, second)).incompleteness
    )


OTHER_MEANINGS = {
    "x1,y1,x2,y2": ("10,10,30,40", "as x1,y1,x2,y2; write x,y,w,h in pixels: airplane-1: 10,10,30,40 for 10,10,20,30"),
    "centre": ("20,25,20,30", "as cx,cy,w,h, from its centre; write x,y,w,h in pixels"),
    "sides swapped": ("10,10,30,20", "as x,y,h,w; write"),
    "shares of 640 x 360": ("0.015625,0.0277778,0.03125,0.0833333", "as x,y,w,h in shares of the image; write"),
}


def _video(tmp_path: Path, row: str, rows: int = 6, protocol: str = "lasot") -> tuple[list[str], int]:
    """Score one result of equal rows on six frames with the box 10,10,20,30; return the problems and the exit status."""
    name = {"lasot": "airplane-1", "lasot_ext": "paddle-1"}.get(protocol, "Tiger1")
    content = {f"annos/{name}.txt": "10,10,20,30\n" * 6, f"annos/absent/{name}.txt": "0\n" * 6}
    if protocol == "otb":
        content = {f"{name}/groundtruth_rect.txt": "10,10,20,30\n" * 354}
    write(tmp_path, {f"truth/{file}": text for file, text in content.items()})
    write(tmp_path, {f"results/{name}.txt": f"{row}\n" * rows})
    words = ["score", f"T={tmp_path / 'results'}", "--protocol", protocol, "--annotations", str(tmp_path / "truth")]
    for _ in range(2):  # the second time from what is kept
        done = CliRunner().invoke(app, [*words, "--store", str(tmp_path / "store"), "--json"])
    return json.loads(done.stdout)["problems"] if done.stdout else [done.stderr], done.exit_code


@pytest.mark.parametrize(("row", "said"), OTHER_MEANINGS.values(), ids=OTHER_MEANINGS)
def test_a_first_row_that_fits_by_another_meaning_is_remarked(tmp_path: Path, row: str, said: str) -> None:
    problems, status = _video(tmp_path, row)
    assert status == 0
    assert [said in problem for problem in problems] == [True]
    assert problems[0].startswith("T: row 1 is not the given box, but it is as ")


@pytest.mark.parametrize("row", ["10,10,20,30", "9,9,20,30", "10.9,10.9,19.5,29.5", "50,60,20,30"])
def test_a_first_row_that_fits_or_fits_by_no_meaning_is_not_remarked(tmp_path: Path, row: str) -> None:
    assert _video(tmp_path, row) == ([], 0)


def test_shares_of_a_known_image_are_multiplied_out() -> None:
    row, given = np.array([0.1, 0.1, 0.2, 0.3]), np.array([10.0, 20.0, 20.0, 60.0])
    assert "as x,y,w,h in shares of the image; write" in first_row_misread(row, given, (100, 200))
    assert "as x1,y1,x2,y2 in shares of the image; write" in first_row_misread(
        row, np.array([10.0, 20.0, 10.0, 40.0]), (100, 200)
    )
    assert first_row_misread(row, given, (300, 200)) == ""
    assert "as shares of the image; write" in first_row_misread(row, given, None)


def test_rows_that_no_evaluated_frame_has_are_ignored_and_that_is_said(tmp_path: Path) -> None:
    """LaSOT_ext's toolkit annotates fewer frames of paddle-1 than its videos have."""
    problems, status = _video(tmp_path, "10,10,20,30", rows=8, protocol="lasot_ext")
    assert status == 0
    assert problems == [
        "T: rows that no evaluated frame has are ignored (LaSOT evaluation toolkit issue 18: calc_seq_err_robust.m:9-11"
        " evaluates the rows that have annotation): paddle-1, 2 after row 6"
    ]


def test_results_from_the_first_image_on_are_scored_from_the_first_evaluated_frame(tmp_path: Path) -> None:
    problems, status = _video(tmp_path, "10,10,20,30", rows=354, protocol="otb")
    assert (status, [problem.partition("): ")[2] for problem in problems]) == (0, ["Tiger1, 5 before frame 6"])
    problems, status = _video(tmp_path / "usual", "10,10,20,30", rows=349, protocol="otb")
    assert (status, problems) == (0, [])
    problems, status = _video(tmp_path / "longer", "10,10,20,30", rows=353, protocol="otb")
    assert status != 0 and any("line 350: the file goes on to line 353" in problem for problem in problems)
