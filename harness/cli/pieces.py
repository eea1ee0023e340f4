"""The pieces of a study as commands: train one variant, evaluate one run, track one video, check one data set."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackablate.ablations.plan import run_of
from trackablate.datasets.boxes import clip
from trackablate.datasets.errors import DataError, NothingThereError, raise_all, shown
from trackablate.datasets.protocols import DATA_SETS, PROTOCOLS, SequenceList
from trackablate.datasets.reading.files import Folder
from trackablate.datasets.reading.frame_names import SUFFIXES, frame_names
from trackablate.datasets.reading.frames import ImageFiles, NoFrames
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.datasets.roots import data_root, parse_data_options
from trackablate.datasets.sequence import Image
from trackablate.datasets.synthetic.writing import LAYOUTS, videos, write
from trackablate.harness.cli.options import writable
from trackablate.harness.cli.plan import forecast
from trackablate.harness.cli.study_data import asked_run, given_data, open_store, opened, training_roots
from trackablate.harness.cli.terminal import step_bar
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.profiles import load_profile
from trackablate.harness.protocol_store import ON_SERVER
from trackablate.harness.record import ProtocolRecord
from trackablate.harness.running.executors import LocalExecutor
from trackablate.harness.running.image_files import find_replaced
from trackablate.harness.running.runner import Job
from trackablate.harness.running.runner import run as run_job
from trackablate.harness.running.tasks import AS_USUAL, Execution, RunTask
from trackablate.harness.scoring.dialects import known_protocol
from trackablate.harness.scoring.metrics import METRICS, values
from trackablate.harness.scoring.stored_scores import dialects_of, stored_scores
from trackablate.harness.spec import Evaluation, Precision, Profile
from trackablate.harness.store import RunFolder, Store, read_protocol
from trackablate.trackers.outside.processes import TrackerFailed
from trackablate.trackers.spec import TrackerSpec
from trackablate.trackers.variants import VARIANTS

PIXEL_BYTES = 0.5
"""Disk space of a written frame, by pixel, about."""


def train_variant(
    variant: str, profile: Profile, data: list[str], store: Path, device: str, how: Execution = AS_USUAL
) -> dict[str, Any]:
    """Train a named variant at a profile's size, unless it is trained, and return what is known of it."""
    run = run_of(VARIANTS[variant], profile, seed=0)
    assert run.data is not None
    roots = training_roots(run.data, given_data(data, [], [run.data]))
    task = RunTask(run=run, evaluations=(), roots=roots)
    kept = open_store(store)
    job = Job([task], [VARIANTS[variant]], {}, profile, how=how)
    with forecast(job, kept) as observer:
        run_job(job, kept, LocalExecutor(kept.logs), device, observer)
    record = kept.run(task.run).record()
    return {"run": task.run.name, "verdict": record.verdict, **_training(record.training)}


def evaluate_run(
    name: str, wanted: Evaluation, data: list[str], store: Path, device: str, how: Execution = AS_USUAL
) -> dict[str, Any]:
    """Track what is missing of a protocol with a stored run, or all of it again, and return its scores in percent.

    wanted: The evaluation, whose data are found here. One in 16 bits is compared with that in fp32, if there is one.
    """
    protocol = known_protocol(wanted.protocol).name
    run = asked_run(Store(store, make=False), name, protocol)
    if wanted.precision != "fp32" and not isinstance(run.tracker, TrackerSpec):
        raise BadInput(
            f"--precision {wanted.precision}: {run.tracker.name} is no network of ours; leave the option out"
        )
    found = opened(protocol, given_data(data, [protocol]))
    evaluation = wanted.model_copy(update={"data": found.digest, "protocol": protocol})
    roots = {PROTOCOLS[protocol].data or "": str(found.root)} if found.root else {}
    kept = open_store(store)
    folder, lengths = kept.run(run), {protocol: found.lengths}
    task = RunTask(run=run, evaluations=(evaluation,), roots=roots)
    assert found.sequence_list is not None
    replaced, messages = find_replaced([task], kept, {protocol: found.sequence_list}, again=how.again)
    for message in messages:
        sys.stderr.write(f"{message}\n")
    job = Job([task], [], {protocol: found.sequences}, load_profile("mini"), lengths, how, replaced)
    with forecast(job, kept) as observer:
        run_job(job, kept, LocalExecutor(kept.logs), device, observer)
    document = {"run": folder.run.name, "protocol": protocol, "sequences": found.coverage}
    record = read_protocol(kept.protocol(evaluation))
    assert record is not None
    if record.on_server:
        return document | {"metrics": {}, "note": ON_SERVER.format(protocol)}
    scores = _scores(record, folder, evaluation)
    plain = evaluation.model_copy(update={"precision": "fp32"})
    if plain != evaluation and not folder.missing(plain, found.sequences):
        differences = {metric: scores[metric] - value for metric, value in _scores(record, folder, plain).items()}
        return document | {"metrics": scores, f"{evaluation.precision} less fp32": differences}
    return document | {"metrics": scores}


def track_video(
    name: str, video: Path, init: str, store: Path, device: str, precision: Precision = "fp32"
) -> list[list[float]]:
    """Track one target through a folder of images or a video file; return its boxes x, y, w, h in pixels."""
    kept = Store(store, make=False)
    folder = kept.run(asked_run(kept, name))
    box = _box(init)
    images = frames_of(video)
    if not folder.trained:
        raise BadInput(f"the run {folder.run.name} is not trained yet: run its study, or `python -m harness train`")
    first = next(images)
    height, width = first.shape[:2]
    if not clip(box, width, height)[2:].prod() > 0:
        raise BadInput(f"--init {init} lies outside the first frame of {width} x {height} pixels")
    from trackablate.harness.costing.devices import resolve_device
    from trackablate.harness.tracking.evaluation import online_tracker

    try:
        online = online_tracker(folder, resolve_device(device), precision=precision)
    except ValueError as error:
        raise BadInput(str(error)) from error
    boxes = [box.tolist()]
    try:
        online.initialise(first, box)
        with step_bar(f"tracking {shown(video.name)}", frame_count(video), after=1.0) as bar:
            for image in images:
                boxes.append(online.update(image).tolist())
                bar(len(boxes))
    except TrackerFailed as error:
        raise RunFailed(f"{name}, frame {len(boxes)} of {shown(video.name)}: {error}") from error
    return boxes


def check_data(entry: str, options: list[str] | None = None, *, deep: bool = False) -> dict[str, Any]:
    """Verify all parts of a data set without tracking.

    Args:
        entry: NAME=PATH of the data set, or its NAME alone, for the place that is configured. NAME may be the TOML file
            that declares it.
        options: NAME=PATH of the data set, as any command takes it.
        deep: Whether to decode every frame.

    Returns:
        Under `protocols` the coverage of each part, under `problems` what should be known but is no error.

    Raises:
        DataError: Something is wrong, or nothing of the data set is there; the message has all of it.
        UnknownName: There is no such data set.
    """
    name = entry.partition("=")[0]
    data, parts = DATA_SETS[name].name, DATA_SETS[name].parts
    known_protocol(name) if name.endswith(".toml") else None
    given = parse_data_options([*(options or []), *([entry] if "=" in entry else [])])
    root = data_root(data, given)
    found: dict[str, str] = {}
    problems: list[str] = []
    faults: list[str] = []
    absent: list[str] = []
    for name, opener in parts.items():
        try:
            sequences = opener(root)
        except NothingThereError as error:
            absent.extend(error.problems)
            continue
        except DataError as error:
            faults.extend(error.problems)
            continue
        found[name] = sequences.coverage
        try:
            problems += _checked(name, sequences, deep=deep)
        except DataError as error:
            faults.extend(error.problems)
    # A root that cannot be opened at all is refused by each part in the same words.
    raise_all(list(dict.fromkeys(faults)) or ([] if found else absent))
    place = {} if given else {"place": str(root)}
    return {"data": data, **place, "protocols": found, "problems": problems + absent}


def _checked(name: str, sequences: SequenceList, *, deep: bool) -> list[str]:
    sequences.check_annotations()
    if all(isinstance(one.frames, NoFrames) and not one.frames.unread() for one in sequences):
        return [f"{name}: annotations only, enough to score results; add the images to track them", *sequences.notes()]
    with step_bar(f"checking {name}", len(sequences), after=1.0) as bar:
        sequences.check(deep=deep, progress=lambda done, _total: bar(done))
    return sequences.notes()


def make_data(
    what: str,
    layout: str,
    out: Path,
    *,
    count: int,
    length: int | None,
    size: tuple[int, int],
    seed: int,
    test_boxes: bool,
) -> dict[str, Any]:
    """Write synthetic videos in a benchmark's layout. Raises UnknownName or DataError before anything is written."""
    if what != "synthetic":
        raise UnknownName(unknown("generator", what, ["synthetic"]))
    chosen = videos(layout, count=count, length=length, size=size, seed=seed, test_boxes=test_boxes)
    pixels = sum(video.length for video in chosen) * size[0] * size[1]
    writable(out, file=out.suffix == ".zip", needed=PIXEL_BYTES * pixels)
    with step_bar(f"writing {layout}", len(chosen), after=1.0) as bar:
        write(layout, chosen, out, lambda done, _total: bar(done))
    return {
        "layout": layout,
        "description": LAYOUTS[layout].description,
        "videos": len(chosen),
        "frames": sum(video.length for video in chosen),
        "out": str(out),
    }


def frames_of(video: Path) -> Iterator[Image]:
    """Return the frames of a folder of images, in the order of their numbers, or of a video file.

    Raises DataError if there are none, or if two orders are possible.
    """
    if video.is_dir():
        files = Folder(video)
        try:
            names = frame_names(files.names(), "clear")
        except ValueError as error:
            raise DataError.at(video, *error.args) from None
        if not len(names):
            raise DataError(f"{shown(video)} holds no image ({', '.join(SUFFIXES)})")
        return iter(ImageFiles(files, "", names))
    if not video.exists():
        raise DataError(f"{shown(video)} is not there: name a folder of images or a video file")
    return _decoded(video)


def frame_count(video: Path) -> int:
    """Return the number of frames of a folder of images or, by its own word, of a video file; 0 if it does not say."""
    if video.is_dir():
        return sum(name.lower().endswith(SUFFIXES) for name in Folder(video).names())
    import cv2

    return max(0, int(cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT)))


def _decoded(video: Path) -> Iterator[Image]:
    import cv2

    capture = cv2.VideoCapture(str(video))
    try:
        more, image = capture.read()
        if not more:
            raise DataError(f"{video} is no video that OpenCV can decode: convert it, or name a folder of its frames")
        done = 0
        while more:
            yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            done += 1
            more, image = capture.read()
        if (told := int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) > done:
            problem = f"{shown(video)} ends after {done} frames, though its header says {told}"
            sys.stderr.write(f"{problem}: if it is cut off, get it again\n")
    finally:
        capture.release()


def _box(text: str) -> NDArray[np.float64]:
    try:
        box = np.array([float(v) for v in text.split(",")])
    except ValueError:
        box = np.empty(0)
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] <= 0).any():
        raise BadInput(f"--init {text!r} is no box: write x,y,w,h in pixels, for example --init 50,46,25,62")
    return box


def _training(training: Any) -> dict[str, Any]:
    if training is None:
        return {}
    return {"validation_iou": training.curve[-1].validation_iou, "cost": json.loads(training.cost.model_dump_json())}


def _scores(protocol: ProtocolRecord, folder: RunFolder, evaluation: Evaluation) -> dict[str, float]:
    found = stored_scores(folder, evaluation, protocol)
    scores = {}
    for metric, dialect in dialects_of(protocol).items():
        sums, weights = values([found[name].tally for name in protocol.names], metric, dialect)
        scores[metric] = float(METRICS[metric].scale * sums.sum() / weights.sum())
    return scores
