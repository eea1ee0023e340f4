"""Data sets that a user declares in a TOML file: what they say, what is refused and where, and sparse annotation."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trackablate.datasets import protocols
from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.errors import DataError
from trackablate.datasets.pairs.training_sets import TRAINING_SETS, check_disjoint
from trackablate.datasets.protocols import DATA_SETS, PROTOCOLS
from trackablate.datasets.registry import UnknownName
from trackablate.datasets.roots import open_protocol
from video_factory import boxes, images, write

MINIMAL = """name = "mine"
first_pixel = 0
boxes = "{name}/groundtruth.txt"
frames = "{name}/img"
"""


def declared(folder: Path, text: str) -> str:
    file = folder / "mine.toml"
    file.write_text(text)
    return str(file)


def opened(folder: Path, text: str, data: Path) -> SequenceList:
    return open_protocol(declared(folder, text), {"mine": str(data)})


def videos(root: Path, *names: str, count: int = 4) -> Path:
    for name in names:
        write(root, images(f"{name}/img", range(1, count + 1)) | {f"{name}/groundtruth.txt": boxes(count)})
    return root


def test_the_shortest_declaration_reads_all_that_is_there(tmp_path: Path) -> None:
    found = opened(tmp_path, MINIMAL, videos(tmp_path / "data", "a", "b"))
    found.check(deep=True)
    assert (found.names, found.coverage, found.notes()) == (("a", "b"), "2 sequences, of no list", [])
    protocol = PROTOCOLS["mine"]
    assert PROTOCOLS[str(tmp_path / "mine.toml")] is protocol
    assert protocol.metrics == (("auc", "ostrack"), ("precision", "ostrack"), ("norm_precision", "ostrack"))
    assert "mine" in list(PROTOCOLS)
    assert DATA_SETS["mine"].protocols == (protocol,)
    assert "mine" not in PROTOCOLS.built_in


def test_a_list_says_what_is_missing_and_nothing_else_is_read(tmp_path: Path) -> None:
    data = videos(tmp_path / "data", "a", "stranger")
    found = opened(tmp_path, MINIMAL + 'sequences = ["b", "a"]\n', data)
    assert (found.names, found.coverage) == (("a",), "1 of 2 sequences")
    assert "mine: 1 sequence is not here: b; download" in found.notes()[0]
    assert "stranger" in found.notes()[1]
    with pytest.raises(DataError, match="holds no sequence of mine"):
        opened(tmp_path, MINIMAL + 'sequences = ["b", "a"]\n', videos(tmp_path / "others", "c"))


@pytest.mark.parametrize("name", ["lasot", "got10k-train", "got10k-val", "synthetic"])
def test_the_name_of_a_built_in_one_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"mine.toml, line 1: the name {name} is taken by .*; choose another name"):
        PROTOCOLS[declared(tmp_path, MINIMAL.replace("mine", name))]


def test_two_files_cannot_declare_one_name(tmp_path: Path) -> None:
    first, second = tmp_path / "one.toml", tmp_path / "two.toml"
    first.write_text(MINIMAL)
    second.write_text(MINIMAL)
    assert PROTOCOLS[str(first)] is PROTOCOLS[str(first)]
    with pytest.raises(DataError, match=r"taken by .*one\.toml"):
        PROTOCOLS[str(second)]


FAULTS = {
    'titel = "x"': ", line 5: titel: is no field of this file; did you mean title",
    'boxes = "x"': ", line 5: is no TOML",
    'absent = "none"': ", line 5: absent: is no known value, got 'none'; write 'nan' or 'zero'",
    'attribute_file = "{name}/att.txt"': "`attribute_file` needs `attributes`",
    'list = "no.txt"': "no.txt: cannot be read as a list of sequences",
    'sequences = ["a", "a"]': ", line 5: 'a' is listed twice; give each sequence a name of its own",
    'sequences = [{name = "a", first = 3}]': "write both `first` and `last`",
    'sequences = [{name = "a", frist = 3, last = 5}]': "write both `first` and `last`",
    'sequences = [{name = "a", folder = "b"}]': ", line 5: a: no path has the field {folder}",
    'sequences = [{name = "a", attributes = ["FM"]}]': "`attributes` does not name FM",
    'flags = {absent = "{group}/absent.txt"}\nsequences = ["a"]': "a has no `group`, which a path needs",
    'flags = {absent = "absent.txt"}': "'absent.txt' is the same file for all sequences",
    '[splits.test]\n[splits.train]\nlist = "t.txt"': "the split test has no list, so that it is every sequence",
    '[splits.test]\nsequences = ["a", "b"]\n[splits.train]\nsequences = ["b"]': "the splits train and test share b",
    'attribute_file = "../{name}.txt"\nattributes = ["FM"]': "is no path below the data set's folder",
    'attribute_file = "{0}.txt"\nattributes = ["FM"]': "is no path below the data set's folder",
    'sequences = [{name = "a", first = 0, last = 99999999999}]': "is too large, got 99999999999; write 10000000 or less",
    'annotated = "boxed"\nabsent = "nan"': "takes NaN for a frame without annotation",
}


@pytest.mark.parametrize("line", FAULTS)
def test_a_fault_is_told_with_its_place_and_remedy(tmp_path: Path, line: str) -> None:
    (tmp_path / "t.txt").write_text("a\n")
    with pytest.raises(DataError) as caught:
        PROTOCOLS[declared(tmp_path, f"{MINIMAL}{line}\n")]
    assert FAULTS[line] in str(caught.value)
    assert ".t" in str(caught.value), "the file is named"


def test_a_table_is_a_list_too_and_its_line_is_told(tmp_path: Path) -> None:
    text = MINIMAL.replace("{name}/img", "{folder}/img") + 'attributes = ["FM", "SV"]\nlist = "list.csv"\n'
    data = videos(tmp_path / "data", "a", count=6)
    write(data, {"b/groundtruth.txt": boxes(3)})
    (tmp_path / "list.csv").write_text("\ufeffname,folder,first,last,attributes\na,a,,,FM SV\nb,a,2,4,\n")
    found = opened(tmp_path, text, data)
    assert [len(one) for one in found] == [6, 3]
    assert found[0].attributes == {"FM", "SV"}
    (tmp_path / "list.csv").write_text("name,folder,first,last,attributes\na,a,x,2,\n")
    protocols.DECLARED.clear()
    with pytest.raises(DataError, match=r"list\.csv, line 2: first: is no whole number, got"):
        PROTOCOLS[str(tmp_path / "mine.toml")]


def test_pixels_flags_and_absent_boxes_are_as_declared(tmp_path: Path) -> None:
    data = videos(tmp_path / "data", "a")
    write(data, {"a/groundtruth.txt": "2,3,10,12\n0,0,0,0\n4,3,10,12\n5,3,10,12\n", "a/cover.txt": "8\n8\n0\n1\n"})
    text = MINIMAL.replace("first_pixel = 0", 'first_pixel = 1\nabsent = "zero"')
    found = opened(tmp_path, text + '[flags]\ncover = { file = "{name}/cover.txt", hidden = [0], largest = 8 }\n', data)
    assert found[0].boxes[0].tolist() == [1, 2, 10, 12]
    assert found[0].visible.tolist() == [True, False, False, True]
    assert PROTOCOLS["mine"].origin == 1
    assert PROTOCOLS["mine"].scored_as == "lasot_ext", "as the toolkits' code treats a data set with flags"


@pytest.mark.parametrize(
    ("row", "text"),
    [("x1,y1,x2,y2", "2,3,12,15\n"), ("polygon", "2,3,12,3,12,15,2,15\n"), ("polygon", "7,3,12,9,7,15,2,9\n")],
)
def test_corners_and_polygons_are_boxes(tmp_path: Path, row: str, text: str) -> None:
    data = videos(tmp_path / "data", "a", count=1)
    write(data, {"a/groundtruth.txt": text})
    assert opened(tmp_path, f'{MINIMAL}row = "{row}"\n', data)[0].boxes.tolist() == [[2, 3, 10, 12]]


SPARSE = {
    "3": "2,3,10,12\n3,3,10,12\n4,3,10,12\n",
    '"numbered"': "1,2,3,10,12\n4,3,3,10,12\n7,4,3,10,12\n",
    '"boxed"': "2,3,10,12\nnan,nan,nan,nan\nnan,nan,nan,nan\n3,3,10,12\n"
    "nan,nan,nan,nan\nnan,nan,nan,nan\n4,3,10,12\nnan,nan,nan,nan\n",
}


@pytest.mark.parametrize("annotated", SPARSE)
def test_every_way_to_write_sparse_annotation_is_one(tmp_path: Path, annotated: str) -> None:
    data = videos(tmp_path / "data", "a", count=8)
    write(data, {"a/groundtruth.txt": SPARSE[annotated]})
    found = opened(tmp_path, f"{MINIMAL}annotated = {annotated}\n", data)
    found.check(deep=True)
    boxed = ~np.isnan(found[0].boxes).any(axis=1)
    assert np.flatnonzero(boxed).tolist() == [0, 3, 6]
    assert (found[0].visible == boxed).all()
    assert len(found[0]) == len(found[0].boxes) == 8
    assert PROTOCOLS["mine"].sparse


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("2,2,3,10,12\n", "line 1: row 1 is of frame 2, but the first frame has number 1"),
        ("1,2,3,10,12\n1,2,3,10,12\n", "line 2: its first number is no frame after the one before"),
        ("1,2,3,10,12\n1.5,2,3,10,12\n", "line 2: its first number is no frame after the one before"),
        ("1,2,3,10,12\n1e30,2,3,10,12\n", "line 2: its first number is no frame after the one before"),
        ("1,2,3,10,12\n9,2,3,10,12\n", "9 boxes for 8 frames"),
    ],
)
def test_numbers_of_frames_that_cannot_be_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    data = videos(tmp_path / "data", "a", count=8)
    write(data, {"a/groundtruth.txt": rows})
    with pytest.raises(DataError, match=message):
        opened(tmp_path, f'{MINIMAL}annotated = "numbered"\n', data).check()


def test_another_declaration_of_the_same_files_is_read_anew(tmp_path: Path) -> None:
    """An index and kept tallies are of one declaration: their stamps differ."""
    data, index = videos(tmp_path / "data", "a"), tmp_path / "index"
    digests, stamps = [], []
    for text in (MINIMAL, MINIMAL.replace("first_pixel = 0", "first_pixel = 1")):
        protocols.DECLARED.clear()
        found = open_protocol(declared(tmp_path, text), {"mine": str(data)}, index)
        digests.append(found.digest())
        stamps.append(found.stamp(0))
    assert len(set(digests)) == len(set(stamps)) == 2


def test_splits_are_parts_and_a_training_set_is_named_by_its_declaration(tmp_path: Path) -> None:
    text = (
        MINIMAL
        + '[splits.test]\nsequences = ["a"]\n[splits.val]\nsequences = ["b"]\n[splits.train]\nsequences = ["c"]\n'
    )
    file = declared(tmp_path, text)
    assert PROTOCOLS[file].name == "mine"
    assert {"mine", "mine-val"} <= set(PROTOCOLS)
    assert "mine-train" not in PROTOCOLS
    found = open_protocol("mine", {"mine": str(videos(tmp_path / "data", "a", "b", "c", "d"))})
    assert found.notes() == ["not sequences of mine, and not read: d; move them elsewhere"]
    kind = TRAINING_SETS[file]
    assert kind.name.startswith("mine-train@")
    assert TRAINING_SETS["mine-train"].name == TRAINING_SETS[kind.name].name
    check_disjoint([kind.name], ["mine", "lasot"])
    with pytest.raises(DataError, match="shares 1 sequence with the test of mine"):
        check_disjoint(["mine"], ["mine"])
    protocols.DECLARED.clear()
    declared(tmp_path, text.replace('["c"]', '["d"]'))
    assert TRAINING_SETS[file].name != kind.name


def test_a_set_without_a_list_is_not_trained_and_tested_on(tmp_path: Path) -> None:
    file = declared(tmp_path, MINIMAL)
    with pytest.raises(DataError, match="declare splits"):
        check_disjoint([TRAINING_SETS[file].name], [PROTOCOLS[file].name])


def test_other_processes_know_what_was_declared(tmp_path: Path) -> None:
    PROTOCOLS[declared(tmp_path, MINIMAL)]
    code = "from trackablate.datasets.protocols import PROTOCOLS; print(PROTOCOLS['mine'].title)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=os.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "mine\n"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.toml is not there: name the TOML file"):
        PROTOCOLS[str(tmp_path / "gone.toml")]
    with pytest.raises(UnknownName, match="no protocol is called 'mine'"):
        PROTOCOLS["mine"]


AVIST = """name = "avist"
first_pixel = 0
boxes = "anno/{name}.txt"
frames = "sequences/{name}"
first_frame = 1
[flags]
occluded = "full_occlusion/{name}_full_occlusion.txt"
away = "out_of_view/{name}_out_of_view.txt"
"""


def test_avist_as_it_is_published(tmp_path: Path) -> None:
    """Spaces between numbers, flags in one line, and images called img_00001.jpg, as pytracking reads them."""
    (tmp_path / "avist.toml").write_text(AVIST)
    data = write(tmp_path / "data", images("sequences/plaice", range(1, 5), "img_%05d.jpg"))
    write(data, {"anno/plaice.txt": boxes(4, "%d 3 10 12\n"), "full_occlusion/plaice_full_occlusion.txt": "0,1,0,0"})
    write(data, {"out_of_view/plaice_out_of_view.txt": "0,0,0,1"})
    found = open_protocol(str(tmp_path / "avist.toml"), {"avist": str(data)})
    found.check(deep=True)
    assert found[0].visible.tolist() == [True, False, True, False]


def test_vot_long_term_sequences(tmp_path: Path) -> None:
    (tmp_path / "votlt.toml").write_text(
        'name = "votlt"\nfirst_pixel = 0\nboxes = "{name}/groundtruth.txt"\nframes = "{name}/color"\nabsent = "nan"\n'
    )
    data = write(tmp_path / "data", images("ballet/color", range(1, 4)))
    write(data, {"ballet/groundtruth.txt": "2,3,10,12\nnan,nan,nan,nan\n4,3,10,12\n", "list.txt": "ballet\n"})
    found = open_protocol(str(tmp_path / "votlt.toml"), {"votlt": str(data)})
    found.check(deep=True)
    assert found[0].visible.tolist() == [True, False, True]
    assert not PROTOCOLS["votlt"].sparse


def test_several_targets_of_one_video_with_sparse_boxes(tmp_path: Path) -> None:
    """As LaGOT: LaSOT's images, several targets in each video, every third frame annotated, some from a later one on."""
    text = MINIMAL.replace("{name}/img", "{video}/img").replace("{name}/g", "anno/{name}-g") + "annotated = 3\n"
    targets = '[[sequences]]\nname = "dog-1.a"\nvideo = "dog-1"\n[[sequences]]\nname = "dog-1.b"\nvideo = "dog-1"\n'
    data = write(tmp_path / "data", images("dog-1/img", range(1, 9)))
    write(data, {f"anno/dog-1.{target}-groundtruth.txt": boxes(3) for target in "ab"})
    found = opened(tmp_path, text + targets + "first = 2\nlast = 8\n", data)
    found.check(deep=True)
    assert [len(one) for one in found] == [8, 7]
    assert [np.flatnonzero(one.visible).tolist() for one in found] == [[0, 3, 6], [0, 3, 6]]
