"""A store of 5,000 finished runs: listing it, and writing its site for the first and the second time.

    python tests/benchmarks/bench_store.py [--site] [FOLDER]

The store has table3 at 25 sizes with 50 seeds. It is written as documents, without training anything, and is kept in FOLDER
for the next time; by default it is made in a temporary folder and removed. The site takes minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import report_factory as factory
from store_factory import DIGEST, SEQUENCES, keep_protocol
from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import planned_rows, tasks
from trackablate.datasets.atomic import sealed
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import SequenceResult, StudyRecord
from trackablate.harness.run_folder import EVALUATION
from trackablate.harness.running.tasks import RunTask
from trackablate.harness.store import Store

SIZES, SEEDS = 25, 50
LIST_TARGET, SITE_TARGET = 2.0, 10.0
"""Seconds for a list, and for a site of which nothing has changed."""
WEIGHTS = bytes(1000)


def put(path: Path, document: BaseModel) -> None:
    """Write a document without waiting for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(sealed(document.model_dump_json()), encoding="utf-8")


def make_store(root: Path) -> Store:
    """Write the store, unless it is there."""
    if (root / "done").exists():
        return Store(root)
    store, smoke = Store(root), load_profile("smoke")
    assert smoke.recipe is not None
    study, (protocol,) = STUDIES["table3"], smoke.protocols
    keep_protocol(store, protocol, on_server=False)
    for size in range(SIZES):
        recipe = smoke.recipe.model_copy(update={"steps": smoke.recipe.steps + size})
        profile = smoke.model_copy(update={"name": f"size{size}", "recipe": recipe})
        rows, digests = tuple(planned_rows(study, profile, seeds=SEEDS)), {protocol: DIGEST}
        command = f"python -m harness run table3 --profile size{size}.toml --seeds {SEEDS}"
        put(
            store.root / "studies" / study.name / f"{profile.name}.json",
            StudyRecord(study=study.name, profile=profile, digests=digests, seeds=SEEDS, command=command, rows=rows),
        )
        for task in tasks(list(rows), digests, {}):
            make_run(store, task)
    (root / "done").touch()
    return store


def make_run(store: Store, task: RunTask) -> None:
    """Write one finished run."""
    folder, record = store.run(task.run), factory.record(task.run.tracker, task.run.slug)
    put(folder.path / "spec.json", task.run)
    (folder.path / ".lease-1").write_text(json.dumps({"owner": ""}))
    if record.training is not None and task.run.data is not None:
        folder.weights.write_bytes(WEIGHTS)
        digest = sha256(WEIGHTS).hexdigest()
        put(folder.path / "training.json", record.training.model_copy(update={"weights_digest": digest}))
    if record.speed is not None and task.run.seed == 0:
        put(folder.path / "speed.json", record.speed)
    for evaluation in task.evaluations:
        place = folder.evaluation_folder(evaluation)
        put(place / EVALUATION, evaluation)
        for name in factory.names(SEQUENCES):
            boxes = factory.predicted(task.run.name, name, 0.1).tolist()
            put(place / f"{name}.json", SequenceResult(name=name, boxes=boxes, seconds=0.4))


def timed(*words: object) -> float:
    """Return the seconds of a command, with its start."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-m", "trackablate", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where the store is kept")
    parser.add_argument("--site", action="store_true", help="also write its site, twice")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (arguments.folder or Path(temporary)) / "store"
        store = make_store(root)
        runs, files = len(list((root / "runs").iterdir())), sum(1 for _ in root.rglob("*"))
        cold, warm = timed("store", "list", store.root), min(timed("store", "list", store.root) for _ in range(3))
        sys.stdout.write(
            f"{runs} runs, {files} files: list {cold:.1f} s, again {warm:.1f} s (target {LIST_TARGET} s)\n"
        )
        if not arguments.site:
            return int(warm > LIST_TARGET)
        first, second = (timed("site", "--store", store.root, "--out", f"{temporary}/site") for _ in range(2))
        sys.stdout.write(f"site {first:.0f} s, again {second:.1f} s (target {SITE_TARGET} s)\n")
    return int(warm > LIST_TARGET or second > SITE_TARGET)


if __name__ == "__main__":
    sys.exit(main())
