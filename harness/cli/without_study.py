"""The commands that need no study: `cost`, `pretrain`, `doctor`, `data check` and `data make`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trackablate.harness.cli.options import Data, Device, Json, StorePath, answers, exit_status, writable
from trackablate.harness.errors import BadInput

if TYPE_CHECKING:
    from trackablate.trackers.spec import TrackerSpec

SIZE = (160, 120)

data_app = typer.Typer(help="Verify data sets, or make synthetic ones.", no_args_is_help=True)


@answers
def cost(
    variant: Annotated[
        str, typer.Argument(help="a tracker of `list trackers`, an imported run, or an outside tracker")
    ],
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda: speed and memory there as well")] = "",
    store: StorePath = Path("store"),
    json: Json = False,
) -> dict[str, Any]:
    """Count the parameters and MACs of a tracker at its own size, on any machine.

    Example: python -m harness cost ostrack-256
    """
    from trackablate.trackers.outside.named import outside_tracker
    from trackablate.trackers.variants import VARIANTS

    if outside := outside_tracker(variant):
        if not device:
            raise BadInput(f"the cost of {variant} can only be measured: give --device cpu or cuda")
        from trackablate.harness.costing.device_cost import cost_of_outside

        return cost_of_outside(outside, device)
    spec = _imported(variant, store) or VARIANTS[variant]
    from trackablate.harness.costing.device_cost import cost_on
    from trackablate.harness.costing.macs import cost_document

    return cost_on(spec, device) if device else cost_document(spec)


def _imported(name: str, store: Path) -> "TrackerSpec | None":
    """Return what an imported run of that name in the store is, None if there is none."""
    from trackablate.harness.store import Store
    from trackablate.trackers.spec import TrackerSpec, replace

    runs = Store(store, make=False).runs() if store.is_dir() else ()
    for run in (folder.run for folder in runs):
        if run.imported and run.slug == name and isinstance(run.tracker, TrackerSpec):
            return replace(run.tracker, name=name)
    return None


def pretrain(
    name: Annotated[str, typer.Argument(help="the recipe, a TOML file in harness/training")] = "mini",
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="the safetensors file to write; default: the shipped one")] = None,
    store: StorePath = Path("store"),
) -> None:
    """Make the pretrained backbone of the embedded profiles.

    Example: python -m harness pretrain mini --out mine.safetensors
    """
    with exit_status():
        import os

        from trackablate.harness.running.threads import quiet_threads

        quiet_threads(os.cpu_count() or 1)
        from trackablate.harness.cli.terminal import step_bar
        from trackablate.harness.costing.devices import resolve_device
        from trackablate.harness.training.pretraining import load_pretraining
        from trackablate.harness.training.pretraining import pretrain as make
        from trackablate.trackers.encoder.pretrained import FILES

        asked = load_pretraining(name)
        place, folder = out or FILES[asked.backbone], store / "pretraining" / name
        writable(place, file=True)
        writable(store, "--store")
        with step_bar(f"pretraining {name}", asked.recipe.steps) as done:
            make(asked, place, folder, resolve_device(device), done)


def doctor(store: StorePath = Path("store"), json: Json = False) -> None:
    """Say what this machine can run, and how to mend what it cannot.

    Example: python -m harness doctor
    """
    with exit_status():
        from trackablate.harness.cli.doctor import examine
        from trackablate.harness.cli.terminal import say_checks, say_json

        checks = examine(store)
        say_json([check.model_dump() for check in checks]) if json else say_checks(checks)


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
    from trackablate.harness.cli.pieces import check_data

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
    from trackablate.harness.cli.pieces import make_data

    return make_data(what, layout, out, count=count, length=length, size=size, seed=seed, test_boxes=test_boxes)
