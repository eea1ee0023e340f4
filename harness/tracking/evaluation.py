"""Evaluation of a run: the sequences without a result are tracked, one by one, into the store."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from trackablate.datasets.errors import LISTED
from trackablate.datasets.protocols import SequenceList
from trackablate.datasets.sequence import Sequence
from trackablate.harness.costing.devices import for_child
from trackablate.harness.record import SequenceResult
from trackablate.harness.spec import Evaluation, Precision
from trackablate.harness.store import RunFolder
from trackablate.harness.tracking.fixed_shapes import forward_of, network_tracker
from trackablate.harness.tracking.read_ahead import begin, frame_readers, reading_ahead
from trackablate.harness.training.group import ALONE, Group
from trackablate.harness.training.loop import load_trained
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.checkpoints.whole_trackers import tracker_with
from trackablate.trackers.floors import FLOORS
from trackablate.trackers.heads.deformable import DeformableDecoder
from trackablate.trackers.inference import (
    FrameTracker,
    NetworkTracker,
    Template,
    TrackingBatch,
    Trajectory,
    track_one_by_one,
    track_together,
)
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.outside.processes import OutsideTracker, TrackerFailed, TrackerUnusable
from trackablate.trackers.spec import FloorSpec, OutsideSpec, TrackerSpec

SLOTS = 16
"""The most sequences tracked together. Results depend on it: raise TRACKING_REVISION when it changes."""


def trained_model(folder: RunFolder, test_layers: int | None = None, *, merged: bool = True) -> OneStreamTracker:
    """Return the run's trained tracker, by default with its adaptation merged, for inference.

    `test_layers` is the number of decoder layers to use, see `harness.spec.Evaluation`. Raises ValueError if the weights are
    damaged or do not fit the model.
    """
    assert isinstance(folder.run.tracker, TrackerSpec)
    if fault := folder.fault_of_weights():
        raise ValueError(f"{folder.weights} {fault}: {folder.remedy_of_weights}")
    try:
        state = load_file(folder.weights)
        if folder.run.imported:
            model = tracker_with(folder.run.tracker, state, folder.run.name)
        else:
            model = build(folder.run.tracker)
            load_trained(model, state)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{folder.weights} is damaged ({error}): {folder.remedy_of_weights}") from error
    if merged and not getattr(model, "merged", False):
        merge(model)
    if test_layers is not None:
        assert isinstance(model.head, DeformableDecoder)
        model.head.test_layers = test_layers
    return model


def online_tracker(
    folder: RunFolder,
    device: torch.device,
    test_layers: int | None = None,
    precision: Precision = "fp32",
    *,
    compile: bool = False,
) -> FrameTracker:
    """Return the run's tracker for one target: a floor, an outside tracker, or its trained network."""
    tracker = folder.run.tracker
    if isinstance(tracker, FloorSpec):
        return FLOORS[tracker.kind]()
    if isinstance(tracker, OutsideSpec):
        return OutsideTracker(tracker, for_child(device))
    return network_tracker(trained_model(folder, test_layers), device, precision, compile=compile)


def evaluate(
    folder: RunFolder,
    evaluation: Evaluation,
    sequences: SequenceList,
    device: torch.device,
    report: Callable[[int, int], None],
    group: Group = ALONE,
) -> None:
    """Track every sequence without a result. `report` is called with the numbers of frames that are tracked and to track.

    Several processes share the frames; each tracks whole sequences that are neighbours, since these are tracked together.
    """
    missing = set(folder.untracked(evaluation, sequences.names))
    if group.size > 1:
        missing &= _share(sequences, group)
    done = 0
    total = sum(n - 1 for name, n in zip(sequences.names, sequences.lengths(), strict=True) if name in missing)

    def tracked(frames: int) -> None:
        nonlocal done
        done += frames
        group.at(done)
        report(done, total)

    tracked(0)
    if not missing:
        return
    tracker = online_tracker(folder, device, evaluation.test_layers, evaluation.precision, compile=evaluation.compile)
    with reading_ahead(frame_readers(device)) as ahead:
        for found in _trajectories(tracker, evaluation, sequences, missing, tracked, ahead):
            if found.name in missing:
                boxes = [(float(x), float(y), float(w), float(h)) for x, y, w, h in found.boxes]
                how = forward_of(tracker) if evaluation.compile else None
                result = SequenceResult(name=found.name, boxes=boxes, seconds=found.seconds, forward=how)
                folder.add_result(evaluation, result)


def _share(sequences: SequenceList, group: Group) -> set[str]:
    lengths = np.array(list(sequences.lengths()), dtype=np.float64)
    middles = (np.cumsum(lengths) - lengths / 2) / lengths.sum()
    return {
        name for name, middle in zip(sequences.names, middles, strict=True) if int(middle * group.size) == group.rank
    }


def _trajectories(
    tracker: FrameTracker,
    evaluation: Evaluation,
    sequences: SequenceList,
    missing: set[str],
    tracked: Callable[[int], None],
    ahead: Callable[[Sequence], Sequence],
) -> Iterator[Trajectory]:
    if not isinstance(tracker, NetworkTracker):
        todo = (ahead(sequences[i]) for i, name in enumerate(sequences.names) if name in missing)
        yield from _one_by_one(tracker, todo, tracked)
        return
    opened = {i: ahead(sequence) for i, sequence in enumerate(sequences)}
    lengths = [len(sequence) for sequence in opened.values()]
    wanted = frozenset(i for i, name in enumerate(sequences.names) if name in missing)
    following = dict(pairwise(i for i in sorted(wanted) if lengths[i] > 1))

    def take(i: int) -> Sequence:
        if i in following:
            begin(opened[following[i]])
        return opened.pop(i)  # frees the frames of a sequence when it is done

    def template(i: int, sequence: Sequence) -> Template:
        """Return the sequence's own first frame and box, or the next one's for the shuffled-template control."""
        source = sequence if evaluation.control == "none" else sequences[(i + 1) % len(sequences)]
        return source.frames[0], source.boxes[0]

    batch = TrackingBatch(take, template, lengths, wanted, SLOTS, tracked)
    yield from track_together(tracker, batch)


def _one_by_one(
    tracker: FrameTracker, sequences: Iterable[Sequence], tracked: Callable[[int], None]
) -> Iterator[Trajectory]:
    """Track sequences one after the other; those on which an outside tracker fails are named at the end.

    Raises TrackerFailed, at once if the tracker cannot be started.
    """
    failed = []
    for sequence in sequences:
        try:
            yield from track_one_by_one(tracker, [sequence], tracked)
        except TrackerUnusable:
            raise
        except TrackerFailed as error:
            failed.append(f"{sequence.name}: {error}")
    if failed:
        more = [f"and {len(failed) - LISTED} more"] if len(failed) > LISTED else []
        count = f"{len(failed)} {'sequence' if len(failed) == 1 else 'sequences'}"
        raise TrackerFailed(f"it failed on {count}: " + "; ".join(failed[:LISTED] + more))
