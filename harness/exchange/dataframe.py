"""A store as a pandas DataFrame: one row for each run, evaluation and metric; missing and failed runs have rows too."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from trackablate.datasets.registry import UnknownName, unknown
from trackablate.harness.errors import BadInput
from trackablate.harness.exchange.server_scores import NOTHING, returned
from trackablate.harness.protocol_store import ON_SERVER
from trackablate.harness.record import ProtocolRecord, RunRecord
from trackablate.harness.scoring.metrics import METRICS, values
from trackablate.harness.scoring.stored_scores import ScoredResult, dialects_of, stored_scores
from trackablate.harness.spec import TRACKING_REVISION, Evaluation, RunSpec
from trackablate.harness.store import NOT_ASKED, PROTOCOL, RunFolder, Store, Unreadable
from trackablate.trackers.spec import FloorSpec, TrackerSpec, leaves

RUN = ("run", "fingerprint", "tracker", "seed", "trained_on", "steps", "batch_size")
AXES = ("backbone", "head", "adaptation", "embedding", "attention", "sparsity", "labels", "denoising")
SCORE = (
    *("protocol", "data", "role", "control", "test_layers", "precision"),
    *("dialect", "metric", "value", "n_sequences", "of_sequences"),
)
COST = (
    *("params", "trainable_params", "macs", "train_seconds", "device_hours", "peak_memory_bytes", "energy_joules"),
    *("fps", "tracking_seconds"),
)
WHERE = ("verdict", "reason", "commit", "device", "started")
NUMBERS = ("value", *COST)
COUNTS = ("seed", "steps", "batch_size", "test_layers", "n_sequences", "of_sequences")
ROLES = ("variant", "floor", "control")

OTHER = "tracked by another version, or on data that the store has no annotation of"

Fields = dict[str, Any]
Protocols = Mapping[tuple[str, str], ProtocolRecord]
"""Records by name and digest of the data."""


def frame(store: Path | str | Store, protocol: str = "", role: str = "", precision: str = "fp32") -> pd.DataFrame:
    """Return what a store knows: one row for each run, evaluation and metric.

    The columns are RUN, AXES, SCORE, COST and WHERE, then every single field of the trackers, dotted (`head.layers`,
    `crop.search_size`). `value` is in percent, NaN if a sequence is missing, with the reason beside it. `verdict` is the
    run's, or "unfinished", or "unreadable". A run without any evaluation has one row without a metric. `data` is the
    beginning of the digest of the protocol's data, which tells versions of them apart.

    Args:
        store: The store, or its folder.
        protocol: Only this protocol, and runs without any evaluation. Values are of the tracked version of its data with
            the most sequences; of equally large ones, of the one that a study was last started with, else of the newest.
        role: Only variants, floors or controls: one of ROLES.
        precision: Only evaluations in it, as "fp32", "bf16" or "fp32-compiled"; "" for all.

    Raises:
        BadInput: There is no store, or it has another format.
        UnknownName: There is no such role, or the store has nothing of the protocol.
    """
    if role not in ("", *ROLES):
        raise UnknownName(unknown("role", role, ROLES))
    opened = store if isinstance(store, Store) else Store(Path(store), make=False)
    if not opened.exists:
        raise BadInput(f"there is no store at {opened.root}: name the folder that `run` was given as --store")
    protocols = {(record.name, record.digest): record for record in opened.protocols()}
    rows = [row for found in opened.folders() for row in _rows(found, protocols)]
    first = [*RUN, *AXES, *SCORE, *COST, *WHERE]
    further = sorted({key for row in rows for key in row} - set(first))
    table = pd.DataFrame(rows, columns=[*first, *further])
    numbers = dict.fromkeys(NUMBERS, "float64") | dict.fromkeys(COUNTS, "Int64")
    table = table.astype(numbers)
    if precision:
        table = table[(table["precision"] == precision) | table["precision"].isna()]
    if protocol:
        on = table["protocol"] == protocol
        data = _version(opened, protocol, protocols, set(table["data"][on]))[:12]
        chosen = (table["data"] == data) | table["of_sequences"].isna()  # a row without a score has a reason
        table = table[on & chosen | table["protocol"].isna()]
    return (table[table["role"] == role] if role else table).reset_index(drop=True)


def _version(store: Store, protocol: str, protocols: Protocols, tracked: set[str]) -> str:
    """Return the digest of the data that a protocol's values are of; tracked: beginnings of the digests in question."""
    if protocol not in (names := {name for name, _ in protocols}):
        raise UnknownName(unknown("protocol of the store", protocol, names))
    asked = {study.digests.get(protocol) for study in store.studies()}

    def rank(digest: str) -> tuple[bool, int, bool, int]:
        file = store.protocol(Evaluation(protocol=protocol, data=digest)) / PROTOCOL
        size = len(protocols[protocol, digest].sequences)
        return digest[:12] in tracked, size, digest in asked, file.stat().st_mtime_ns

    return max((digest for name, digest in protocols if name == protocol), key=rank)


def _rows(folder: RunFolder | Unreadable, protocols: Protocols) -> Iterator[Fields]:
    if isinstance(folder, Unreadable):
        verdict = "unfinished" if folder.reason == NOT_ASKED else "unreadable"
        yield {"run": folder.name, "verdict": verdict, "reason": folder.reason}
        return
    try:
        about = {"run": folder.path.name} | _asked(folder.run) | _happened(folder)
        scores = list(_scores(folder, protocols)) or [{"reason": "not evaluated"}]
    except BadInput as error:
        yield {"run": folder.path.name, "verdict": "unreadable", "reason": str(error)}
        return
    for score in scores:
        reasons = [text for text in (about["reason"], score.get("reason")) if text]
        yield about | score | {"reason": "; ".join(reasons)}


def _asked(run: RunSpec) -> Fields:
    recipe = run.recipe
    return {
        "fingerprint": run.fingerprint,
        "tracker": run.tracker.kind,
        "role": "floor" if isinstance(run.tracker, FloorSpec) else "variant",
        "seed": run.seed,
        "trained_on": run.trained_on,
        "steps": recipe.steps if recipe else None,
        "batch_size": recipe.batch_size if recipe else None,
    } | (_axes(run.tracker) if isinstance(run.tracker, TrackerSpec) else {})


def _axes(tracker: TrackerSpec) -> Fields:
    # Each axis as a word, its kind, and each of its fields. An axis that is off is "none", since pandas leaves NaN out of
    # its groups.
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
        **{name: getattr(cost, name, None) for name in ("params", "trainable_params", "macs")},
        "train_seconds": cost.wall() if cost and cost.phases else None,
        "device_hours": cost.device() / 3600 if cost and cost.phases else None,
        "peak_memory_bytes": cost.memory() if cost else None,
        "energy_joules": cost.energy() if cost else None,
        "mfu": cost.mfu() if cost else None,
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


def _scores(folder: RunFolder, protocols: Protocols) -> Iterator[Fields]:
    # One dictionary for each metric of each evaluation that the run has results of.
    for evaluation in folder.evaluations():
        about = {
            "protocol": evaluation.protocol,
            "data": evaluation.data[:12],
            "control": evaluation.control,
            "test_layers": evaluation.test_layers,
            "precision": evaluation.arithmetic,
        } | ({} if evaluation.control == "none" else {"role": "control"})
        record = protocols.get((evaluation.protocol, evaluation.data))
        if record is None or evaluation.revision != TRACKING_REVISION:
            yield about | {"reason": OTHER}
        elif record.on_server:
            yield from (about | score for score in _from_server(folder, evaluation, record))
        else:
            yield from (about | score for score in _metrics(record, stored_scores(folder, evaluation, record)))


def _from_server(folder: RunFolder, evaluation: Evaluation, record: ProtocolRecord) -> Iterator[Fields]:
    # The scores that an evaluation server returned, or the reason why there are none.
    found = returned(folder, evaluation, record)
    if not found.scores:
        yield {"reason": ON_SERVER.format(record.name) if found.reason == NOTHING else found.reason}
    for metric, share in found.scores.items():
        every = len(record.sequences)
        score = {"metric": metric, "value": METRICS[metric].scale * share, "n_sequences": every, "of_sequences": every}
        yield {"dialect": "evaluation server", **score}


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
