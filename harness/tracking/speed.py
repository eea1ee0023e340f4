"""Tracking speed at batch 1. All compared trackers run in one process and take turns round by round.

A machine that slows down therefore slows all of them alike, and no other work of ours runs at the same time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from trackablate.datasets.sequence import Sequence
from trackablate.harness.costing.devices import device_name, synchroniser
from trackablate.harness.costing.macs import count_macs
from trackablate.harness.speed import Speed
from trackablate.harness.store import RunFolder
from trackablate.harness.tracking.device_cost import TimedClip, speeds
from trackablate.harness.tracking.evaluation import online_tracker
from trackablate.harness.tracking.fixed_shapes import forward_of
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
    *,
    compile: bool = False,
) -> list[str]:
    """Measure the frames per second of every run, and write them into the store.

    Each run comes with the number of decoder layers to use (None: all). All runs track the same decoded frames, and in the
    last round JPEG frames. `report` is called with the numbers of rounds that are done and to do; warming up counts as one.

    Returns:
        A message for each run that cannot track, whose speed is not measured.
    """
    images = [sequence.frames[i] for i in range(min(len(sequence), FRAMES + 1))]
    clip = TimedClip(images, sequence.boxes[0], synchroniser(device))
    able: list[_TimedRun] = []
    failures: list[str] = []
    for folder, test_layers in timed:
        with _failure_kept(folder, failures):
            tracker = online_tracker(folder, device, test_layers, compile=compile)
            clip.seconds(tracker, WARM_UP_FRAMES)
            able.append(_TimedRun(folder, test_layers, tracker, []))
    jpegs = clip.as_jpeg()
    for done in range(ROUNDS + 1):
        report(1 + done, 2 + ROUNDS)
        for one in able:
            with _failure_kept(one.folder, failures):
                one.rounds.append((clip if done < ROUNDS else jpegs).seconds(one.tracker, FRAMES))
        able = [one for one in able if len(one.rounds) == 1 + done]
    together = [one.folder.run.name for one in able]
    for one in able:
        one.folder.set_speed(_speed(one, device, together), one.test_layers)
    return failures


class _TimedRun(NamedTuple):
    """A run that tracks so far, and the seconds of its frames in each round."""

    folder: RunFolder
    test_layers: int | None
    tracker: FrameTracker
    rounds: list[list[float]]


@contextmanager
def _failure_kept(folder: RunFolder, failures: list[str]) -> Iterator[None]:
    try:
        yield
    except (ValueError, TrackerFailed) as error:  # damaged weights, boxes that are not finite, an outside tracker
        failures.append(f"{folder.run.name}: {error}")


def _speed(one: _TimedRun, device: torch.device, together: list[str]) -> Speed:
    *rounds, from_jpeg = one.rounds
    return Speed(
        **speeds(rounds, from_jpeg),
        macs=count_macs(one.tracker.model).all if isinstance(one.tracker, NetworkTracker) else None,
        forward=forward_of(one.tracker),
        rounds=ROUNDS,
        frames_per_round=FRAMES,
        device=device_name(device),
        threads=torch.get_num_threads(),
        measured_with=together,
    )
