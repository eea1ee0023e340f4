"""The training loop: what the recipe says happens, equal seeds give equal weights, and the clock books what was spent."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from examples import SCALE, Evil
from stored_files import flip
from trackablate.ablations.plan import run_of
from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import UnknownName
from trackablate.datasets.synthetic import videos
from trackablate.harness.costing.clock import PhaseClock, peak_rss_bytes
from trackablate.harness.costing.devices import resolve_device
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile, profile_names
from trackablate.harness.record import CurvePoint, PhaseCost, TrainingCost
from trackablate.harness.run_folder import keep_older
from trackablate.harness.spec import Recipe
from trackablate.harness.training.learning_rates import parameter_groups, schedule
from trackablate.harness.training.loading import (
    ClipWindow,
    PairDataset,
    pair_geometry,
    training_pairs,
    validation_pairs,
)
from trackablate.harness.training.loop import fit, load_trained, trained_state
from trackablate.harness.training.step import TrainingSetup
from trackablate.trackers.adaptation.adapt import is_added
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import IA3, FrozenBackbone, InputEmbedding, LoRA, TrackerSpec, replace
from trackablate.trackers.tokens import Prediction
from trackablate.trackers.variants import VARIANTS, detrack, ostrack, ostrack_ce, ostrack_mlp

SMOKE = load_profile("smoke")
RECIPE = SMOKE.recipe.model_copy(update={"steps": 4, "batch_size": 2, "checkpoint_every": 2, "validation_pairs": 2})
CPU = torch.device("cpu")
Hook = Callable[[int, Tensor | None], None]


@cache
def small() -> TrackerSpec:
    return at_scale(ostrack_mlp, SCALE)


LONG = RECIPE.model_copy(update={"steps": 8})


def job(
    folder: Path, model: nn.Module, recipe: Recipe = RECIPE, *, seed: int = 0, report: Hook = lambda *_: None
) -> TrainingSetup:
    geometry = pair_geometry(small().crop, recipe, 4)
    training, validation = training_pairs(SMOKE.data, geometry, seed), validation_pairs(SMOKE.data, geometry)
    return TrainingSetup(model, recipe, training, validation, seed, folder / "checkpoint.pt", CPU, report)


def fresh(spec: TrackerSpec | None = None) -> OneStreamTracker:
    torch.manual_seed(0)
    return build(spec or small(), pretrained=False)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_schedule_warms_up_and_ends_at_its_final_share(warmup: int) -> None:
    recipe = RECIPE.model_copy(update={"steps": 105, "warmup_steps": warmup, "final_share": 0.02})
    shares = [schedule(recipe, step) for step in range(recipe.steps)]
    assert shares[:warmup] == [(step + 1) / warmup for step in range(warmup)]
    assert shares[warmup] == 1.0, "the peak comes right after the warm-up"
    assert all(a > b for a, b in zip(shares[warmup:], shares[warmup + 1 :], strict=False)), "then it only falls"
    assert schedule(recipe, recipe.steps) == pytest.approx(0.02)
    assert 0.02 < shares[-1] < 0.021
    half = warmup + (recipe.steps - warmup) / 2
    assert schedule(recipe, int(half)) == pytest.approx(0.51, abs=0.01)


def test_every_group_ends_at_the_final_rate(tmp_path: Path) -> None:
    """Also where layer decay has put its peak below it."""
    changes = {"steps": 2, "warmup_steps": 0, "checkpoint_every": 2, "layer_decay": 0.5, "final_rate": 1e-4}
    recipe = RECIPE.model_copy(update=changes)
    fit(job(tmp_path, fresh(), recipe))
    groups = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["optimizer"]["param_groups"]
    assert len({group["peak"] for group in groups}) > 3
    assert min(group["peak"] for group in groups) < 1e-4
    for group in groups:  # at the second of two steps, half way
        assert group["lr"] == pytest.approx((group["peak"] + 1e-4) / 2)


def test_only_a_heat_map_sees_a_true_box_that_leaves_the_crop() -> None:
    batch = torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 64, 64), None
    leaving = torch.tensor([[-0.3, 0.2, 0.4, 0.7], [0.5, 0.6, 1.2, 0.9]])
    for spec, sees in ((small(), False), (at_scale(detrack, SCALE), False), (at_scale(ostrack, SCALE), True)):
        losses = []
        for truth in (leaving, leaving.clamp(0, 1)):
            model = fresh(spec)
            torch.manual_seed(1)
            losses.append(model(*batch, truth, 0.5))
        assert any(losses[0][name] != losses[1][name] for name in losses[0]) == sees


def test_schedule_of_a_training_that_is_all_warm_up() -> None:
    recipe = RECIPE.model_copy(update={"steps": 3, "warmup_steps": 3})
    assert [schedule(recipe, step) for step in range(3)] == [1 / 3, 2 / 3, 1.0]


@pytest.mark.parametrize("adaptation", [None, FrozenBackbone(), LoRA(rank=4, alpha=4)])
def test_parameter_groups(adaptation: FrozenBackbone | LoRA | None) -> None:
    """New parameters and pretrained ones by their names; decay for matrices only; all that trains, and once."""
    spec = replace(small(), embedding=InputEmbedding(positions="shared", token_types=3))
    model = fresh(replace(spec, adaptation=adaptation) if adaptation else spec)
    recipe = RECIPE.model_copy(update={"lr_backbone": 1e-5, "lr_new": 1e-2, "weight_decay": 0.1})
    groups = parameter_groups(model, recipe)
    found = {id(p): (g["peak"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert sum(len(g["params"]) for g in groups) == len(found), "no parameter is in two groups"
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert id(parameter) not in found
            continue
        new = name.startswith("head.") or "lora_" in name or "token_types" in name
        plain = parameter.dim() < 2 or "embedding" in name
        assert found[id(parameter)] == (1e-2 if new else 1e-5, 0.0 if plain else 0.1), name
    kinds = set(found.values())
    assert (1e-2, 0.1) in kinds
    assert ((1e-5, 0.1) in kinds) == (adaptation is None), "only full fine-tuning has pretrained parameters to train"


class Straight(nn.Module):
    """A model of one weight, whose loss is its distance to `goal`; remembers the batches and rates it saw."""

    def __init__(self, goal: float = 3.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.goal = goal
        self.seen: list[tuple[Tensor, ...]] = []
        self.progress: list[float] = []
        self.noise: list[float] = []

    def forward(
        self, template: Tensor, search: Tensor, mask: Tensor, truth: Tensor | None = None, progress: float = 0.0
    ) -> dict[str, Tensor] | Prediction:
        if truth is None:
            boxes = torch.zeros(len(search), 1, 1, 4)
            return Prediction(torch.ones(len(search), 1, 1), boxes)
        self.seen.append((template, search, mask, truth))
        self.progress.append(progress)
        self.noise.append(float(torch.rand(1)))
        return {"square": (self.weight - self.goal).square().sum(), "constant": torch.ones(())}


def test_loss_falls_to_its_goal_and_the_curve_says_so(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"steps": 12, "lr_backbone": 0.5, "checkpoint_every": 5, "weight_decay": 0.0})
    model, told = Straight(), list[tuple[int, float | None]]()

    def tell(step: int, loss: Tensor | None) -> None:
        told.append((step, None if loss is None else float(loss)))

    curve, cost = fit(job(tmp_path, model, recipe, report=tell))
    assert [step for step, loss in told if loss is not None] == list(range(1, 13))
    assert [step for step, loss in told if loss is None] == [5, 10, 12], "before each validation"
    assert sum(loss for _, loss in told[:6] if loss) / 5 == pytest.approx(curve[0].losses["total"])
    assert [point.step for point in curve] == [5, 10, 12], "the last step is always on the curve"
    squares = [point.losses["square"] for point in curve]
    assert squares == sorted(squares, reverse=True)
    assert squares[-1] < 0.1 * squares[0]
    for point in curve:
        assert point.losses["constant"] == 1.0, "a mean since the point before, not a sum"
        assert point.losses["total"] == pytest.approx(point.losses["square"] + 1)
        assert point.validation_iou == 0.0
    assert model.progress == [step / 12 for step in range(12)]
    assert len(set(model.noise)) == 12, "each step has random numbers of its own"
    assert cost.samples == 24
    assert cost.resumed == 0
    assert set(cost.phases) == {"data", "train", "validate"}
    assert all(phase.wall_seconds > 0 for phase in cost.phases.values())
    assert cost.memory_kind == "process peak RSS"
    assert cost.peak_memory_bytes is not None
    assert 5e7 < cost.peak_memory_bytes <= peak_rss_bytes() + 2**20
    assert [point.seconds for point in curve] == sorted(point.seconds for point in curve)


class Averaged(nn.Module):
    """Its loss is a mean over pairs of something that differs by pair, and it counts the pairs of each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))
        self.passes: list[int] = []

    def forward(
        self, template: Tensor, search: Tensor, mask: Tensor, truth: Tensor | None = None, progress: float = 0.0
    ) -> dict[str, Tensor] | Prediction:
        if truth is None:
            return Prediction(torch.ones(len(search), 1, 1), torch.zeros(len(search), 1, 1, 4))
        self.passes.append(len(truth))
        return {"distance": (self.weight - truth).square().mean()}


@pytest.mark.parametrize(("at_once", "passes"), [(5, [5]), (2, [2, 2, 1]), (1, [1] * 5), (64, [5])])
def test_micro_batches_sum_to_the_batchs_own_step(tmp_path: Path, at_once: int, passes: list[int]) -> None:
    """Parts of unequal size count by their pairs: weights and curve are those of the whole batch at once."""
    found = {}
    for name, pairs in (("whole", None), ("parts", at_once)):
        model = Averaged()
        update = {"batch_size": 5, "micro_batch": pairs, "steps": 3, "lr_new": 0.1, "lr_backbone": 0.1}
        curve, cost = fit(job(tmp_path / name, model, RECIPE.model_copy(update=update)))
        assert cost.samples == 15
        assert model.passes == (passes if pairs else [5]) * 3
        found[name] = (model.weight.detach(), [value for point in curve for value in point.losses.values()])
    torch.testing.assert_close(found["parts"][0], found["whole"][0], rtol=1e-5, atol=1e-6)
    assert found["parts"][1] == pytest.approx(found["whole"][1], rel=1e-5)


def test_parts_of_a_batch_are_weighed_by_what_their_losses_are_divided_by() -> None:
    """LoRAT's losses are divided by the cells that true boxes touch, which differ from pair to pair: its gradient in parts
    is that of the whole batch, and weighing by pairs would not give it."""
    spec = replace(small(), labels="iou-aware")
    truth = torch.tensor([[0.1, 0.1, 0.9, 0.9], [0.4, 0.4, 0.5, 0.5], [0.2, 0.5, 0.6, 0.6], [0.45, 0.1, 0.5, 0.9]])
    torch.manual_seed(1)
    sizes = (spec.crop.template_size, spec.crop.search_size)
    template, search = (torch.rand(4, 3, size, size) * 255 for size in sizes)
    mask = torch.ones(4, (sizes[0] // 8) ** 2, dtype=torch.bool)

    def gradient(parts: list[slice], by_pairs: bool = False) -> Tensor:
        model = fresh(spec)
        weights = [torch.tensor(1.0) if by_pairs else model.loss_divisor(truth[part]) for part in parts]
        for part, weight in zip(parts, weights, strict=True):
            losses = model(template[part], search[part], mask[part], truth[part])
            (torch.stack(list(losses.values())).sum() * weight / sum(weights)).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole, parts = gradient([slice(0, 4)]), [slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 4)]
    torch.testing.assert_close(gradient(parts), whole, rtol=1e-3, atol=1e-5)
    assert (gradient(parts, by_pairs=True) - whole).norm() > 0.05 * whole.norm()


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_loop_weighs_parts_by_their_divisor(tmp_path: Path, at_once: int) -> None:
    """A loss over its own count of what is in the truth: the parts' weights undo that count."""

    class Counted(Averaged):
        def forward(self, *inputs: Tensor, **more: float) -> dict[str, Tensor] | Prediction:
            if len(inputs) < 4:
                return super().forward(*inputs)
            truth = inputs[3]
            return {"distance": (self.weight - truth).square().sum() / truth.sum()}

    found = []
    for pairs in (None, at_once):
        update = {"batch_size": 4, "micro_batch": pairs, "steps": 2, "lr_new": 0.1, "lr_backbone": 0.1}
        work = job(tmp_path / str(pairs), Counted(), RECIPE.model_copy(update=update))
        fit(dataclasses.replace(work, divisor=lambda truth: truth.sum()))
        found.append(work.model.weight.detach())
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_a_real_tracker_learns_tiny_data(tmp_path: Path) -> None:
    """Sixteen steps on what is nearly one batch: a wiring that sends gradients the wrong way cannot pass."""
    update = {"steps": 16, "batch_size": 8, "lr_backbone": 1e-3, "lr_new": 1e-3, "warmup_steps": 1}
    recipe = SMOKE.recipe.model_copy(update=update | {"validation_pairs": 4, "checkpoint_every": 4})
    work = job(tmp_path, fresh(), recipe)

    def repeated(number: int) -> object:
        return pairs(number % 8)

    pairs = work.training
    object.__setattr__(work, "training", repeated)
    curve, _ = fit(work)
    totals = [point.losses["total"] for point in curve]
    assert totals[-1] < 0.7 * totals[0], totals
    assert all(math.isfinite(t) for t in totals)
    assert all(point.validation_iou is not None and 0 <= point.validation_iou <= 1 for point in curve)


@pytest.mark.parametrize("spec", [ostrack_mlp, detrack], ids=["mlp", "denoising-decoder"])
def test_equal_seeds_give_equal_weights_to_the_last_bit(tmp_path: Path, spec: TrackerSpec) -> None:
    small_spec, states, curves = at_scale(spec, SCALE), [], []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        model = fresh(small_spec)
        torch.manual_seed(99 if folder == "b" else 7)  # whatever ran before in the process must not matter
        torch.rand(5)
        curve, _ = fit(job(tmp_path / folder, model, seed=seed))
        states.append(trained_state(model))
        curves.append([(point.step, point.losses, point.validation_iou) for point in curve])
    assert same(states[0], states[1])
    assert curves[0] == curves[1]
    assert not same(states[0], states[2]), "another seed trains another model"


def test_a_clip_that_comes_again_is_drawn_whole_while_its_scene_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Painting a scene costs more than a frame, and clips come in random order: each is painted twice at most."""
    drawn: list[int] = []
    monkeypatch.setattr(
        videos, "render_frame", lambda scene, frame: drawn.append(frame) or np.zeros((2, 2, 3), np.uint8)
    )
    monkeypatch.setattr(videos, "paint_scene", lambda plan: None)
    window = ClipWindow(SMOKE.data.model_copy(update={"clips": 1, "pairs_per_clip": 10}))
    clip, frames = window(0, np.random.default_rng(0))
    assert drawn == []
    assert clip.frames[int(frames[1])] is not None
    assert window(1, np.random.default_rng(0))[0] is clip
    assert sorted(drawn) == sorted(frames.tolist())
    window(2, np.random.default_rng(0))
    assert len(drawn) == len(frames)


def test_processes_that_load_pairs_change_nothing(tmp_path: Path) -> None:
    """Pairs are numbered, and each batch is made by one process: weights and curve are equal to the last bit."""
    found = []
    for workers in (0, 2):
        work = job(tmp_path / str(workers), fresh())
        curve, _ = fit(dataclasses.replace(work, loader_workers=workers))
        found.append((trained_state(work.model), [(point.losses, point.validation_iou) for point in curve]))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pair_that_cannot_be_made_ends_the_training_with_its_number(tmp_path: Path, workers: int) -> None:
    work = job(tmp_path, fresh())
    drawn = work.training

    def broken(number: int) -> object:
        if number == RECIPE.batch_size + 1:
            raise DataError("/data/00000007.jpg: is empty; copy it again")
        return drawn(number)

    object.__setattr__(work, "training", broken)
    with pytest.raises(DataError) as caught:
        fit(dataclasses.replace(work, loader_workers=workers))
    assert str(caught.value) == f"pair {RECIPE.batch_size + 1}: /data/00000007.jpg: is empty; copy it again"


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_a_precision_that_a_cpu_lacks_is_refused(tmp_path: Path, precision: str) -> None:
    recipe = RECIPE.model_copy(update={"precision": precision})
    with pytest.raises(ValueError, match=f"precision {precision} needs a GPU: train on one, or set precision = 'fp32'"):
        fit(job(tmp_path, fresh(), recipe))


@pytest.mark.parametrize(
    "adaptation", [LoRA(rank=4), LoRA(rank=4, init="lora", dora=True), IA3()], ids=["lora", "dora", "ia3"]
)
def test_half_precision_trains_adapters_and_gives_frozen_weights_back_in_float32(
    tmp_path: Path, adaptation: LoRA | IA3
) -> None:
    model = fresh(at_scale(replace(VARIANTS["lorat-b-224"], adaptation=adaptation), SCALE))
    before = {name: value.clone() for name, value in trained_state(model).items()}
    fit(job(tmp_path, model, RECIPE.model_copy(update={"precision": "bf16"})))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    after = trained_state(model)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert any(is_added(name) for name in moved)
    assert any(name.startswith("head.") for name in moved)


def test_a_training_stopped_at_any_step_goes_on_as_if_unbroken(tmp_path: Path) -> None:
    """Stopped by an error after a step: before any checkpoint, at one, and between two. The decoder with elimination
    and denoising has all the randomness and all the schedules there are."""
    spec = at_scale(replace(detrack, sparsity=ostrack_ce.sparsity), SCALE)
    recipe = RECIPE.model_copy(update={"steps": 6})
    unbroken = fresh(spec)
    curve, cost = fit(job(tmp_path / "unbroken", unbroken, recipe))
    for stop, resumed in ((1, 0), (2, 1), (5, 1)):
        folder = tmp_path / str(stop)

        def halt(step: int, loss: Tensor | None, stop: int = stop) -> None:
            if step == stop and loss is not None:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            fit(job(folder, fresh(spec), recipe, report=halt))
        again = fresh(spec)
        curve_again, cost_again = fit(job(folder, again, recipe))
        assert same(trained_state(again), trained_state(unbroken)), f"stopped at {stop}"
        assert [(p.step, p.losses, p.validation_iou) for p in curve_again] == [
            (p.step, p.losses, p.validation_iou) for p in curve
        ]
        assert cost_again.resumed == resumed
        assert cost_again.samples == cost.samples == 12, "what was lost is not counted, what was done once is"


def test_a_finished_training_is_not_trained_further(tmp_path: Path) -> None:
    model = Straight()
    fit(job(tmp_path, model))
    again = Straight()
    curve, cost = fit(job(tmp_path, again))
    assert again.weight.equal(model.weight)
    assert not again.seen
    assert [p.step for p in curve] == [2, 4]
    assert cost.samples == 8


def test_two_variants_see_the_same_pairs_and_another_seed_sees_others(tmp_path: Path) -> None:
    seen = []
    for name, goal, seed in (("a", 1.0, 0), ("b", 2.0, 0), ("c", 1.0, 1)):
        model = Straight(goal)
        fit(job(tmp_path / name, model, seed=seed))
        seen.append(model.seen)
    for ours, theirs in zip(seen[0], seen[1], strict=True):
        assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))
    assert not any(a[1].equal(c[1]) for a, c in zip(seen[0], seen[2], strict=True))
    assert not seen[0][0][1].equal(seen[0][1][1]), "every step has pairs of its own"


def test_the_variants_of_a_study_differ_in_the_model_alone() -> None:
    runs = [run_of(spec, SMOKE, 0) for spec in (ostrack, ostrack_mlp, detrack)]
    assert len({run.fingerprint for run in runs}) == 3
    assert len({(run.recipe, run.data, run.weights, run.seed) for run in runs}) == 1
    crops = {run.tracker.crop for run in runs if isinstance(run.tracker, TrackerSpec)}
    assert len(crops) == 1


def test_pairs_are_numbered_across_batches_and_restarts() -> None:
    geometry = pair_geometry(small().crop, RECIPE, 4)
    whole = PairDataset(training_pairs(SMOKE.data, geometry, 3), 0, 6)
    rest = PairDataset(training_pairs(SMOKE.data, geometry, 3), 4, 6)
    assert (len(whole), len(rest)) == (6, 2)
    backwards = [rest[1], rest[0]][::-1]
    for i, pair in enumerate(backwards):
        assert pair["search"].equal(whole[4 + i]["search"])
        assert pair["truth"].equal(whole[4 + i]["truth"])
    first = whole[0]
    assert first["template"].shape == (3, 32, 32)
    assert first["search"].dtype == torch.uint8
    assert first["truth"].dtype == torch.float32
    assert first["mask"].shape == (16,)


def test_validation_pairs_are_the_same_for_every_run_and_none_of_the_training() -> None:
    geometry = pair_geometry(small().crop, RECIPE, 4)
    validation = validation_pairs(SMOKE.data, geometry)
    assert validation(3).search.tobytes() == validation_pairs(SMOKE.data, geometry)(3).search.tobytes()
    assert not validation.augment
    sequence, _ = validation.sequence(0, np.random.default_rng(0))
    assert sequence.name.startswith("target-val-")
    trained_on, _ = training_pairs(SMOKE.data, geometry, 0).sequence(0, np.random.default_rng(0))
    assert trained_on.name.startswith("target-train-")


@pytest.mark.parametrize("goal", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path, goal: float) -> None:
    with pytest.raises(FloatingPointError, match=r"not finite at step 0: .*square"):
        fit(job(tmp_path, Straight(goal)))
    assert not list(tmp_path.rglob("checkpoint.pt")), "nothing broken is kept"
    kept = torch.load(tmp_path / "diverged.pt", weights_only=True)
    assert kept["step"] == 0
    assert set(kept["batch"]) == {"template", "search", "mask", "truth"}
    assert len(kept["batch"]["truth"]) == RECIPE.batch_size
    assert not math.isfinite(kept["losses"]["square"])


def stopped_at(folder: Path, step: int) -> None:
    """Train until this step, and stop."""

    def halt(done: int, loss: Tensor | None) -> None:
        if done == step and loss is not None:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(job(folder, Straight(), LONG, report=halt))


def test_a_damaged_checkpoint_goes_back_one_and_gives_the_same_numbers(tmp_path: Path) -> None:
    """It is found at every place of the file, and never replaces the whole one before it."""
    unbroken = Straight()
    curve, _ = fit(job(tmp_path / "unbroken", unbroken, LONG))
    folder = tmp_path / "stopped"
    stopped_at(folder, 7)
    file, before = folder / "checkpoint.pt", folder / "checkpoint-before.pt"
    assert [torch.load(one, weights_only=True)["step"] for one in (file, before)] == [6, 4]
    whole, older = file.read_bytes(), before.read_bytes()
    weight = torch.load(file, weights_only=True)["model"]["weight"].numpy().tobytes()
    places = [whole.index(weight), whole.index(b"PK\x01\x02"), 0, len(whole) - 22]
    for place in places:
        file.write_bytes(whole)
        before.write_bytes(older)
        flip(file, (place + 0.5) / len(whole))
        again = Straight()
        resumed, cost = fit(job(folder, again, LONG))
        assert again.weight.equal(unbroken.weight)
        assert [(p.step, p.losses) for p in resumed] == [(p.step, p.losses) for p in curve]
        assert cost.samples == 2 * LONG.steps
    before.write_bytes(older)
    file.write_bytes(whole)
    flip(file, (places[0] + 0.5) / len(whole))
    keep_older(file)
    assert before.read_bytes() == older, "a damaged one replaces no whole one"
    before.write_bytes(whole[:-30])
    with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be resumed \(ValueError\): move it away"):
        fit(job(folder, Straight(), LONG))


def test_a_training_killed_between_two_checkpoints_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_at(tmp_path, 5)
    file = tmp_path / "checkpoint.pt"
    content = file.read_bytes()
    for links in (True, False):
        if not links:
            (tmp_path / "checkpoint-before.pt").unlink()
            monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("no links")))
        keep_older(file)
        assert (tmp_path / "checkpoint-before.pt").read_bytes() == content
        assert file.exists() == links
    _, cost = fit(job(tmp_path, Straight(), LONG))
    assert cost.resumed == 1


def unusable_checkpoints(trap: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    whole = {"step": 2, "model": {}, "optimizer": {}, "curve": [], "cost": {}}
    yield "empty", lambda file: file.write_bytes(b"")
    yield "garbage", lambda file: file.write_bytes(b"PK\x03\x04 no zip at all")
    yield "malicious", lambda file: torch.save(whole | {"step": Evil(trap)}, file)
    yield "of another model", lambda file: torch.save(whole, file)
    yield "of another kind", lambda file: torch.save([1, 2], file)


def test_an_unusable_checkpoint_runs_no_code_and_is_named_with_the_remedy(tmp_path: Path) -> None:
    trap, file = tmp_path / "trap", tmp_path / "checkpoint.pt"
    for _, write in unusable_checkpoints(trap):
        write(file)
        content = file.read_bytes()
        with pytest.raises(ValueError) as caught:
            fit(job(tmp_path, Straight()))
        assert f"the checkpoint {file} cannot be resumed" in str(caught.value)
        assert "move it away" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert file.read_bytes() == content
    assert not trap.exists(), "the checkpoint's code ran"
    torch.save(Evil(trap), file)
    torch.load(file, weights_only=False)
    assert trap.exists(), "else this test could not fail"


def test_a_clock_books_what_was_slept() -> None:
    class Machine:
        """A device whose work, started by `work`, is finished only by waiting for it."""

        now, pending = 100.0, 0.0

        def synchronise(self) -> None:
            self.now, self.pending = self.now + self.pending, 0.0

    machine = Machine()
    clock = PhaseClock({"train": PhaseCost(wall_seconds=5, device_seconds=4)}, machine.synchronise, on_cpu=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trackablate.harness.costing.clock.time.perf_counter", lambda: machine.now)
        clock._device_time = lambda: machine.now
        machine.pending = 50.0
        with clock.phase("data"):
            machine.now += 2.0
        with clock.phase("train"):
            machine.pending = 7.0
        with clock.phase("data"):
            machine.now += 1.0
    booked = {name: (cost.wall_seconds, cost.device_seconds) for name, cost in clock.booked.items()}
    assert booked == {"data": (3.0, 3.0), "train": (12.0, 11.0)}, "earlier work is awaited before, one's own after"


def test_a_clock_books_cpu_time_apart_from_wall_time() -> None:
    earlier = {"train": PhaseCost()}
    clock = PhaseClock(earlier, lambda: None, on_cpu=True)
    with pytest.MonkeyPatch.context() as patch:
        walls, cpus = iter([0.0, 10.0]), iter([0.0, 2.5])
        patch.setattr("trackablate.harness.costing.clock.time.perf_counter", lambda: next(walls))
        clock._device_time = lambda: next(cpus)
        with clock.phase("train"):
            pass
    assert clock.booked["train"] == PhaseCost(wall_seconds=10.0, device_seconds=2.5)
    assert earlier["train"] == PhaseCost(), "the given booking is left alone"


def test_what_training_saves_does_not_fit_another_model() -> None:
    state = trained_state(fresh())
    state.pop(next(iter(state)))
    with pytest.raises(ValueError, match=r"do not fit the model: missing \['encoder"):
        load_trained(fresh(), state)
    with pytest.raises(ValueError, match=r"unknown \['more'\]"):
        load_trained(fresh(), trained_state(fresh()) | {"more": torch.zeros(1)})


def test_profiles_are_valid_and_a_misspelt_one_names_its_neighbour() -> None:
    for name in profile_names():
        profile = load_profile(name)
        assert profile.name == name
        assert profile.comparable_with_paper or profile.caveat
    with pytest.raises(UnknownName, match="did you mean smoke"):
        load_profile("smokey")


@pytest.mark.parametrize("name", ["gpuuu", "cuda:99", "meta", ""])
def test_devices_that_are_not_here_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match=f"--device {name} is not usable here .*use cpu, or auto"):
        resolve_device(name)


def test_devices_that_are_here() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_costs_survive_the_checkpoint(tmp_path: Path) -> None:
    fit(job(tmp_path, Straight()))
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert content["step"] == 4
    assert TrainingCost.model_validate(content["cost"]).samples == 8
    assert [CurvePoint.model_validate(p).step for p in content["curve"]] == [2, 4]
    assert json.dumps(content["cost"])
