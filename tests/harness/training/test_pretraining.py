"""Pretraining of the embedded backbone: under all heads, resumable, and what is shipped is what its record says."""

import hashlib
from pathlib import Path

import pytest
import torch

from trackablate.harness.training.pretraining import (
    ManyHeads,
    Pretraining,
    PretrainingRecord,
    load_pretraining,
    pretrain,
)
from trackablate.trackers.encoder.backbones import BACKBONES, load_pretrained, make_backbone
from trackablate.trackers.encoder.pretrained import FILES
from trackablate.trackers.scale import at_scale
from trackablate.trackers.tokens import Prediction
from trackablate.trackers.variants import VARIANTS

CPU = torch.device("cpu")
MINI = load_pretraining("mini")
SMALLEST = {"steps": 3, "batch_size": 2, "warmup_steps": 1, "checkpoint_every": 2, "validation_pairs": 2}
TINY = MINI.model_copy(
    update={
        "recipe": MINI.recipe.model_copy(update=SMALLEST),
        "data": MINI.data.model_copy(update={"clips": 2, "length": 4}),
    }
)
MEGABYTE = 1_000_000


def ignore(_: int) -> None:
    """Progress nobody watches."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PretrainingRecord]:
    place = tmp_path_factory.mktemp("made")
    out = place / "vit.safetensors"
    return out, pretrain(TINY, out, place / "work", CPU, ignore)


def test_three_steps_leave_weights_that_load_and_their_record(made: tuple[Path, PretrainingRecord]) -> None:
    out, record = made
    assert out.stat().st_size < 6 * MEGABYTE
    assert sorted(p.name for p in out.parent.iterdir() if p.is_file()) == ["vit.json", "vit.safetensors"]
    assert not list((out.parent / "work").glob("*")), "the checkpoint has served"
    vit = BACKBONES["vit-mini"]()
    before = {name: p.clone() for name, p in vit.named_parameters()}
    load_pretrained(vit, out)
    assert all(not p.equal(before[name]) for name, p in vit.named_parameters() if p.dim() > 1), "every layer is loaded"
    kept = PretrainingRecord.model_validate_json(out.with_suffix(".json").read_text())
    assert kept == record
    assert kept.asked == TINY
    assert kept.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert [point.step for point in kept.curve] == [2, 3]
    assert kept.cost.samples == 6


def test_pretraining_goes_on_after_a_stop_with_the_same_weights(
    tmp_path: Path, made: tuple[Path, PretrainingRecord]
) -> None:
    def halt(step: int) -> None:
        if step == 3:
            raise InterruptedError

    out = tmp_path / "vit.safetensors"
    with pytest.raises(InterruptedError):
        pretrain(TINY, out, tmp_path / "work", CPU, halt)
    assert not out.exists()
    record = pretrain(TINY, out, tmp_path / "work", CPU, ignore)
    assert record.cost.resumed == 1
    assert record.sha256 == made[1].sha256


def many_heads() -> ManyHeads:
    torch.manual_seed(0)
    return ManyHeads([at_scale(VARIANTS[name], MINI.scale) for name in MINI.heads], steps=4)


def test_every_head_has_its_loss_terms_and_moves_the_encoder() -> None:
    model = many_heads()
    template, search = torch.rand(2, 3, 32, 32) * 255, torch.rand(2, 3, 64, 64) * 255
    truth = torch.tensor([[0.2, 0.3, 0.6, 0.7], [0.4, 0.4, 0.8, 0.9]])
    terms = model(template, search, torch.ones(2, 16, dtype=torch.bool), truth, 0.0)
    assert isinstance(terms, dict)
    by_head: dict[str, set[str]] = {}
    for name in terms:
        head, term = name.split(".", 1)
        by_head.setdefault(head, set()).add(term)
    assert by_head.keys() == {VARIANTS[name].head.kind for name in MINI.heads} == {"centre", "mlp", "deformable"}
    assert all(len(own) >= 2 for own in by_head.values())
    assert any("denois" in term or "dn" in term for term in by_head["deformable"]), by_head
    for head in by_head:
        model.zero_grad()
        torch.stack([value for name, value in terms.items() if name.startswith(f"{head}.")]).sum().backward(
            retain_graph=True
        )
        gradients = [p.grad for p in model.encoder.blocks.parameters()]
        assert all(g is not None and g.abs().sum() > 0 for g in gradients), f"{head} leaves part of the encoder alone"
    for index, head in enumerate(by_head):
        model.zero_grad()
        torch.stack([v for name, v in terms.items() if name.startswith(f"{head}.")]).sum().backward(retain_graph=True)
        moved = [any(p.grad is not None and p.grad.any() for p in h.parameters()) for h in model.heads]
        assert moved == [i == index for i in range(len(by_head))], "a head's losses train that head and no other"


def test_template_positions_take_turns_and_the_first_head_predicts() -> None:
    model = many_heads()
    template, search = torch.rand(1, 3, 32, 32) * 255, torch.rand(1, 3, 64, 64) * 255
    truth = torch.tensor([[0.2, 0.3, 0.6, 0.7]])
    used = []
    for step in range(4):
        model(template, search, None, truth, step / 4)
        used.append(model.encoder.embedding.spec.template_positions)
    assert used == ["interpolate", "slice", "interpolate", "slice"]
    prediction = model.eval()(template, search)
    assert isinstance(prediction, Prediction)
    assert prediction.boxes.shape == (1, 8, 8, 4)


def test_what_is_kept_is_the_whole_backbone_under_timms_names() -> None:
    model = many_heads()
    state, expected = model.backbone_state(), BACKBONES["vit-mini"]().state_dict()
    assert state.keys() == expected.keys()
    assert all(state[name].shape == expected[name].shape for name in expected)


def test_recipes_start_from_no_domain_that_is_tested_on() -> None:
    assert MINI.data.domain == "source"
    assert isinstance(MINI, Pretraining)


def test_shipped_weights_are_what_their_record_says() -> None:
    for name, file in FILES.items():
        record = file.with_suffix(".json")
        if not record.exists():
            pytest.skip(f"{name} has no record here")
        kept = PretrainingRecord.model_validate_json(record.read_text(encoding="utf-8"))
        assert kept.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        assert kept.asked == load_pretraining("mini"), "the recipe changed after the weights were made"
        assert kept.curve[-1].step == kept.asked.recipe.steps
        assert file.stat().st_size < 6 * MEGABYTE
        make_backbone(name, "shipped")
