"""A store of format 2 is brought up to date by one command, which may be killed and started again."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import store_factory
from command_line import invoke, said
from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import planned_rows
from trackablate.datasets.atomic import write_text
from trackablate.harness import migration
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import PaperScale
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import EVALUATION, Store
from trackablate.trackers.spec import TrackerSpec
from trackablate.trackers.variants import VARIANTS

SMOKE = load_profile("smoke")
STUDY = STUDIES["table3"]
SIZE = PaperScale(**{name: number for number, name in enumerate(PaperScale.model_fields, 1)})


def old_hash(content: dict[str, Any]) -> str:
    """As format 2 hashed: every field, but no whole batch."""
    if content.get("recipe") and content["recipe"]["micro_batch"] is None:
        content["recipe"].pop("micro_batch")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def old_name(run: RunSpec) -> str:
    return f"{run.slug}-{old_hash(run.model_dump(mode='json'))[:8]}"


def age(store: Store) -> dict[str, str]:
    """Make a store what format 2 was; returns the old names of its runs by their new ones."""
    names = {}
    for folder in list(store.runs()):
        names[folder.path.name] = old_name(folder.run)
        for evaluation in folder.evaluations():
            place = folder.path / "evaluations" / evaluation.key
            (place / EVALUATION).unlink()
            old = f"{evaluation.key.rsplit('-', 1)[0]}-{old_hash(evaluation.model_dump(mode='json'))[:8]}"
            place.rename(place.with_name(old))
            write_text(folder.path / "server" / f"{old}.json", "{}")
        folder.path.rename(folder.path.with_name(old_name(folder.run)))
    write_text(store.root / "estimates" / "1.json", json.dumps(sorted(names.values())))
    write_text(store.root / "calibration" / "cpu.json", "of another form")
    write_text(store.root / "store.json", '{"format": 2}')
    return names


def old_size(store: Store, folder: str, tracker: TrackerSpec) -> None:
    write_text(store.root / folder / f"{old_hash(tracker.model_dump(mode='json'))}.json", SIZE.model_dump_json())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of this version, with every run of a study."""
    store = Store(tmp_path_factory.mktemp("filled") / "store")
    store_factory.fill(store, STUDY, SMOKE)
    return store.root


@pytest.fixture
def new(filled: Path, tmp_path: Path) -> Store:
    shutil.copytree(filled, tmp_path / "store")
    return Store(tmp_path / "store")


def files(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and not p.name.startswith(".lease-")
    }


def test_a_migrated_store_is_a_store_of_this_version(new: Store) -> None:
    before = files(new.root)
    names = age(new)
    done = said("store", "migrate", new.root)
    assert (done["runs"], done["evaluations"]) == (len(names), len(names) + 1)
    assert "table3 at smoke" in done["studies"], "for the site"
    record = Store(new.root).study("table3", "smoke")
    assert record is not None
    assert record.command == "python -m harness run table3 --profile smoke"
    assert [row.name for row in record.rows] == [row.name for row in planned_rows(STUDY, SMOKE)]
    assert record.digests == {"synthetic-smoke": store_factory.DIGEST}
    after = {name: content for name, content in files(new.root).items() if not name.startswith("studies/")}
    kept = {name: content for name, content in after.items() if "server" not in name}
    assert json.loads(kept.pop("store.json")) == {"format": 3}, "its files may be without digests"
    before.pop("store.json")
    assert kept == {n: content for n, content in before.items() if not n.startswith("studies/")}, (
        "calibrations and forecasts of the old form are gone"
    )
    assert len([name for name in after if "/server/" in name]) == done["evaluations"]


def test_nothing_but_the_command_reads_an_old_store(new: Store) -> None:
    age(new)
    for words in (["report", "table3", "--profile", "smoke"], ["site"], ["run", "table3", "--profile", "smoke"]):
        done = invoke(*words, "--store", new.root)
        assert done.exit_code == 2
        assert "has format 2" in done.stderr
        assert f"python -m harness store migrate {new.root}" in done.stderr


@pytest.mark.parametrize("after", [0, 1, 3, 9, 19])
def test_a_killed_migration_goes_on(new: Store, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    before = files(new.root)
    age(new)
    left, rename = [after], Path.rename

    def killed(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            migration.migrate(new.root, [])
    with pytest.raises(BadInput, match="has format 2"):
        Store(new.root)
    migration.migrate(new.root, [])
    after_ = {name: content for name, content in files(new.root).items() if "server" not in name}
    assert after_.keys() == before.keys()


def test_studies_are_recorded_before_the_format_is_raised(new: Store) -> None:
    """A migration that is killed at its end goes on there."""
    age(new)

    def killed(store: Store) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migration.migrate(new.root, [], killed)
    assert "table3 at smoke" in said("store", "migrate", new.root)["studies"]


def test_sizes_are_kept_if_their_tracker_is_known_and_old_activations_are_not(new: Store) -> None:
    known, before, unknown = VARIANTS["ostrack-256"], VARIANTS["lorat-b-224"], VARIANTS["lorat-l-224"]
    age(new)
    old_size(new, "counted", known)
    old_size(new, "paper-scale", before)
    old_size(new, "counted", unknown)
    assert migration.migrate(new.root, [known, before]).uncounted == 1
    store = Store(new.root)
    assert store.paper_scale(known) == SIZE
    assert store.paper_scale(before) == SIZE.model_copy(update={"activation_bytes": None})
    assert store.paper_scale(unknown) is None
    assert not (new.root / "paper-scale").exists()


def test_what_cannot_be_read_is_named_and_nothing_is_changed(new: Store) -> None:
    run = planned_rows(STUDY, SMOKE)[0].run
    age(new)
    strange = new.root / "runs" / old_name(run) / "evaluations" / "otb-00000000"
    strange.mkdir()
    damaged = new.root / "runs" / "damaged" / "spec.json"
    write_text(damaged, '{"tracker"')
    before = files(new.root)
    done = invoke("store", "migrate", new.root)
    assert done.exit_code == 2
    assert str(strange) in done.stderr
    assert str(damaged) in done.stderr
    assert "nothing was changed" in done.stderr
    assert files(new.root) == before


def test_a_run_at_work_stops_the_migration(new: Store) -> None:
    run = planned_rows(STUDY, SMOKE)[0].run
    age(new)
    folder = Store(new.root, make=False, accept=2).run(run)
    folder.path = new.root / "runs" / old_name(run)
    with folder.lock(), pytest.raises(BadInput, match="is being worked on"):
        migration.migrate(new.root, [])


def test_a_store_of_this_version_and_no_store_are_refused(new: Store, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="only format 2 is migrated"):
        migration.migrate(new.root, [])
    with pytest.raises(BadInput, match="there is no store"):
        migration.migrate(tmp_path / "nowhere", [])
