"""TOML files of users: read with a byte order mark, and their faults told as file, line, field, problem, remedy."""

from pathlib import Path

import pytest

from trackablate.ablations.study_file import load_study
from trackablate.datasets import protocols
from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import unknown
from trackablate.datasets.toml_files import configured_store, read_toml
from trackablate.harness.profiles import load_profile
from trackablate.harness.spec import VideoData
from trackablate.trackers.spec import OutsideSpec

SHORT = '[data]\nkind = "videos"\nsets = ["lasot-train"]\n'


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("home/.config/trackablate", "here"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")


def test_a_byte_order_mark_is_no_fault() -> None:
    Path("mine.toml").write_text(SHORT, encoding="utf-8-sig")
    assert read_toml(Path("mine.toml"))[0] == SHORT
    assert load_profile("mine.toml").data is not None
    study = 'name = "r"\ntitle = "t"\nquestion = "q"\nbaseline = "lorat-b-224"\n[factors]\nRank = "adaptation.rank"\n'
    Path("r.toml").write_text(study + '[grid]\n"adaptation.rank" = [16, 64]\n', encoding="utf-8-sig")
    assert load_study(Path("r.toml")).name == "r"


def test_a_profile_of_ones_own_may_be_short() -> None:
    Path("mine.toml").write_text(SHORT)
    profile = load_profile("mine.toml")
    assert (profile.name, profile.comparable_with_paper) == ("mine", False)
    assert "not comparable" in profile.caveat
    Path("mine.toml").write_text(f'name = "other"\ncomparable_with_paper = true\ncaveat = ""\n{SHORT}')
    assert load_profile("mine.toml").caveat == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SHORT.replace("sets", "set"), ("mine.toml, line 3: data.set: is no field of this file; did you mean sets",)),
        (SHORT.replace("-train", "-trian"), ("line 1: data: no training set is called", "did you mean lasot-train")),
        (SHORT.replace("videos", "video"), ("line 1: data: is of no known kind; write one of 'synthetic', 'videos'",)),
        (SHORT.replace('kind = "videos"\n', ""), ("mine.toml, line 1: data: has no `kind`; write one",)),
        (
            "[recipe]\nsteps = -1\n",
            ("line 2: recipe.steps: is too small, got -1; write more than 0", "batch_size: is missing"),
        ),
        ("steps = 3\n" + SHORT, ("mine.toml, line 1: steps: belongs in another table ([recipe]); move it there",)),
        (
            SHORT + 'caveat = ""\n',
            ("line 4: data.caveat: belongs in another table (the top of the file); move it there",),
        ),
        (SHORT + "clips = 4\n", ("line 4: data.clips: is no field of this file; correct its name, or remove it",)),
        (
            SHORT + "batch_siz = 4\n",
            ("line 4: data.batch_siz: is no field of this file; correct its name, or remove it",),
        ),
        ("[data\n", ("mine.toml, line 1: is no TOML (",)),
    ],
)
def test_faults_of_a_profile_are_told_one_by_one(text: str, told: tuple[str, ...]) -> None:
    Path("mine.toml").write_text(text)
    with pytest.raises(DataError) as refusal:
        load_profile("mine.toml")
    assert all(words in str(refusal.value) for words in told), str(refusal.value)
    assert "pydantic" not in str(refusal.value)


def test_the_store_is_named_beside_the_data(tmp_path: Path) -> None:
    assert configured_store() is None
    home = tmp_path / "home/.config/trackablate"
    (home / "data.toml").write_text('store = "runs"\n')
    assert configured_store() == home / "runs"
    Path("trackablate.toml").write_text('store = "/big/disk"\n')
    assert configured_store() == Path("/big/disk")
    Path("trackablate.toml").write_text("store = 3\n")
    with pytest.raises(DataError, match=r'trackablate.toml: `store` is 3.*write store = "PATH"'):
        configured_store()
    for empty in ("", " "):
        Path("trackablate.toml").write_text(f'store = "{empty}"\n')
        with pytest.raises(DataError, match=r"`store` is '.*which is no folder; write store ="):
            configured_store()


@pytest.mark.parametrize("name", ["LASOT", "LaSOT", "lassot"])
def test_near_names_are_found_in_any_case(name: str) -> None:
    assert "did you mean lasot" in unknown("protocol", name, ["lasot", "otb"])
    assert unknown("row", "LASOT", ["lasot", "lasot_ext"]).count("lasot_ext") == 1, "no other one beside the same word"
    assert "there are" not in unknown("row", "LaSOT", ["lasot", *map(str, range(40))])
    assert "there are 40: 0, 1," in unknown("row", "LaSOT", list(map(str, range(40))))
    assert unknown("row", "LaSOT", list(map(str, range(40)))).endswith(" 15, ...")
    assert unknown("row", "LaSOT", list(map(str, range(30)))).endswith(", 9")
    assert "did you mean CE-Conv" in unknown("row", "ce-conv", ["CE-Conv", "decoder"])


def test_paths_in_a_file_are_relative_to_it_wherever_a_command_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Declared data sets, weights and environments; in the file's own folder the texts stay, and so do stored runs."""
    monkeypatch.setattr(protocols, "DECLARED", {})
    monkeypatch.setenv(protocols.VARIABLE, "")
    lab = tmp_path / "lab"
    (lab / "lists").mkdir(parents=True)
    split = 'list = "lists/{}.txt"\n'
    (lab / "drones.toml").write_text(
        'name = "drones"\nfirst_pixel = 0\nboxes = "{name}.txt"\nframes = "{name}"\n[splits.train]\n'
        + split.format("train")
        + "[splits.test]\n"
        + split.format("test")
    )
    (lab / "lists" / "train.txt").write_text("a\n")
    (lab / "lists" / "test.txt").write_text("b\n")
    (lab / "mine.toml").write_text(
        'protocols = ["drones.toml"]\n[data]\nkind = "videos"\nsets = ["drones.toml"]\n'
        '[pretrained]\nvit-b16 = "file:mae.pth"\n'
    )
    (lab / "ranks.toml").write_text(
        'name = "r"\ntitle = "t"\nquestion = "q"\nbaseline = "lorat-b-224"\nprotocols = ["drones.toml"]\n'
        '[factors]\nStart = "pretrained"\n[[rows]]\nname = "mine"\nset = { pretrained = "file:dino.pth" }\n'
        '[outside.siam]\ntarget = "siam:Siam"\npython = "env/bin/python"\n'
    )
    profile, study = load_profile("../lab/mine.toml"), load_study(Path("../lab/ranks.toml"))
    assert isinstance(profile.data, VideoData)
    assert profile.data.sets[0].startswith("drones-train@")
    assert [Path(name).resolve() for name in profile.protocols] == [lab / "drones.toml"]
    assert profile.pretrained == {"vit-b16": "file:../lab/mae.pth"}
    assert study.protocols == ("drones",)
    assert study.rows[1].changes == {"pretrained": "file:../lab/dino.pth"}
    (other,) = study.others
    assert isinstance(other.run.tracker, OutsideSpec)
    assert other.run.tracker.python == "../lab/env/bin/python"
    monkeypatch.chdir(lab)
    assert load_profile("mine.toml").pretrained == {"vit-b16": "file:mae.pth"}
    (other,) = load_study(Path("ranks.toml")).others
    assert isinstance(other.run.tracker, OutsideSpec)
    assert other.run.tracker.python == "env/bin/python"
