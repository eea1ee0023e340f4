"""Runs whose weights come from a file instead of a training, and the weights of any run as a file."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from safetensors.torch import save

from trackablate.datasets.atomic import write_bytes, write_with
from trackablate.datasets.errors import DataError
from trackablate.harness.costing.devices import device_name
from trackablate.harness.costing.macs import count_macs
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile, profile_names
from trackablate.harness.provenance import provenance
from trackablate.harness.record import TrainingCost, TrainingRecord
from trackablate.harness.spec import Imported, RunSpec
from trackablate.harness.store import RunFolder, Store
from trackablate.harness.tracking.evaluation import trained_model
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.checkpoints.official import is_unused
from trackablate.trackers.checkpoints.whole_trackers import OSTRACK, layout_of, official_state, tracker_from
from trackablate.trackers.encoder.pretrained import file_digest
from trackablate.trackers.encoder.weight_files import read_weights
from trackablate.trackers.model import OneStreamTracker
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import LoRA, TrackerSpec, replace
from trackablate.trackers.variants import VARIANTS, same_weights

UNFIT = (
    "is not of {}: name the variant that it belongs to with --as, and the size that it was trained at with --profile"
)


@dataclass(frozen=True)
class Import:
    """A file of weights that becomes a run of this name.

    Attributes:
        spec: What they are weights of: a named tracker, at any size.
        backbone: File of the backbone that LoRAT's trained entries belong to.
        alpha: LoRA's alpha, if the weights do not say it.
    """

    name: str
    weights: Path
    spec: TrackerSpec
    backbone: Path | None = None
    alpha: int | None = None


def import_run(asked: Import, store: Store) -> dict[str, Any]:
    """Put weights into the store as a run, unless they are there, and return what is known of it.

    Raises:
        DataError: The file cannot be read, or does not fit the specification.
        BadInput: The name belongs to other weights.
    """
    spec = asked.spec
    state = read_weights(asked.weights)
    completed = None if asked.backbone is None else read_weights(asked.backbone)
    try:
        model = tracker_from(state, spec, alpha=asked.alpha, backbone=completed)
    except DataError as error:
        raise DataError(f"{asked.weights} {UNFIT.format(spec.name)}", *error.problems) from error
    digest, of_backbone = file_digest(asked.weights), file_digest(asked.backbone) if asked.backbone else None
    run = RunSpec(tracker=model.spec, weights=of_backbone, imported=Imported(name=asked.name, sha256=digest))
    for other in store.runs():
        if (held := other.run.imported) and held.name == asked.name and other.run.name != run.name:
            taken = f"{asked.name} is the import of other weights, or as another tracker (SHA-256 {held.sha256[:12]})"
            raise BadInput(f"{taken}: choose another name, or move {other.path} away")
    folder = store.run(run)
    with folder.lock():
        folder.claim()
        if folder.fault_of_weights():
            _keep(folder, model)
    return {
        "run": run.name,
        "tracker": spec.name,
        "layout": layout_of(state),
        "sha256": digest,
        "not used": [name for name in state if is_unused(name)],
        **_fits_too(spec.name),
        "next": f"python -m harness evaluate {asked.name} --protocol PROTOCOL",
    }


def _keep(folder: RunFolder, model: OneStreamTracker) -> None:
    params = sum(p.numel() for p in model.parameters())
    content = save({name: value.detach().contiguous().clone() for name, value in model.state_dict().items()})
    if not getattr(model, "merged", False):
        merge(model)
    cost = TrainingCost(params=params, macs=count_macs(model).all)
    where = provenance(device=device_name(torch.device("cpu")), threads=torch.get_num_threads())
    write_bytes(folder.weights, content)
    folder.finish_training(
        TrainingRecord(curve=[], cost=cost, weights_digest=hashlib.sha256(content).hexdigest(), where=where)
    )


def export_weights(folder: RunFolder, out: Path, store: Path) -> dict[str, Any]:
    """Write a run's weights to a file, as safetensors or, by its ending, as torch.save does. Return what it holds.

    They have the official layout where the tracker has one; OSTrack's lie under `net`, as in its own checkpoints. `store` is
    as the user names it, for the command that imports the file again. Raises BadInput for damaged weights.
    """
    try:
        model = trained_model(folder, merged=False)
        layout, state = official_state(model)
    except ValueError as error:
        raise BadInput(str(error)) from error
    if out.suffix == ".safetensors":
        content = save({name: value.contiguous() for name, value in state.items()})
        write_bytes(out, content)
    else:
        document = {"net": state} if layout_of(state) == OSTRACK else state
        write_with(out, lambda file: torch.save(document, file))
    return {
        "run": folder.run.name,
        "layout": layout,
        "entries": len(state),
        "file": str(out),
        **_imports_again(folder, model.spec, out, store),
    }


def _imports_again(folder: RunFolder, spec: TrackerSpec, out: Path, store: Path) -> dict[str, str]:
    """Return the command that imports a run's exported weights, and which other trackers they fit."""
    records = Store(store, make=False).studies()
    sizes = [r.profile.name for r in records for row in r.rows if any(p.run == folder.run for p in row.runs)]
    if not (named := _named(spec, sizes)):
        return {"import again": "no tracker of `list trackers` is this one"}
    tracker, size = named
    name = re.sub(r"[^A-Za-z0-9-]+", "-", out.stem).strip("-") or "again"
    command = f"python -m harness import {name} --weights {quote(str(out))} --as {tracker}{size}"
    return {"import again": command, **_fits_too(tracker)}


def _fits_too(tracker: str) -> dict[str, str]:
    """Return a note on other trackers whose weights are like those of a tracker, empty if there are none."""
    others = ", ".join(same_weights(VARIANTS[tracker]))
    return {"note": f"the file fits {others} too: --as alone says how it tracks"} if others else {}


def _sized(tracker: str, profile: str) -> TrackerSpec:
    spec, scale = VARIANTS[tracker], load_profile(profile).scale
    return at_scale(spec, scale) if scale else spec


def _named(spec: TrackerSpec, sizes: Sequence[str]) -> tuple[str, str] | None:
    """Return name and size with which `import` takes a tracker's weights; of profiles that are alike, one of `sizes`."""
    for same in (_nameless, _of_any_rank):  # `import` reads LoRA's rank from the weights
        for profile in sorted(profile_names(), key=lambda name: (name not in sizes, name != "paper")):
            for name in VARIANTS:
                if same(_sized(name, profile)) == same(spec):
                    return name, f" --profile {profile}" if load_profile(profile).scale else ""
    return None


def _nameless(spec: TrackerSpec) -> TrackerSpec:
    return replace(spec, name="any", pretrained="none")


def _of_any_rank(spec: TrackerSpec) -> TrackerSpec:
    return _nameless(replace(spec, adaptation=LoRA()) if isinstance(spec.adaptation, LoRA) else spec)
