"""The pieces of a study as commands: train one variant, evaluate one run, track one video."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackablate.ablations.plan import refuse_unknown_changes, run_of
from trackablate.datasets.boxes import clip
from trackablate.datasets.errors import shown
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.datasets.sequence import Sequence as VideoSequence
from trackablate.harness.cli.options import Stopped, writable
from trackablate.harness.cli.plan import forecast
from trackablate.harness.cli.study_data import (
    asked_run,
    given_data,
    in_words,
    named_run,
    open_store,
    opened,
    packings,
    training_roots,
)
from trackablate.harness.cli.terminal import say_to
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.profiles import load_profile, with_packed
from trackablate.harness.progress.bars import step_bar
from trackablate.harness.protocol_store import ON_SERVER
from trackablate.harness.record import ProtocolRecord
from trackablate.harness.running.executors.local import LocalExecutor
from trackablate.harness.running.image_files import find_replaced
from trackablate.harness.running.machines import help_out, leading
from trackablate.harness.running.runner import Job, refuse_at_once
from trackablate.harness.running.runner import run as run_job
from trackablate.harness.running.tasks import AS_USUAL, Execution, RunTask
from trackablate.harness.scoring.dialects import known_protocol
from trackablate.harness.scoring.metrics import METRICS, values
from trackablate.harness.scoring.stored_scores import dialects_of, stored_scores
from trackablate.harness.spec import Evaluation, Precision, Profile
from trackablate.harness.speed import FAILED
from trackablate.harness.store import RunFolder, Store, read_protocol
from trackablate.harness.tracking.overlay import Mark, colour_of, drawn, save_video
from trackablate.harness.tracking.video import (
    check_output,
    frame_count,
    frame_rate,
    frames_of,
    is_camera,
    window,
    writing,
)
from trackablate.reports.tables.answers import cost_of_run
from trackablate.trackers.outside.processes import TrackerFailed
from trackablate.trackers.spec import TrackerSpec
from trackablate.trackers.variants import VARIANTS

VIDEOS = Path("video")
"""Folder of the videos of evaluated sequences."""


def train_variant(
    variant: str, profile: Profile, data: list[str], store: Path, device: str, how: Execution = AS_USUAL
) -> dict[str, Any]:
    """Train a named variant at a profile's size, unless it is trained, and return what is known of it."""
    run = run_of(VARIANTS[variant], profile, seed=0)
    refuse_unknown_changes(profile.changes, [run])
    assert run.data is not None
    given = given_data(data, [], [run.data])
    profile = with_packed(profile, packings([run], given))
    run = run_of(VARIANTS[variant], profile, seed=0)
    assert run.data is not None
    task = RunTask(run=run, evaluations=(), roots=training_roots(run.data, given), rows=(variant,))
    job = Job([task], [VARIANTS[variant]], {}, profile, how=how)
    refuse_at_once(job, Store(store, make=False), device)
    kept = open_store(store)
    if how.helps:
        help_out(job, kept, device)
        return {"run": task.run.name, "led_by": "node 0"}
    with leading(job, kept) as whole, forecast(whole, kept, f"train {variant} at {profile.name}") as observer:
        run_job(whole, kept, LocalExecutor(kept.logs), device, observer)
    record, protocol = kept.run(task.run).record(), (*profile.protocols, "PROTOCOL")[0]
    assert record.training is not None
    return {
        "run": task.run.name,
        "verdict": record.verdict,
        "validation_iou": record.training.curve[-1].validation_iou,
        "costs": cost_of_run(record),
        "cost": record.training.cost.model_dump(mode="json"),
        "fps": record.speed.fps if record.speed else None,
        "next": f"python -m harness evaluate {task.run.name} --protocol {protocol}",
    }


@dataclass(frozen=True)
class EvaluateRequest:
    """One evaluation of one run, as the user typed it.

    Attributes:
        run: Name of the run.
        wanted: The evaluation, whose data are found here. One in 16 bits, or compiled, is compared with the plain one in
            fp32, if there is one.
        data: NAME=PATH of its data.
        store: Folder of the store.
        videos: Names of the sequences to draw into a video.
    """

    run: str
    wanted: Evaluation
    data: Sequence[str]
    store: Path
    device: str
    how: Execution = AS_USUAL
    videos: Sequence[str] = ()


def evaluate_run(asked: EvaluateRequest) -> dict[str, Any]:
    """Track what is missing of a protocol with a stored run, or all of it again, and return its scores in percent."""
    name, wanted, how = asked.run, asked.wanted, asked.how
    protocol = known_protocol(wanted.protocol).name
    run = asked_run(Store(asked.store, make=False), name, protocol)
    if wanted.arithmetic != "fp32" and not isinstance(run.tracker, TrackerSpec):
        option = "--compile" if wanted.compile else f"--precision {wanted.precision}"
        raise BadInput(f"{option}: {run.tracker.name} is no network of ours; leave the option out")
    found = opened(protocol, given_data(asked.data, [protocol]))
    for sequence in asked.videos:
        if sequence not in found.sequences:
            raise UnknownName(f"--save-video: {unknown(f'sequence of {protocol}', sequence, found.sequences)}")
    if asked.videos:
        writable(VIDEOS)
    evaluation = wanted.model_copy(update={"data": found.digest, "protocol": protocol})
    roots = {PROTOCOLS[protocol].data or "": str(found.root)} if found.root else {}
    kept, lengths = Store(asked.store, make=False), {protocol: found.lengths}
    task = RunTask(run=run, evaluations=(evaluation,), roots=roots)
    assert found.sequence_list is not None
    replaced, messages = find_replaced([task], kept, {protocol: found.sequence_list}, again=how.again)
    for message in messages:
        sys.stderr.write(f"{message}\n")
    job = Job([task], [], {protocol: found.sequences}, load_profile("mini"), lengths, how, replaced)
    refuse_at_once(job, kept, asked.device)
    kept = open_store(asked.store)
    folder = kept.run(run)
    with forecast(job, kept, f"evaluate {name} on {protocol}") as observer:
        run_job(job, kept, LocalExecutor(kept.logs), asked.device, observer)
    document: dict[str, Any] = {"run": folder.run.name, "protocol": protocol, "sequences": found.coverage}
    if asked.videos:
        wanted_videos = (found.sequence_list[found.sequences.index(sequence)] for sequence in asked.videos)
        document["videos"] = [_save_video(name, folder, evaluation, sequence) for sequence in wanted_videos]
    record = read_protocol(kept.protocol(evaluation))
    assert record is not None
    if record.on_server:
        return document | {"metrics": {}, "note": ON_SERVER.format(protocol)}
    scores = _scores(record, folder, evaluation)
    if any(result.forward == FAILED for result in folder.results(evaluation)):
        document["forward"] = FAILED
    plain = evaluation.model_copy(update={"precision": "fp32", "compile": False})
    if plain != evaluation and not folder.untracked(plain, found.sequences):
        differences = {metric: scores[metric] - value for metric, value in _scores(record, folder, plain).items()}
        return document | {"metrics": scores, f"{evaluation.arithmetic} less fp32": differences}
    return document | {"metrics": scores}


def _save_video(name: str, folder: RunFolder, evaluation: Evaluation, sequence: VideoSequence) -> str:
    """Draw a run's stored boxes of a sequence into a video; return its file."""
    result = folder.result(evaluation, sequence.name)
    assert result is not None
    file = VIDEOS / f"{evaluation.protocol}-{folder.run.name}-{sequence.name}.mp4"
    with step_bar(f"drawing {shown(sequence.name)}", len(sequence), after=1.0) as bar:
        save_video(sequence, name, np.array(result.boxes), file, bar)
    return str(file)


@dataclass(frozen=True)
class TrackRequest:
    """One target in one video, as the user typed it.

    Attributes:
        runs: Names of one run or several; all but the first may be NAME=RUN.
        video: A folder of images, a video file, or a camera's number.
        init: The target in the first frame as "x,y,w,h".
        store: Folder of the store.
        out: The video file, or the folder of images, to draw into.
        show: Whether to show a window.
        compile: Whether networks are compiled.
    """

    runs: Sequence[str]
    video: Path
    init: str
    store: Path
    device: str
    precision: Precision = "fp32"
    out: Path | None = None
    show: bool = False
    compile: bool = False


def track_video(asked: TrackRequest) -> dict[str, list[list[float]]]:
    """Track one target with one run or several; return the boxes x, y, w, h in pixels by run, the asked one first."""
    kept, box, video = Store(asked.store, make=False), _box(asked.init), asked.video
    folders = _named_folders(kept, asked.runs)
    if asked.out:
        writable(asked.out, file=check_output(asked.out, video))
    images = frames_of(video)
    first = next(images)
    height, width = first.shape[:2]
    inside, size = clip(box, width, height), f"the first frame of {width} x {height} pixels"
    if not inside[2:].prod() > 0:
        raise BadInput(f"--init {asked.init} lies outside {size}")
    if (inside != box).any():
        part = ",".join(f"{value:g}" for value in inside)
        sys.stderr.write(f"--init {asked.init} reaches beyond {size}; the part inside is {part}\n")
    for name, folder in folders.items():
        label = f"{name}: " if len(folders) > 1 else ""
        say_to(sys.stderr, [f"tracking with {label}{in_words(kept, folder.run)}"], 4)
    from trackablate.harness.costing.devices import resolve_device
    from trackablate.harness.tracking.evaluation import online_tracker

    device = resolve_device(asked.device)
    try:
        how: dict[str, Any] = {"precision": asked.precision, "compile": asked.compile}
        trackers = {name: online_tracker(of, device, **how) for name, of in folders.items()}
    except ValueError as error:
        raise BadInput(str(error)) from error
    boxes: dict[str, list[list[float]]] = {name: [] for name in trackers}
    name, frame = "", 0
    with ExitStack() as opened:
        sinks = [opened.enter_context(window())] if asked.show else []
        sinks += [opened.enter_context(writing(asked.out, frame_rate(video)))] if asked.out else []
        bar = opened.enter_context(step_bar(f"tracking {shown(video.name)}", frame_count(video), after=1.0))
        try:
            for frame, image in enumerate(chain((first,), images)):
                for name, tracker in trackers.items():
                    if frame == 0:
                        tracker.initialise(image, box)
                    boxes[name].append((tracker.update(image) if frame else box).tolist())
                picture = drawn(image, frame, _marks(trackers, boxes, frame)) if sinks else image
                for write in sinks:
                    write(picture)
                bar(frame + 1)
        except TrackerFailed as error:
            raise RunFailed(f"{name}, frame {max(1, frame)} of {shown(video.name)}: {error}") from error
        except KeyboardInterrupt as error:
            if not is_camera(video) or isinstance(error, Stopped):  # Ctrl-C is how a camera's video ends
                raise
    return boxes


def _named_folders(store: Store, runs: Sequence[str]) -> dict[str, RunFolder]:
    """Return the folders of trained runs by the names to show. Raises BadInput for a name given twice."""
    found: dict[str, RunFolder] = {}
    for i, text in enumerate(runs):
        name, meant = named_run(text) if i else ("", text)
        folder, name = store.run(asked_run(store, meant)), name or meant
        if name in found:
            raise BadInput(f"--with {name!r} is there twice: name it otherwise with --with NAME=RUN")
        folder.refuse_lost_import()
        if not folder.trained:
            raise BadInput(f"the run {folder.run.name} is not trained yet: run its study, or `python -m harness train`")
        found[name] = folder
    return found


def _marks(trackers: Mapping[str, object], boxes: Mapping[str, list[list[float]]], frame: int) -> list[Mark]:
    scores = [getattr(tracker, "score", None) if frame else None for tracker in trackers.values()]
    return [
        Mark(name, np.array(boxes[name][-1]), colour_of(i), "" if score is None else f"{score:.2f}")
        for i, (name, score) in enumerate(zip(trackers, scores, strict=True))
    ]


def _box(text: str) -> NDArray[np.float64]:
    try:
        box = np.array([float(v) for v in text.split(",")])
    except ValueError:
        box = np.empty(0)
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] <= 0).any():
        raise BadInput(f"--init {text!r} is no box: write x,y,w,h in pixels, for example --init 50,46,25,62")
    return box


def _scores(protocol: ProtocolRecord, folder: RunFolder, evaluation: Evaluation) -> dict[str, float]:
    found = stored_scores(folder, evaluation, protocol)
    scores = {}
    for metric, dialect in dialects_of(protocol).items():
        sums, weights = values([found[name].tally for name in protocol.names], metric, dialect)
        scores[metric] = float(METRICS[metric].scale * sums.sum() / weights.sum())
    return scores
