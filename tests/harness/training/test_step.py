"""A step that memory does not hold: the run fails with what fits, or goes on with it, to the same weights."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch._inductor.exc import InvalidCxxCompiler

from examples import SCALE
from trackablate.harness.errors import RunFailed
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import TrainingCost
from trackablate.harness.training import engine, step
from trackablate.harness.training.loading import pair_geometry, training_pairs, validation_pairs
from trackablate.harness.training.loop import fit
from trackablate.harness.training.step import TrainingSetup
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import TrackerSpec, replace
from trackablate.trackers.variants import VARIANTS, ostrack

SMOKE = load_profile("smoke")
RECIPE = SMOKE.recipe.model_copy(
    update={"steps": 4, "batch_size": 6, "micro_batch": 4, "checkpoint_every": 4, "validation_pairs": 2}
)
LORAT = at_scale(VARIANTS["lorat-b-224"], SCALE)
CONV = replace(at_scale(ostrack, SCALE), drop_path=0.2)


def job(folder: Path, spec: TrackerSpec, *, fit_memory: bool = False) -> TrainingSetup:
    torch.manual_seed(0)
    model = build(spec, pretrained=False)
    geometry = pair_geometry(spec.crop, RECIPE, model.encoder.template_side)
    pairs = training_pairs(SMOKE.data, geometry, 0), validation_pairs(SMOKE.data, geometry)
    cpu, checkpoint = torch.device("cpu"), folder / "checkpoint.pt"
    work = TrainingSetup(
        model, RECIPE, *pairs, 0, checkpoint, cpu, lambda *_: None, model.loss_divisor, model.parts_are_free
    )
    return dataclasses.replace(work, fit_memory=fit_memory)


def hold(monkeypatch: pytest.MonkeyPatch, pairs: int, *, recomputed: int | None = None) -> list[int]:
    """Let memory hold so many pairs, and so many if activations are computed twice; list the sizes that were tried."""
    real, tried = OneStreamTracker.forward, list[int]()

    def forward(self: OneStreamTracker, *inputs: Any) -> Any:
        if len(inputs) > 3:
            tried.append(len(inputs[0]))
            result = real(self, *inputs)
            twice = recomputed is not None and self.encoder.checkpointing
            if len(inputs[0]) > (recomputed if twice and recomputed else pairs):
                raise torch.OutOfMemoryError
            return result
        return real(self, *inputs)

    monkeypatch.setattr(OneStreamTracker, "forward", forward)
    return tried


def done(work: TrainingSetup) -> tuple[dict[str, Tensor], TrainingCost]:
    _, cost = fit(work)
    return {name: value.clone() for name, value in work.model.state_dict().items()}, cost


def test_a_run_without_memory_says_which_part_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = hold(monkeypatch, 1)
    with pytest.raises(RunFailed) as caught:
        fit(job(tmp_path, LORAT))
    assert str(caught.value) == (
        "step 0: memory ran out with 4 pairs at a time; 1 at a time fit. Add --fit-memory, which gives the same result to"
        " rounding, or --set recipe.micro_batch=1"
    )
    assert tried == [4, 2, *[1] * 6]
    assert not (tmp_path / "checkpoint.pt").exists()


def test_fit_memory_computes_the_same_in_smaller_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cost = done(job(tmp_path / "whole", LORAT))
    assert (cost.pairs_at_once, cost.recomputed) == (None, False)
    tried = hold(monkeypatch, 2)
    parts, cost = done(job(tmp_path / "parts", LORAT, fit_memory=True))
    assert (cost.pairs_at_once, cost.recomputed) == (2, False)
    assert tried == [4, *[2] * 3 * RECIPE.steps]
    moved = max(float((parts[name] - job(tmp_path, LORAT).model.state_dict()[name]).abs().max()) for name in parts)
    assert moved > 1e-3
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-5)


def test_a_loss_that_depends_on_its_parts_is_computed_with_activations_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit: drop path's draws are repeated, and running statistics move once."""
    whole, _ = done(job(tmp_path / "whole", CONV))
    tried = hold(monkeypatch, 3, recomputed=4)
    twice, cost = done(job(tmp_path / "twice", CONV, fit_memory=True))
    assert (cost.pairs_at_once, cost.recomputed) == (None, True)
    assert tried[:3] == [4, 4, 2]
    assert all(twice[name].equal(value) for name, value in whole.items())
    with pytest.raises(RunFailed, match=r"4 at a time fit if activations .* tracker\.checkpointing=true"):
        fit(job(tmp_path / "asked", CONV))


def test_a_training_that_fitted_goes_on_as_it_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller parts are kept over an interruption, also without the option; and they do not grow again."""
    work = job(tmp_path, LORAT, fit_memory=True)

    def stop(number: int, loss: Tensor | None) -> None:
        if number == 4 and loss is not None:
            raise KeyboardInterrupt

    with monkeypatch.context() as limited:
        hold(limited, 2)
        longer = RECIPE.model_copy(update={"steps": 8})
        with pytest.raises(KeyboardInterrupt):
            fit(dataclasses.replace(work, recipe=longer, report=stop))
    tried = hold(monkeypatch, 6)
    _, cost = done(dataclasses.replace(job(tmp_path, LORAT), recipe=longer))
    assert (cost.pairs_at_once, cost.resumed) == (2, 1)
    assert tried == [2] * 12


def test_larger_parts_that_no_longer_fit_give_way_to_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may take memory meanwhile, or a training may go on with a smaller GPU: no option is needed."""
    taken: list[int | None] = []
    real = step._gradients

    def gradients(*arguments: Any) -> dict[str, Tensor]:
        state = arguments[0].state
        taken.append(state.cost.pairs_at_once)
        if state.step == 1 and state.cost.pairs_at_once is None:
            state.cost.pairs_at_once = 6
        if state.cost.pairs_at_once == 6:
            raise torch.OutOfMemoryError
        return real(*arguments)

    monkeypatch.setattr(step, "_gradients", gradients)
    _, cost = fit(job(tmp_path, LORAT))
    assert taken == [None, None, 4, 4, 4]
    assert cost.pairs_at_once == 4


def test_the_device_stays_out_of_the_environment() -> None:
    """A command that is started from there would warn of a launcher's variable."""
    assert engine.make_accelerator(torch.device("cpu"), "fp32").device.type == "cpu"
    assert not [name for name in os.environ if name.startswith("ACCELERATE_")]


def test_a_step_that_never_fits_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = hold(monkeypatch, 0)
    with pytest.raises(RunFailed, match="step 0: memory ran out, and no smaller part of the batch fits"):
        fit(job(tmp_path, LORAT, fit_memory=True))
    assert tried == [4, 2, 1, 1], "the last time with activations computed twice"


@pytest.mark.parametrize("spec", [LORAT, CONV], ids=["lorat", "conv"])
def test_compiled_blocks_train_the_same(spec: TrackerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and differentiated by the compiler, but not made into C++, which takes minutes; with the same random draws."""
    monkeypatch.setattr(engine, "COMPILER", "aot_eager")
    monkeypatch.setattr(engine, "COMPILER_OPTIONS", None)
    plain, cost = done(job(tmp_path / "plain", spec))
    assert not cost.compiled
    work = job(tmp_path / "compiled", spec)
    graphs = counters["stats"]["unique_graphs"]
    compiled, cost = done(dataclasses.replace(work, recipe=RECIPE.model_copy(update={"compile": True})))
    assert cost.compiled
    assert 0 < counters["stats"]["unique_graphs"] - graphs <= 2 * spec_depth(work)
    assert not counters["graph_break"]
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-4, atol=1e-5)


def spec_depth(work: TrainingSetup) -> int:
    return len(list(work.model.encoder.blocks.children()))  # type: ignore[union-attr, operator]


def test_blocks_that_cannot_be_compiled_are_computed_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: object) -> None:
        raise InvalidCxxCompiler

    monkeypatch.setattr(engine, "COMPILER", no_compiler)
    monkeypatch.setattr(engine, "COMPILER_OPTIONS", None)
    plain, _ = done(job(tmp_path / "plain", CONV))
    work = job(tmp_path / "compiled", CONV)
    with pytest.warns(UserWarning, match="blocks are not compiled"):
        eager, cost = done(dataclasses.replace(work, recipe=RECIPE.model_copy(update={"compile": True})))
    assert not cost.compiled
    assert all(eager[name].equal(value) for name, value in plain.items())
