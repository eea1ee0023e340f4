"""LoRAT-B-224 computes what the official code computes, for its golden weights and inputs.

Weights: entry i of the sorted official state dict is base + 0.05 * default_rng(1000 + i).standard_normal, base 1 for norm
weights and LayerScale, else 0; inputs: default_rng(number of elements).standard_normal.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from golden_vectors import golden, state_shapes
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.checkpoints.lorat import AnchorFreePrediction
from trackablate.trackers.checkpoints.official import from_official

FORMS = ("lorat_b224_lora", "lorat_b224_merged")


def golden_state(form: str) -> dict[str, Tensor]:
    shapes, state = state_shapes(form), {}
    for i, name in enumerate(sorted(shapes)):
        if name in ("lora_alpha", "use_rslora"):
            state[name] = torch.tensor(64) if name == "lora_alpha" else torch.tensor(False)
            continue
        base = 1.0 if name.endswith("gamma") or ("norm" in name and name.endswith("weight")) else 0.0
        noise = np.random.default_rng(1000 + i).standard_normal(shapes[name])
        state[name] = torch.from_numpy((base + 0.05 * noise).astype(np.float32))
    return state


def drawn(*shape: int) -> Tensor:
    count = int(np.prod(shape))
    return torch.from_numpy(np.random.default_rng(count).standard_normal(shape).astype(np.float32))


@cache
def merged_tracker() -> Any:
    return from_official(golden_state("lorat_b224_merged"), "lorat")


@torch.inference_mode()
def predicted(model: Any, **changes: Tensor) -> AnchorFreePrediction:
    """The prediction for the golden inputs; template tokens of rows 2 to 5 and columns 3 and 4 are foreground, which of
    all rectangles is the one that reproduces the vectors (they do not say theirs)."""
    mask = torch.zeros(1, 8, 8, dtype=torch.int64)
    mask[:, 2:6, 3:5] = 1
    inputs = {"template": drawn(1, 3, 112, 112), "search": drawn(1, 3, 224, 224), "template_mask": mask}
    prediction = model(**(inputs | changes))
    assert isinstance(prediction, AnchorFreePrediction)
    return prediction


def test_the_forward_pass_is_the_official_one() -> None:
    vector, found = golden("lorat_forward"), predicted(merged_tracker())
    assert found.score_map.shape == (1, 16, 16)
    assert found.boxes.shape == (1, 16, 16, 4)
    assert found.score_map.flatten()[:8].tolist() == pytest.approx(vector["score"], abs=1e-4)
    assert found.boxes[0, 0, 0].tolist() == pytest.approx(vector["box0"], abs=1e-4)
    assert found.score_map.std().item() == pytest.approx(vector["score_std"], abs=1e-4)
    assert found.score_map.mean().item() == pytest.approx(vector["score_sum"] / 256, abs=1e-4)
    assert found.boxes.mean().item() == pytest.approx(vector["box_sum"] / 1024, abs=1e-4)
    assert found.boxes.min() < -0.3, "not clipped"


def test_the_vectors_would_notice_a_wrong_mask_or_position() -> None:
    """The mask with rows and columns exchanged changes a score by as much as officially, 0.0423."""
    found = predicted(merged_tracker())
    mask = torch.zeros(1, 8, 8, dtype=torch.int64)
    mask[:, 3:5, 2:6] = 1
    change = (predicted(merged_tracker(), template_mask=mask).score_map - found.score_map).abs().max()
    assert change.item() == pytest.approx(golden("lorat_forward")["mask_changes_output"], abs=1e-4)
    positions = merged_tracker().tracker.encoder.embedding.search_positions
    kept = positions.detach().clone()
    positions.data = kept.roll(1, dims=1)
    rolled = predicted(merged_tracker())
    positions.data = kept
    assert (rolled.score_map - found.score_map).abs().max() > 0.1


def test_leaving_out_what_nothing_reads_changes_nothing() -> None:
    found, encoder = predicted(merged_tracker()), merged_tracker().tracker.encoder
    encoder.lean = False
    whole = predicted(merged_tracker())
    encoder.lean = True
    torch.testing.assert_close(found.score_map, whole.score_map, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.boxes, whole.boxes, atol=1e-5, rtol=1e-5)


def test_the_adapted_form_is_its_merged_form() -> None:
    """At the published size and with the golden weights' factors, unmerged against merged: within 1e-5 of the scores'
    spread."""
    model = from_official(golden_state("lorat_b224_lora"), "lorat")
    apart = predicted(model)
    merge(model.tracker)  # type: ignore[arg-type]
    together = predicted(model)
    torch.testing.assert_close(together.score_map, apart.score_map, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.boxes, apart.boxes, atol=1e-5, rtol=1e-5)
