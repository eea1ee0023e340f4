"""Compiled networks track as others do, say so, and ask nothing of the host that a CUDA graph could not replay."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch._inductor.exc import InvalidCxxCompiler
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from command_line import invoke, said
from tiny_models import tiny_model
from trackablate.ablations.plan import run_of
from trackablate.datasets.sequence import Sequence
from trackablate.datasets.synthetic.videos import SyntheticSequences, make_sequence
from trackablate.harness.profiles import load_profile
from trackablate.harness.running.runner import Job, pending
from trackablate.harness.running.tasks import Execution, RunTask
from trackablate.harness.spec import Evaluation
from trackablate.harness.speed import FAILED, Speed
from trackablate.harness.store import Store
from trackablate.harness.tracking import fixed_shapes
from trackablate.harness.tracking.evaluation import evaluate
from trackablate.harness.tracking.fixed_shapes import FixedShapes, forward_of, network_tracker
from trackablate.harness.tracking.speed import measure_speed
from trackablate.harness.training.loop import trained_state
from trackablate.trackers.decoding import POST_PROCESSING, best_boxes
from trackablate.trackers.inference import NetworkTracker, TrackingBatch, track_together
from trackablate.trackers.model import build
from trackablate.trackers.spec import LoRA, Prompts, TrackerSpec, replace
from trackablate.trackers.variants import detrack_ce, ostrack, ostrack_ce, ostrack_mlp

CPU = torch.device("cpu")
LENGTHS = (4, 3, 3)
TRACKERS = {
    "centre": ostrack,
    "elimination": ostrack_ce,
    "decoder-elimination": detrack_ce,
    "lora": replace(ostrack_mlp, adaptation=LoRA()),
    "prompts": replace(ostrack_ce, adaptation=Prompts(count=2)),
}
CLIPS = [make_sequence("target", i, length=length, split="test") for i, length in enumerate(LENGTHS)]


def tracked(
    network: NetworkTracker, clips: list[Sequence] = CLIPS
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The boxes of all clips, three at a time at first and one at the end."""
    template = lambda _, clip: (clip.frames[0], clip.boxes[0])  # noqa: E731
    everything = frozenset(range(len(clips)))
    batch = TrackingBatch(clips.__getitem__, template, [len(clip) for clip in clips], everything, 3)
    return np.concatenate([found.boxes for found in sorted(track_together(network, batch), key=lambda t: t.name)])


@pytest.mark.slow
@pytest.mark.parametrize("spec", TRACKERS.values(), ids=TRACKERS)
def test_a_compiled_network_tracks_the_same(spec: TrackerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as a whole, but not made into C++, which takes minutes. Three rows are compiled as four."""
    monkeypatch.setattr(fixed_shapes, "COMPILER", "aot_eager" if spec is detrack_ce else "eager")
    plain, made = (network_tracker(tiny_model(spec), CPU, compile=wanted) for wanted in (False, True))
    expected, found = tracked(plain), tracked(made)
    assert np.ptp(expected, axis=0).min() > 1, "they move"
    np.testing.assert_allclose(found, expected, atol=1e-2)
    assert isinstance(made.find, FixedShapes)
    assert sorted(shape[0] for shape in made.find._made) == [1, 4]
    assert (forward_of(plain), forward_of(made), forward_of(object())) == ("eager", "compiled", None)


def test_many_compiled_networks_fit_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the eight that torch makes of one function by itself."""
    monkeypatch.setattr(fixed_shapes, "COMPILER", "eager")
    for _ in range(10):
        made = network_tracker(tiny_model(ostrack_mlp), CPU, compile=True)
        tracked(made, CLIPS[2:])
        assert forward_of(made) == "compiled"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_cannot_be_compiled_is_computed_as_it_is(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise (
            InvalidCxxCompiler if device == "cpu" else RuntimeError("operation not permitted when stream is capturing")
        )

    monkeypatch.setattr(fixed_shapes, "COMPILER", refuse)
    monkeypatch.setattr(fixed_shapes, "captured", refuse)
    plain, made = (network_tracker(tiny_model(detrack_ce), CPU) for _ in range(2))
    plain.few_shapes = made.few_shapes = True
    made.find = FixedShapes(made.find, torch.device(device))
    with pytest.warns(UserWarning, match="computed as it is, for it cannot be compiled") as warned:
        found = tracked(made)
    assert len(warned) == 1
    assert forward_of(made) == FAILED
    np.testing.assert_array_equal(found, tracked(plain))


def test_an_error_of_the_network_comes_out_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_shapes, "COMPILER", "eager")

    def broken(*_: Tensor) -> tuple[Tensor, Tensor]:
        raise ValueError("no such layer")

    with pytest.warns(UserWarning, match="cannot be compiled"), pytest.raises(ValueError, match="no such layer"):
        FixedShapes(broken, CPU)(*(torch.zeros(1) for _ in range(3)))


class HostTensors(TorchDispatchMode):
    """Notes every operation with a tensor on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        self.found += [str(func)] * any(tensor.device.type == "cpu" for tensor in tensors)
        return out


@pytest.mark.parametrize("spec", TRACKERS.values(), ids=TRACKERS)
def test_a_network_asks_nothing_of_the_host(spec: TrackerSpec) -> None:
    """A CUDA graph refuses copies between host and GPU, and results of a size that is not known before.

    Pretended tensors on a GPU show both without one: a copy would need a driver, a size its content.
    """
    model = tiny_model(spec)
    post, crop = POST_PROCESSING[model.spec.crop.window], model.spec.crop
    with FakeTensorMode(), torch.device("cuda"):
        for module in model.modules():
            kept = {**module._parameters, **module._buffers}
            for name, tensor in ((name, tensor) for name, tensor in kept.items() if tensor is not None):
                delattr(module, name)
                module.register_buffer(name, torch.empty(tensor.shape, dtype=tensor.dtype))
        images = [torch.zeros(2, 3, side, side) for side in (crop.template_size, crop.search_size)]
        mask = torch.zeros(2, model.encoder.template_side**2, dtype=torch.bool)
        window = torch.zeros(model.encoder.search_side, model.encoder.search_side)
        with HostTensors() as host, torch.inference_mode():
            boxes, _ = best_boxes(model(*images, mask), window, post.weigh)
    assert boxes.shape == (2, 4)
    assert boxes.device.type == "cuda"
    assert not host.found


def test_weights_in_16_bits_compute_what_autocast_does() -> None:
    """They are cast once, not in every frame."""
    for spec in TRACKERS.values():
        once = network_tracker(tiny_model(spec), CPU, "bf16")
        each = NetworkTracker(tiny_model(spec), CPU)
        each._half = torch.bfloat16
        assert {p.dtype for m in once.model.modules() if isinstance(m, nn.Linear) for p in m.parameters()} == {
            torch.bfloat16
        }
        np.testing.assert_array_equal(tracked(once), tracked(each))


def test_a_compiled_evaluation_is_one_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its results say how they came about, and the others are written as ever."""
    monkeypatch.setattr(fixed_shapes, "COMPILER", "eager")
    run = run_of(ostrack_mlp, load_profile("smoke"), seed=0)
    assert isinstance(run.tracker, TrackerSpec)
    folder = Store(tmp_path).run(run)
    folder.path.mkdir(parents=True)
    save_file(trained_state(build(run.tracker)), folder.weights)
    sequences = SyntheticSequences("target", "test", 2, length=3, size=(160, 120), seed=0)
    plain = Evaluation(protocol="synthetic-smoke", data=sequences.digest())
    made = plain.model_copy(update={"compile": True})
    for asked, how in ((plain, None), (made, "compiled")):
        evaluate(folder, asked, sequences, CPU, lambda *_: None)
        assert {result.forward for result in folder.results(asked)} == {how}
    assert "forward" not in next(folder.evaluation_folder(plain).glob("target*.json")).read_text()
    assert made.key.startswith("synthetic-smoke-fp32-compiled-")
    assert plain.key == f"synthetic-smoke-{plain.key[-8:]}"
    measure_speed([(folder, None)], sequences[0], CPU, compile=True)
    speed = folder.speed()
    assert speed is not None
    assert speed.forward == "compiled"
    assert None not in (speed.latency, speed.latency95, speed.fps_from_jpeg)
    assert speed.latency <= speed.latency95  # type: ignore[operator]


def test_speed_is_measured_again_for_compiled_networks_alone(tmp_path: Path) -> None:
    """And no further time, also if one could not be compiled."""
    store, run = Store(tmp_path), run_of(ostrack_mlp, load_profile("smoke"), seed=0)
    speed = Speed(fps=1, low=1, high=1, rounds=1, frames_per_round=1, device="x", threads=1, measured_with=[])
    for how, again in (("eager", True), ("compiled", False), (FAILED, False), (None, False)):
        store.run(run).set_speed(speed.model_copy(update={"forward": how}))
        for wanted, lacks in ((False, False), (True, again)):
            task = RunTask(run=run, evaluations=())
            job = Job([task], [], {}, load_profile("smoke"), how=Execution(compile=wanted))
            assert [bool(item.missing.speed) for item in pending(job, store)] == [lacks]


def test_cost_refuses_options_that_change_nothing() -> None:
    for words in (["ostrack-256", "--compile"], ["ostrack-256", "--precision", "bf16"], ["opencv-mil", "--compile"]):
        assert invoke("cost", *words).exit_code == 2


@pytest.mark.slow
def test_torchs_compiler_tracks_the_same(tmp_path: Path) -> None:
    words = ["--protocol", "synthetic-smoke", "--store", tmp_path / "store"]
    made = invoke("train", "ostrack-256-ce", "--profile", "smoke", "--store", tmp_path / "store")
    assert made.exit_code == 0, made.output
    name = run_of(ostrack_ce, load_profile("smoke"), seed=0).name
    said("evaluate", name, *words)
    told = said("evaluate", name, *words, "--compile")
    assert abs(told["fp32-compiled less fp32"]["ao"]) < 0.1
    assert "forward" not in told
