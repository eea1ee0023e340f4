"""Tracks what is missing of an evaluation, sequence by sequence, into the store."""

from collections.abc import Callable, Iterator

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from datasets.protocols import SequenceList
from datasets.sequence import Sequence
from harness.record import SequenceResult
from harness.spec import Evaluation
from harness.store import RunFolder
from harness.train import load_trained
from trackers.adaptation import merge
from trackers.floors import FLOORS
from trackers.inference import FrameTracker, NetworkTracker, Template, Trajectory, track_group, track_one_by_one
from trackers.model import OneStreamTracker, build
from trackers.spec import FloorSpec, TrackerSpec

SLOTS = 16
"""Sequences tracked together. Part of what a result depends on: raise TRACKING_REVISION when it changes."""


def trained_model(folder: RunFolder) -> OneStreamTracker:
    """The run's trained tracker, merged for inference. Raises ValueError, naming the remedy, for weights of no use."""
    assert isinstance(folder.run.tracker, TrackerSpec)
    model = build(folder.run.tracker)
    try:
        load_trained(model, load_file(folder.weights))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{folder.weights} is damaged ({error}): delete it, and the run is trained again") from error
    merged: nn.Module = merge(model)
    assert isinstance(merged, OneStreamTracker)
    return merged


def online_tracker(folder: RunFolder, device: torch.device) -> FrameTracker:
    """The run's tracker, ready for one target: a floor, or its trained network."""
    tracker = folder.run.tracker
    return FLOORS[tracker.kind]() if isinstance(tracker, FloorSpec) else NetworkTracker(trained_model(folder), device)


def evaluate(
    folder: RunFolder,
    evaluation: Evaluation,
    sequences: SequenceList,
    device: torch.device,
    report: Callable[[int], None],
) -> None:
    """Track every sequence that has no result yet; report(n) says how many have one."""
    names = sequences.names
    missing = set(folder.missing(evaluation, names))
    done = len(names) - len(missing)
    report(done)
    for trajectory in _trajectories(folder, evaluation, sequences, missing, device):
        if trajectory.name in missing:
            boxes = [(float(x), float(y), float(w), float(h)) for x, y, w, h in trajectory.boxes]
            folder.add_result(evaluation, SequenceResult(name=trajectory.name, boxes=boxes, seconds=trajectory.seconds))
            done += 1
            report(done)


def _trajectories(
    folder: RunFolder, evaluation: Evaluation, sequences: SequenceList, missing: set[str], device: torch.device
) -> Iterator[Trajectory]:
    tracker = folder.run.tracker
    if not missing:
        return
    if isinstance(tracker, FloorSpec):
        todo = (sequences[i] for i, name in enumerate(sequences.names) if name in missing)
        yield from track_one_by_one(FLOORS[tracker.kind](), todo)
        return
    network = NetworkTracker(trained_model(folder), device)
    for first in range(0, len(sequences), SLOTS):
        indices = range(first, min(first + SLOTS, len(sequences)))
        if missing & {sequences.names[i] for i in indices}:
            group = [sequences[i] for i in indices]
            yield from track_group(network, group, _templates(evaluation, sequences, group, first))


def _templates(
    evaluation: Evaluation, sequences: SequenceList, group: list[Sequence], first: int
) -> Callable[[int], Template]:
    """Each sequence's own first frame, or under the shuffled-template control the next sequence's."""
    if evaluation.control == "none":
        return lambda i: (group[i].frames[0], group[i].boxes[0])

    def another(i: int) -> Template:
        other = sequences[(first + i + 1) % len(sequences)]
        return other.frames[0], other.boxes[0]

    return another
