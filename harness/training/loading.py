"""Training and validation pairs of a run, as the training loop takes them."""

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypedDict

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.pairs.cropping import Crop
from trackablate.datasets.pairs.sampling import PairGeometry, PairSampler
from trackablate.datasets.pairs.training_sets import Mixture
from trackablate.datasets.sequence import Sequence
from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.harness.spec import Recipe, SyntheticData, TrainingData, VideoData
from trackablate.trackers.spec import CropInput

VALIDATION_SEED = 20_000
VALIDATION_CLIPS = 64


class Batch(TypedDict):
    """template, search: (B, 3, S, S), 0..255, uint8 or float32; truth: (B, 4) float32 xyxy in [0, 1]; mask: (B, Nz) bool; B
    may be absent.
    """

    template: Tensor
    search: Tensor
    truth: Tensor
    mask: Tensor


class PairDataset(Dataset[Batch]):
    """Pairs number first to last - 1, as tensors."""

    def __init__(self, sampler: PairSampler, first: int, last: int) -> None:
        self.sampler, self.first, self.last = sampler, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> Batch:
        pair = self.sampler(self.first + index)
        return Batch(
            template=_channels_first(pair.template),
            search=_channels_first(pair.search),
            truth=torch.from_numpy(pair.truth),
            mask=torch.from_numpy(pair.mask),
        )


def _channels_first(image: Crop) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


class ClipWindow:
    """Synthetic clips for training: pair number n draws from the `clips` clips that start at n // pairs_per_clip; clips
    behind the window are forgotten. Frames come from a few places along the clip, so that each is rendered once.
    """

    FRAMES_PER_CLIP = 8

    def __init__(self, data: SyntheticData, split: str = "train") -> None:
        self.data, self.split = data, split
        self._clips: OrderedDict[int, Sequence] = OrderedDict()

    def __call__(self, number: int, rng: Generator) -> tuple[Sequence, NDArray[np.int64]]:
        """A clip for pair `number`, and the frames that may be used of it."""
        first = number // self.data.pairs_per_clip
        clip = self._clip(first + int(rng.integers(self.data.clips)))
        while self._clips and next(iter(self._clips)) < first:
            self._clips.popitem(last=False)
        count = min(self.FRAMES_PER_CLIP, self.data.length)
        return clip, np.linspace(0, self.data.length - 1, count).round().astype(np.int64)

    def _clip(self, index: int) -> Sequence:
        if index not in self._clips:
            size = (self.data.width, self.data.height)
            self._clips[index] = make_sequence(
                self.data.domain, index, length=self.data.length, size=size, split=self.split
            )
            if len(self._clips) > 2 * self.data.clips:
                self._clips.popitem(last=False)
        return self._clips[index]


Sets = Mapping[str, SequenceList]
"""Training sets by name, opened where their data lie."""
NO_SETS: Sets = MappingProxyType({})


def training_pairs(data: TrainingData, geometry: PairGeometry, seed: int, sets: Sets = NO_SETS) -> PairSampler:
    """The pairs that a run trains on; the run's seed decides which, the variant does not."""
    if isinstance(data, VideoData):
        weights = data.weights or (1.0,) * len(data.sets)
        return PairSampler(Mixture(tuple(sets[name] for name in data.sets), weights), geometry, seed=seed)
    return PairSampler(ClipWindow(data), geometry, seed=seed)


def validation_pairs(data: TrainingData, geometry: PairGeometry, sets: Sets = NO_SETS) -> PairSampler:
    """Pairs from clips that no training sees, the same for every run, not augmented."""
    if isinstance(data, VideoData):
        mixture = Mixture(tuple(sets[name] for name in data.validation), (1.0,) * len(data.validation))
        return PairSampler(mixture, geometry, seed=VALIDATION_SEED, augment=False)
    fixed = data.model_copy(update={"clips": VALIDATION_CLIPS, "pairs_per_clip": 10**9})
    return PairSampler(ClipWindow(fixed, "val"), geometry, seed=VALIDATION_SEED, augment=False)


def pair_geometry(crop: CropInput, recipe: Recipe, template_tokens: int) -> PairGeometry:
    """The crops of a tracker with the jitter of a recipe."""
    return PairGeometry(
        template_size=crop.template_size,
        search_size=crop.search_size,
        template_factor=crop.template_factor,
        search_factor=crop.search_factor,
        centre_jitter=recipe.centre_jitter,
        scale_jitter=recipe.scale_jitter,
        template_tokens=template_tokens,
        image_pairs=recipe.image_pairs,
        augmentation=recipe.augmentation,
        geometry=crop.geometry,
        frame_pairs=recipe.frame_pairs,
    )
