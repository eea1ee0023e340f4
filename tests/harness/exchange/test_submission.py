"""Archives for GOT-10k's and TrackingNet's servers: what is built is good, and everything bad is refused by name. And a
stored run's boxes on their way out."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from command_line import said
from stored_files import rewrite
from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import UnknownName
from trackablate.datasets.roots import open_protocol
from trackablate.harness.cli import app
from trackablate.harness.cli.results import Wanted, export_run, submit_run
from trackablate.harness.documents import write_document
from trackablate.harness.errors import BadInput
from trackablate.harness.exchange.submission import ExpectedRows, build_submission, check_submission
from trackablate.harness.exchange.writing import Tracked
from trackablate.harness.record import ProtocolRecord, SequenceRecord, SequenceResult
from trackablate.harness.scoring.layouts import LAYOUTS
from trackablate.harness.scoring.result_files import open_results
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import Store
from trackablate.trackers.spec import FloorSpec

FRAMES = 3
NAMES = {
    "got10k": [f"GOT-10k_Test_{k:06d}" for k in range(1, 181)],
    "trackingnet": [f"{'-' if k % 7 == 0 else ''}video{k}_0" for k in range(511)],
}
PROTOCOLS = pytest.mark.parametrize("protocol", NAMES)


def results(protocol: str) -> list[Tracked]:
    rng = np.random.default_rng(0)
    boxes = rng.uniform(1, 200, (len(NAMES[protocol]), FRAMES, 4))
    return [(name, boxes[i], 0.5 + i) for i, name in enumerate(NAMES[protocol])]


def asked(protocol: str, origin: int = 0) -> dict[str, ExpectedRows]:
    firsts = ((name, np.add(np.asarray(boxes)[0], [origin, origin, 0, 0])) for name, boxes, _ in results(protocol))
    return {name: ExpectedRows(FRAMES, (float(x), float(y), float(w), float(h))) for name, (x, y, w, h) in firsts}


def entries(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {info.filename: opened.read(info) for info in opened.infolist()}


def rewritten(archive: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The archive with something done to its entries."""
    content = entries(archive)
    change(content)
    place = archive.parent / "changed.zip"
    with zipfile.ZipFile(place, "w") as opened:
        for name, data in content.items():
            opened.writestr(name, data)
    return place


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("good")
    return {p: build_submission(p, results(p), folder / f"{p}.zip", asked(p), origin=0) for p in NAMES}


@PROTOCOLS
@pytest.mark.parametrize("origin", [0, 1])
def test_what_is_built_is_what_the_server_asks_for(tmp_path: Path, protocol: str, origin: int) -> None:
    archive = build_submission(
        protocol, results(protocol), tmp_path / "out.zip", asked(protocol, origin), origin=origin
    )
    assert check_submission(archive, protocol, asked(protocol, origin)) == []
    found = entries(archive)
    decimals = {"got10k": 4, "trackingnet": 2}[protocol]
    for name, boxes, seconds in results(protocol):
        file = f"{name}/{name}_001.txt" if protocol == "got10k" else f"{name}.txt"
        rows = np.add(boxes, [origin, origin, 0, 0])
        assert found.pop(file).decode() == "".join(",".join(f"{v:.{decimals}f}" for v in row) + "\n" for row in rows)
        if protocol == "got10k":
            assert (
                found.pop(f"{name}/{name}_time.txt").decode() == f"{float(np.asarray(seconds)) / FRAMES:.8f}\n" * FRAMES
            )
    assert found == {}


@PROTOCOLS
def test_equal_boxes_make_equal_bytes(tmp_path: Path, good: dict[str, Path], protocol: str) -> None:
    again = build_submission(
        protocol, list(reversed(results(protocol))), tmp_path / "again.zip", asked(protocol), origin=0
    )
    assert again.read_bytes() == good[protocol].read_bytes()
    with zipfile.ZipFile(again) as archive:  # the present time would make other bytes tomorrow
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def below_the_trackers_name(found: dict[str, bytes]) -> None:
    for name in list(found):
        found[f"tracker/{name}"] = found.pop(name)


def truncated(found: dict[str, bytes]) -> None:
    """As OSTrack's script writes boxes."""
    for name, content in found.items():
        if not name.endswith("_time.txt"):
            rows = [[str(int(float(v))) for v in line.split(b",")] for line in content.splitlines()]
            found[name] = "\n".join(map(",".join, rows)).encode()


def with_finders_files(found: dict[str, bytes]) -> None:
    found["__MACOSX/._x.txt"] = b"\0"


@PROTOCOLS
@pytest.mark.parametrize("change", [below_the_trackers_name, truncated, with_finders_files])
def test_what_the_servers_take_passes(
    good: dict[str, Path], protocol: str, change: Callable[[dict[str, bytes]], None]
) -> None:
    assert check_submission(rewritten(good[protocol], change), protocol, asked(protocol)) == []


def test_trackingnets_server_takes_a_folder_for_each_sequence(good: dict[str, Path]) -> None:
    def nest(found: dict[str, bytes]) -> None:
        for name in list(found):
            found[f"LoRAT/{name[:-4]}/{name}"] = found.pop(name)

    assert check_submission(rewritten(good["trackingnet"], nest), "trackingnet", asked("trackingnet")) == []


@dataclass(frozen=True)
class Bad:
    """A change to one file's lines, and the problem that it is."""

    change: Callable[[list[bytes]], object]
    told: str


def replace_line(line: int, by: bytes) -> Callable[[list[bytes]], object]:
    return lambda lines: lines.__setitem__(line, by)


BAD = {
    "short": Bad(lambda lines: lines.pop(), "line 2: the file ends here, 3 lines are wanted"),
    "long": Bad(lambda lines: lines.append(b"1,2,3,4"), "line 4: the file goes on to line 4"),
    "empty": Bad(lambda lines: lines.clear(), "is empty"),
    "NaN": Bad(replace_line(1, b"nan,nan,nan,nan"), "line 2: the box is NaN"),
    "words": Bad(replace_line(1, b"lost"), "line 2: "),
    "negative": Bad(replace_line(2, b"1,2,-3,4"), "line 3: the box has a negative side"),
    "another first box": Bad(replace_line(0, b"500,500,9,9"), "line 1: is not the given box; write "),
    "blanks": Bad(lambda lines: lines.__setitem__(slice(None), [x.replace(b",", b", ") for x in lines]), "commas"),
    "blank at a line's end": Bad(
        lambda lines: lines.__setitem__(1, lines[1] + b" "), "line 2: the server takes commas"
    ),
    "tabs": Bad(lambda lines: lines.__setitem__(slice(None), [x.replace(b",", b"\t") for x in lines]), "commas"),
}


@PROTOCOLS
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_one_bad_file_is_named(good: dict[str, Path], protocol: str, bad: Bad) -> None:
    name = NAMES[protocol][4]
    file = f"{name}/{name}_001.txt" if protocol == "got10k" else f"{name}.txt"

    def change(found: dict[str, bytes]) -> None:
        lines = found[file].splitlines()
        bad.change(lines)
        found[file] = b"\n".join(lines)

    archive = rewritten(good[protocol], change)
    (problem,) = check_submission(archive, protocol, asked(protocol))
    assert problem.startswith(f"{archive / file}") and bad.told in problem


@PROTOCOLS
def test_missing_and_unknown_files_are_all_named(good: dict[str, Path], protocol: str) -> None:
    gone = NAMES[protocol][:12]

    def change(found: dict[str, bytes]) -> None:
        for name in list(found):
            if name.split("/")[0].removesuffix(".txt") in gone:
                del found[name]
        found["zebra.txt"] = b"1,2,3,4\n"

    problems = check_submission(rewritten(good[protocol], change), protocol, asked(protocol))
    assert len(problems) == 13 and "zebra.txt" in problems[0]
    assert all(name in problem for name, problem in zip(gone, problems[1:], strict=True))


TIMES = {
    "none": (None, "holds no times"),
    "short": (b"0.1\n", "has 1 times for 3 boxes"),
    "words": (b"0.1\nfast\n0.1\n", "line 2"),
    "negative": (b"0.1\n0.1\n-1\n", "line 3: a time is negative"),
    "NaN": (b"0.1\nnan\n0.1\n", "line 2: the time is NaN"),
}


@pytest.mark.parametrize(("times", "told"), TIMES.values(), ids=TIMES)
def test_got10ks_server_wants_times(good: dict[str, Path], times: bytes | None, told: str) -> None:
    name = NAMES["got10k"][7]

    def change(found: dict[str, bytes]) -> None:
        del found[f"{name}/{name}_time.txt"]
        if times is not None:
            found[f"{name}/{name}_time.txt"] = times

    (problem,) = check_submission(rewritten(good["got10k"], change), "got10k", asked("got10k"))
    assert told in problem and name in problem


def test_every_repetition_is_checked(good: dict[str, Path]) -> None:
    def change(found: dict[str, bytes]) -> None:
        for name in NAMES["got10k"]:
            found[f"{name}/{name}_002.txt"] = found[f"{name}/{name}_001.txt"]
            times = found[f"{name}/{name}_time.txt"].splitlines()
            found[f"{name}/{name}_time.txt"] = b"\n".join(t + b"," + t for t in times)

    assert check_submission(rewritten(good["got10k"], change), "got10k", asked("got10k")) == []
    name = NAMES["got10k"][9]

    def spoil(found: dict[str, bytes]) -> None:
        change(found)
        found[f"{name}/{name}_002.txt"] = b"1,2,3,4\n"

    (problem,) = check_submission(rewritten(good["got10k"], spoil), "got10k", asked("got10k"))
    assert f"{name}_002.txt" in problem and "3 lines are wanted" in problem


def test_files_of_another_layout_are_refused(good: dict[str, Path]) -> None:
    def flat(found: dict[str, bytes]) -> None:
        for name in list(found):
            found[name.split("/")[1].replace("_001", "")] = found.pop(name)

    problems = check_submission(rewritten(good["got10k"], flat), "got10k", asked("got10k"))
    assert len(problems) == 180 and all("is not where the server looks; call it " in p for p in problems)


def test_got10ks_server_takes_one_folder_above_its_own_and_no_more(good: dict[str, Path]) -> None:
    def below_two(found: dict[str, bytes]) -> None:
        for name in list(found):
            found[f"results/tracker/{name}"] = found.pop(name)

    problems = check_submission(rewritten(good["got10k"], below_two), "got10k", asked("got10k"))
    assert len(problems) == 180 and all("is not where the server looks" in p for p in problems)


@PROTOCOLS
def test_a_part_of_the_test_set_is_refused(tmp_path: Path, protocol: str) -> None:
    part = results(protocol)[:5]
    some = {name: wanted for name, wanted in asked(protocol).items() if name in {p[0] for p in part}}
    with pytest.raises(DataError, match=f"{len(NAMES[protocol])} sequences make up the test set"):
        build_submission(protocol, part, tmp_path / "out.zip", some, origin=0)
    with pytest.raises(DataError) as raised:
        build_submission(protocol, part, tmp_path / "out.zip", asked(protocol), origin=0)
    assert len(raised.value.problems) == len(NAMES[protocol]) - 5
    assert list(tmp_path.iterdir()) == []


def test_a_bad_result_leaves_no_archive_and_names_the_one_that_would_be(tmp_path: Path) -> None:
    spoilt = [
        (name, np.asarray(boxes)[: 2 if i == 3 else 3], s) for i, (name, boxes, s) in enumerate(results("got10k"))
    ]
    out = tmp_path / "deep" / "out.zip"
    with pytest.raises(DataError, match="3 lines are wanted") as raised:
        build_submission("got10k", spoilt, out, asked("got10k"), origin=0)
    name = NAMES["got10k"][3]
    assert str(raised.value).startswith(f"{out}/{name}/{name}_001.txt, line 2: ")
    assert not out.parent.exists(), "nothing is left behind"


def test_nothing_is_written_over(tmp_path: Path) -> None:
    out = tmp_path / "thesis.zip"
    out.write_bytes(b"mine")
    with pytest.raises(BadInput, match="exists already"):
        build_submission("got10k", results("got10k"), out, asked("got10k"), origin=0)
    assert out.read_bytes() == b"mine"


def test_two_results_of_one_sequence_are_refused(tmp_path: Path) -> None:
    twice = [*results("trackingnet"), results("trackingnet")[0]]
    with pytest.raises(DataError, match="two results"):
        build_submission("trackingnet", twice, tmp_path / "out.zip", asked("trackingnet"), origin=0)


def test_what_is_no_archive_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK")
    (tmp_path / "folder").mkdir()
    for name, told in (
        ("x.zip", "not a readable zip archive"),
        ("folder", "takes a zip archive"),
        ("nowhere.zip", "neither"),
    ):
        (problem,) = check_submission(tmp_path / name, "got10k", asked("got10k"))
        assert told in problem


def test_the_got10k_packages_reader_reads_it(tmp_path: Path, good: dict[str, Path]) -> None:
    """Its experiment's own way of reading results: np.loadtxt of each repetition and of the times, shapes compared. It
    scores its validation set, so the archive's sequences are given an annotation here: its own first boxes, held."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from got10k.experiments import ExperimentGOT10k
    except ImportError as error:
        pytest.skip(f"the got10k package cannot be imported ({error}): pip install got10k six")
    experiment = ExperimentGOT10k.__new__(ExperimentGOT10k)
    experiment.subset, experiment.nbins_iou = "val", 101
    experiment.result_dir, experiment.report_dir = str(tmp_path / "results"), str(tmp_path / "reports")
    experiment.dataset = Annotated({name: np.asarray(boxes) for name, boxes, _ in results("got10k")})
    with zipfile.ZipFile(good["got10k"]) as archive:
        archive.extractall(tmp_path / "results" / "mine")
    performance = experiment.report(["mine"])["mine"]
    assert performance["overall"]["ao"] == pytest.approx(1, abs=1e-5)
    assert performance["overall"]["sr"] == 1
    for name, _, seconds in results("got10k"):
        assert performance["seq_wise"][name]["speed_fps"] == pytest.approx(
            FRAMES / float(np.asarray(seconds)), rel=1e-6
        )


class Annotated:
    """What the package's experiment wants of a data set: names, and by index or name files, boxes and what is visible."""

    def __init__(self, boxes: dict[str, NDArray[np.float64]]) -> None:
        self.boxes, self.seq_names, self.return_meta = boxes, list(boxes), True

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, key: int | str) -> tuple[list[str], NDArray[np.float64], dict[str, object]]:
        if isinstance(key, int) and key >= len(self):
            raise IndexError(key)
        name = self.seq_names[key] if isinstance(key, int) else key
        meta: dict[str, object] = {"cover": np.full(FRAMES, 8), "resolution": "(1000, 1000)"}
        return [], self.boxes[name].copy(), meta


# From a store


def stored(
    root: Path, protocol: str, names: list[str], *, origin: int = 0, digest: str = "d" * 64, known: int | None = None
) -> str:
    """A floor's run that was evaluated on the names given, of the first `known` of the data; its name."""
    store, run = Store(root), RunSpec(tracker=FloorSpec(kind="ncc"))
    folder = store.run(run)
    folder.claim()
    evaluation = Evaluation(protocol=protocol, data=digest)
    facts = []
    for name, boxes, seconds in results(protocol if protocol in NAMES else "got10k")[:known]:
        rows = [(float(x), float(y), float(w), float(h)) for x, y, w, h in np.asarray(boxes)]
        facts.append(
            SequenceRecord(
                name=name,
                frames=len(rows),
                boxes=rows[:1],
                visible=[True],
                size=(9, 9),
                attributes=[],
                strip=[],
                scale=1,
            )
        )
        if name in names:
            result = SequenceResult(name=name, boxes=rows, seconds=float(np.asarray(seconds)))
            folder.add_result(evaluation, result)
    record = ProtocolRecord(
        name=protocol,
        digest=digest,
        title="",
        description="",
        source="",
        metrics=(),
        origin=origin,
        one_shot=False,
        sequences=facts,
    )
    place = store.protocol(evaluation)
    place.mkdir(parents=True)
    write_document(place / "protocol.json", record)
    return run.name


@PROTOCOLS
@pytest.mark.parametrize("origin", [0, 1])
def test_a_stored_run_is_submitted(tmp_path: Path, protocol: str, origin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = stored(tmp_path / "store", protocol, NAMES[protocol], origin=origin)
    document = said("submit", "ncc", "--protocol", protocol, "--store", tmp_path / "store")
    assert document["what the server says is kept by"].endswith(f"--protocol {protocol} --store {tmp_path / 'store'}")
    assert document["archive"] == f"submission/{protocol}-{name}.zip" and document["sequences"] == len(NAMES[protocol])
    assert ("mean" in document.get("note", "")) == (protocol == "got10k")
    assert check_submission(tmp_path / document["archive"], protocol, asked(protocol, origin)) == []


def test_a_run_that_was_not_evaluated_names_the_command(tmp_path: Path) -> None:
    name = stored(tmp_path / "store", "got10k", NAMES["got10k"][1:])
    with pytest.raises(BadInput, match=f"only partly evaluated on got10k.*evaluate {name} --protocol got10k"):
        submit_run(Wanted(name, "got10k", tmp_path / "store"), tmp_path / "out.zip")
    with pytest.raises(BadInput, match=f"not evaluated on trackingnet.*evaluate {name} --protocol trackingnet"):
        submit_run(Wanted(name, "trackingnet", tmp_path / "store"), tmp_path / "out.zip")
    with pytest.raises(UnknownName, match="evaluation server"):
        submit_run(Wanted(name, "lasot", tmp_path / "store"), tmp_path / "out.zip")
    with pytest.raises(UnknownName, match="run in the store"):
        submit_run(Wanted("static", "got10k", tmp_path / "store"), tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_the_whole_version_of_the_data_is_taken(tmp_path: Path) -> None:
    """A run that was once evaluated on a part of the benchmark is submitted with what it has of all of it."""
    stored(tmp_path / "store", "got10k", NAMES["got10k"])
    stored(tmp_path / "store", "got10k", NAMES["got10k"][:3], digest="a" * 64, known=3)
    stored(tmp_path / "store", "got10k", NAMES["got10k"][:3], digest="e" * 64)  # another whole one, tracked in part
    assert submit_run(Wanted("ncc", "got10k", tmp_path / "store"), tmp_path / "out.zip")["sequences"] == 180


def test_a_part_alone_is_refused_in_plain_words_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "store", "got10k", NAMES["got10k"][:3], known=3)
    told = "180 sequences make up the test set of got10k, and there are results of 3: evaluate the run on the whole"
    with pytest.raises(DataError, match=told):
        submit_run(Wanted("ncc", "got10k", tmp_path / "store"), None)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_of_two_equally_large_versions_data_chooses(tmp_path: Path) -> None:
    data = tmp_path / "got10k"
    done = CliRunner().invoke(
        app, ["data", "make", "synthetic", "--layout", "got10k", "--out", str(data), "--count", "2"]
    )
    assert done.exit_code == 0, done.output
    given = (f"got10k={data}",)
    digest = open_protocol("got10k-val", {"got10k": str(data)}).digest()
    names = NAMES["got10k"][:3]
    for version in ("e" * 64, digest):
        stored(tmp_path / "store", "got10k-val", names, digest=version, known=3)
    wanted = Wanted("ncc", "got10k-val", tmp_path / "store")
    with pytest.raises(
        BadInput, match=r"2 versions of the data of got10k-val, each of 3.*choose one with --data got10k="
    ):
        export_run(wanted, "ostrack", tmp_path / "out")
    assert export_run(replace(wanted, data=given), "ostrack", tmp_path / "out")["sequences"] == 3
    (file,) = (tmp_path / "store" / "protocols").glob(f"got10k-val-{digest[:12]}/protocol.json")
    file.unlink()
    with pytest.raises(BadInput, match="not evaluated on got10k-val as --data names it"):
        export_run(replace(wanted, data=given), "ostrack", tmp_path / "other")


def test_a_protocol_whose_name_begins_alike_is_another(tmp_path: Path) -> None:
    stored(tmp_path / "store", "got10k", NAMES["got10k"])
    (place,) = (tmp_path / "store" / "protocols").iterdir()
    other = place.with_name("got10k-val-eeee")
    other.mkdir()
    shutil.copy(place / "protocol.json", other)
    rewrite(other / "protocol.json", lambda document: document.update(name="got10k-val"))
    assert submit_run(Wanted("ncc", "got10k", tmp_path / "store"), tmp_path / "out.zip")["sequences"] == 180


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_stored_run_is_exported(tmp_path: Path, layout: str) -> None:
    name = stored(tmp_path / "store", "got10k", NAMES["got10k"], origin=1)
    out = tmp_path / "out"
    document = export_run(Wanted("ncc", "got10k", tmp_path / "store"), layout, out)
    assert document["run"] == name and document["sequences"] == 180 and document["folder"] == str(out)
    assert ("mean" in " ".join(document["notes"])) == (LAYOUTS[layout].shape.times is not None)
    exported = open_results(name, out, NAMES["got10k"])
    for sequence, boxes, _ in results("got10k"):
        assert (exported.read(sequence, FRAMES).boxes == np.add(boxes, [1, 1, 0, 0])).all()


def test_an_export_says_that_it_is_truncated(tmp_path: Path) -> None:
    stored(tmp_path / "store", "got10k", NAMES["got10k"], origin=1)
    document = export_run(Wanted("ncc", "got10k", tmp_path / "store"), "ostrack", tmp_path / "out", truncate=True)
    assert "cut to integers" in document["notes"][0] and "truncates" in document["notes"][0]
    name, boxes, _ = results("got10k")[0]
    found = open_results("ncc", tmp_path / "out", [name]).read(name, FRAMES).boxes
    assert (found == np.trunc(np.add(boxes, [1, 1, 0, 0]))).all()


@PROTOCOLS
def test_a_submission_may_have_integers_as_the_official_ones(tmp_path: Path, protocol: str) -> None:
    stored(tmp_path / "store", protocol, NAMES[protocol], origin=1)
    out = tmp_path / "cut.zip"
    done = CliRunner().invoke(
        app,
        ["submit", "ncc", "--protocol", protocol, "--store", str(tmp_path / "store"), "--out", str(out), "--truncate"],
    )
    assert done.exit_code == 0 and "cut to integers" in done.stdout
    assert check_submission(out, protocol, asked(protocol, 1)) == []
    name, boxes, _ = results(protocol)[0]
    (place,) = (place for place in entries(out) if name in place and not place.endswith("_time.txt"))
    wanted = np.trunc(np.add(boxes, [1, 1, 0, 0])).astype(int)
    assert entries(out)[place].decode().splitlines() == [",".join(map(str, row)) for row in wanted.tolist()]
