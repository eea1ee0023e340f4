"""The commands that tell and need no store: what there is, what it costs, what this machine can run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trackablate.harness.cli.options import (
    Compile,
    Json,
    Precisions,
    StorePath,
    TrackingPrecision,
    exit_status,
)
from trackablate.harness.errors import BadInput

if TYPE_CHECKING:
    from trackablate.harness.spec import Precision
    from trackablate.trackers.spec import AnyTracker


def list_(
    what: Annotated[
        str,
        typer.Argument(
            help="studies, trackers, outside (trackers), protocols, dialects, datasets or profiles, one line each"
        ),
    ] = "",
    json: Json = False,
) -> None:
    """List what there is: the studies, and the names of everything else. With a kind, one line each.

    Example: python -m harness list studies
    """
    with exit_status():
        from trackablate.harness.cli.listing import in_short, listing
        from trackablate.harness.cli.terminal import say, say_json, say_wrapped

        found = listing(what)
        say_json(found) if json else say(found) if what else say_wrapped(in_short(found))


def show(
    name: Annotated[str, typer.Argument(help="a study, tracker, protocol or dialect, or the TOML file of one")],
    json: Json = False,
) -> None:
    """Show one study, tracker, protocol or dialect in full.

    Example: python -m harness show table3
    """
    with exit_status():
        from trackablate.harness.cli.listing import details, said_once
        from trackablate.harness.cli.terminal import say_document, say_json

        say_json(details(name)) if json else say_document(said_once(details(name)))


def cost(
    variant: Annotated[
        str,
        typer.Argument(
            help="a tracker of `list trackers`, a floor (ncc, static), an outside tracker, a stored run or a row"
        ),
    ],
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda: speed and memory there as well")] = "",
    precision: TrackingPrecision = Precisions.fp32,
    compile_: Compile = False,
    store: StorePath = Path("store"),
    json: Json = False,
) -> None:
    """Count the parameters and MACs of a tracker at its own size, on any machine.

    Example: python -m harness cost ostrack-256
    """
    with exit_status():
        from trackablate.harness.cli.listing import cost_in_words
        from trackablate.harness.cli.terminal import say_document, say_json
        from trackablate.harness.progress.bars import doing

        with doing(variant, "loading torch, measuring" if device else "loading torch, counting"):
            found = _cost(variant, device, precision.value, store, compile=compile_)
        say_json(found) if json else say_document(cost_in_words(found))


def _cost(variant: str, device: str, precision: "Precision", store: Path, *, compile: bool) -> dict[str, Any]:
    from trackablate.trackers.spec import TrackerSpec

    spec, asked = _tracker(variant, store), compile or precision != Precisions.fp32
    if not isinstance(spec, TrackerSpec):
        if asked:
            raise BadInput(f"--precision and --compile: {variant} is no network of ours; leave them out")
        if not device:
            raise BadInput(
                f"{variant} has no network of ours whose parameters could be counted, and its speed has to be measured: give"
                " --device cpu or cuda"
            )
        from trackablate.harness.tracking.device_cost import cost_of_other

        return cost_of_other(spec, device)
    from trackablate.harness.costing.macs import cost_document
    from trackablate.harness.tracking.device_cost import cost_on

    if device:
        return cost_on(spec, device, precision, compile=compile)
    if asked:
        raise BadInput("--precision and --compile change what is measured: add --device cpu or cuda")
    return cost_document(spec)


def _tracker(name: str, store: Path) -> "AnyTracker":
    """Return the tracker that a name means: an outside one, an imported run, a variant, a floor, or a stored run or row."""
    from trackablate.datasets.registry import UnknownName, unknown
    from trackablate.harness.cli.study_data import find_run
    from trackablate.harness.store import Store
    from trackablate.trackers.floors import FLOORS
    from trackablate.trackers.outside.named import OUTSIDE, outside_tracker
    from trackablate.trackers.spec import FloorSpec, TrackerSpec, replace
    from trackablate.trackers.variants import VARIANTS

    kept = Store(store, make=False)
    folders = list(kept.runs()) if kept.exists else []
    imported = any(folder.run.imported and folder.run.slug == name for folder in folders)
    if found := outside_tracker(name) or (None if imported else VARIANTS.get(name)):
        return found
    if name in FLOORS:
        return FloorSpec.model_validate({"kind": name})
    try:
        run = find_run(kept, name).run if folders else None
    except UnknownName:
        run = None
    if run is None:
        stored = [row.name for record in kept.studies() for row in record.rows] if folders else []
        known = dict.fromkeys((*VARIANTS, *OUTSIDE, *FLOORS, *stored, *(folder.run.name for folder in folders)))
        hint = "; `list trackers`, `list outside` and `store list` name all"
        raise UnknownName(unknown("tracker, run or row", name, known) + hint)
    return replace(run.tracker, name=name) if isinstance(run.tracker, TrackerSpec) else run.tracker


def doctor(store: StorePath = Path("store"), json: Json = False) -> None:
    """Say what this machine can run, and how to mend what it cannot.

    Example: python -m harness doctor
    """
    with exit_status():
        from trackablate.harness.cli.doctor import examine
        from trackablate.harness.cli.terminal import say_checks, say_doing, say_json

        checks = say_checks(examine(store, say_doing), sys.stderr if json else sys.stdout)
        if json:
            say_json([check.model_dump() for check in checks])
