"""The commands that tell and need no store: what there is, what it costs, what this machine can run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trackablate.harness.cli.options import (
    Compile,
    Json,
    Precisions,
    StorePath,
    TrackingPrecision,
    answers,
    exit_status,
)
from trackablate.harness.errors import BadInput

if TYPE_CHECKING:
    from trackablate.trackers.spec import TrackerSpec


def list_(
    what: Annotated[
        str,
        typer.Argument(help="studies, trackers, outside (trackers), protocols, dialects, datasets or profiles"),
    ] = "",
    json: Json = False,
) -> None:
    """List what there is, one line each.

    Example: python -m harness list studies
    """
    with exit_status():
        from trackablate.harness.cli.listing import listing
        from trackablate.harness.cli.terminal import say, say_json

        found = listing(what)
        say_json(found) if json else say(found)


@answers
def show(
    name: Annotated[str, typer.Argument(help="a study, tracker, protocol or dialect")], json: Json = False
) -> dict[str, Any]:
    """Show one study, tracker, protocol or dialect in full.

    Example: python -m harness show table3
    """
    from trackablate.harness.cli.listing import details

    return details(name)


@answers
def cost(
    variant: Annotated[
        str, typer.Argument(help="a tracker of `list trackers`, an imported run, or an outside tracker")
    ],
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda: speed and memory there as well")] = "",
    precision: TrackingPrecision = Precisions.fp32,
    compile_: Compile = False,
    store: StorePath = Path("store"),
    json: Json = False,
) -> dict[str, Any]:
    """Count the parameters and MACs of a tracker at its own size, on any machine.

    Example: python -m harness cost ostrack-256
    """
    from trackablate.trackers.outside.named import outside_tracker
    from trackablate.trackers.variants import VARIANTS

    asked = compile_ or precision != Precisions.fp32
    if outside := outside_tracker(variant):
        if asked:
            raise BadInput(f"--precision and --compile: {variant} is no network of ours; leave them out")
        if not device:
            raise BadInput(f"the cost of {variant} can only be measured: give --device cpu or cuda")
        from trackablate.harness.tracking.device_cost import cost_of_outside

        return cost_of_outside(outside, device)
    spec = _imported(variant, store) or VARIANTS[variant]
    from trackablate.harness.costing.macs import cost_document
    from trackablate.harness.tracking.device_cost import cost_on

    if device:
        return cost_on(spec, device, precision.value, compile=compile_)
    if asked:
        raise BadInput("--precision and --compile change what is measured: add --device cpu or cuda")
    return cost_document(spec)


def _imported(name: str, store: Path) -> "TrackerSpec | None":
    """Return what an imported run of that name in the store is, None if there is none."""
    from trackablate.harness.store import Store
    from trackablate.trackers.spec import TrackerSpec, replace

    runs = Store(store, make=False).runs() if store.is_dir() else ()
    for run in (folder.run for folder in runs):
        if run.imported and run.slug == name and isinstance(run.tracker, TrackerSpec):
            return replace(run.tracker, name=name)
    return None


def doctor(store: StorePath = Path("store"), json: Json = False) -> None:
    """Say what this machine can run, and how to mend what it cannot.

    Example: python -m harness doctor
    """
    with exit_status():
        from trackablate.harness.cli.doctor import examine
        from trackablate.harness.cli.terminal import say_checks, say_json

        checks = examine(store)
        say_json([check.model_dump() for check in checks]) if json else say_checks(checks)
