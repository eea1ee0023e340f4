"""The commands that carry results in and out: raw results scored, servers' archives and scores, a site of all."""

from pathlib import Path
from typing import Annotated, Any

import typer

from trackablate.harness.cli.options import (
    Data,
    Full,
    Json,
    RunName,
    StorePath,
    TestLayers,
    Truncate,
    Version,
    answers,
    can_report,
    exit_status,
    writable,
)
from trackablate.harness.errors import BadInput


def score(
    results: Annotated[list[str], typer.Argument(metavar="NAME=PATH...", help="raw result files: a folder or a zip")],
    protocol: Annotated[str, typer.Option("--protocol", help="as `list protocols` shows them")],
    annotations: Annotated[
        Path | None, typer.Option(help="the ground truth: a folder or a zip, with frames or without")
    ] = None,
    dialect: Annotated[
        list[str] | None, typer.Option("--dialect", help="whose rules, as `list dialects` shows them; repeat, or `all`")
    ] = None,
    attributes: Annotated[bool, typer.Option("--attributes", help="also by attribute")] = False,
    compare: Annotated[
        tuple[str, str] | None, typer.Option("--compare", metavar="A B", help="two of the trackers, paired by sequence")
    ] = None,
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="score what is whole of an incomplete tracker, and say so")
    ] = False,
    truncate: Truncate = False,
    repetition: Annotated[
        int | None, typer.Option(help="one of GOT-10k's repeated runs; default: the mean over all of them")
    ] = None,
    data: Data = None,
    store: StorePath = Path("store"),
    out: Annotated[Path | None, typer.Option(help="folder for a page, tables and figures")] = None,
    full: Full = False,
    json: Json = False,
) -> None:
    """Score anyone's raw result files by anyone's rules.

    Example: python -m harness score MyTracker=results/lasot --protocol lasot --annotations /data/LaSOT --dialect all
    """
    with exit_status():
        from trackablate.harness.cli.scoring import ScoreOptions, incomplete, say_scores, scored_results

        if out:
            can_report(out)
        asked = ScoreOptions(
            entries=results,
            protocol=protocol,
            annotations=annotations,
            data=data or [],
            dialects=dialect or [],
            store=store,
            truncate=truncate,
            allow_incomplete=allow_incomplete,
            repetition=repetition,
            attributes=attributes,
            compare=compare,
            out=out,
            full=full,
            as_json=json,
        )
        found = scored_results(asked)
        say_scores(found, asked)
        if refused := incomplete(found):
            raise BadInput(refused)


@answers
def submit(
    run: RunName,
    protocol: Annotated[str, typer.Option("--protocol", help="got10k or trackingnet")],
    data: Version = None,
    store: StorePath = Path("store"),
    out: Annotated[Path | None, typer.Option(help="the archive to write; default: submission/PROTOCOL-RUN.zip")] = None,
    test_layers: TestLayers = None,
    truncate: Truncate = False,
    json: Json = False,
) -> dict[str, Any]:
    """Make the evaluation server's archive of a stored run, checked.

    Example: python -m harness submit ncc --protocol got10k
    """
    from trackablate.harness.cli.results import Wanted, submit_run

    writable(out or Path("submission", "x.zip"), file=True)
    return submit_run(Wanted(run, protocol, store, test_layers, tuple(data or ())), out, truncate=truncate)


@answers
def returned(
    run: RunName,
    scores: Annotated[list[str], typer.Argument(metavar="METRIC=PERCENT...", help="what the server says, in percent")],
    protocol: Annotated[str, typer.Option("--protocol", help="got10k or trackingnet")],
    data: Version = None,
    store: StorePath = Path("store"),
    test_layers: TestLayers = None,
    json: Json = False,
) -> dict[str, Any]:
    """Keep what an evaluation server returned for a submitted run, for the reports.

    Example: python -m harness returned ncc ao=31.2 sr50=35.0 sr75=10.1 --protocol got10k
    """
    from trackablate.harness.cli.results import Wanted, enter_returned

    return enter_returned(Wanted(run, protocol, store, test_layers, tuple(data or ())), scores)


@answers
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
    truncate: Truncate = False,
    data: Version = None,
    store: StorePath = Path("store"),
    json: Json = False,
) -> dict[str, Any]:
    """Write a stored run's boxes as raw result files.

    Example: python -m harness export ncc --protocol otb --layout pytracking --out results
    """
    from trackablate.harness.cli.results import Wanted, export_run

    writable(out)
    return export_run(Wanted(run, protocol, store, data=tuple(data or ())), layout, out, truncate=truncate)


@answers
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
) -> dict[str, Any]:
    """Write a page for every study in the store, and an index of all.

    Example: python -m harness site --out site
    """
    from trackablate.ablations.catalogue import STUDIES, named_study
    from trackablate.harness.profiles import load_profile
    from trackablate.harness.store import Store

    wanted = [named_study(name) for name in study or STUDIES]
    sizes = [load_profile(name).name for name in profile or []]
    opened = Store(store, make=False)
    if not opened.exists:
        raise BadInput(
            f"there is no store at {opened.root}: name it with --store, or `python -m harness run table3` first"
        )
    can_report(out)
    from trackablate.reports.pages.site import write_site

    index, *pages = map(str, write_site(opened, out, wanted, sizes))
    return {"index": index, "pages": pages}
