"""An evaluation tracks what is missing of it, into the store, whatever was there before."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from command_line import invoke, said
from trackablate.ablations.plan import run_of
from trackablate.datasets.synthetic.videos import SyntheticSequences
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile
from trackablate.harness.spec import Control, Evaluation, RunSpec
from trackablate.harness.store import RunFolder, Store
from trackablate.harness.tracking.evaluation import _one_by_one, evaluate
from trackablate.harness.tracking.speed import measure_speed
from trackablate.harness.training.loop import trained_state
from trackablate.trackers.model import build
from trackablate.trackers.outside.processes import OutsideTracker, TrackerFailed
from trackablate.trackers.spec import OutsideSpec, TrackerSpec
from trackablate.trackers.variants import detrack_ce, ostrack_mlp

CPU = torch.device("cpu")
SEQUENCES = SyntheticSequences("target", "test", 5, length=5, size=(160, 120), seed=0)


def untrained(store: Path) -> RunFolder:
    """A run whose weights are those it would start training from, off the points where all its boxes are alike."""
    run = run_of(detrack_ce, load_profile("smoke"), seed=0)
    assert isinstance(run.tracker, TrackerSpec)
    folder = Store(store).run(run)
    torch.manual_seed(0)
    model = build(run.tracker)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    folder.weights.parent.mkdir(parents=True, exist_ok=True)
    save_file(trained_state(model), folder.weights)
    return folder


def evaluation(control: Control = "none") -> Evaluation:
    return Evaluation(protocol="synthetic-smoke", data=SEQUENCES.digest(), control=control)


def boxes(folder: RunFolder, asked: Evaluation) -> dict[str, list[tuple[float, float, float, float]]]:
    found = {name: folder.result(asked, name) for name in SEQUENCES.names}
    return {name: result.boxes for name, result in found.items() if result is not None}


@pytest.mark.parametrize("control", ["none", "shuffled-template"])
def test_only_what_is_missing_is_tracked_and_comes_out_the_same(control: Control, tmp_path: Path) -> None:
    asked, counts = evaluation(control), list[tuple[int, int]]()

    def count(done: int, total: int) -> None:
        counts.append((done, total))

    whole, rest = untrained(tmp_path / "whole"), untrained(tmp_path / "rest")
    evaluate(whole, asked, SEQUENCES, CPU, count)
    assert counts == [(done, 20) for done in (0, 5, 10, 15, 20)], "four frames of each, all sequences together"
    assert list(boxes(whole, asked)) == list(SEQUENCES.names)
    assert len({str(found) for found in boxes(whole, asked).values()}) == 5
    for name in (SEQUENCES.names[0], SEQUENCES.names[3]):
        result = whole.result(asked, name)
        assert result is not None
        rest.add_result(asked, result.model_copy(update={"seconds": -1.0}))
    counts.clear()
    evaluate(rest, asked, SEQUENCES, CPU, count)
    assert counts == [(done, 12) for done in (0, 3, 6, 9, 12)], "what is missing"
    assert boxes(rest, asked) == boxes(whole, asked), "bit for bit"
    kept = [rest.result(asked, name) for name in SEQUENCES.names]
    assert [k is not None and k.seconds == -1.0 for k in kept] == [True, False, False, True, False]
    counts.clear()
    evaluate(rest, asked, SEQUENCES, CPU, count)
    assert counts == [(0, 0)], "nothing is left to do"


def test_half_precision_is_an_evaluation_of_its_own(tmp_path: Path) -> None:
    """Its boxes are nearly, but not quite, those of float32, which stay where they are."""
    folder, plain = untrained(tmp_path), evaluation()
    half = plain.model_copy(update={"precision": "bf16"})
    for asked in (plain, half):
        evaluate(folder, asked, SEQUENCES, CPU, lambda *_: None)
    assert half.key.startswith("synthetic-smoke-bf16-")
    exact, near = (np.array(list(boxes(folder, asked).values())) for asked in (plain, half))
    assert 0 < np.abs(exact - near).max() < 8.0
    with pytest.raises(BadInput, match="precision fp16 needs a GPU"):
        evaluate(folder, plain.model_copy(update={"precision": "fp16"}), SEQUENCES, CPU, lambda *_: None)


def test_a_precision_that_is_not_here_is_refused_and_the_run_stays_whole(tmp_path: Path) -> None:
    words = ["--protocol", "synthetic-smoke", "--store", tmp_path / "store"]
    Store(tmp_path / "store")
    assert invoke("evaluate", "opencv-mil", *words, "--precision", "bf16").exit_code == 2
    run = run_of(ostrack_mlp, load_profile("smoke"), seed=0)
    made = invoke("train", "ostrack-256-mlp", "--profile", "smoke", "--store", tmp_path / "store")
    assert made.exit_code == 0, made.output
    name = run.name
    assert invoke("evaluate", name, *words, "--precision", "fp16").exit_code == 2
    assert Store(tmp_path / "store").run(run).failure() is None
    said_ = said("evaluate", name, *words)
    assert "bf16 less fp32" not in said_
    told = said("evaluate", name, *words, "--precision", "bf16")
    difference = told["bf16 less fp32"]["ao"]
    assert difference == pytest.approx(told["metrics"]["ao"] - said_["metrics"]["ao"])


def test_an_outside_tracker_that_fails_is_named_by_sequence_and_leaves_the_others_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outsiders.py").write_text(OUTSIDERS)
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "store")
    bad, good = (store.run(RunSpec(tracker=OutsideSpec(target=f"outsiders:{name}"))) for name in ("Bad", "Good"))
    assert bad.trained
    failed = r"it failed on 2 sequences: \S+: ValueError: lost \(outsiders.py, line 13\); \S+: ValueError: lost"
    with pytest.raises(TrackerFailed, match=failed):
        evaluate(bad, evaluation(), SEQUENCES, CPU, lambda *_: None)
    assert len(boxes(bad, evaluation())) == 3
    with pytest.raises(TrackerFailed, match=failed):
        evaluate(bad, evaluation(), SEQUENCES, CPU, lambda *_: None)
    result = boxes(bad, evaluation()).keys()
    todo = next(name for name in SEQUENCES.names if name not in result)
    tracker, sequence = OutsideTracker(OutsideSpec(target="outsiders:Bad")), SEQUENCES[SEQUENCES.names.index(todo)]
    with pytest.raises(TrackerFailed, match=rf"it failed on 1 sequence: {todo}: "):
        _ = [*_one_by_one(tracker, [sequence], lambda frames: None)]
    left_out = measure_speed([(bad, None), (good, None)], SEQUENCES[1], CPU)
    assert left_out == [f"{bad.run.name}: ValueError: lost (outsiders.py, line 13)"]
    assert good.speed() is not None
    assert bad.speed() is None


def test_a_tracker_that_fails_after_its_warm_up_leaves_the_others_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outsiders.py").write_text(OUTSIDERS)
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "store")
    tired, good = (store.run(RunSpec(tracker=OutsideSpec(target=f"outsiders:{name}"))) for name in ("Tired", "Good"))
    left_out = measure_speed([(tired, None), (good, None)], SEQUENCES[1], CPU)
    assert left_out == [f"{tired.run.name}: ValueError: tired (outsiders.py, line 23)"]
    assert tired.speed() is None
    speed = good.speed()
    assert speed is not None
    assert (speed.rounds, speed.measured_with) == (9, [good.run.name])


OUTSIDERS = """
class Good:
    def init(self, image, box):
        self.box = box

    def update(self, image):
        return self.box


class Bad(Good):
    def update(self, image):
        if self.box[0] < MIDDLE:
            raise ValueError("lost")
        return self.box


class Tired(Good):
    seen = 0

    def update(self, image):
        Tired.seen += 1
        if Tired.seen > 50:
            raise ValueError("tired")
        return self.box
""".replace("MIDDLE", str(float(sorted(sequence.boxes[0][0] for sequence in SEQUENCES)[2])))


def test_the_control_starts_where_the_plain_run_does_and_goes_elsewhere(tmp_path: Path) -> None:
    folder = untrained(tmp_path)
    for control in ("none", "shuffled-template"):
        evaluate(folder, evaluation(control), SEQUENCES, CPU, lambda *_: None)
    plain, shuffled = boxes(folder, evaluation()), boxes(folder, evaluation("shuffled-template"))
    for name in SEQUENCES.names:
        assert plain[name][0] == shuffled[name][0]
        assert plain[name][1:] != shuffled[name][1:]
