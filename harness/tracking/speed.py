"""Tracking speed at batch 1. All compared trackers run in one process and take turns round by round.

A machine that slows down therefore slows all of them alike, and no other work of ours runs at the same time.
"""

import logging
import statistics
from collections.abc import Callable

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
) -> None:
    """Measure the frames per second of every run, and write them into the store.

    Each run comes with the number of decoder layers to use (None: all). All runs track the same decoded frames. `report` is
    called with the numbers of rounds that are done and to do; warming up counts as one. An outside tracker that fails is
    left out with a warning, so that the others are measured.
    """
    images = [sequence.frames[i] for i in range(min(len(sequence), FRAMES + 1))]
    clip = TimedClip(images, sequence.boxes[0], synchroniser(device))
    pairs = [(one, online_tracker(one[0], device, one[1])) for one in timed]
    pairs = [(one, tracker) for one, tracker in pairs if _warmed_up(one[0], tracker, clip)]
    timed, trackers = [one for one, _ in pairs], [tracker for _, tracker in pairs]
    rounds = []
    for done in range(ROUNDS):
        report(1 + done, 1 + ROUNDS)
        rounds.append([FRAMES / clip.seconds(tracker, FRAMES) for tracker in trackers])
    together = [folder.run.name for folder, _ in timed]
    for (folder, test_layers), tracker, *rates in zip(timed, trackers, *rounds, strict=True):
        folder.set_speed(_speed(rates, device, together, _macs(tracker)), test_layers)


def _warmed_up(folder: RunFolder, tracker: FrameTracker, clip: TimedClip) -> bool:
    """Let a tracker track a few frames. Returns whether it can."""
    try:
        clip.seconds(tracker, WARM_UP_FRAMES)
    except TrackerFailed as error:
        logging.getLogger(__name__).warning("%s: its speed is not measured: %s", folder.run.name, error)
        return False
    return True


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
