"""What a few measured steps say of a device: the document that `plan --calibrate` leaves in the store. Imports no torch.

    STORE/calibration/DEVICE-THREADS-WORKERS.json

One per device and manner of working, since workers that share a machine slow each other down.
"""

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trackablate.datasets.atomic import write_text
from trackablate.harness.spec import Recipe, RunSpec
from trackablate.harness.store import Store, read_document
from trackablate.trackers.spec import TrackerSpec, fingerprint


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Drawing(_Document):
    """Seconds of what generated videos take: making a split's textures once per process, planning one clip, drawing one
    frame, of the kind that is trained on; and decoding one megapixel of JPEG, which videos on disk take. clip_bytes: of
    memory that a clip takes with its drawn frames, 0 in records from before it was measured.
    """

    textures: float
    clip: float
    frame: float
    megapixel: float
    clip_bytes: float = 0.0


class Steps(_Document):
    """Seconds of one tracker's work at one batch size, frames at hand. device_share: device seconds per wall second.
    pairs_at_once: of the batch, None in records from before there were micro-batches.

    setup: building, merging and counting once; step: one optimiser step and the pairs for it; validated: one validation
    pair; tracked: one frame of many sequences at a time; online: one frame of one sequence. macs: of one frame, merged.
    """

    tracker: TrackerSpec
    batch_size: int
    pairs_at_once: int | None = None
    macs: int
    setup: float
    step: float
    device_share: float
    validated: float
    tracked: float
    online: float
    memory_bytes: int

    @property
    def key(self) -> str:
        """As `calibration_key` of a run that takes such steps."""
        return _key(self.tracker, self.batch_size, self.pairs_at_once or self.batch_size)


class Calibration(_Document):
    """start: seconds until a worker process is ready; first: what building and training take longer the first time in a
    process, and every run has its own; ncc: seconds of one frame of the correlation floor.
    """

    device: str
    threads: int
    workers: int
    start: float
    first: float
    drawing: Drawing
    ncc: float
    steps: list[Steps]

    @property
    def device_share(self) -> float:
        """Device seconds per wall second, over all trackers."""
        return _mean([s.device_share for s in self.steps])

    def of(self, run: RunSpec) -> Steps | None:
        """What was measured for exactly this tracker, batch size and number of pairs at once."""
        assert isinstance(run.tracker, TrackerSpec)
        key = calibration_key(run)
        return next((s for s in self.steps if s.key == key), None)

    def nearest(self, macs: int, recipe: Recipe) -> Steps | None:
        """What was measured with the recipe's batches for the tracker whose MACs are nearest by ratio."""
        batch = (recipe.batch_size, recipe.pairs_at_once)
        alike = [s for s in self.steps if (s.batch_size, s.pairs_at_once or s.batch_size) == batch]
        return min(alike, key=lambda s: max(s.macs / macs, macs / s.macs), default=None)


def calibration_key(run: RunSpec) -> str:
    """Runs with equal keys take equal steps."""
    assert isinstance(run.tracker, TrackerSpec)
    assert run.recipe is not None
    return _key(run.tracker, run.recipe.batch_size, run.recipe.pairs_at_once)


def _key(tracker: TrackerSpec, batch_size: int, pairs_at_once: int) -> str:
    return f"{fingerprint(tracker)}-{batch_size}-{pairs_at_once}"


def to_measure(runs: list[RunSpec], most: int = 10) -> list[RunSpec]:
    """One run for each distinct key; of more than `most` every so many, the rest are scaled."""
    distinct = list({calibration_key(run): run for run in runs if isinstance(run.tracker, TrackerSpec)}.values())
    step = max(1, -(-len(distinct) // most))
    return distinct[::step]


def calibration(store: Store, device: str) -> Calibration | None:
    """What the store has for a device: of several, the one with most workers. Raises BadInput for a damaged one."""
    found = [read_document(file, Calibration) for file in sorted(_folder(store).glob(f"{_slug(device)}-*.json"))]
    return max((c for c in found if c and c.device == device), key=lambda c: c.workers, default=None)


def keep_calibration(store: Store, new: Calibration) -> None:
    """Write it; what was measured before for other trackers in the same manner stays."""
    file = _folder(store) / f"{_slug(new.device)}-{new.threads}t{new.workers}w.json"
    old = read_document(file, Calibration)
    keys = {s.key for s in new.steps}
    kept = [s for s in old.steps if s.key not in keys] if old else []
    write_text(file, new.model_copy(update={"steps": [*new.steps, *kept]}).model_dump_json(indent=1))


def mean_of(parts: list[Calibration]) -> Calibration:
    """What workers measured side by side, averaged; memory is the largest."""
    first = parts[0]
    drawing = {k: _mean([getattr(p.drawing, k) for p in parts]) for k in Drawing.model_fields}
    return first.model_copy(
        update={
            "start": _mean([p.start for p in parts]),
            "first": _mean([p.first for p in parts]),
            "drawing": Drawing(**drawing),
            "ncc": _mean([p.ncc for p in parts]),
            "steps": [_mean_steps([p.steps[i] for p in parts]) for i in range(len(first.steps))],
        }
    )


def _mean_steps(steps: list[Steps]) -> Steps:
    names = ("setup", "step", "device_share", "validated", "tracked", "online")
    means = {name: _mean([getattr(s, name) for s in steps]) for name in names}
    return steps[0].model_copy(update=means | {"memory_bytes": max(s.memory_bytes for s in steps)})


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _folder(store: Store) -> Path:
    return store.root / "calibration"


def _slug(device: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-")
