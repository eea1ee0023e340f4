"""The commands on what a store holds: a site of it, its boxes on their way out, what a server says of them, its format."""

from pathlib import Path
from typing import Annotated

import typer

from trackablate.harness.cli.options import Json, RunName, StorePath, TestLayers, exit_status

store_app = typer.Typer(help="Bring an old store up to date.", no_args_is_help=True)


def site(
    store: StorePath = Path("store"),
    out: Annotated[Path, typer.Option(help="the folder to write")] = Path("site"),
    study: Annotated[
        list[str] | None, typer.Option("--study", help="these studies alone, by name or TOML file; repeat")
    ] = None,
    profile: Annotated[
        list[str] | None, typer.Option("--profile", help="at these profiles alone, by name or TOML file; repeat")
    ] = None,
    json: Json = False,
) -> None:
    """Write a page for every study in the store, and an index of all.

    Example: python -m harness site --out site
    """
    with exit_status():
        from trackablate.harness.cli.terminal import say_document, say_json

        pages = [str(page) for page in _pages(store, out, study or [], profile or [])]
        found = {"index": pages[0], "pages": pages[1:]}
        say_json(found) if json else say_document(found)


def _pages(store: Path, out: Path, studies: list[str], profiles: list[str]) -> list[Path]:
    from trackablate.ablations.catalogue import STUDIES, named_study
    from trackablate.harness.errors import BadInput
    from trackablate.harness.profiles import load_profile
    from trackablate.harness.store import Store
    from trackablate.reports.pages.site import write_site

    wanted = [named_study(name) for name in studies or STUDIES]
    sizes = [load_profile(name).name for name in profiles]
    if not (store / "store.json").exists():
        raise BadInput(f"there is no store at {store}: name it with --store, or `python -m harness run table3` first")
    return write_site(Store(store, make=False), out, wanted, sizes)


def submit(
    run: RunName,
    protocol: Annotated[str, typer.Option("--protocol", help="got10k or trackingnet")],
    store: StorePath = Path("store"),
    out: Annotated[Path | None, typer.Option(help="the archive to write; default: submission/PROTOCOL-RUN.zip")] = None,
    test_layers: TestLayers = None,
    json: Json = False,
) -> None:
    """Make the evaluation server's archive of a stored run, checked.

    Example: python -m harness submit ncc --protocol got10k
    """
    with exit_status():
        from trackablate.harness.cli.results import submit_run
        from trackablate.harness.cli.terminal import say_document, say_json

        found = submit_run(run, protocol, store, out, test_layers)
        say_json(found) if json else say_document(found)


def returned(
    run: RunName,
    scores: Annotated[list[str], typer.Argument(metavar="METRIC=PERCENT...", help="what the server says, in percent")],
    protocol: Annotated[str, typer.Option("--protocol", help="got10k or trackingnet")],
    store: StorePath = Path("store"),
    test_layers: TestLayers = None,
    json: Json = False,
) -> None:
    """Keep what an evaluation server returned for a submitted run, for the reports.

    Example: python -m harness returned ncc ao=31.2 sr50=35.0 sr75=10.1 --protocol got10k
    """
    with exit_status():
        from trackablate.harness.cli.results import enter_returned
        from trackablate.harness.cli.terminal import say_document, say_json

        found = enter_returned(run, protocol, scores, store, test_layers)
        say_json(found) if json else say_document(found)


def export(
    run: RunName,
    protocol: Annotated[str, typer.Option("--protocol", help="one that the run was evaluated on")],
    layout: Annotated[
        str,
        typer.Option(
            "--layout",
            help="pytracking[-comma], ostrack, pysot[-got10k], lasot-toolkit, got10k[-ope], lorat, otb, trackingnet",
        ),
    ],
    out: Annotated[Path, typer.Option(help="the folder to write")],
    truncate: Annotated[
        bool, typer.Option("--truncate", help="integers, as pytracking's own writer leaves them")
    ] = False,
    store: StorePath = Path("store"),
    json: Json = False,
) -> None:
    """Write a stored run's boxes as raw result files.

    Example: python -m harness export ncc --protocol otb --layout pytracking --out results
    """
    with exit_status():
        from trackablate.harness.cli.results import export_run
        from trackablate.harness.cli.terminal import say_document, say_json

        found = export_run(run, protocol, layout, store, out, truncate=truncate)
        say_json(found) if json else say_document(found)


@store_app.command()
def migrate(path: Annotated[Path, typer.Argument(help="the store's folder")], json: Json = False) -> None:
    """Bring a store of an older version up to date, in place.

    Example: python -m harness store migrate store
    """
    with exit_status():
        from trackablate.ablations.catalogue import STUDIES
        from trackablate.harness.cli.session import studies_of_old_store
        from trackablate.harness.cli.terminal import say_document, say_json
        from trackablate.harness.migration import migrate as bring_up_to_date
        from trackablate.harness.record import StudyRecord
        from trackablate.harness.store import Store
        from trackablate.trackers.variants import VARIANTS

        rows = [study.spec(row) for study in STUDIES.values() for row in study.rows]
        studies: list[StudyRecord] = []

        def record_studies(store: Store) -> None:
            studies.extend(studies_of_old_store(store))
            for record in studies:
                store.set_study(record)

        found = bring_up_to_date(path, [*VARIANTS.values(), *rows], record_studies)
        document = {
            "store": str(path),
            "runs": found.runs,
            "evaluations": found.evaluations,
            "studies": [f"{record.study} at {record.profile.name}" for record in studies],
            "sizes to be counted again": found.uncounted,
        }
        say_json(document) if json else say_document(document)


@store_app.callback()
def _store_commands() -> None:
    """Bring an old store up to date."""
