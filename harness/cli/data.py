"""The commands `data check` and `data make`."""

from pathlib import Path
from typing import Annotated

import typer

from trackablate.harness.cli.options import Json, exit_status

data_app = typer.Typer(help="Verify data sets, make synthetic ones.", no_args_is_help=True)


@data_app.command()
def check(
    entry: Annotated[str, typer.Argument(metavar="NAME=PATH", help="the data set, and its folder or archive")],
    deep: Annotated[bool, typer.Option("--deep", help="open every frame's file, not only some of each video")] = False,
    json: Json = False,
) -> None:
    """Verify a data set without running anything.

    Example: python -m harness data check otb=/data/OTB100
    """
    with exit_status():
        from trackablate.harness.cli.pieces import check_data
        from trackablate.harness.cli.terminal import say_document, say_json

        found = check_data(entry, deep=deep)
        say_json(found) if json else say_document(found)


@data_app.command()
def make(
    what: Annotated[str, typer.Argument(help="synthetic: the embedded generator's videos")],
    layout: Annotated[str, typer.Option("--layout", help="of which benchmark: lasot, got10k, trackingnet, ...")],
    out: Annotated[Path, typer.Option(help="a new folder, or an archive ending in .zip")],
    count: Annotated[int, typer.Option(help="videos of each part")] = 4,
    length: Annotated[
        int | None, typer.Option(help="frames of each video, where the benchmark does not fix it")
    ] = None,
    size: Annotated[tuple[int, int], typer.Option(metavar="WIDTH HEIGHT", help="of the frames, in pixels")] = (
        160,
        120,
    ),
    seed: Annotated[int, typer.Option(help="another seed, other videos")] = 0,
    test_boxes: Annotated[
        bool, typer.Option("--test-boxes", help="all boxes of test videos, also where the benchmark publishes one")
    ] = False,
    json: Json = False,
) -> None:
    """Write synthetic videos in a benchmark's own layout, to try what needs its files.

    Example: python -m harness data make synthetic --layout lasot --out made/lasot
    """
    with exit_status():
        from trackablate.harness.cli.pieces import make_data
        from trackablate.harness.cli.terminal import say_document, say_json

        found = make_data(what, layout, out, count=count, length=length, size=size, seed=seed, test_boxes=test_boxes)
        say_json(found) if json else say_document(found)


@data_app.callback()
def _data_commands() -> None:
    """Verify data sets, make synthetic ones."""
