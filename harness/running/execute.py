"""The work of a worker: the way from a run specification to its record in the store."""

import hashlib
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from trackablate.datasets.changes import joined_states
from trackablate.datasets.errors import FULL, DataError
from trackablate.datasets.lease import LeaseLost, following
from trackablate.datasets.pairs.training_sets import TRAINING_SETS
from trackablate.datasets.protocols import PROTOCOLS, SequenceList
from trackablate.datasets.roots import packed_name
from trackablate.datasets.sequence import Sequence
from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.harness.costing.clock import PhaseClock, mapped_bytes, own_bytes
from trackablate.harness.costing.devices import (
    device_name,
    driver_version,
    resolve_device,
    usable_gpus,
)
from trackablate.harness.costing.hardware import several
from trackablate.harness.costing.macs import count_macs, paper_scale
from trackablate.harness.costing.peaks import model_flops, published_peak
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.protocol_store import keep_protocol
from trackablate.harness.provenance import provenance
from trackablate.harness.record import Failure, PhaseProgress, Provenance, Spent, TrainingRecord
from trackablate.harness.running.image_files import keep_image_files
from trackablate.harness.running.ranks import LONGER, Ranks
from trackablate.harness.running.tasks import Device, PrepareTask, RankTask, RunTask, SpeedTask, WorkerSettings
from trackablate.harness.spec import Evaluation, RunSpec, SyntheticData, VideoData
from trackablate.harness.store import RunFolder, Store
from trackablate.harness.tracking.evaluation import evaluate
from trackablate.harness.tracking.speed import FRAMES, measure_speed
from trackablate.harness.training.group import Group, joined
from trackablate.harness.training.loading import pair_geometry, training_pairs, validation_pairs
from trackablate.harness.training.logs import TrainingLog
from trackablate.harness.training.loop import fit, trained_state
from trackablate.harness.training.step import TrainingSetup
from trackablate.harness.training.stopping import Interrupted, stop_if_asked
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import TrackerSpec

POLL_SECONDS = 0.2


def execute_run(task: RunTask, settings: WorkerSettings) -> Spent:
    """Train and evaluate what is missing of a run, holding its lock, and return what that took.

    Raises:
        RunFailed: The run failed; the store has the reason.
        Interrupted: This process is asked to stop.
        LeaseLost: Another process has taken the run over, since this one had been silent for too long.
        BadInput, DataError: The user can mend it.
    """
    device, store = resolve_device(settings.device), Store(Path(settings.store))
    folder = store.run(task.run)
    clock = PhaseClock({}, lambda: None, on_cpu=device.type != "cuda")
    lease = folder.lock().acquire(meanwhile=partial(stop_if_asked, "while another process had the run"))
    with clock.phase("task"), lease, _failure_kept(folder, device, settings):
        folder.clean()
        folder.claim()
        if folder.trained:
            folder.set_former_aside()
        else:
            folder.refuse_lost_import()
        _keep_image_files(folder, task, store)  # before any other process can track
        with Ranks(task, settings) as ranks:
            if not folder.trained:
                _train(folder, task, device, settings, ranks)
            _track(store, task, device, ranks.apart)
            others = [Spent.model_validate_json(result).device_seconds for result in ranks.results()]
        for evaluation in task.evaluations:
            folder.unfinished(evaluation).unlink(missing_ok=True)
    return Spent(device_seconds=clock.booked["task"].device_seconds + sum(others))


def follow(task: RankTask, settings: WorkerSettings) -> Spent:
    """Do one process's share of a run that another worker has. Raises as `execute_run` does, but leaves the record to it."""
    device, run, store = resolve_device(settings.device), task.run, Store(Path(settings.store))
    folder = store.run(run.run)
    clock = PhaseClock({}, lambda: None, on_cpu=device.type != "cuda")
    with clock.phase("task"), following(folder.path):
        if not folder.trained:
            _make_textures_of(run.run)
            with joined(task.rank, task.size, task.meeting, device, LONGER * settings.patience) as group:
                fit(_asked(folder, run, device, settings, group))
        while not folder.trained:  # the worker writes it down
            time.sleep(POLL_SECONDS)
        _track(store, run, device, Group(task.rank, task.size, task.meeting.connect()))
    return Spent(device_seconds=clock.booked["task"].device_seconds)


def _keep_image_files(folder: RunFolder, task: RunTask, store: Store) -> None:
    for evaluation in task.evaluations:
        if PROTOCOLS[evaluation.protocol].data is not None:
            keep_image_files(folder, evaluation, _open(evaluation, task.roots, store))


def _track(store: Store, task: RunTask, device: torch.device, group: Group) -> None:
    folder = store.run(task.run)
    for evaluation, row in zip(task.evaluations, task.rows or [task.row] * len(task.evaluations), strict=False):
        sequences = _open(evaluation, task.roots, store)
        if PROTOCOLS[evaluation.protocol].data is None:
            _make_textures(sequences[0])
        report = partial(_Reporter(folder, row, quiet=not group.first), f"track {evaluation.protocol}")
        evaluate(folder, evaluation, sequences, device, report, group)


@contextmanager
def _failure_kept(folder: RunFolder, device: torch.device, settings: WorkerSettings) -> Iterator[None]:
    try:
        yield
    except (BadInput, DataError, Interrupted, LeaseLost):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:  # the reason cannot be written down either
            raise
        summary = str(error) if isinstance(error, RunFailed) else f"{type(error).__name__}: {error}"
        where = _where(device, settings)
        folder.set_failure(Failure(summary=summary, traceback=traceback.format_exc(), where=where))
        raise RunFailed(f"{folder.run.name} failed: {summary}") from error
    folder.set_failure(None)


def prepare(task: PrepareTask, settings: WorkerSettings) -> Device:
    """Count sizes and keep what reports show of the protocols; return the device. Raises BadInput for an unusable device."""
    device = resolve_device(settings.device)
    store = Store(Path(settings.store))
    for spec in task.sizes:
        known = store.paper_scale(spec)
        if known is None or (task.activations and known.activation_bytes is None):
            store.set_paper_scale(spec, paper_scale(spec, activations=task.activations))
    for evaluation in task.protocols:
        keep_protocol(store.protocol(evaluation), PROTOCOLS[evaluation.protocol], _open(evaluation, task.roots, store))
    return Device(name=device_name(device), gpus=usable_gpus(device))


def measure(task: SpeedTask, settings: WorkerSettings) -> None:
    """Measure the tracking speed of some runs on a synthetic video. Raises RunFailed if one of them cannot track."""
    store = Store(Path(settings.store))
    video = make_sequence("source", 0, length=FRAMES + 1, split="val")
    timed = [(store.run(one.run), one.test_layers) for one in task.timed]
    device, report = resolve_device(settings.device), partial(_Reporter(timed[0][0]), "speed")
    failures = measure_speed(timed, video, device, report, compile=task.compile)
    if failures:
        raise RunFailed("\n".join(failures))


def _train(folder: RunFolder, task: RunTask, device: torch.device, settings: WorkerSettings, ranks: Ranks) -> None:
    _make_textures_of(task.run)
    where, held = _where(device, settings), own_bytes()
    with ranks.group(device) as group:
        asked = _asked(folder, task, device, settings, group)
        with closing(asked.log):
            curve, cost = fit(asked)
    model = asked.model
    cost.trainable_params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    cost.params = sum(p.numel() for p in model.parameters())
    cost.resident_before_bytes = None if device.type == "cuda" or held is None else held + mapped_bytes()
    content = save_safetensors(trained_state(model))
    merged = merge(model)
    assert isinstance(merged, OneStreamTracker)
    cost.macs = count_macs(merged).all
    cost.flops_per_pair = model_flops(cost.macs, cost.params, cost.trainable_params)
    peak = published_peak(device_name(device))
    cost.peak_tflops = peak.tflops if peak else None
    digest = hashlib.sha256(content).hexdigest()
    folder.set_former_aside(digest)  # before there is a record of the new weights
    folder.replace_weights(content)
    folder.finish_training(TrainingRecord(curve=curve, cost=cost, weights_digest=digest, where=where))


def _asked(
    folder: RunFolder, task: RunTask, device: torch.device, settings: WorkerSettings, group: Group
) -> TrainingSetup:
    run, store = folder.run, Store(Path(settings.store))
    assert isinstance(run.tracker, TrackerSpec)
    assert run.recipe is not None
    assert run.data is not None
    torch.manual_seed(run.seed)
    model = build(run.tracker)
    sets = _training_sets(run, task.roots, store)
    _refuse_other_sets(sets, group)
    _refuse_changed(folder, sets, group)
    geometry = pair_geometry(run.tracker.crop, run.recipe, model.encoder.template_side)
    kind = settings.log if group.first else ""
    said, steps = _Reporter(folder, task.row, quiet=not group.first), run.recipe.steps
    return TrainingSetup(
        model=model,
        recipe=run.recipe,
        training=training_pairs(run.data, geometry, run.seed, sets),
        validation=validation_pairs(run.data, geometry, sets),
        seed=run.seed,
        checkpoint=folder.checkpoint,
        device=device,
        report=lambda step, loss: said("validate" if loss is None else "train", step, steps, loss),
        divisor=model.loss_divisor,
        parts_are_free=model.parts_are_free,
        loader_workers=settings.loader_workers,
        fit_memory=settings.fit_memory,
        log=TrainingLog(kind, store.logs / kind, run.name, run.model_dump(mode="json")),
        group=group,
        fsdp=settings.fsdp and group.size > 1 and task.fully_trained,
    )


def _make_textures_of(run: RunSpec) -> None:
    if isinstance(run.data, SyntheticData):
        for split in ("train", "val"):
            _make_textures(make_sequence(run.data.domain, 0, length=1, split=split))


def _make_textures(sequence: Sequence) -> None:
    # The textures of generated videos are made once per process: no run's cost may depend on who comes first.
    sequence.frames[0]


class _Reporter:
    """Writes how far a run is, and its loss.

    At most twice a second unless the phase changes: a file per step, and reading its loss from the device, would cost more
    than a fast step.
    """

    def __init__(self, folder: RunFolder, row: str = "", *, quiet: bool = False) -> None:
        self._folder, self._row, self._phase, self._said, self._quiet = folder, row, "", 0.0, quiet

    def __call__(self, phase: str, done: int, total: int, loss: Tensor | None = None) -> None:
        now = time.monotonic()
        if phase not in ("train", "validate"):  # the training loop looks by itself
            stop_if_asked(f"in the phase {phase!r}; whole sequences are kept")
        if self._quiet:
            return
        if phase != self._phase or done == total or now - self._said >= 0.5:
            self._phase, self._said = phase, now
            seen = None if loss is None else float(loss)
            self._folder.set_progress(PhaseProgress(phase=phase, done=done, total=total, row=self._row, loss=seen))


def _training_sets(run: RunSpec, roots: dict[str, str], store: Store) -> dict[str, SequenceList]:
    known = [TRAINING_SETS[name] for name in run.data.all_sets] if isinstance(run.data, VideoData) else []
    return {
        kind.name: kind.found_in(Path(roots.get(packed_name(kind.data)) or roots[kind.data]), store.index)
        for kind in known
    }


def _refuse_changed(folder: RunFolder, sets: dict[str, SequenceList], group: Group) -> None:
    """Raise DataError, now or when a file is read, if a set is not what it was when the training began."""
    began = group.every(folder.training_began(sets) if group.first else None)[0]
    if began is None:
        every = group.every({name: found.state(folder.path) for name, found in sets.items()})
        began = {name: joined_states([states[name] for states in every]) for name in sets}  # machines may have copies
        if group.first:
            folder.begin_training(began)
    for name, found in sets.items():
        found.refuse_changed(began[name])


def _refuse_other_sets(sets: dict[str, SequenceList], group: Group) -> None:
    """Raise BadInput if a process has other videos than the first one, as a machine may whose copy is not whole."""
    if group.size == 1:
        return
    contents = {name: repr((found.names, tuple(found.lengths()))).encode() for name, found in sets.items()}
    first, *others = group.every({name: hashlib.sha256(content).hexdigest() for name, content in contents.items()})
    for rank, digests in enumerate(others, start=1):
        if wrong := [name for name in first if digests[name] != first[name]]:
            raise BadInput(f"process {rank} has other videos of {wrong[0]} than process 0: copy them there again")


def _open(evaluation: Evaluation, roots: dict[str, str], store: Store) -> SequenceList:
    protocol = PROTOCOLS[evaluation.protocol]
    sequences = protocol.open(Path(roots[protocol.data]) if protocol.data else None, store.index)
    if sequences.digest() != evaluation.data:
        raise BadInput(f"the data of protocol {protocol.name!r} changed while the study ran: start it again")
    return sequences


def _where(device: torch.device, settings: WorkerSettings) -> Provenance:
    return provenance(
        device=several(device_name(device), settings.processes),
        driver=driver_version(device),
        threads=settings.threads,
        workers=settings.workers,
        command=settings.command,
    )
