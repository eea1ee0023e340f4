"""The pieces of a study as commands: train one variant, evaluate one run, track one video, check one data set."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.plan import run_of
from datasets.boxes import clip
from datasets.errors import DataError
from datasets.frames import ImageFiles
from datasets.protocols import PROTOCOLS
from datasets.registry import UnknownName, unknown
from datasets.roots import data_root, parse_data_options
from datasets.sequence import Image
from harness.cli.session import opened
from harness.errors import BadInput
from harness.executors import LocalExecutor
from harness.metrics import METRICS, count, values
from harness.profiles import load_profile
from harness.protocol_store import read_protocol
from harness.runner import Job, logs_of
from harness.runner import run as run_job
from harness.spec import Evaluation, RunSpec
from harness.store import RunFolder, Store, read_document
from harness.tasks import RunTask
from trackers.spec import FloorSpec
from trackers.variants import VARIANTS

IMAGES = {".jpg", ".jpeg", ".png"}


def train_variant(variant: str, profile: str, store: Path, device: str) -> dict[str, Any]:
    """Train a named variant at a profile's size, unless it is trained; what there is then."""
    loaded = load_profile(profile)
    task = RunTask(run=run_of(VARIANTS[variant], loaded, seed=0), evaluations=())
    kept = Store(store)
    job = Job(tasks=[task], sizes=[VARIANTS[variant]], sequences={}, profile=loaded)
    run_job(job, kept, LocalExecutor(logs_of(kept)), device)
    record = kept.run(task.run).record()
    return {"run": task.run.name, "verdict": record.verdict, **_training(record.training)}


def evaluate_run(name: str, protocol: str, data: list[str], store: Path, device: str) -> dict[str, Any]:
    """Track what is missing of a protocol with a stored run; its scores in percent."""
    kept = Store(store)
    folder = find_run(kept, name)
    found = opened(protocol, parse_data_options(data))
    evaluation = Evaluation(protocol=protocol, data=found.digest)
    roots = {PROTOCOLS[protocol].data or "": str(found.root)} if found.root else {}
    task = RunTask(run=folder.run, evaluations=(evaluation,), roots=roots)
    job = Job([task], [], {protocol: found.sequences}, load_profile("mini"))
    run_job(job, kept, LocalExecutor(logs_of(kept)), device)
    return {"run": folder.run.name, "protocol": protocol, "sequences": found.coverage} | {
        "metrics": _scores(kept, folder, evaluation)
    }


def track_video(name: str, video: Path, init: str, store: Path, device: str) -> list[list[float]]:
    """Track one target through a folder of images or a video file with a stored run; boxes x, y, w, h in pixels."""
    folder = find_run(Store(store), name)
    box = _box(init)
    images = frames_of(video)
    from harness.devices import resolve_device
    from harness.evaluate import online_tracker

    if not isinstance(folder.run.tracker, FloorSpec) and folder.training() is None:
        raise BadInput(f"the run {folder.run.name} is not trained yet: run its study, or `python -m harness train`")
    try:
        online = online_tracker(folder, resolve_device(device))
    except ValueError as error:
        raise BadInput(str(error)) from error
    first = next(images)
    height, width = first.shape[:2]
    if not clip(box, width, height)[2:].prod() > 0:
        raise BadInput(f"--init {init} lies outside the first frame of {width} x {height} pixels")
    online.initialise(first, box)
    return [box.tolist(), *(online.update(image).tolist() for image in images)]


def check_data(entry: str) -> dict[str, Any]:
    """Verify a data set as far as that goes without tracking. Raises DataError with everything that is wrong."""
    given = parse_data_options([entry])
    (data,) = given
    found = {}
    for name, protocol in PROTOCOLS.items():
        if protocol.data == data:
            sequences = protocol.open(data_root(data, given))
            sequences.check()
            found[name] = sequences.coverage
    return {"data": data, "protocols": found}


def find_run(store: Store, name: str) -> RunFolder:
    """The stored run of that name, or of that unique beginning. Raises UnknownName with the nearest names."""
    folders = {file.parent.name: file for file in sorted((store.root / "runs").glob("*/spec.json"))}
    fitting = [n for n in folders if n == name] or [n for n in folders if n.startswith(name)]
    if len(fitting) != 1:
        several = f"; {', '.join(fitting)} begin so" if fitting else ""
        raise UnknownName(unknown("run in the store", name, list(folders)) + several)
    run = read_document(folders[fitting[0]], RunSpec)
    assert run is not None
    return store.run(run)


def frames_of(video: Path) -> Iterator[Image]:
    """The frames of a folder of images, sorted by name, or of a video file. Raises DataError where there is none."""
    if video.is_dir():
        files = sorted(f for f in video.iterdir() if f.suffix.lower() in IMAGES)
        if not files:
            raise DataError(f"{video} holds no image ({', '.join(sorted(IMAGES))})")
        return iter(ImageFiles(files, video))
    if not video.exists():
        raise DataError(f"{video} is not there: name a folder of images or a video file")
    return _decoded(video)


def _decoded(video: Path) -> Iterator[Image]:
    import cv2

    capture = cv2.VideoCapture(str(video))
    try:
        more, image = capture.read()
        if not more:
            raise DataError(f"{video} is no video that OpenCV can decode: convert it, or name a folder of its frames")
        while more:
            yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            more, image = capture.read()
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


def _scores(store: Store, folder: RunFolder, evaluation: Evaluation) -> dict[str, float]:
    protocol = read_protocol(store.protocol(evaluation))
    assert protocol is not None
    counts = []
    for facts in protocol.sequences:
        result = folder.result(evaluation, facts.name)
        assert result is not None
        counts.append(count(np.array(result.boxes), np.array(facts.boxes), np.array(facts.visible), facts.size))
    scores = {}
    for metric in protocol.metrics:
        sums, weights = values(counts, metric)
        scores[metric] = float(METRICS[metric].scale * sums.sum() / weights.sum())
    return scores
