"""Pretraining of the backbone that the embedded profiles start from: a mini ViT, on the synthetic source domain.

The papers start from backbones that were pretrained on large image collections. This one learns to match a template
with a search region, with several heads at once, so that it favours no head of a later comparison. Positions are one
shared table: the template's are taken from it by interpolation and by slicing in turn, so that it favours neither way.
Only the ViT's parameters are kept, under timm's names.
"""

import hashlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from trackablate.datasets.atomic import write_bytes, write_text
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.harness.costing.devices import device_name, driver_version
from trackablate.harness.provenance import provenance
from trackablate.harness.record import CurvePoint, Provenance, TrainingCost
from trackablate.harness.run_folder import forget_checkpoints
from trackablate.harness.spec import Recipe, SyntheticData
from trackablate.harness.training.loading import pair_geometry, training_pairs, validation_pairs
from trackablate.harness.training.loop import fit
from trackablate.harness.training.step import TrainingSetup
from trackablate.trackers.encoder.backbones import BACKBONES
from trackablate.trackers.model import Normalise, OneStreamEncoder, make_head
from trackablate.trackers.scale import Scale, at_scale
from trackablate.trackers.spec import InputEmbedding, TrackerSpec, replace
from trackablate.trackers.tokens import Prediction
from trackablate.trackers.variants import VARIANTS


class Pretraining(BaseModel):
    """A pretraining recipe, read from one TOML file. `heads` are the names of the variants whose heads are used."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    backbone: str
    heads: tuple[str, ...]
    scale: Scale
    recipe: Recipe
    data: SyntheticData
    seed: int = 0


class PretrainingRecord(BaseModel):
    """The record beside the shipped weights: how they were made, and their training curve."""

    model_config = ConfigDict(extra="forbid")
    asked: Pretraining
    curve: list[CurvePoint]
    cost: TrainingCost
    sha256: str
    where: Provenance


class ManyHeads(nn.Module):
    """One encoder with several heads. Their losses are added, and the first head predicts."""

    def __init__(self, specs: list[TrackerSpec], steps: int) -> None:
        super().__init__()
        vit = BACKBONES[specs[0].backbone]()
        embedding = InputEmbedding(positions="shared")
        self.steps = steps
        self.names = [spec.head.kind for spec in specs]
        self.encoder = OneStreamEncoder(vit, replace(specs[0], embedding=embedding, sparsity=None))
        side, dim = self.encoder.search_side, self.encoder.dim
        self.heads = nn.ModuleList(make_head(s, dim, side) for s in specs)
        self.embeddings = [embedding.model_copy(update={"template_positions": how}) for how in ("interpolate", "slice")]
        self.normalise = Normalise()

    def forward(
        self,
        template: Tensor,
        search: Tensor,
        mask: Tensor | None = None,
        truth: Tensor | None = None,
        progress: float = 0.0,
    ) -> Prediction | dict[str, Tensor]:
        """Return the loss terms, or the prediction without `truth`. The arguments are those of OneStreamTracker."""
        step = round(progress * self.steps) if truth is not None else 0
        self.encoder.embedding.spec = self.embeddings[step % 2]
        tokens = self.encoder(self.normalise(template), self.normalise(search), mask, 1.0)
        heads: list[Any] = list(self.heads)
        if truth is None:
            prediction: Prediction = heads[0].predict(heads[0](tokens, None))
            return prediction
        return {
            f"{name}.{term}": value
            for name, head in zip(self.names, heads, strict=True)
            for term, value in head.losses(head(tokens, truth), truth).items()
        }

    def backbone_state(self) -> dict[str, Tensor]:
        """Return the ViT's parameters under timm's names."""
        names = {"project.": "patch_embed.proj.", "embedding.search_positions": "pos_embed"}
        state = {}
        for key, value in self.encoder.state_dict().items():
            for ours, timms in names.items():
                key = key.replace(ours, timms) if key.startswith(ours) else key
            state[key] = value.detach().cpu().contiguous()
        return state


def load_pretraining(name: str) -> Pretraining:
    """Return the recipe `harness/training/NAME.toml`. Raises UnknownName if there is none."""
    files = {file.stem: file for file in Path(__file__).parent.glob("*.toml")}
    if name not in files:
        raise UnknownName(unknown("pretraining", name, files))
    return Pretraining.model_validate(tomllib.loads(files[name].read_text(encoding="utf-8")))


def pretrain(
    asked: Pretraining, out: Path, folder: Path, device: torch.device, report: Callable[[int], None]
) -> PretrainingRecord:
    """Train the backbone, and write `out` (safetensors) and its record beside it (.json).

    A checkpoint in `folder` is resumed. `report` is called after every step with the number of steps done.
    """
    torch.manual_seed(asked.seed)
    # Pretraining sees every example only once, so drop path is off even if a variant uses it.
    specs = [at_scale(replace(VARIANTS[name], drop_path=0.0), asked.scale) for name in asked.heads]
    model = ManyHeads(specs, asked.recipe.steps)
    geometry = pair_geometry(specs[0].crop, asked.recipe, model.encoder.template_side)
    threads = torch.get_num_threads()
    where = provenance(device=device_name(device), threads=threads, driver=driver_version(device))
    setup = TrainingSetup(
        model=model,
        recipe=asked.recipe,
        training=training_pairs(asked.data, geometry, asked.seed),
        validation=validation_pairs(asked.data, geometry),
        seed=asked.seed,
        checkpoint=folder / "checkpoint.pt",
        device=device,
        report=lambda step, _: report(step),
    )
    curve, cost = fit(setup)
    content = save_safetensors(model.backbone_state())
    record = PretrainingRecord(
        asked=asked, curve=curve, cost=cost, sha256=hashlib.sha256(content).hexdigest(), where=where
    )
    write_bytes(out, content)
    write_text(out.with_suffix(".json"), json.dumps(record.model_dump(mode="json"), indent=1) + "\n")
    forget_checkpoints(setup.checkpoint)
    return record
