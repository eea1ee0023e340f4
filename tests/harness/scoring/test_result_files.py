"""Raw result files: every layout is recognised, what is written reads back, and whatever is ambiguous is refused."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fault_kinds import kind_of
from places import SHARED
from trackablate.datasets.errors import DataError
from trackablate.harness.errors import BadInput
from trackablate.harness.exchange.writing import Tracked, write_results
from trackablate.harness.scoring.finding import DEEPEST
from trackablate.harness.scoring.layouts import LAYOUTS
from trackablate.harness.scoring.result_files import ResultFiles, open_results

NAMES = ("airplane-1", "cat-12", "dog-3")
BOXES = "1,2,3,4\n5,6,7,8\n"
TABBED = "1\t2\t3\t4\n5\t6\t7\t8\n"
WANTED = [[1, 2, 3, 4], [5, 6, 7, 8]]


def lay(root: Path, template: str, content: str = BOXES, names: tuple[str, ...] = NAMES) -> Path:
    """A file for each name, where the template says."""
    for name in names:
        place = root / template.format(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, encoding="utf-8")
    return root


def packed(root: Path) -> Path:
    archive = root.parent / "results.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted(f for f in root.rglob("*") if f.is_file()):
            opened.write(file, file.relative_to(root))
    return archive


def as_it_lies(root: Path) -> Path:
    return root


LAID = {
    "plain": (["{}.txt"], "one file for each sequence"),
    "pytracking": (["{}.txt", "{}_time.txt", "{}_object_presence_scores.txt"], "pytracking"),
    "pytracking run": (["tomp/tomp50_000/{}.txt", "tomp/tomp50_000/{}_time.txt"], "pytracking"),
    "ostrack": (
        ["lasot/{}.txt", "lasot/{}_time.txt", "lasot/{}_all_boxes.txt", "lasot/{}_all_scores.txt"],
        "OSTrack, a folder for each benchmark",
    ),
    "pysot": (["LaSOT/siamrpn/{}.txt"], "one file for each sequence"),
    "lasot toolkit": (["MDNet_tracking_result/{}.txt"], "LaSOT toolkit"),
    "got10k ope": (["SiamFC/{}.txt", "SiamFC/times/{}_time.txt"], "got10k toolkit"),
    "got10k": (
        ["SiamFC/{0}/{0}_001.txt", "SiamFC/{0}/{0}_time.txt"],
        "GOT-10k, repetition 1 of 1",
    ),
    "trackingnet": (["loratB/{0}/{0}.txt"], "TrackingNet, a folder for each sequence"),
    "lorat": (["LoRAT-B/nfs_{0}.txt"], "one file for each sequence, names with nfs_"),
    "rubbish beside": (["{}.txt", "__MACOSX/{}.txt", ".hidden/{}.txt"], "one file for each sequence"),
}


@pytest.mark.parametrize("place", [as_it_lies, packed])
@pytest.mark.parametrize("content", [BOXES, TABBED, BOXES.replace(",", " "), BOXES.replace("\n", "\r\n")])
@pytest.mark.parametrize("layout", LAID)
def test_every_layout_is_read(tmp_path: Path, layout: str, content: str, place: Callable[[Path], Path]) -> None:
    templates, said = LAID[layout]
    for template in templates:
        lay(tmp_path / "root", template, "0.5\n0.25\n" if template.endswith("_time.txt") else content)
    results = open_results("mine", place(tmp_path / "root"), NAMES)
    assert (results.name, results.layout, results.found.unknown) == ("mine", said, ())
    for name in NAMES:
        found = results.read(name, 2)
        assert (found.boxes.tolist(), found.faults, found.remarks) == (WANTED, (), ())
        has_times = any(template.endswith("_time.txt") for template in templates)
        assert (None if found.seconds is None else found.seconds.tolist()) == ([0.5, 0.25] if has_times else None)


def test_a_folder_of_an_archive_can_be_named(tmp_path: Path) -> None:
    for tracker, content in (("one", "1,2,3,4"), ("two", "5,6,7,8")):
        lay(tmp_path / "root", tracker + "/{}.txt", content)
    archive = packed(tmp_path / "root")
    with pytest.raises(DataError, match=r"in 2 folders, .*results.zip/one \(3 sequences\), .*two \(3 seq.*name one"):
        open_results("both", archive, NAMES)
    assert open_results("two", archive / "two", NAMES).read("cat-12", 1).boxes.tolist() == [[5, 6, 7, 8]]
    with pytest.raises(DataError, match="no result file"):
        open_results("three", archive / "three", NAMES)


@pytest.mark.parametrize(
    "templates",
    [
        ("ATOM/{}.txt", "DiMP/{}.txt"),
        ("atom/default_000/{}.txt", "atom/default_001/{}.txt"),
        ("A_tracking_result/{}.txt", "A/{}.txt"),
        ("new/{}.txt", "new/backup/{0}/{0}.txt"),
    ],
)
def test_several_trackers_or_runs_are_not_chosen_from(tmp_path: Path, templates: tuple[str, ...]) -> None:
    for template in templates:
        lay(tmp_path, template)
    with pytest.raises(DataError, match="name one of these folders") as raised:
        open_results("x", tmp_path, NAMES)
    for template in templates:
        assert str(tmp_path / template.split("/{")[0].removesuffix("{}.txt")) in str(raised.value)


@pytest.mark.parametrize("below", ["old/{}.txt", "backup/{0}/{0}.txt", "old/{0}/{0}_001.txt"])
@pytest.mark.parametrize("place", [as_it_lies, packed])
def test_what_lies_in_the_named_folder_counts_and_what_lies_below_is_named(
    tmp_path: Path, below: str, place: Callable[[Path], Path]
) -> None:
    lay(tmp_path / "r", "vitb/{}.txt")
    lay(tmp_path / "r", "vitb/" + below, "9,9,9,9\n9,9,9,9\n")
    results = open_results("x", place(tmp_path / "r") / "vitb", NAMES)
    assert results.read(NAMES[0], 2).boxes.tolist() == WANTED
    assert [Path(folder).name for folder in results.found.beside] == [below.partition("/")[0]]


@pytest.mark.parametrize("place", [as_it_lies, packed])
def test_results_may_lie_in_a_folder_for_each_class(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    for name in NAMES:
        lay(tmp_path / "r", f"MyTracker/{name.partition('-')[0]}/{{}}.txt", names=(name,))
        lay(tmp_path / "r", f"MyTracker/{name.partition('-')[0]}/{{}}_time.txt", "1\n2\n", names=(name,))
    results = open_results("x", place(tmp_path / "r"), NAMES)
    assert [results.read(name, 2).boxes.tolist() for name in NAMES] == [WANTED] * 3
    assert [results.read(name, 2).faults for name in NAMES] == [()] * 3


@pytest.mark.parametrize(
    ("file", "like"),
    [("Airplane-1", "airplane-1"), ("cat_12", "cat-12"), ("DOG 3", "dog-3"), ("airplane1", "airplane-1")],
)
def test_names_that_are_nearly_right_are_named(tmp_path: Path, file: str, like: str) -> None:
    lay(tmp_path / "alone", "{}.txt", names=(file,))
    with pytest.raises(DataError, match=f"but {file}.txt, which is like {like}; give the files these names"):
        open_results("x", tmp_path / "alone", NAMES)
    others = tuple(name for name in NAMES if name != like)
    (fault,) = open_results("x", lay(tmp_path / "alone", "{}.txt", names=others), NAMES).read(like, 2).faults
    assert f"holds no result for the sequence {like}, but {file}.txt; track it, or give its file this name" in fault


def test_names_that_are_like_no_sequence_are_shown(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds no result file of any sequence, but a.txt, b.txt, c.txt and 1 more; name"
    ):
        open_results("x", lay(tmp_path, "{}.txt", names=tuple("abcd")), NAMES)


def test_a_suffix_in_capitals_is_read(tmp_path: Path) -> None:
    lay(tmp_path, "{}.TXT")
    lay(tmp_path, "{}_time.TXT", "1\n2\n")
    found = open_results("x", tmp_path, NAMES).read(NAMES[0], 2)
    assert (found.boxes.tolist(), found.faults) == (WANTED, ())
    assert found.seconds is not None and found.seconds.tolist() == [1, 2]


def test_half_of_each_of_two_trackers_is_no_tracker(tmp_path: Path) -> None:
    lay(tmp_path, "ATOM/{}.txt", names=NAMES[:1])
    lay(tmp_path, "DiMP/{}.txt", names=NAMES[1:])
    with pytest.raises(DataError, match="2 folders"):
        open_results("x", tmp_path, NAMES)


@pytest.mark.parametrize("templates", [("{}.txt", "{0}/{0}.txt"), ("{0}/{0}_001.txt", "{0}.txt")])
def test_two_results_of_one_sequence_are_a_fault(tmp_path: Path, templates: tuple[str, ...]) -> None:
    lay(tmp_path, templates[0])
    lay(tmp_path, templates[1], names=NAMES[:1])
    results = open_results("x", tmp_path, NAMES)
    (fault,) = results.read(NAMES[0], 2).faults
    assert kind_of(fault) == "duplicate" and NAMES[0] in fault
    assert str(tmp_path / NAMES[0]) in fault and "2 results" in fault
    assert results.read(NAMES[1], 2).faults == ()


def test_what_belongs_to_no_sequence_is_told(tmp_path: Path) -> None:
    lay(tmp_path, "{}.txt", names=(*NAMES, "zebra-1", "readme"))
    lay(tmp_path, "{}_time.txt", "1\n1", names=("zebra-1",))
    assert open_results("x", tmp_path, NAMES).found.unknown == ("readme.txt", "zebra-1.txt")


def test_a_missing_sequence_is_a_fault_that_names_root_and_sequence(tmp_path: Path) -> None:
    found = open_results("x", lay(tmp_path, "{}.txt", names=NAMES[1:]), NAMES).read(NAMES[0], 2)
    (fault,) = found.faults
    assert (kind_of(fault), found.boxes.shape) == ("missing", (0, 4))
    assert str(tmp_path) in fault and NAMES[0] in fault


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    lay(tmp_path, "{}.txt", names=("zebra",))
    with pytest.raises(DataError, match=r"airplane-1\.txt"):
        open_results("x", tmp_path, NAMES)
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        open_results("x", tmp_path / "nowhere", NAMES)


def test_folders_without_end_are_given_up(tmp_path: Path) -> None:
    (tmp_path / "in").symlink_to(tmp_path)
    with pytest.raises(DataError, match=f"deeper than {DEEPEST} folders"):
        open_results("x", tmp_path, NAMES)


RUN = {"res": [[1, 2, 3, 4], [5.0, 6, 7, 8]], "type": "rect", "fps": 4}


@pytest.mark.parametrize("place", [as_it_lies, packed])
@pytest.mark.parametrize(
    "content", [RUN, [RUN], [{"res": RUN["res"], "resType": "rect"}], {"res": RUN["res"], "fps": -1}]
)
def test_otbs_json_is_read_with_its_speed(tmp_path: Path, content: object, place: Callable[[Path], Path]) -> None:
    lay(tmp_path / "root", "Struck/{}.json", "\ufeff" + json.dumps(content))
    (tmp_path / "root/Struck/settings.json").write_text("{}")
    results = open_results("Struck", place(tmp_path / "root"), NAMES)
    assert (results.layout, results.found.unknown) == ("OTB toolkit", ())
    found = results.read("cat-12", 2)
    assert (found.boxes.tolist(), found.faults) == (WANTED, ())
    timed = '"fps": 4' in json.dumps(content)
    assert (None if found.seconds is None else found.seconds.tolist()) == ([0.25, 0.25] if timed else None)


@pytest.mark.parametrize(
    ("content", "kind", "told"),
    [
        (
            '{"res": [[1, 2, 3, 4], [5, 6, 7]], "type": "rect"}',
            "not numbers",
            "line 2: 4 numbers wanted, this line has 3",
        ),
        ('{"res": [[1, 2, 3, 4], [5, 6, "a\\nb", 8]]}', "not numbers", "line 2: 4 finite numbers"),
        ('{"res": [[1, 2, 3, 4], []]}', "not numbers", "line 2: "),
        ('{"res": [[1, 2, 3, 4]]}', "short", "line 1: "),
        ('{"res": [[1, 2, -3, 4], [1, 2, 3, 4]]}', "negative", "line 1: "),
        ('{"res": []}', "empty", "is empty"),
        ('{"res": [[1, 2], [3, 4]], "type": "ivtAff"}', "unreadable", "type 'ivtAff'"),
        ("[]", "unreadable", "does not hold one run"),
        ("[1, 2]", "unreadable", "does not hold one run"),
        ('{"res": 1}', "unreadable", "does not hold one run"),
        ('{"res": [[1, 2', "unreadable", "is not JSON"),
        ("[" * 100000, "unreadable", "is not JSON"),
    ],
)
def test_broken_json_is_a_fault_of_its_file(tmp_path: Path, content: str, kind: str, told: str) -> None:
    lay(tmp_path, "{}.json", content)
    (fault,) = open_results("x", tmp_path, NAMES).read("dog-3", 2).faults
    assert kind_of(fault) == kind
    assert fault.startswith(f"{tmp_path / 'dog-3.json'}") and told in fault
    assert fault.isprintable() and len(fault) < 400


@pytest.mark.parametrize("prefix", ["uav_", "nfs_", "tpl_"])
def test_the_prefix_may_be_in_the_file_or_in_the_sequence(tmp_path: Path, prefix: str) -> None:
    lay(tmp_path / "with", prefix + "{}.txt")
    lay(tmp_path / "without", "{}.txt")
    long = tuple(prefix + name for name in NAMES)
    for root, names in (("with", NAMES), ("without", long), ("with", long), ("without", NAMES)):
        results = open_results("x", tmp_path / root, names)
        assert results.found.unknown == () and all(results.read(name, 2).faults == () for name in names)


def test_another_benchmarks_video_is_no_stand_in(tmp_path: Path) -> None:
    """pytracking keeps all benchmarks in one folder, and three of them have a Basketball."""
    lay(tmp_path, "{}.txt", names=("Bolt", "Car4", "tpl_Basketball", "nfs_Basketball", "uav_Car4"))
    results = open_results("x", tmp_path, ("Basketball", "Bolt", "Car4"))
    assert [kind_of(f) for f in results.read("Basketball", 2).faults] == ["missing"]
    assert results.read("Car4", 2).faults == ()
    assert results.found.unknown == ("nfs_Basketball.txt", "tpl_Basketball.txt", "uav_Car4.txt")


@pytest.mark.parametrize(
    "files",
    [
        ("Jogging-1", "Jogging-2", "Human4-2"),
        ("Jogging.1", "Jogging.2", "Human4"),
        ("Jogging_1", "Jogging_2", "Human4_2"),
    ],
)
def test_otbs_videos_of_two_targets_in_every_toolkits_spelling(tmp_path: Path, files: tuple[str, ...]) -> None:
    for number, file in enumerate(files):
        (tmp_path / f"{file}.txt").write_text(f"{number},2,3,4")
    results = open_results("x", tmp_path, ("Jogging_1", "Jogging_2", "Human4_2"))
    assert [results.read(n, 1).boxes[0, 0] for n in ("Jogging_1", "Jogging_2", "Human4_2")] == [0, 1, 2]
    assert results.found.unknown == ()


def test_a_repetition_is_chosen_and_said(tmp_path: Path) -> None:
    for repetition in (1, 2, 3):
        lay(tmp_path, f"{{0}}/{{0}}_00{repetition}.txt", f"{repetition},0,1,1\n{repetition},0,1,1\n")
    lay(tmp_path, "{0}/{0}_time.txt", "0.1,0.2,0.3\n0.4,0.5,0.6\n")
    assert open_results("x", tmp_path, NAMES).read(NAMES[0], 2).boxes[1, 0] == 1
    third = open_results("x", tmp_path, NAMES, repetition=3)
    found = third.read(NAMES[0], 2)
    assert third.layout == "GOT-10k, repetition 3 of 3"
    assert (found.boxes[1, 0], found.seconds is not None and found.seconds.tolist()) == (3, [0.3, 0.6])
    with pytest.raises(DataError, match="holds repetition 1, 2, 3, not 4"):
        open_results("x", tmp_path, NAMES, repetition=4)
    assert third.stamp(NAMES[0]) != open_results("x", tmp_path, NAMES).stamp(NAMES[0])


def test_repetitions_lie_in_a_folder_of_their_sequence(tmp_path: Path) -> None:
    """Elsewhere, what ends in a number is another sequence."""
    lay(tmp_path, "tracker/{}_001.txt")
    lay(tmp_path, "tracker/{}.txt", names=NAMES[:1])
    results = open_results("x", tmp_path, NAMES)
    assert [[kind_of(f) for f in results.read(name, 2).faults] for name in NAMES] == [[], ["missing"], ["missing"]]
    assert results.found.unknown == tuple(f"tracker/{name}_001.txt" for name in NAMES)


def test_a_repetition_of_a_layout_without_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="repetition 1 alone, not 2"):
        open_results("x", lay(tmp_path, "{}.txt"), NAMES, repetition=2)


def test_a_sequence_without_the_chosen_repetition_is_missing(tmp_path: Path) -> None:
    lay(tmp_path, "{0}/{0}_001.txt")
    lay(tmp_path, "{0}/{0}_002.txt", names=NAMES[1:])
    results = open_results("x", tmp_path, NAMES, repetition=2)
    assert [[kind_of(f) for f in results.read(name, 2).faults] for name in NAMES] == [["missing"], [], []]


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ("0.1\n", "has 1 times for 2 boxes"),
        ("0.1\nfast\n", "line 2"),
        ("0.1\n-0.1\n", "line 2: a time is negative"),
        ("", "has 0 times"),
    ],
)
def test_bad_times_are_told_and_boxes_stay(tmp_path: Path, times: str, told: str) -> None:
    lay(tmp_path, "{}.txt")
    lay(tmp_path, "{}_time.txt", times)
    found = open_results("x", tmp_path, NAMES).read(NAMES[0], 2)
    assert (found.faults, found.seconds, found.boxes.tolist()) == ((), None, WANTED)
    (remark,) = found.remarks
    assert told in remark and str(tmp_path / f"{NAMES[0]}_time.txt") in remark


def test_times_of_another_repetition_are_not_taken(tmp_path: Path) -> None:
    for repetition in (1, 2):
        lay(tmp_path, f"{{0}}/{{0}}_00{repetition}.txt")
    lay(tmp_path, "{0}/{0}_time.txt", "1\n1\n")
    found = open_results("x", tmp_path, NAMES, repetition=2).read(NAMES[0], 2)
    assert found.seconds is None and "no column 2" in found.remarks[0]


def test_rows_beyond_the_annotation_are_cut_only_by_the_rule_for_it(tmp_path: Path) -> None:
    lay(tmp_path, "{}.txt", BOXES + "rubbish\n")
    lay(tmp_path, "{}_time.txt", "1\n2\n3\n")
    results = open_results("x", tmp_path, NAMES)
    kept = results.read(NAMES[0], 2, may_be_longer=True)
    assert (kept.boxes.tolist(), kept.faults, kept.remarks) == (WANTED, (), ())
    assert kept.seconds is not None and kept.seconds.tolist() == [1, 2]
    assert [kind_of(f) for f in results.read(NAMES[0], 2).faults] == ["not numbers", "long"]
    assert [kind_of(f) for f in results.read(NAMES[0], 3, may_be_longer=True).faults] == ["not numbers"]
    assert [kind_of(f) for f in results.read(NAMES[0], 4, may_be_longer=True).faults] == ["not numbers", "short"]


@pytest.mark.parametrize("place", [as_it_lies, packed])
def test_results_go_to_other_processes(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    results = open_results("x", place(lay(tmp_path / "root", "{}.txt")), NAMES)
    copy: ResultFiles = pickle.loads(pickle.dumps(results))
    assert copy.read(NAMES[2], 2).boxes.tolist() == WANTED and copy.stamp(NAMES[2]) == results.stamp(NAMES[2])


def test_the_stamp_follows_the_boxes_and_the_times(tmp_path: Path) -> None:
    lay(tmp_path, "{}.txt")
    lay(tmp_path, "{}_time.txt", "1\n1\n")
    stamps = [open_results("x", tmp_path, NAMES).stamp(NAMES[0])]
    for file, content in ((f"{NAMES[0]}.txt", "9,9,9,9\n9,9,9,99"), (f"{NAMES[0]}_time.txt", "1\n22\n")):
        (tmp_path / file).write_text(content)
        stamps.append(open_results("x", tmp_path, NAMES).stamp(NAMES[0]))
    assert len(set(stamps)) == 3
    results = open_results("x", tmp_path, NAMES)
    assert results.stamp(NAMES[0]) == stamps[-1] != results.stamp(NAMES[1])


def test_two_trackers_alike_have_two_stamps(tmp_path: Path) -> None:
    """Unpacked archives often give every file one date."""
    stamps = set()
    for tracker in ("a", "b"):
        lay(tmp_path / tracker, "{}.txt")
        os.utime(tmp_path / tracker / f"{NAMES[0]}.txt", (1, 1))
        stamps.add(open_results("x", tmp_path / tracker, NAMES).stamp(NAMES[0]))
    assert len(stamps) == 2


@pytest.mark.parametrize("tracker", ["SiamRPN++", "Ocean-online", "ATOM"])
def test_published_results_are_whole(tracker: str) -> None:
    archive = SHARED / "real" / "lasot" / f"results_{tracker}.zip"
    if not archive.exists():
        pytest.skip(f"{archive} is not there: real results are kept beside the project, not in it")
    names = (SHARED / "protocols" / "lasot_test.txt").read_text().split()
    rows = [line.split(",") for line in (SHARED / "protocols" / "lasot_sequences.csv").read_text().splitlines()[1:]]
    frames = {row[0]: int(row[2]) for row in rows}
    results = open_results(tracker, archive, names)
    assert results.found.unknown == ()
    for name in names:
        found = results.read(name, frames[name], may_be_longer=name == "monkey-17")
        assert (found.faults, len(found.boxes)) == ((), frames[name])


# Writing

TRACKED = st.lists(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.just(4)),
        elements=st.floats(-1e6, 1e6).map(lambda v: v if abs(v) > 1e-9 else 0.0),
    ).map(lambda boxes: np.concatenate([boxes[:, :2], np.abs(boxes[:, 2:])], axis=1)),
    min_size=1,
    max_size=3,
)
DATASETS = ("lasot", "lasot_ext", "trackingnet", "got10k", "tnl2k", "nfs", "uav123", "synthetic")


def tracked(every: list[NDArray[np.float64]]) -> list[Tracked]:
    return [(name, boxes, np.arange(len(boxes)) / 7) for name, boxes in zip(NAMES, every, strict=False)]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(every=TRACKED, origin=st.sampled_from([0, 1]), dataset=st.sampled_from(DATASETS))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory,
    layout: str,
    every: list[NDArray[np.float64]],
    origin: int,
    dataset: str,
) -> None:
    out = tmp_path_factory.mktemp("written") / "out"
    assert write_results(layout, out, "T", tracked(every), dataset=dataset, origin=origin) == len(every)
    results = open_results("T", out, NAMES[: len(every)])
    assert results.found.unknown == ()
    for name, boxes, seconds in tracked(every):
        found = results.read(name, len(np.asarray(boxes)))
        assert (found.faults, found.remarks) == ((), ())
        assert (found.boxes == np.add(boxes, [origin, origin, 0, 0])).all()
        if LAYOUTS[layout].shape.times:
            assert found.seconds is not None and (found.seconds == seconds).all()


@pytest.mark.parametrize("layout", ["pysot", "got10k-ope", "pytracking", "otb"])
def test_otbs_names_survive_each_toolkits_spelling(tmp_path: Path, layout: str) -> None:
    names = ("Jogging_1", "Jogging_2", "Skating2_1", "Human4_2", "Bolt")
    results: list[Tracked] = [(name, [[float(i), 0, 1, 1]], 1.0) for i, name in enumerate(names)]
    write_results(layout, tmp_path / "out", "T", results, dataset="otb", origin=1)
    found = open_results("T", tmp_path / "out", names)
    assert [found.read(name, 1).boxes[0, 0] for name in names] == [1, 2, 3, 4, 5]


PATHS = {
    "pytracking": ("uav123", ["T/default/uav_car1.txt", "T/default/uav_car1_time.txt"]),
    "pytracking-comma": ("nfs", ["T/default/nfs_car1.txt", "T/default/nfs_car1_time.txt"]),
    "ostrack": ("lasot_ext", [f"T/default/lasot_extension_subset/car1{end}.txt" for end in ("", "_time")]),
    "pysot": ("uav123", ["UAV123/T/car1.txt"]),
    "pysot-got10k": ("got10k", ["GOT-10k/T/car1/car1_001.txt", "GOT-10k/T/car1/car1_time.txt"]),
    "lasot-toolkit": ("lasot", ["T_tracking_result/car1.txt"]),
    "got10k": ("got10k-val", ["GOT-10k/T/car1/car1_001.txt", "GOT-10k/T/car1/car1_time.txt"]),
    "got10k-ope": ("nfs", ["NfS/30/T/car1.txt", "NfS/30/T/times/car1_time.txt"]),
    "lorat": ("nfs", ["T/nfs_car1.txt"]),
    "otb": ("otb", ["T/car1.json"]),
    "trackingnet": ("trackingnet", ["T/car1.txt"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_lie_where_the_toolkit_looks(tmp_path: Path, layout: str) -> None:
    dataset, files = PATHS[layout]
    out = tmp_path / "out"
    write_results(layout, out, "T", [("car1", [[1.5, 2, 3, 4.25]], [0.5])], dataset=dataset, origin=1)
    assert sorted(str(f.relative_to(out)) for f in out.rglob("*") if f.is_file()) == files
    if layout == "otb":
        run = {"type": "rect", "res": [[2.5, 3.0, 3.0, 4.25]], "len": 1, "fps": 2.0}
        assert json.loads((out / files[0]).read_text()) == [run]
        return
    separator = "\t" if layout in ("pytracking", "ostrack", "lorat") else ","
    assert (out / files[0]).read_text() == separator.join(["2.5", "3.0", "3.0", "4.25"]) + "\n"
    assert len(files) == 1 or (out / files[1]).read_text() == "0.5\n"


def test_truncation_is_towards_zero_and_after_the_origin(tmp_path: Path) -> None:
    boxes = [[-0.7, 0.99, 3.999, 4.0], [-3.2, -1.5, 1e6, 0.5]]
    write_results("pytracking", tmp_path / "out", "T", [("a", boxes, 1.0)], dataset="x", origin=1, truncate=True)
    assert (tmp_path / "out/T/default/a.txt").read_text() == "0\t1\t3\t4\n-2\t0\t1000000\t0\n"


def test_seconds_of_a_whole_sequence_become_a_mean(tmp_path: Path) -> None:
    write_results("pytracking", tmp_path / "out", "T", [("a", [[0, 0, 1, 1]] * 4, 2.0)], dataset="x", origin=0)
    assert (tmp_path / "out/T/default/a_time.txt").read_text() == "0.5\n" * 4


@pytest.mark.parametrize(
    ("results", "error", "told"),
    [
        ([("a", [[0, 0, 1, 1]], 1.0), ("b", [[0, 0, np.nan, 1]], 1.0)], DataError, "boxes of b"),
        ([("a", [[0, 0, 1, 1]], 1.0), ("b", [[0, 0, 1]], 1.0)], DataError, "boxes of b"),
        ([("a", [[0, 0, 1, 1]], 1.0), ("../b", [[0, 0, 1, 1]], 1.0)], BadInput, "cannot be a file name"),
        ([("a", [[0, 0, 1, 1]], 1.0), ("..", [[0, 0, 1, 1]], 1.0)], BadInput, "cannot be a file name"),
        ([("a", [[0, 0, 1, 1]], 1.0), ("a", [[0, 0, 1, 1]], 1.0)], FileExistsError, "a.txt"),
    ],
)
def test_what_fails_halfway_leaves_nothing(
    tmp_path: Path, results: list[Tracked], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        write_results("pysot", tmp_path / "out", "T", results, dataset="x", origin=0)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_results("pysot", tmp_path / "out", "T", [("a", [[0, 0, 1, 1]], 1.0)], dataset="x", origin=0)
    kept = (tmp_path / "out/x/T/a.txt").read_text()
    with pytest.raises(BadInput, match=r"a.txt is there already: name another folder"):
        write_results("pysot", tmp_path / "out", "T", [("a", [[9, 9, 9, 9]], 1.0)], dataset="x", origin=0)
    assert (tmp_path / "out/x/T/a.txt").read_text() == kept
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    write_results("pysot", tmp_path / "out", "U", [("a", [[9, 9, 9, 9]], 1.0)], dataset="x", origin=0)
    assert (tmp_path / "out/x/T/a.txt").read_text() == kept, "another tracker stands beside it"
    assert (tmp_path / "out/x/U/a.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
