"""A store of many small runs for the tests of the site: trained, tracked and timed on paper, in seconds."""

import io
from collections.abc import Iterable

import numpy as np

import report_factory as factory
from trackablate.ablations.plan import planned_rows, tasks
from trackablate.ablations.study import Study
from trackablate.harness.documents import write_document
from trackablate.harness.record import Failure, ProtocolRecord, SequenceRecord, SequenceResult, StudyRecord
from trackablate.harness.spec import Evaluation, Profile
from trackablate.harness.store import Store

SEQUENCES = 4
DIGEST = "d" * 64


def fill(
    store: Store,
    study: Study,
    profile: Profile,
    unfinished: Iterable[str] = (),
    failed: str = "",
    *,
    on_server: bool = False,
) -> int:
    """Every run of the study at the profile's size, as done; returns their number. unfinished: rows left out; failed:
    the row whose run failed; on_server: nobody but an evaluation server has the true boxes."""
    rows = planned_rows(study, profile)
    left_out = {planned.run.name for row in rows if row.name in set(unfinished) for planned in row.runs}
    broken = {planned.run.name for row in rows if row.name == failed for planned in row.runs}
    (protocol,) = profile.protocols
    keep_protocol(store, protocol, on_server)
    record = StudyRecord(
        study=study.name,
        profile=profile,
        digests={protocol: DIGEST},
        seeds=study.seeds,
        command=f"python -m harness run {study.name} --profile {profile.name} --seeds {study.seeds}",
        rows=tuple(rows),
    )
    store.set_study(record)
    written = 0
    for task in tasks(rows, {protocol: DIGEST}, {}):
        if task.run.name in left_out:
            continue
        folder = store.run(task.run)
        folder.claim()
        written += 1
        if task.run.name in broken:
            folder.set_failure(failure("<b>out of memory</b>"))
            continue
        record = factory.record(task.run.tracker, task.run.slug)
        if task.run.data is not None and record.training is not None:
            folder.weights.write_bytes(b"")
            folder.finish_training(record.training)
        if record.speed is not None:
            folder.set_speed(record.speed)
        for evaluation in task.evaluations:
            for name in factory.names(SEQUENCES):
                boxes = factory.predicted(task.run.name, name, 0.1).tolist()
                folder.add_result(evaluation, SequenceResult(name=name, boxes=boxes, seconds=0.4))
    return written


def failure(summary: str) -> Failure:
    """A run's failure."""
    return Failure(summary=summary, traceback="MemoryError", where=factory.provenance(summary))


def keep_protocol(store: Store, protocol: str, on_server: bool) -> None:
    folder = store.protocol(Evaluation(protocol=protocol, data=DIGEST))
    folder.mkdir(parents=True, exist_ok=True)
    strips = {name: factory.film_strip(name) for name in factory.names(SEQUENCES)}
    jpegs = {
        f"{name}:{frame}": np.frombuffer(jpeg, dtype=np.uint8)
        for name, strip in strips.items()
        for frame, jpeg in zip(strip.frames, strip.jpegs, strict=True)
    }
    buffer = io.BytesIO()
    np.savez(buffer, **jpegs)
    (folder / "strips.npz").write_bytes(buffer.getvalue())
    facts = [
        SequenceRecord(
            name=name,
            frames=factory.FRAMES,
            boxes=[tuple(box) for box in factory.truth(name).tolist()][: 1 if on_server else None],
            visible=[True] * factory.FRAMES,
            size=(factory.WIDTH, factory.HEIGHT),
            attributes=list(factory.attributes(name)),
            strip=list(strip.frames),
            scale=strip.scale,
        )
        for name, strip in strips.items()
    ]
    record = ProtocolRecord(
        name=protocol,
        digest=DIGEST,
        title=protocol,
        description="synthetic clips",
        source="this test",
        metrics=(("ao", "got10k"), ("sr50", "got10k")) if on_server else (("ao", "got10k"), ("auc", "ostrack")),
        origin=0,
        one_shot=False,
        sequences=facts,
    )
    write_document(folder / "protocol.json", record)
