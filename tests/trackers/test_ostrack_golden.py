"""OSTrack against its official code: the reference's seeded weights and inputs in, its outputs out (design/models.md,
section 6); the names of its state dict, there and back."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from golden_vectors import golden
from trackablate.datasets.errors import DataError
from trackablate.trackers.checkpoints.official import from_official, to_official
from trackablate.trackers.checkpoints.ostrack import (
    CentrePrediction,
    OfficialOSTrack,
    official_name,
    ostrack_variant,
    to_ostrack,
)
from trackablate.trackers.encoder import sparsity as sparsity_module
from trackablate.trackers.encoder.sparsity import eliminate
from trackablate.trackers.model import build
from trackablate.trackers.variants import VARIANTS


@cache
def seeded() -> dict[str, Tensor]:
    """The reference's weights: 1 for scales and variances, else 0, plus 0.05 times seeded noise."""
    keys, state = golden("ostrack256", "state_dict_keys.json"), {}
    for number, key in enumerate(sorted(keys)):
        shape, dtype = keys[key]
        noise = np.random.default_rng(1000 + number).standard_normal(shape, dtype=np.float64)
        scale = key.endswith(".weight") and ("norm" in key or (key.startswith("box_head") and len(shape) == 1))
        base = 1.0 if scale or key.endswith("running_var") else 0.0
        noise = np.abs(noise) if key.endswith("running_var") else noise
        value = base + 0.05 * np.asarray(noise)
        state[key] = torch.from_numpy(value.astype(np.float32)) if dtype == "float32" else torch.tensor(7)
    return state


def inputs() -> dict[str, Tensor]:
    sides = {"template": 128, "search": 256}
    noise = {name: np.random.default_rng(3 * s * s).standard_normal((1, 3, s, s)) for name, s in sides.items()}
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in noise.items()}


@pytest.fixture(scope="module")
def official() -> OfficialOSTrack:
    model = from_official(seeded(), "ostrack-ce")
    assert isinstance(model, OfficialOSTrack)
    return model


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """What each elimination removes from the first example, as it happens."""
    sets: list[set[int]] = []

    def recording(x: Tensor, index: Tensor, scores: Tensor, templates: int, ratio: float) -> tuple[Tensor, Tensor]:
        tokens, places = eliminate(x, index, scores, templates, ratio)
        sets.append(set(index[0].tolist()) - set(places[0].tolist()))
        return tokens, places

    monkeypatch.setattr(sparsity_module, "eliminate", recording)
    return sets


@torch.inference_mode()
def test_outputs_are_the_official_codes(official: OfficialOSTrack, removed: list[set[int]]) -> None:
    reference = golden("ostrack_forward_ce")
    assert not any(module.training for module in official.modules())
    found: CentrePrediction = official(**inputs())
    assert [tuple(part.shape) for part in found] == [(1, 1, 16, 16), (1, 1, 4), (1, 2, 16, 16), (1, 2, 16, 16)]
    assert found.score_map.flatten()[:8].tolist() == pytest.approx(reference["score"], abs=1e-5)
    assert found.boxes.flatten().tolist() == pytest.approx(reference["box"], abs=1e-5)
    assert float(found.score_map.double().sum()) == pytest.approx(reference["score_sum"], abs=1e-3)
    assert float(found.size_map.double().sum()) == pytest.approx(reference["size_sum"], abs=2e-3)
    assert float(found.offset_map.double().sum()) == pytest.approx(reference["off_sum"], abs=2e-3)
    assert float(found.score_map.std()) == pytest.approx(reference["score_std"], abs=1e-5)
    assert [len(r) for r in removed] == [76, 54, 37]
    assert set(reference["removed_first"]) <= removed[0]
    assert sum(map(len, removed)) == golden("ostrack_removed_tokens_zero")[1] == 167


@torch.inference_mode()
def test_removed_places_reach_the_head_as_zeros(official: OfficialOSTrack) -> None:
    maps: list[Tensor] = []
    hook = official.tracker.head.score.register_forward_pre_hook(lambda _module, args: maps.append(args[0]))
    official(**inputs())
    hook.remove()
    zero, removed = golden("ostrack_removed_tokens_zero")
    assert int((maps[0][0].abs().sum(0) == 0).sum()) == zero == removed


@torch.inference_mode()
def test_without_elimination_the_scores_differ_as_much_as_the_official_ones(official: OfficialOSTrack) -> None:
    """The reference says by how much elimination changes a score at most: 0.3456 with these weights."""
    reference = golden("ostrack_forward_ce")
    plain = from_official(seeded(), "ostrack")
    assert isinstance(plain, OfficialOSTrack)
    assert plain.tracker.spec.sparsity is None
    change = (plain(**inputs()).score_map - official(**inputs()).score_map).abs().max()
    assert float(change) == pytest.approx(reference["no_ce_changes_score"], abs=1e-4)


def test_export_is_the_import_bit_for_bit(official: OfficialOSTrack) -> None:
    exported = to_official(official)
    assert exported.keys() == seeded().keys()
    for name, value in seeded().items():
        assert exported[name].dtype == value.dtype
        assert exported[name].equal(value), name


@pytest.mark.parametrize("name", ["ostrack-256", "ostrack-256-ce"])
def test_names_and_shapes_are_the_official_ones(name: str) -> None:
    keys = golden("ostrack256", "state_dict_keys.json")
    with torch.device("meta"):
        state = build(VARIANTS[name], pretrained=False).state_dict()
    ours = {official_name(entry): [list(value.shape), str(value.dtype)[6:]] for entry, value in state.items()}
    assert ours == keys
    assert len(ours) == len(state) == 242


def test_wrong_entries_are_all_named_with_their_nearest() -> None:
    state = dict(seeded())
    state["backbone.blocks.3.attn.qvk.weight"] = state.pop("backbone.blocks.3.attn.qkv.weight")
    state["backbone.norm.bias"] = torch.zeros(7)
    del state["box_head.conv5_ctr.bias"]
    with pytest.raises(DataError) as error:
        from_official(state, "ostrack-ce")
    text = "\n".join(error.value.problems)
    assert (
        "'backbone.blocks.3.attn.qkv.weight' is missing; nearest: 'backbone.blocks.3.attn.qvk.weight'" in text
        and "'backbone.blocks.3.attn.qvk.weight' is unknown; nearest: 'backbone.blocks.3.attn.qkv.weight'" in text
    )
    assert "'box_head.conv5_ctr.bias' is missing" in text
    assert "'backbone.norm.bias' has shape (7,), not (768,)" in text
    assert len(error.value.problems) == 4


def test_entries_of_another_type_are_refused() -> None:
    state = dict(seeded())
    state["backbone.norm.bias"] = state["backbone.norm.bias"].half()
    with pytest.raises(DataError, match=r"'backbone.norm.bias' is torch.float16: convert it to torch.float32 first"):
        from_official(state, "ostrack")


def test_a_size_that_was_not_published_is_refused() -> None:
    state = {"backbone.pos_embed_x": torch.zeros(1, 400, 768)}
    with pytest.raises(DataError, match=r"400 search tokens; OSTrack has one of \[256, 576\]"):
        from_official(state, "ostrack")


def test_the_larger_tracker_is_recognised_by_its_positions() -> None:
    with torch.device("meta"):
        state = to_ostrack(build(VARIANTS["ostrack-384"], pretrained=False))
    assert state["backbone.pos_embed_z"].shape == (1, 144, 768)
    assert ostrack_variant(state, "ostrack-ce") == VARIANTS["ostrack-384-ce"]
    assert ostrack_variant(state, "ostrack") == VARIANTS["ostrack-384"]


def test_an_adapted_tracker_has_no_official_form() -> None:
    with pytest.raises(DataError, match="no place in OSTrack's state dict"):
        official_name("encoder.prompts.0")
