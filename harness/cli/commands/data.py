"""The commands on data sets: verify one, make a synthetic one, pack one for training."""

from pathlib import Path
from typing import Annotated, Any

import typer

from trackablate.harness.cli.options import Data, Json, ProfileName, answers

SIZE = (160, 120)

data_app = typer.Typer(help="Verify data sets, make synthetic ones, or pack them for training.", no_args_is_help=True)


@data_app.command()
@answers
def check(
    entry: Annotated[
        str,
        typer.Argument(
            metavar="NAME[=PATH]", help="the data set, or its TOML file; its folder or archive if it is not configured"
        ),
    ],
    data: Data = None,
    deep: Annotated[bool, typer.Option("--deep", help="decode every frame, not only some of each video's")] = False,
    json: Json = False,
) -> dict[str, Any]:
    """Verify a data set.

    Example: python -m harness data check otb=/data/OTB100
    """
    from trackablate.harness.cli.data import check_data

    return check_data(entry, data, deep=deep)


@data_app.command()
@answers
def make(
    what: Annotated[str, typer.Argument(help="synthetic: videos of the embedded generator")],
    layout: Annotated[str, typer.Option("--layout", help="a benchmark's layout: lasot, got10k, trackingnet, ...")],
    out: Annotated[Path, typer.Option(help="a new folder, or an archive ending in .zip")],
    count: Annotated[int, typer.Option(help="videos of each part")] = 4,
    length: Annotated[int | None, typer.Option(help="frames of each video, if the benchmark does not fix it")] = None,
    size: Annotated[tuple[int, int], typer.Option(metavar="WIDTH HEIGHT", help="frame size in pixels")] = SIZE,
    seed: Annotated[int, typer.Option(help="the seed of the videos")] = 0,
    test_boxes: Annotated[
        bool, typer.Option("--test-boxes", help="write all boxes of test videos, even if the benchmark publishes one")
    ] = False,
    json: Json = False,
) -> dict[str, Any]:
    """Write synthetic videos in a benchmark's layout.

    Example: python -m harness data make synthetic --layout lasot --out made/lasot
    """
    from trackablate.harness.cli.data import make_data

    return make_data(what, layout, out, count=count, length=length, size=size, seed=seed, test_boxes=test_boxes)


@data_app.command()
@answers
def pack(
    entry: Annotated[
        str, typer.Argument(metavar="NAME[=PATH]", help="the data set; its folder or archive if it is not configured")
    ],
    out: Annotated[Path, typer.Option(help="a new folder, or one that an interrupted command began")],
    variant: Annotated[str, typer.Option("--for", help="the tracker whose recipe decides how much of a frame is kept")],
    profile: ProfileName = "paper",
    sets: Annotated[
        list[str] | None, typer.Option("--sets", help="these training sets instead of those of the recipe; repeat")
    ] = None,
    json: Json = False,
) -> dict[str, Any]:
    """Pack training sets as crops in a few files, for slow disks and few cores; then train with --data NAME=OUT.

    Example: python -m harness data pack got10k=/data/GOT-10k --out packed --for lorat-b-224
    """
    from trackablate.harness.cli.data import PackRequest, pack_data

    return pack_data(PackRequest(entry, out, variant, profile, sets or ()))
