"""Figures of a training in a logger: what TensorBoard gets, and a logger that fails stops no training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from command_line import invoke
from examples import SCALE
from trackablate.harness.profiles import load_profile
from trackablate.harness.training import logs
from trackablate.harness.training.loading import pair_geometry, training_pairs, validation_pairs
from trackablate.harness.training.logs import TrainingLog
from trackablate.harness.training.loop import fit
from trackablate.harness.training.step import TrainingSetup
from trackablate.trackers.model import build
from trackablate.trackers.scale import at_scale
from trackablate.trackers.variants import ostrack_mlp

SMOKE = load_profile("smoke")
STEPS = 4


def trained(folder: Path, log: TrainingLog) -> list[float]:
    """Train for a few steps with a log; returns the validation IoUs."""
    update = {"steps": STEPS, "batch_size": 2, "checkpoint_every": 2, "validation_pairs": 2}
    recipe, spec = SMOKE.recipe.model_copy(update=update), at_scale(ostrack_mlp, SCALE)
    geometry = pair_geometry(spec.crop, recipe, 4)
    pairs = (training_pairs(SMOKE.data, geometry, 0), validation_pairs(SMOKE.data, geometry))
    torch.manual_seed(0)
    model = build(spec, pretrained=False)
    job = TrainingSetup(
        model, recipe, *pairs, 0, folder / "checkpoint.pt", torch.device("cpu"), lambda *_: None, log=log
    )
    return [point.validation_iou for point in fit(job)[0]]


def test_tensorboard_gets_losses_rate_memory_and_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "EVERY", 0.0)
    log = TrainingLog("tensorboard", tmp_path / "logs", "a-run", {"recipe": {"steps": STEPS}, "weights": None})
    overlaps = trained(tmp_path, log)
    log.close()
    (file,) = (tmp_path / "logs" / "a-run").glob("events*")
    events = EventAccumulator(str(file)).Reload()
    named = set(events.Tags()["scalars"])
    assert {"loss/total", "learning_rate", "peak_memory_bytes", "pairs_per_second", "validation_iou"} <= named
    assert [event.step for event in events.Scalars("validation_iou")] == [2, 4]
    assert [event.value for event in events.Scalars("validation_iou")] == pytest.approx(overlaps)
    assert {event.step for event in events.Scalars("loss/total")} == {1, 2, 3, 4}


class Broken:
    def __init__(self, *_: Any, **__: Any) -> None:
        self.logged = 0

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        assert values == {"recipe.steps": STEPS}

    def log(self, *_: Any, **__: Any) -> None:
        self.logged += 1
        raise ConnectionError("no network")

    def finish(self) -> None:
        raise AssertionError("it was left out")


def test_a_logger_that_fails_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "EVERY", 0.0)
    monkeypatch.setitem(logs.LOGGER_TYPE_TO_CLASS, "wandb", Broken)
    plain = trained(tmp_path / "plain", TrainingLog("", tmp_path, "a-run", {}))
    log = TrainingLog("wandb", tmp_path, "a-run", {"recipe": {"steps": STEPS}})
    assert log.wanted
    assert trained(tmp_path / "logged", log) == plain, "and it changes nothing"
    assert not log.wanted
    log.close()
    told = capfd.readouterr().err
    assert told.count("--log wandb: ConnectionError: no network; this run is not logged any more") == 1


@pytest.mark.parametrize(("kind", "told"), [("x", "there are tensorboard"), ("mlflow", "python -m pip install mlflow")])
def test_loggers_that_are_not_there_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, told: str
) -> None:
    monkeypatch.setattr("trackablate.harness.cli.options.find_spec", lambda name: None)
    refused = invoke("train", "lorat-b-224", "--profile", "smoke", "--store", tmp_path / "store", "--log", kind)
    assert refused.exit_code == 2
    assert told in refused.stderr
    assert not (tmp_path / "store").exists()
