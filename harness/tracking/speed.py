"""Tracking speed at batch 1. All compared trackers run in one process and take turns round by round.

A machine that slows down therefore slows all of them alike, and no other work of ours runs at the same time.
"""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from trackablate.datasets.sequence import Sequence
from trackablate.harness.costing.device_cost import TimedClip
from trackablate.harness.costing.devices import device_name, synchroniser
from trackablate.harness.costing.macs import count_macs
from trackablate.harness.record import Speed
from trackablate.harness.store import RunFolder
from trackablate.harness.tracking.evaluation import online_tracker
from trackablate.trackers.inference import FrameTracker, NetworkTracker
from trackablate.trackers.outside.processes import TrackerFailed

ROUNDS = 9
FRAMES = 24
WARM_UP_FRAMES = 10


def measure_speed(
    timed: list[tuple[RunFolder, int | None]],
    sequence: Sequence,
    device: torch.device,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Measure the frames per second of every run, and write them into the store.

    Each run comes with the number of decoder layers to use (None: all). All runs track the same decoded frames. `report` is
    called with the numbers of rounds that are done and to do; warming up counts as one.

    Returns:
        A message for each run that cannot track, whose speed is not measured.
    """
    images = [sequence.frames[i] for i in range(min(len(sequence), FRAMES + 1))]
    clip = TimedClip(images, sequence.boxes[0], synchroniser(device))
    able: list[_Able] = []
    failures: list[str] = []
    for folder, test_layers in timed:
        with _failure_kept(folder, failures):
            tracker = online_tracker(folder, device, test_layers)
            clip.seconds(tracker, WARM_UP_FRAMES)
            able.append(_Able(folder, test_layers, tracker, []))
    for done in range(ROUNDS):
        report(1 + done, 1 + ROUNDS)
        for one in able:
            with _failure_kept(one.folder, failures):
                one.rates.append(FRAMES / clip.seconds(one.tracker, FRAMES))
        able = [one for one in able if len(one.rates) == 1 + done]
    together = [one.folder.run.name for one in able]
    for one in able:
        one.folder.set_speed(_speed(one.rates, device, together, _macs(one.tracker)), one.test_layers)
    return failures


class _Able(NamedTuple):
    """A run that tracks so far, and its frames per second in each round."""

    folder: RunFolder
    test_layers: int | None
    tracker: FrameTracker
    rates: list[float]


@contextmanager
def _failure_kept(folder: RunFolder, failures: list[str]) -> Iterator[None]:
    try:
        yield
    except (ValueError, TrackerFailed) as error:  # damaged weights, boxes that are not finite, an outside tracker
        failures.append(f"{folder.run.name}: {error}")


def _macs(tracker: FrameTracker) -> int | None:
    """Return the MACs of tracking one frame; None for a floor, which has no network."""
    return count_macs(tracker.model).all if isinstance(tracker, NetworkTracker) else None


def _speed(rates: list[float], device: torch.device, together: list[str], macs: int | None) -> Speed:
    return Speed(
        macs=macs,
        fps=statistics.median(rates),
        low=min(rates),
        high=max(rates),
        rounds=ROUNDS,
        frames_per_round=FRAMES,
        device=device_name(device),
        threads=torch.get_num_threads(),
        measured_with=together,
    )
