"""The commands on a whole store: `site` and `store migrate`."""

from pathlib import Path
from typing import Annotated

import typer

from trackablate.harness.cli.exits import exit_status
from trackablate.harness.cli.options import Json, StorePath

store_app = typer.Typer(help="Stores: bring an old one up to date.", no_args_is_help=True)


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
    """A page for every study in the store, and an index of all. Example: python -m harness site --out site"""
    with exit_status():
        from trackablate.harness.cli.terminal import say_document, say_json

        pages = [str(page) for page in _pages(store, out, study or [], profile or [])]
        found = {"index": pages[0], "pages": pages[1:]}
        say_json(found) if json else say_document(found)


def _pages(store: Path, out: Path, studies: list[str], profiles: list[str]) -> list[Path]:
    from trackablate.ablations.catalogue import STUDIES, named_study
    from trackablate.harness.errors import BadInput
    from trackablate.harness.profiles import load_profile, profile_names
    from trackablate.harness.store import Store
    from trackablate.reports.pages.site import write_site

    wanted = [named_study(name) for name in studies or STUDIES]
    sizes = [load_profile(name) for name in profiles or profile_names()]
    if not (store / "store.json").exists():
        raise BadInput(f"there is no store at {store}: name it with --store, or `python -m harness run table3` first")
    return write_site(Store(store, make=False), out, wanted, sizes)


@store_app.command()
def migrate(path: Annotated[Path, typer.Argument(help="the store's folder")], json: Json = False) -> None:
    """Bring a store of an older version up to date, in place. Example: python -m harness store migrate store"""
    with exit_status():
        from trackablate.ablations.catalogue import STUDIES
        from trackablate.harness.cli.terminal import say_document, say_json
        from trackablate.harness.migration import migrate as bring_up_to_date
        from trackablate.trackers.variants import VARIANTS

        rows = [study.spec(row) for study in STUDIES.values() for row in study.rows]
        found = bring_up_to_date(path, [*VARIANTS.values(), *rows])
        document = {
            "store": str(path),
            "runs": found.runs,
            "evaluations": found.evaluations,
            "sizes to be counted again": found.uncounted,
        }
        say_json(document) if json else say_document(document)


@store_app.callback()
def _store_commands() -> None:
    """Stores: bring an old one up to date."""
