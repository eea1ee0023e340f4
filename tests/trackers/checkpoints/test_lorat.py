"""Official LoRAT checkpoints: read in each of their forms, written back bit for bit, refused with the entries named."""

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from golden_vectors import state_shapes as layout
from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import UnknownName
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.checkpoints.lorat import OfficialLoRAT, official_name, to_lorat
from trackablate.trackers.checkpoints.official import from_official, load_official, to_official
from trackablate.trackers.encoder.backbones import resized
from trackablate.trackers.model import build
from trackablate.trackers.spec import LoRA, replace
from trackablate.trackers.variants import VARIANTS

State = dict[str, Tensor]


@cache
def adapted() -> State:
    """The adapted form of LoRAT-S-224, every value drawn; alpha is twice the rank."""
    torch.manual_seed(0)
    spec = replace(VARIANTS["lorat-s-224"], adaptation=LoRA(rank=4, alpha=8))
    state = to_lorat(OfficialLoRAT(build(spec, pretrained=False)))
    return {n: v + 0.05 * torch.randn(v.shape) if v.is_floating_point() else v for n, v in state.items()}


@cache
def merged() -> State:
    """The merged form of the same tracker, merged here by hand: W + alpha / rank * B A, and q, k, v stacked."""
    state: State = {}
    for name, value in adapted().items():
        if ".lora." in name or name in ("lora_alpha", "use_rslora"):
            continue
        layer = name.removesuffix(".linear.weight")
        if layer != name:
            factors = [adapted()[f"{layer}.lora.{letter}"] for letter in "AB"]
            value = value + 2 * factors[1] @ factors[0]
        state[name.replace(".linear.", ".")] = value
    for i in range(12):
        for kind in ("weight", "bias"):
            parts = [state.pop(f"blocks.{i}.attn.qkv.{part}.{kind}") for part in "qkv"]
            state[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(parts)
    return state


def trained() -> State:
    """The trainable-only form."""
    return {n: v for n, v in adapted().items() if ".lora." in n or n.startswith(("head.", "token_type"))}


def rest() -> State:
    return {n: v for n, v in adapted().items() if n not in trained() and n not in ("lora_alpha", "use_rslora")}


@torch.inference_mode()
def predicted(model: Any) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    template, search = (torch.randn(2, 3, side, side, generator=generator) for side in (112, 224))
    mask = torch.zeros(2, 8, 8, dtype=torch.int64)
    mask[:, 2:5, 1:4] = 1
    found = model(template=template, search=search, template_mask=mask)
    return torch.cat([found.score_map.flatten(1), found.boxes.flatten(1)], dim=1)


@cache
def prediction_of_adapted() -> Tensor:
    return predicted(from_official(adapted(), "lorat"))


def same(a: State, b: State) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert b[name].dtype == value.dtype, name
        assert b[name].equal(value), name


@pytest.mark.parametrize(
    ("variant", "form", "count"), [("lorat-b-224", "lorat_b224_lora", 380), ("full-b-224", "lorat_b224_merged", 186)]
)
def test_entries_are_the_official_ones(variant: str, form: str, count: int) -> None:
    with torch.device("meta"):
        model = OfficialLoRAT(build(VARIANTS[variant], pretrained=False))
    found = {name: list(value.shape) for name, value in to_lorat(model).items()}
    assert len(found) == count
    assert found == layout(form)
    if form == "lorat_b224_lora":
        spec, parameters = VARIANTS[variant], model.tracker.named_parameters()
        model.entries = frozenset(official_name(n, spec) for n, p in parameters if p.requires_grad)
        entries = to_lorat(model)
        assert len(entries) == 157
        assert sum(value.numel() for value in entries.values()) == 12_985_349
        assert entries.keys() < layout(form).keys()


def test_the_giants_gated_mlp_has_its_official_names() -> None:
    names = [
        official_name(f"encoder.blocks.3.mlp.{n}.base_layer.bias", VARIANTS["lorat-g-224"]) for n in ("fc1", "fc2")
    ]
    assert names == ["blocks.3.mlp.w12.linear.bias", "blocks.3.mlp.w3.linear.bias"]


def test_every_form_comes_back_bit_for_bit() -> None:
    same(to_official(from_official(adapted(), "lorat")), adapted())
    same(to_official(from_official(merged(), "lorat")), merged())
    same(to_official(from_official(trained(), "lorat", backbone=rest(), alpha=8)), trained())


def test_imported_trackers_are_ready_to_predict_and_share_no_memory() -> None:
    model = from_official(adapted(), "lorat")
    assert not any(module.training for module in model.modules())
    before = adapted()["norm.weight"].clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert adapted()["norm.weight"].equal(before)


def test_the_forms_predict_the_same() -> None:
    found = prediction_of_adapted()
    torch.testing.assert_close(predicted(from_official(merged(), "lorat")), found, atol=1e-5, rtol=1e-4)
    for backbone in (rest(), {n: v for n, v in adapted().items() if n != "lora_alpha"}):
        model = from_official(trained(), "lorat", backbone=backbone, alpha=8)
        assert predicted(model).equal(found)
    halved = from_official(trained(), "lorat", backbone=rest(), alpha=4)
    assert (predicted(halved) - found).abs().max() > 1e-3, "alpha matters"


def test_a_backbone_may_have_the_merged_form_or_be_dinov2s_own() -> None:
    plain = {n.replace(".linear.", "."): v for n, v in rest().items()}
    for i in range(12):
        for kind in ("weight", "bias"):
            parts = [plain.pop(f"blocks.{i}.attn.qkv.{part}.{kind}") for part in "qkv"]
            plain[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(parts)
    assert predicted(from_official(trained(), "lorat", backbone=plain, alpha=8)).equal(prediction_of_adapted())
    table = torch.randn(1, 1 + 37 * 37, 384)
    dinov2 = plain | {"pos_embed": table, "cls_token": torch.zeros(1, 1, 384), "mask_token": torch.zeros(1, 384)}
    model = from_official(trained(), "lorat", backbone=dinov2, alpha=8, search_size=224)
    assert isinstance(model, OfficialLoRAT)
    expected = resized(table[:, 1:].transpose(1, 2).reshape(1, 384, 37, 37), 16)
    assert model.tracker.encoder.embedding.search_positions.equal(expected)
    with pytest.raises(DataError, match=r"1370 positions are to be resized.*search_size=, one of \[224, 378\]"):
        from_official(trained(), "lorat", backbone=dinov2, alpha=8)


def test_the_state_dict_says_what_lora_was() -> None:
    model = from_official(adapted(), "lorat")
    assert isinstance(model, OfficialLoRAT)
    assert model.tracker.spec.adaptation == LoRA(rank=4, alpha=8)
    scaled = adapted() | {"use_rslora": torch.tensor(True)}
    model = from_official(scaled, "lorat")
    assert isinstance(model, OfficialLoRAT)
    assert model.tracker.spec.adaptation == LoRA(rank=4, alpha=8, rslora=True)
    same(to_official(model), scaled)


def test_what_a_trainable_checkpoint_trained_besides_is_kept() -> None:
    """Positions and final norm, as published ablations train them: its own, not the backbone's, and they come back."""
    more = {"pos_embed": torch.full((1, 256, 384), 7.0), "norm.weight": torch.full((384,), 3.0)}
    model = from_official(trained() | more, "lorat", backbone=rest(), alpha=8)
    assert isinstance(model, OfficialLoRAT)
    assert model.tracker.encoder.embedding.search_positions.unique().tolist() == [7.0]
    same(to_official(model), trained() | more)
    scalars = {"lora_alpha": torch.tensor(8), "use_rslora": torch.tensor(False)}
    same(to_official(from_official(trained() | scalars, "lorat", backbone=rest())), trained() | scalars)
    same(to_official(from_official(without(adapted(), *scalars), "lorat", alpha=8)), without(adapted(), *scalars))


def test_a_tracker_merged_after_it_was_read_is_written_merged() -> None:
    model = from_official(trained(), "lorat", backbone=rest(), alpha=8)
    assert isinstance(model, OfficialLoRAT)
    merge(model.tracker)
    written = to_official(model)
    assert written.keys() == merged().keys()
    for name, value in written.items():
        torch.testing.assert_close(value, merged()[name], atol=1e-5, rtol=1e-4)


def test_what_is_written_shares_no_memory() -> None:
    model = from_official(merged(), "lorat")
    to_official(model)["norm.weight"].zero_()
    same(to_official(model), merged())


def without(state: State, *names: str) -> State:
    return {name: value for name, value in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda: trained(), {"backbone": "rest"}, "does not say lora_alpha.*give alpha="),
        (lambda: without(adapted(), "lora_alpha"), {}, "does not say lora_alpha.*give alpha="),
        (lambda: adapted() | {"lora_alpha": torch.tensor(16.5)}, {}, "lora_alpha is 16.5 .* not one whole number"),
        (lambda: adapted() | {"lora_alpha": torch.tensor([8, 8])}, {}, "not one whole number"),
        (lambda: trained(), {"backbone": "rest", "alpha": 0}, "alpha is 0: give a whole number above 0"),
        (lambda: merged(), {"search_size": 378}, "search_size is 378, but the positions are those of 224 pixels"),
        (
            lambda: without(merged(), "pos_embed") | {"pos_embedding": merged()["pos_embed"]},
            {},
            "entry 'pos_embed' is missing; nearest: 'pos_embedding'",
        ),
        (lambda: without(adapted(), "patch_embed.proj.weight"), {}, "entry 'patch_embed.proj.weight' is missing$"),
        (lambda: adapted() | {"blocks.0.mlp.fc1.lora.A": torch.tensor(1.0)}, {}, r"fc1.lora.A' has shape \(\), not"),
        (lambda: adapted(), {"alpha": 4}, "lora_alpha is 8 in the checkpoint, but 4 was given"),
        (lambda: adapted(), {"rslora": True}, "use_rslora is False in the checkpoint, but True was given"),
        (lambda: trained(), {"alpha": 8}, r"holds only the 157 trained entries: give backbone="),
        (lambda: adapted(), {"backbone": "rest"}, "backbone= is given, but the checkpoint holds its own"),
        (lambda: merged(), {"alpha": 8}, "alpha and rslora are given, but the checkpoint has no factors"),
        (lambda: without(merged(), "norm.bias"), {}, "lorat: entry 'norm.bias' is missing$"),
        (lambda: without(merged(), "pos_embed"), {}, "lorat: entry 'pos_embed' is missing"),
        (lambda: merged() | {"norm.bias": torch.zeros(3)}, {}, r"'norm.bias' has shape \(3,\), not \(384,\)"),
        (lambda: merged() | {"extra": torch.zeros(3)}, {}, "lorat: entry 'extra' is unknown"),
        (lambda: merged() | {"norm.bias": torch.zeros(384).half()}, {}, "'norm.bias' is torch.float16: convert it"),
        (lambda: merged() | {"pos_embed": torch.zeros(1, 100, 384)}, {}, r"100 tokens .* one of \[256, 729\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: Any, options: dict[str, Any], message: str) -> None:
    if "backbone" in options:
        options = options | {"backbone": rest()}
    with pytest.raises(DataError, match=message):
        from_official(change(), "lorat", **options)


def test_misspelt_entries_are_named_with_the_nearest() -> None:
    state = without(merged(), "norm.weight", "blocks.7.ls1.gamma") | {"norm.wieght": merged()["norm.weight"]}
    with pytest.raises(DataError) as caught:
        from_official(state, "lorat")
    assert caught.value.problems == (
        "lorat: entry 'blocks.7.ls1.gamma' is missing",
        "lorat: entry 'norm.weight' is missing; nearest: 'norm.wieght'",
        "lorat: entry 'norm.wieght' is unknown; nearest: 'norm.weight'",
    )


def test_unknown_sources_and_other_modules_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean lorat"):
        from_official(merged(), "lorrat")
    with pytest.raises(DataError, match="not tensors: 'epoch'"):
        from_official(merged() | {"epoch": 3}, "lorat")  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="Linear is none of"):
        to_official(torch.nn.Linear(1, 1))


def test_files_of_tensors_are_read(tmp_path: Path) -> None:
    save_file(merged(), tmp_path / "lorat.safetensors")
    torch.save(adapted(), tmp_path / "lorat.pth")
    torch.save({"model": merged(), "epoch": 3}, tmp_path / "training.bin")
    same(to_official(load_official(tmp_path / "lorat.safetensors", "lorat")), merged())
    same(to_official(load_official(tmp_path / "lorat.pth", "lorat")), adapted())
    same(to_official(load_official(str(tmp_path / "training.bin"), "lorat")), merged())


class Trap:
    """Unpickled, it would make a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    file, made = tmp_path / "evil.pth", tmp_path / "made"
    torch.save(merged() | {"trap": Trap(made)}, file)
    same(to_official(load_official(file, "lorat")), merged())
    assert not made.exists()
    torch.load(file, weights_only=False)
    assert made.exists(), "the trap works"


def test_a_pickle_that_is_no_file_of_torch_is_refused_and_not_run(tmp_path: Path) -> None:
    file, made = tmp_path / "evil.pth", tmp_path / "made"
    file.write_bytes(pickle.dumps({"trap": Trap(made)}))
    with pytest.raises(DataError, match=r"evil\.pth: cannot be read as weights \(RuntimeError.*; give a file of torch"):
        load_official(file, "lorat")
    assert not made.exists()
    pickle.loads(file.read_bytes())
    assert made.exists(), "the trap works"


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x04N."])
@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"x\.(pth|safetensors)"):
        load_official(tmp_path / name, "lorat")
    with pytest.raises(DataError, match="there is no such file"):
        load_official(tmp_path / "absent.pth", "lorat")
