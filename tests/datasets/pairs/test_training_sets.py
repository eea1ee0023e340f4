"""What may be trained on: the official lists, what overlaps with a test, and how pairs of frames are drawn."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator

from places import SHARED
from trackablate.datasets.benchmarks import coco, got10k, lasot
from trackablate.datasets.errors import DataError
from trackablate.datasets.pairs import training_sets as training
from trackablate.datasets.pairs.sampling import PairGeometry, PairSampler
from trackablate.datasets.pairs.training_sets import KEPT, TRAINING_SETS, Mixture, TrainingSet, check_disjoint, one_shot
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.reading.layouts import Clip
from trackablate.datasets.reading.tables import names
from trackablate.datasets.registry import UnknownName
from trackablate.datasets.sequence import Sequence
from trackablate.datasets.synthetic.writing import videos, write

PROTOCOLS_FOLDER = SHARED / "protocols"
GEOMETRY = PairGeometry(32, 64, 2.0, 4.0, 0.5, 0.1, 4)


class Blank:
    """Frames of one grey, as many as asked for."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int, /) -> np.ndarray:
        return np.full((64, 80, 3), 90, np.uint8)


def _sequence(visible: list[int], boxes: np.ndarray | None = None, name: str = "x") -> Sequence:
    shown = np.array(visible, dtype=bool)
    return Sequence(
        name, Blank(len(shown)), np.tile([20.0, 20, 16, 12], (len(shown), 1)) if boxes is None else boxes, shown
    )


def _rng(number: int = 0) -> Generator:
    return np.random.Generator(np.random.Philox(key=[0, number]))


class Counted(list[Sequence]):
    """A list that remembers what was opened."""

    def __init__(self, sequences: list[Sequence]) -> None:
        super().__init__(sequences)
        self.opened: list[int] = []

    def __getitem__(self, index: int) -> Sequence:  # type: ignore[override]
        self.opened.append(index)
        return super().__getitem__(index)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lasot-train", 1120),
        ("lasot-train-train", 1000),
        ("lasot-train-val", 120),
        ("got10k-train", 9335),
        ("got10k-train-train", 7934),
        ("got10k-train-val", 1401),
        ("got10k-train-vot", 8335),
        ("got10k-train-vottrain", 7086),
        ("got10k-train-votval", 1249),
        ("got10k-val", 180),
        ("trackingnet-train", 30_132),
        ("tnl2k-train", 1299),
        ("coco2017-train", 0),
    ],
)
def test_the_official_lists(name: str, count: int) -> None:
    assert len(set(TRAINING_SETS[name].sequences())) == count


def test_every_set_is_counted_above() -> None:
    assert len(TRAINING_SETS) == 13


@pytest.mark.parametrize("whole", ["lasot-train", "got10k-train"])
def test_pytrackings_splits_make_up_the_whole(whole: str) -> None:
    train, val = (set(TRAINING_SETS[f"{whole}-{part}"].sequences()) for part in ("train", "val"))
    assert not train & val
    assert train | val == set(TRAINING_SETS[whole].sequences())
    assert one_shot([f"{whole}-train"]) == (whole == "got10k-train")


def test_the_splits_are_pytrackings() -> None:
    if not (PROTOCOLS_FOLDER / "lasot_train_val_split.txt").is_file():
        pytest.skip("needs the published splits beside the checkout, shared/protocols")
    known = (PROTOCOLS_FOLDER / "lasot_train_val_split.txt").read_text().split()
    assert set(TRAINING_SETS["lasot-train-val"].sequences()) == set(known)
    lines = [clip.name for clip in got10k.TRAIN.clips()]
    for part, file in (("val", "got10k_val_split.txt"), ("train", "got10k_train_split.txt")):
        wanted = {lines[int(index)] for index in (PROTOCOLS_FOLDER / file).read_text().split()}
        assert wanted == set(TRAINING_SETS[f"got10k-train-{part}"].sequences())


def test_the_rest_of_a_set_is_no_stranger_to_its_split(tmp_path: Path) -> None:
    write("got10k", videos("got10k", count=6, length=1, size=(64, 64)), tmp_path / "data")
    train, val = (TRAINING_SETS[f"got10k-train-{part}"].open(tmp_path / "data") for part in ("train", "val"))
    assert len(train) + len(val) == 6
    assert not [note for opened in (train, val) for note in opened.notes() if "not read" in note]


def test_vots_videos_are_left_out_by_name() -> None:
    forbidden = set(names("got10k_vot_exclude.txt"))
    assert len(forbidden) == 1000
    kept = set(TRAINING_SETS["got10k-train-vot"].sequences())
    assert not kept & forbidden
    assert kept | forbidden == set(TRAINING_SETS["got10k-train"].sequences())
    # The toolkits' index files use the numbers of the names, from 1, as lines from 0: one too far.
    by_index = {
        clip.name for number, clip in enumerate(got10k.TRAIN.clips()) if f"{number:06d}" not in _numbers(forbidden)
    }
    assert len(by_index & forbidden) == 890
    vottrain, votval = (set(TRAINING_SETS[f"got10k-train-{part}"].sequences()) for part in ("vottrain", "votval"))
    assert not vottrain & votval
    assert vottrain | votval == by_index
    assert len(vottrain & forbidden) == 765, "the published list trains on most of VOT's videos"


def test_the_published_list_of_ostrack_and_lorat_is_pytrackings() -> None:
    vottrain = "\n".join(sorted(TRAINING_SETS["got10k-train-vottrain"].sequences()))
    # Of got10k_vot_train_split.txt, whose numbers are lines of list.txt counted from 0.
    assert sha256(vottrain.encode()).hexdigest() == "564e79ddb7d1b6a8fa35be22f111a085b36cfa3fc3ca21c9cb154b44224a4abe"
    assert one_shot(["got10k-train-vottrain"])


def _numbers(names: set[str]) -> set[str]:
    return {name[-6:] for name in names}


def test_vots_videos_are_not_opened(tmp_path: Path) -> None:
    write("got10k", videos("got10k", count=5, length=1, size=(64, 64)), tmp_path / "data")
    opened = {name: TRAINING_SETS[name].open(tmp_path / "data") for name in ("got10k-train", "got10k-train-vot")}
    assert [len(sequences) for sequences in opened.values()] == [5, 4]
    assert "GOT-10k_Train_000004" not in opened["got10k-train-vot"].names
    assert not [note for note in opened["got10k-train-vot"].notes() if "GOT-10k_Train_000004" in note]


def test_a_set_trains_where_no_protocol_tests_on_it() -> None:
    check_disjoint(TRAINING_SETS, PROTOCOLS.keys() - {"got10k-val"})


def test_validation_videos_are_no_test_of_what_was_validated_on_them() -> None:
    with pytest.raises(DataError, match="got10k-val shares 180 sequences with the test of got10k-val"):
        check_disjoint(["got10k-val"], ["got10k-val"])


@pytest.fixture
def cheating(monkeypatch: pytest.MonkeyPatch) -> str:
    """A training set that holds LaSOT's test videos, and one training video."""
    clips = tuple(map(Clip, ["airplane-1", "airplane-9", "airplane-10"]))
    kind = TrainingSet("cheating", "", "lasot", "lasot", replace(lasot.TEST, clips=lambda: clips))
    monkeypatch.setitem(training.TRAINING_SETS._entries, "cheating", kind)
    return "cheating"


def test_training_on_a_test_is_refused(cheating: str) -> None:
    with pytest.raises(DataError) as caught:
        check_disjoint(["got10k-train", cheating], ["otb", "lasot"])
    assert "cheating shares 2 sequences with the test of lasot, among them airplane-1: train on another" in str(
        caught.value
    )
    check_disjoint([cheating], ["otb", "synthetic", "tnl2k"])


def test_names_of_two_data_sets_are_not_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """UAV123 has a bike1, and so may another data set."""
    clips = tuple(map(Clip, ["bike1", "airplane-1"]))
    other = replace(TRAINING_SETS["got10k-train"], open=replace(got10k.TRAIN, clips=lambda: clips))
    monkeypatch.setitem(training.TRAINING_SETS._entries, "other", other)
    check_disjoint(["other"], ["uav123", "lasot"])


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName, match="training set"):
        check_disjoint(["lasot"], ["lasot"])
    with pytest.raises(UnknownName, match="protocol"):
        check_disjoint(["lasot-train"], ["lasott"])


@pytest.mark.parametrize(
    ("sets", "holds"),
    [
        (["got10k-train"], True),
        (["got10k-train-vot"], True),
        (["got10k-train", "got10k-train-vot"], True),
        (["got10k-train", "lasot-train"], False),
        (["coco2017-train"], False),
        ([], False),
    ],
)
def test_got10ks_one_shot_protocol(sets: list[str], holds: bool) -> None:
    assert one_shot(sets) is holds


def test_only_frames_that_show_the_target_may_be_used() -> None:
    boxes = np.tile([20.0, 20, 16, 12], (6, 1))
    boxes[4, 2], boxes[5] = 0, np.nan
    sequence, frames = Mixture(([_sequence([0, 1, 0, 1, 1, 1], boxes)],), (1.0,))(0, _rng())
    assert len(sequence.boxes) == 6
    assert frames.tolist() == [1, 3]


def test_sets_are_drawn_by_weight_and_sequences_alike() -> None:
    small, large = (
        [_sequence([1, 1], name=f"{kind}{n}") for n in range(count)] for kind, count in (("a", 2), ("b", 40))
    )
    mixture = Mixture((small, large), (3.0, 1.0))
    drawn = [mixture(n, _rng(n))[0].name for n in range(2000)]
    assert abs(sum(name[0] == "a" for name in drawn) - 1500) < 100
    assert abs(drawn.count("a0") - drawn.count("a1")) < 150
    assert len(set(drawn)) == 42


def test_a_pair_does_not_depend_on_those_before() -> None:
    sets = ([_sequence([1] * 50, name=str(n)) for n in range(30)],)
    one, two = Mixture(sets, (1.0,)), Mixture(sets, (1.0,))
    for n in range(50):
        one(n, _rng(n))
    forwards, alone = one(77, _rng(77)), two(77, _rng(77))
    assert forwards[0].name == alone[0].name
    assert forwards[1].tolist() == alone[1].tolist()


def test_sequences_are_kept_in_bounds() -> None:
    many = Counted([_sequence([1, 1], name=str(n)) for n in range(3 * KEPT)])
    mixture = Mixture((many,), (1.0,))
    for n in range(5 * KEPT):
        mixture(n, _rng(n))
        assert len(mixture._opened) <= KEPT
    few = Counted([_sequence([1, 1]) for _ in range(3)])
    mixture = Mixture((few,), (1.0,))
    for n in range(50):
        mixture(n, _rng(n))
    assert sorted(few.opened) == [0, 1, 2]


def test_the_one_used_last_is_forgotten_last() -> None:
    many = Counted([_sequence([1, 1]) for _ in range(KEPT + 1)])
    mixture = Mixture((many,), (1.0,))
    for index in [*range(KEPT), 0, KEPT, 0]:
        mixture._sequence(0, index)
    assert many.opened == [*range(KEPT), KEPT]


@pytest.mark.parametrize(("sets", "weights"), [((), ()), (([],), (1.0, 1.0)), (([],), (0.0,))])
def test_a_mixture_that_cannot_be_is_refused(sets: tuple[list[Sequence], ...], weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):
        Mixture(sets, weights)


def _named(kind: str, count: int) -> list[Sequence]:
    return [_sequence([1, 1], name=f"{kind}{n}") for n in range(count)]


def test_an_epoch_has_exact_shares_and_no_sequence_twice_before_all() -> None:
    """LoRAT, the published code: shares of an epoch are exact, and each set is gone through in random order."""
    sets = (_named("a", 7), _named("b", 40))
    mixture = Mixture(sets, (3.0, 1.0), seed=1, epoch=100)
    for epoch in range(3):
        drawn = [mixture(n, _rng(n))[0].name for n in range(100 * epoch, 100 * epoch + 100)]
        small = [name for name in drawn if name[0] == "a"]
        assert len(small) == 75
        assert {small.count(name) for name in set(small)} == {10, 11}, "75 draws of 7"
        large = [name for name in drawn if name[0] == "b"]
        assert len(set(large)) == 25
        assert drawn != sorted(drawn)
    other = Mixture(sets, (3.0, 1.0), seed=2, epoch=100)
    assert [mixture(n, _rng(n))[0].name for n in range(9)] != [other(n, _rng(n))[0].name for n in range(9)]


def test_a_pair_of_an_epoch_does_not_depend_on_those_before() -> None:
    one, two = (Mixture((_named("a", 7), _named("b", 9)), (1.0, 1.0), epoch=10) for _ in range(2))
    forwards = [one(n, _rng(n))[0].name for n in range(60)]
    assert [two(n, _rng(n))[0].name for n in reversed(range(60))][::-1] == forwards
    assert len(one._orders) == 2, "the orders of past epochs are forgotten"


def test_a_sequence_that_gives_no_pair_is_replaced_by_any_other() -> None:
    """The order of an epoch would give the same sequence again and again."""
    blind = [_sequence([0, 0], name="blind"), *_named("a", 3)]
    mixture = Mixture((blind,), (1.0,), epoch=4)
    sampler = PairSampler(mixture, GEOMETRY, seed=0, again=mixture.independent)
    assert all(sampler(n).template.shape == (32, 32, 3) for n in range(4))


def test_images_are_drawn_before_their_objects(tmp_path: Path) -> None:
    """LoRAT takes each image of COCO equally often; by objects, an image with many would come more often."""
    write("coco", videos("coco", count=6, size=(80, 64), length=None), tmp_path)
    opened = TRAINING_SETS["coco2017-train"].open(tmp_path)
    assert isinstance(opened, coco.CocoObjects)
    opened._objects = opened._objects._replace(images=np.array(["1.jpg", "2.jpg", "1.jpg", "1.jpg", "1.jpg", "1.jpg"]))
    assert [objects.tolist() for objects in opened.images] == [[0, 2, 3, 4, 5], [1]]
    for epoch in (None, 100):
        drawn = Mixture((opened,), (1.0,), epoch=epoch, by_image=True)
        names = [drawn(n, _rng(n))[0].name for n in range(400)]
        assert abs(names.count(opened.names[1]) - 200) < 50
        assert set(names) == set(opened.names)


def test_pairs_come_from_files(tmp_path: Path) -> None:
    """Through the sampler of the training, from three data sets as they lie on the disk."""
    opened = []
    for layout, name in (("lasot", "lasot-train"), ("trackingnet", "trackingnet-train"), ("coco", "coco2017-train")):
        write(layout, videos(layout, count=2, size=(80, 64), length=None if layout == "coco" else 6), tmp_path / layout)
        opened.append(TRAINING_SETS[name].open(tmp_path / layout))
    sampler = PairSampler(Mixture(tuple(opened), (1.0, 1.0, 1.0)), GEOMETRY, seed=1)
    first, again = sampler(5), sampler(5)
    assert first.template.shape == (32, 32, 3)
    assert first.search.shape == (64, 64, 3)
    assert (first.truth[2:] > first.truth[:2]).all()
    np.testing.assert_array_equal(first.search, again.search)
    names = {sampler.sequence(n, _rng(n))[0].name.split("-")[0] for n in range(30)}
    assert "train2017" in names
    assert len(names) >= 3
