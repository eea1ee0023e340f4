"""The commands for boxes on their way out, and for what an evaluation server says of them."""

from pathlib import Path
from typing import Annotated

import typer

from trackablate.harness.cli.exits import exit_status
from trackablate.harness.cli.options import Json, RunName, StorePath, TestLayers


def submit(
    run: RunName,
    protocol: Annotated[str, typer.Option("--protocol", help="got10k or trackingnet")],
    store: StorePath = Path("store"),
    out: Annotated[Path | None, typer.Option(help="the archive to write; default: submission/PROTOCOL-RUN.zip")] = None,
    test_layers: TestLayers = None,
    json: Json = False,
) -> None:
    """The evaluation server's archive of a stored run, checked. Example: python -m harness submit ncc --protocol got10k"""
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
    """Keep what an evaluation server returned for a submitted run, for the reports. Example: python -m harness returned ncc
    ao=31.2 sr50=35.0 sr75=10.1 --protocol got10k
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
    """A stored run's boxes as raw result files. Example: python -m harness export ncc --protocol otb --layout pytracking
    --out results
    """
    with exit_status():
        from trackablate.harness.cli.results import export_run
        from trackablate.harness.cli.terminal import say_document, say_json

        found = export_run(run, protocol, layout, store, out, truncate=truncate)
        say_json(found) if json else say_document(found)
