"""A store as a pandas DataFrame: one row for each run, evaluation and metric. What is missing or failed is a row too."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from trackablate.harness.errors import BadInput
from trackablate.harness.exchange.server_scores import NOTHING, returned
from trackablate.harness.protocol_store import ON_SERVER, ProtocolRecord, read_protocol
from trackablate.harness.record import RunRecord
from trackablate.harness.scoring.metrics import METRICS, values
from trackablate.harness.scoring.stored_scores import ScoredResult, dialects_of, stored_scores
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import RunFolder, Store, read_document
from trackablate.trackers.spec import TrackerSpec, leaves

RUN = ("run", "fingerprint", "tracker", "seed", "trained_on", "steps", "batch_size")
AXES = ("backbone", "head", "adaptation", "embedding", "attention", "sparsity", "labels", "denoising")
SCORE = ("protocol", "control", "test_layers", "dialect", "metric", "value", "n_sequences", "of_sequences")
COST = (
    "params",
    "trainable_params",
    "macs",
    "train_seconds",
    "device_hours",
    "peak_memory_bytes",
    "energy_joules",
    "fps",
    "tracking_seconds",
)
WHERE = ("verdict", "reason", "commit", "device", "started")
NUMBERS = ("value", *COST)
COUNTS = ("seed", "steps", "batch_size", "test_layers", "n_sequences", "of_sequences")

Fields = dict[str, Any]


def frame(store: Path | str | Store) -> pd.DataFrame:
    """All that a store knows. The columns are RUN, AXES, SCORE, COST and WHERE, then every single field of the trackers,
    dotted (`head.layers`, `crop.search_size`).

    value: percent, NaN where a sequence is missing, with the reason beside it. verdict: that of the run, or "unfinished",
    or "unreadable". A run without any evaluation has one row without a metric. Raises BadInput for what is no store.
    """
    opened = store if isinstance(store, Store) else Store(Path(store), make=False)
    if not (opened.root / "store.json").exists():
        raise BadInput(f"there is no store at {opened.root}: name the folder that `run` was given as --store")
    folders = sorted(path for path in (opened.root / "runs").glob("*") if path.is_dir())
    protocols = _protocols(opened)
    rows = [row for path in folders for row in _rows(path, protocols)]
    first = [*RUN, *AXES, *SCORE, *COST, *WHERE]
    further = sorted({key for row in rows for key in row} - set(first))
    table = pd.DataFrame(rows, columns=[*first, *further])
    numbers = dict.fromkeys(NUMBERS, "float64") | dict.fromkeys(COUNTS, "Int64")
    return table.astype(numbers)


def _protocols(store: Store) -> list[ProtocolRecord]:
    folders = sorted((store.root / "protocols").glob("*"))
    return [record for folder in folders if (record := read_protocol(folder)) is not None]


def _rows(path: Path, protocols: list[ProtocolRecord]) -> Iterator[Fields]:
    """The rows of one run; one that says why, where its files cannot be read."""
    try:
        run = read_document(path / "spec.json", RunSpec)
        if run is None:
            yield {"run": path.name, "verdict": "unfinished", "reason": "nothing is written down of it"}
            return
        folder = RunFolder(path, run)
        about = {"run": path.name} | _asked(run) | _happened(folder)
        scores = list(_scores(folder, protocols)) or [{"reason": "not evaluated"}]
    except BadInput as error:
        yield {"run": path.name, "verdict": "unreadable", "reason": str(error)}
        return
    for score in scores:
        reasons = [text for text in (about["reason"], score.get("reason")) if text]
        yield about | score | {"reason": "; ".join(reasons)}


def _asked(run: RunSpec) -> Fields:
    recipe = run.recipe
    return {
        "fingerprint": run.fingerprint,
        "tracker": run.tracker.kind,
        "seed": run.seed,
        "trained_on": run.trained_on,
        "steps": recipe.steps if recipe else None,
        "batch_size": recipe.batch_size if recipe else None,
    } | (_axes(run.tracker) if isinstance(run.tracker, TrackerSpec) else {})


def _axes(tracker: TrackerSpec) -> Fields:
    """Each axis as a word, its kind, and each of its fields; "none" and not NaN for an axis that is off, since pandas
    leaves NaN out of its groups.
    """
    axes: Fields = {}
    for name in type(tracker).model_fields.keys() - {"kind", "name"}:
        value = getattr(tracker, name)
        if isinstance(value, BaseModel):
            fields = leaves(value)
            axes[name] = fields.pop("kind", None) or fields.get("positions")  # an embedding has no kind
            axes |= {f"{name}.{key}": inner for key, inner in fields.items()}
        else:
            axes[name] = "none" if value is None else value
    del axes["crop"]  # it has no kind: its fields say it
    return axes


def _happened(folder: RunFolder) -> Fields:
    record = folder.record()
    training, failure = record.training, record.failure
    cost = training.cost if training else None
    where = training.where if training else failure.where if failure else None
    return {
        "params": cost.params if cost else None,
        "trainable_params": cost.trainable_params if cost else None,
        "macs": cost.macs if cost else None,
        "train_seconds": cost.wall() if cost and cost.phases else None,
        "device_hours": cost.device() / 3600 if cost and cost.phases else None,
        "peak_memory_bytes": cost.peak_memory_bytes if cost else None,
        "energy_joules": cost.energy() if cost else None,
        "fps": record.speed.fps if record.speed else None,
        "commit": where.commit if where else None,
        "device": where.device if where else record.speed.device if record.speed else None,
        "started": where.started if where else None,
    } | _verdict(folder, record)


def _verdict(folder: RunFolder, record: RunRecord) -> Fields:
    if record.failure is not None:
        return {"verdict": record.verdict, "reason": f"failed: {record.failure.summary}"}
    if record.training is None and isinstance(record.asked.tracker, TrackerSpec):
        said = folder.progress()
        far = f" ({said.phase}: {said.done} of {said.total})" if said else ""
        return {"verdict": "unfinished", "reason": f"training not finished{far}"}
    return {"verdict": record.verdict, "reason": ""}


def _scores(folder: RunFolder, protocols: list[ProtocolRecord]) -> Iterator[Fields]:
    """A row's worth for each metric of each evaluation that the run's folder has anything of."""
    known = {evaluation.key: (evaluation, record) for evaluation, record in _possible(folder.run, protocols)}
    for path in sorted((folder.path / "evaluations").glob("*")):
        if path.name not in known:
            reason = "tracked by another version, or on data that the store has no annotation of"
            yield {"protocol": path.name.rpartition("-")[0], "reason": reason}
            continue
        evaluation, record = known[path.name]
        about = {"protocol": record.name, "control": evaluation.control, "test_layers": evaluation.test_layers}
        if record.on_server:
            yield from (about | score for score in _from_server(folder, evaluation, record))
            continue
        found = stored_scores(folder, evaluation, record)
        yield from (about | score for score in _metrics(record, found))


def _from_server(folder: RunFolder, evaluation: Evaluation, record: ProtocolRecord) -> Iterator[Fields]:
    """What an evaluation server returned, or a row that says why there is nothing."""
    found = returned(folder, evaluation, record)
    if not found.scores:
        yield {"reason": ON_SERVER.format(record.name) if found.reason == NOTHING else found.reason}
    for metric, share in found.scores.items():
        every = len(record.sequences)
        score = {"metric": metric, "value": METRICS[metric].scale * share, "n_sequences": every, "of_sequences": every}
        yield {"dialect": "evaluation server", **score}


def _possible(run: RunSpec, protocols: list[ProtocolRecord]) -> Iterator[tuple[Evaluation, ProtocolRecord]]:
    """Every evaluation that the run can have on these protocols."""
    layers = getattr(run.tracker.head, "layers", 0) if isinstance(run.tracker, TrackerSpec) else 0
    for record in protocols:
        for depth in (None, *range(1, layers + 1)):
            plain = Evaluation(protocol=record.name, data=record.digest, test_layers=depth)
            yield plain, record
            yield plain.model_copy(update={"control": "shuffled-template"}), record


def _metrics(record: ProtocolRecord, found: dict[str, ScoredResult]) -> Iterator[Fields]:
    whole = len(found) == len(record.sequences)
    tallies = [found[name].tally for name in sorted(found)]
    for metric, dialect in dialects_of(record).items():
        numerators, weights = values(tallies, metric, dialect)
        total = float(weights.sum())
        value = METRICS[metric].scale * float(numerators.sum()) / total if whole and total else math.nan
        yield {
            "dialect": dialect.name,
            "metric": metric,
            "value": value,
            "n_sequences": len(found),
            "of_sequences": len(record.sequences),
            "tracking_seconds": sum(scored.result.seconds for scored in found.values()),
            "reason": "" if whole else f"{len(found)} of {len(record.sequences)} sequences",
        }
