"""The commands on a whole store: list it, look for damage, clear it, copy it, bring an old one up to date."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trackablate.harness.cli.options import Json, answers, exit_status, writable
from trackablate.harness.errors import BadInput

if TYPE_CHECKING:
    from trackablate.harness.keeping.copying import Copied
    from trackablate.harness.record import StudyRecord
    from trackablate.harness.store import Store

WHAT = "List a store, look for damage in it, clear it, copy it, or bring an old one up to date."
store_app = typer.Typer(help=WHAT, no_args_is_help=True)
MOST_SEEDS = 16
"""Number of seeds of each row that are looked for in a store without records of studies."""
StoreFolder = Annotated[Path, typer.Argument(envvar="TRACKABLATE_STORE", help="the store's folder")]


@store_app.command(name="list")
def list_(path: StoreFolder = Path("store"), json: Json = False) -> None:
    """List the runs of a store, one line each: rows, state, tracked sequences, size and date.

    Example: python -m harness store list store
    """
    with exit_status():
        from trackablate.harness.cli.terminal import say_json, say_runs
        from trackablate.harness.keeping.inventory import inventory

        found = list(inventory(_opened(path)))
        say_json([asdict(run) for run in found]) if json else say_runs(found)


@store_app.command()
@answers
def migrate(path: StoreFolder = Path("store"), json: Json = False) -> dict[str, Any]:
    """Bring a store of an older version up to date, in place.

    Example: python -m harness store migrate store
    """
    from trackablate.ablations.catalogue import STUDIES
    from trackablate.harness.migration import migrate as bring_up_to_date
    from trackablate.harness.record import StudyRecord
    from trackablate.harness.store import Store
    from trackablate.trackers.variants import VARIANTS

    rows = [study.spec(row) for study in STUDIES.values() for row in study.rows]
    studies: list[StudyRecord] = []

    def record_studies(store: Store) -> None:
        studies.extend(_studies_of_old_store(store))
        for record in studies:
            store.set_study(record)

    found = bring_up_to_date(path, [*VARIANTS.values(), *rows], record_studies)
    return {
        "store": str(path),
        "runs": found.runs,
        "evaluations": found.evaluations,
        "studies": [f"{record.study} at {record.profile.name}" for record in studies],
        "sizes to be counted again": found.uncounted,
    }


@store_app.command()
def verify(path: StoreFolder = Path("store"), json: Json = False) -> None:
    """Check every file of a store, and name what is damaged with its remedy. The exit status is then 1.

    Example: python -m harness store verify store
    """
    with exit_status():
        from trackablate.harness.cli.terminal import say_document, say_json
        from trackablate.harness.keeping.verification import verify as look

        opened = _opened(path)
        found = look(opened)
        document = {"store": str(opened.root), "files": found.files, "damaged": found.damaged}
        say_json(document) if json else say_document(document)
        if found.damaged:
            raise typer.Exit(1)


@store_app.command()
def gc(
    path: StoreFolder = Path("store"),
    drop: Annotated[
        list[str] | None,
        typer.Option(
            help="a kind that goes: temporary, damaged, checkpoints, former (results), orders (to SLURM), logs, thumbnails,"
            " caches, weights or runs (of no study); repeat"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="remove it; otherwise it is only said")] = False,
    json: Json = False,
) -> None:
    """Say what can go from a store, why, and how many bytes that frees. With --drop and --yes it goes.

    Example: python -m harness store gc store --drop checkpoints --drop temporary --yes
    """
    with exit_status():
        from trackablate.harness.cli.terminal import say_clearing, say_json
        from trackablate.harness.keeping.clearing import KINDS, clear, clearing
        from trackablate.harness.running.executors.slurm_jobs import Jobs
        from trackablate.harness.running.executors.slurm_orders import left_behind

        opened, kinds = _opened(path), drop or list(KINDS)
        if unknown := sorted(set(kinds) - KINDS.keys()):
            raise BadInput(f"--drop {', '.join(unknown)}: there are {', '.join(KINDS)}")
        if yes and not drop:
            raise BadInput("--yes removes only what --drop names: add --drop KIND for each kind that shall go")
        if yes:
            writable(opened.root, "STORE", needed=0)
        orders, unknown_orders = left_behind(opened, Jobs()) if "orders" in kinds else ([], "")
        found = clearing(opened, kinds, orders)
        found.stays += [unknown_orders] if unknown_orders else []
        if yes:
            clear(opened, found)
        document = {
            "store": str(opened.root),
            "removed": yes,
            "kinds": {
                kind: {
                    "what": KINDS[kind],
                    "bytes": sum(one.bytes for one in items),
                    "paths": [str(one.path.relative_to(opened.root)) for one in items],
                }
                for kind, items in found.items.items()
            },
            "stays": found.stays,
        }
        say_json(document) if json else say_clearing(document, named=bool(drop))


Remote = Annotated[
    str, typer.Argument(help="a folder as fsspec names it: s3://BUCKET/FOLDER, sftp://HOST/FOLDER, PATH")
]


@store_app.command()
def push(path: StoreFolder, remote: Remote, json: Json = False) -> None:
    """Copy the finished runs of a store to a remote, what is not there yet. The exit status is 1 if something differs there.

    Example: python -m harness store push store s3://results/store
    """
    with exit_status():
        from trackablate.harness.keeping.copying import push as copy

        _say_copied(copy(_opened(path), remote), json)


@store_app.command()
def pull(path: StoreFolder, remote: Remote, json: Json = False) -> None:
    """Copy the runs of a remote into a store, what is not there yet. The exit status is 1 if something differs here.

    Example: python -m harness store pull store s3://results/store
    """
    with exit_status():
        from trackablate.harness.keeping.copying import pull as copy
        from trackablate.harness.keeping.remotes import RemoteEnd
        from trackablate.harness.store import Store

        writable(path, "STORE", needed=0)
        RemoteEnd(remote)  # no store is made for a remote that is none
        _say_copied(copy(Store(path), remote), json)


def _say_copied(copied: "Copied", json: bool) -> None:
    from trackablate.harness.cli.terminal import say_copied, say_json

    say_json(asdict(copied)) if json else say_copied(copied)
    if copied.conflicts or copied.refused:
        raise typer.Exit(1)


@store_app.callback(help=WHAT)
def _store_commands() -> None: ...


def _opened(path: Path) -> "Store":
    from trackablate.harness.store import Store

    opened = Store(path, make=False)
    if not opened.exists:
        raise BadInput(f"there is no store at {opened.root}: name the folder that `run` was given as --store")
    return opened


def _studies_of_old_store(store: "Store") -> Iterator["StudyRecord"]:
    """Yield the record of each built-in study and profile that a store has runs of, for a store without records."""
    from trackablate.ablations.catalogue import STUDIES
    from trackablate.ablations.plan import planned_rows
    from trackablate.harness.cli.launching import StudyRequest
    from trackablate.harness.profiles import load_profile, profile_names
    from trackablate.harness.record import StudyRecord

    present = {folder.path.name: folder for folder in store.runs()}
    for study in STUDIES.values():
        for profile in map(load_profile, profile_names()):
            rows = [row for row in planned_rows(study, profile, seeds=MOST_SEEDS) if row.role == "variant"]
            runs = [planned.run for row in rows for planned in row.runs if planned.run.name in present]
            if runs:
                seeds = max(study.seeds, *(run.seed + 1 for run in runs))
                asked = None if seeds == study.seeds else seeds
                tracked = Counter((e.protocol, e.data) for run in runs for e in present[run.name].evaluations())
                digests = {name: data for (name, data), _ in reversed(tracked.most_common())}
                if not digests:  # nothing is tracked yet: the study is recorded when it is started again
                    continue
                yield StudyRecord(
                    study=study.name,
                    profile=profile,
                    digests=digests,
                    seeds=seeds,
                    command=StudyRequest(study.name, profile.name, [], [], [], store.root, asked).command,
                    rows=tuple(planned_rows(study, profile, protocols=digests, seeds=seeds)),
                )
