"""Training and validation pairs of a run as the training loop takes them, and the processes that make them."""

import signal
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, TypedDict, cast

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.errors import DataError
from trackablate.datasets.pairs.cropping import Crop
from trackablate.datasets.pairs.packing import end_with_parent
from trackablate.datasets.pairs.sampling import PairGeometry, PairSampler
from trackablate.datasets.pairs.training_sets import Mixture
from trackablate.datasets.sequence import Sequence
from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.harness.costing.loader_processes import PREFETCHED
from trackablate.harness.spec import Recipe, SyntheticData, TrainingData, VideoData
from trackablate.trackers.spec import CropInput

VALIDATION_SEED = 20_000
VALIDATION_CLIPS = 64
PATIENCE = 500
"""Seconds to wait for a batch: less than the processes of a run wait for each other, so that the right one is named."""

Sets = Mapping[str, SequenceList]
"""Opened training sets by name. Only video data needs them."""


class Batch(TypedDict):
    """Pairs as tensors. For a single pair, the dimension B is absent.

    template and search: (B, 3, S, S), 0..255, uint8 or float32. truth: (B, 4) float32, xyxy in 0..1 of the search
    region. mask: (B, Nz) bool, the template tokens that the target touches.
    """

    template: Tensor
    search: Tensor
    truth: Tensor
    mask: Tensor


class PairDataset(Dataset[Batch]):
    """The pairs numbered `first` to `last` - 1."""

    def __init__(self, sampler: PairSampler, first: int, last: int) -> None:
        self.sampler, self.first, self.last = sampler, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> Batch:
        """Return one pair. Raises DataError or RuntimeError with the pair's number."""
        number = self.first + index
        try:
            pair = self.sampler(number)
        except DataError as error:
            raise DataError(*(f"pair {number}: {problem}" for problem in error.problems)) from error
        except Exception as error:
            notes = "; ".join(["", *getattr(error, "__notes__", ())])
            raise RuntimeError(f"pair {number}: {type(error).__name__}: {error}{notes}") from error
        return Batch(
            template=_channels_first(pair.template),
            search=_channels_first(pair.search),
            truth=torch.from_numpy(pair.truth),
            mask=torch.from_numpy(pair.mask),
        )


def _channels_first(image: Crop) -> Tensor:
    planes = np.empty((3, *image.shape[:2]), dtype=image.dtype)
    cv2.split(image, tuple(planes))
    return torch.from_numpy(planes)


@dataclass(frozen=True)
class _Batches:
    """Makes the batch of some pairs, or returns the error: torch would raise it with all its traceback as the message."""

    pairs: PairDataset

    def __call__(self, indices: list[int]) -> Batch | Exception:
        try:
            batch: Batch = default_collate([self.pairs[index] for index in indices])
        except (DataError, RuntimeError) as error:
            error.add_note(traceback.format_exc())
            return error
        return batch


def pair_loader(
    pairs: PairDataset, size: int, workers: int = 0, *, pinned: bool = False, share: range | None = None
) -> DataLoader[Batch]:
    """Return batches of `size` pairs in their order, made by so many processes; `made` iterates over them.

    The processes are forked, so that they share the annotation, and stay until the last batch. share: the pairs of each
    batch that are made; None for all.
    """
    numbers = cast(Dataset[Batch], range(len(pairs)))  # the batch is made of them by `collate`
    made_of, end = share or range(size), len(pairs)
    batches: Any = [range(i + made_of.start, min(end, i + made_of.stop)) for i in range(0, end, size)]
    collate = _Batches(pairs)
    if workers == 0:
        return DataLoader(numbers, batch_sampler=batches, collate_fn=collate)
    return DataLoader(
        numbers,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        timeout=PATIENCE,
        prefetch_factor=PREFETCHED,
        pin_memory=pinned,
        multiprocessing_context="fork",
        worker_init_fn=_serve_parent,
    )


def _serve_parent(_worker: int) -> None:
    # A signal to the process group, as when a machine shuts down, asks the training to save a checkpoint: it needs these.
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def made(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches of a `pair_loader`. Raises the error of the first pair that cannot be made."""
    for batch in batches:
        if isinstance(batch, Exception):
            raise batch
        yield batch


@contextmanager
def loader_deaths_named() -> Iterator[None]:
    """Turn torch's error about a dead or hanging process of a loader into one that says what to do. Raises RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if str(error).startswith("DataLoader timed out"):
            raise RuntimeError(
                f"the processes that make training pairs gave none for {PATIENCE} s: see whether the disk of the data"
                " answers; the same command goes on from the last checkpoint"
            ) from error
        if not str(error).startswith("DataLoader worker"):
            raise
        said = str(error).partition(". ")[0]
        raise RuntimeError(
            f"a process that makes training pairs died ({said}): most likely memory ran out, in total or in /dev/shm;"
            " make room, or use fewer --loader-workers"
        ) from error


class ClipWindow:
    """A window of synthetic training clips that moves on as training proceeds.

    Pair number n draws from the `clips` clips that start at n // pairs_per_clip. Its frames come from a few places
    along the clip, so that each of them is rendered only once.
    """

    FRAMES_PER_CLIP = 8

    def __init__(self, data: SyntheticData, split: str = "train") -> None:
        self.data, self.split = data, split
        self._clips: dict[int, Sequence] = {}

    def __call__(self, number: int, rng: Generator) -> tuple[Sequence, NDArray[np.int64]]:
        """Return a clip for pair `number`, and the numbers of its frames that may be used."""
        first = number // self.data.pairs_per_clip
        self._clips = {index: clip for index, clip in self._clips.items() if index >= first}
        index = first + int(rng.integers(self.data.clips))
        count = min(self.FRAMES_PER_CLIP, self.data.length)
        frames = np.linspace(0, self.data.length - 1, count).round().astype(np.int64)
        if index in self._clips:  # painting the scene costs more than a frame: a clip that comes again is drawn at once
            for frame in frames:
                self._clips[index].frames[frame]
        return self._clip(index), frames

    def _clip(self, index: int) -> Sequence:
        if index not in self._clips:
            data, size = self.data, (self.data.width, self.data.height)
            self._clips[index] = make_sequence(data.domain, index, length=data.length, size=size, split=self.split)
        return self._clips[index]


def training_pairs(
    data: TrainingData, geometry: PairGeometry, seed: int, sets: Sets = MappingProxyType({})
) -> PairSampler:
    """Return the pairs that a run trains on. They depend on the run's seed, but not on the variant."""
    if isinstance(data, VideoData):
        weights = data.weights or (1.0,) * len(data.sets)
        opened = tuple(sets[name] for name in data.sets)
        mixture = Mixture(opened, weights, seed=seed, epoch=data.pairs_per_epoch, by_image=data.by_image)
        return PairSampler(mixture, geometry, seed=seed, again=mixture.independent)
    return PairSampler(ClipWindow(data), geometry, seed=seed)


def validation_pairs(data: TrainingData, geometry: PairGeometry, sets: Sets = MappingProxyType({})) -> PairSampler:
    """Return pairs of clips that no run trains on: the same pairs for every run, without augmentation."""
    if isinstance(data, VideoData):
        mixture = Mixture(tuple(sets[name] for name in data.validation), (1.0,) * len(data.validation))
        return PairSampler(mixture, geometry, seed=VALIDATION_SEED, augment=False)
    fixed = data.model_copy(update={"clips": VALIDATION_CLIPS, "pairs_per_clip": 10**9})
    return PairSampler(ClipWindow(fixed, "val"), geometry, seed=VALIDATION_SEED, augment=False)


def pair_geometry(crop: CropInput, recipe: Recipe, template_tokens: int) -> PairGeometry:
    """Return a tracker's crops with a recipe's jitter. `template_tokens` are the tokens along the template's side."""
    given = {**dict(crop), **dict(recipe), "template_tokens": template_tokens}
    return PairGeometry(**{each.name: given[each.name] for each in fields(PairGeometry)})
