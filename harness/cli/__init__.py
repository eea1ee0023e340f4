"""The command line: one thin function per command, heavy imports inside, so that `--help` is instant.

This package and `__main__` are the composition root: they may import any package, and nothing else imports them.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from trackablate.harness.checkout import hide_checkout
from trackablate.harness.cli.data import data_app
from trackablate.harness.cli.options import (
    Data,
    Device,
    Full,
    Json,
    Only,
    ProfileName,
    Protocols,
    Results,
    RunName,
    Seeds,
    StorePath,
    StudyName,
    exit_status,
)
from trackablate.harness.cli.stores import export, returned, site, store_app, submit
from trackablate.harness.errors import RunFailed

app = typer.Typer(
    name="harness",
    help="Benchmark and ablation studies for single-object visual trackers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")
for _command in (site, submit, returned, export):
    app.command()(_command)


@app.callback()
def _with_plugins(
    plugin: Annotated[
        list[Path] | None, typer.Option("--plugin", help="a Python file that adds trackers; anywhere, and repeat")
    ] = None,
) -> None:
    """Benchmark and ablation studies for single-object visual trackers."""
    with exit_status():
        from trackablate.trackers.plugins import load_plugins

        load_plugins(plugin or [])


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(help="studies, trackers, protocols, dialects, datasets or profiles; all of them if omitted")
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


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="a study, tracker, protocol or dialect")], json: Json = False
) -> None:
    """Show one study, tracker, protocol or dialect in full.

    Example: python -m harness show table3
    """
    with exit_status():
        from trackablate.harness.cli.listing import details
        from trackablate.harness.cli.terminal import say_document, say_json

        found = details(name)
        say_json(found) if json else say_document(found)


@app.command()
def plan(
    study: StudyName,
    profile: ProfileName = "mini",
    protocol: Protocols = None,
    data: Data = None,
    only: Only = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="measure a few steps on this device first, and keep that in the store")
    ] = False,
    device: Device = "auto",
    device_peak: Annotated[str, typer.Option(help="another device, by its published peak: RTX 3090, H100, ...")] = "",
    gpus: Annotated[int, typer.Option(help="how many of the device of --device-peak", min=1)] = 1,
    budget: Annotated[str, typer.Option(help="what may be spent: 20gpuh, 90min, 2h; says which rows fit")] = "",
    seeds: Seeds = None,
    store: StorePath = Path("store"),
    json: Json = False,
) -> None:
    """Say which runs of a study are done, what remains, and what that takes.

    Example: python -m harness plan table3 --calibrate
    """
    with exit_status():
        from trackablate.harness.cli.plan import PlanOptions, plan_document, say_plan
        from trackablate.harness.cli.session import StudyRequest, open_session
        from trackablate.harness.cli.terminal import say_json

        request = StudyRequest(study, profile, protocol or [], data or [], only or [], store, seeds, reads_only=True)
        session = open_session(request)
        planned = plan_document(session, PlanOptions(calibrate, device, device_peak, gpus, budget))
        say_json(planned) if json else say_plan(planned)
        session.refuse_absent_data()


@app.command()
def run(
    study: StudyName,
    profile: ProfileName = "mini",
    protocol: Protocols = None,
    data: Data = None,
    only: Only = None,
    seeds: Seeds = None,
    results: Results = None,
    device: Device = "auto",
    store: StorePath = Path("store"),
    out: Annotated[Path | None, typer.Option(help="folder of the report; default: report/STUDY-PROFILE")] = None,
    full: Full = False,
    json: Json = False,
) -> None:
    """Train and evaluate what is missing of a study, and report it.

    Example: python -m harness run table3
    """
    with exit_status():
        from trackablate.harness.cli.plan import forecast
        from trackablate.harness.cli.session import StudyRequest, open_session
        from trackablate.harness.running.executors import LocalExecutor
        from trackablate.harness.running.runner import run as run_job

        names, added = (protocol or [], data or [], only or []), tuple(results or ())
        request = StudyRequest(study, profile, *names, store, seeds, added)
        session = open_session(request)
        session.store.set_study(session.study_record())
        try:
            with forecast(session.job, session.store, study=True) as observer:
                run_job(session.job, session.store, LocalExecutor(session.store.logs), device, observer)
        except RunFailed:
            session.report(out, full=full, as_json=json)
            raise
        session.report(out, full=full, as_json=json)


@app.command()
def report(
    study: StudyName,
    profile: ProfileName = "mini",
    protocol: Protocols = None,
    data: Data = None,
    only: Only = None,
    seeds: Seeds = None,
    results: Results = None,
    store: StorePath = Path("store"),
    format: Annotated[str, typer.Option(help="comma-separated: html, latex, markdown, csv, json")] = "",
    out: Annotated[Path | None, typer.Option(help="folder of the report; default: report/STUDY-PROFILE")] = None,
    full: Full = False,
    json: Json = False,
) -> None:
    """Render a study from the store alone.

    Example: python -m harness report table3 --format html,latex
    """
    with exit_status():
        from trackablate.harness.cli.session import StudyRequest, chosen_formats, open_session

        chosen_formats(format)
        names, added = (protocol or [], data or [], only or []), tuple(results or ())
        request = StudyRequest(study, profile, *names, store, seeds, added, reads_only=True, must_exist=True)
        open_session(request).report(out, formats=format, full=full, as_json=json)


@app.command()
def train(
    variant: Annotated[str, typer.Argument(help="a tracker, as `list trackers` shows them")],
    profile: ProfileName = "mini",
    data: Data = None,
    device: Device = "auto",
    store: StorePath = Path("store"),
    json: Json = False,
) -> None:
    """Train one variant at a profile's size.

    Example: python -m harness train ostrack-256-ce
    """
    with exit_status():
        from trackablate.harness.cli.pieces import train_variant
        from trackablate.harness.cli.terminal import say_document, say_json

        found = train_variant(variant, profile, data or [], store, device)
        say_json(found) if json else say_document(found)


@app.command()
def evaluate(
    run: RunName,
    protocol: Annotated[str, typer.Option("--protocol", help="as `list protocols` shows them")],
    data: Data = None,
    device: Device = "auto",
    store: StorePath = Path("store"),
    json: Json = False,
) -> None:
    """Evaluate a stored run on one protocol.

    Example: python -m harness evaluate ncc --protocol synthetic
    """
    with exit_status():
        from trackablate.harness.cli.pieces import evaluate_run
        from trackablate.harness.cli.terminal import say_document, say_json

        found = evaluate_run(run, protocol, data or [], store, device)
        say_json(found) if json else say_document(found)


@app.command()
def track(
    run: RunName,
    video: Annotated[Path, typer.Argument(help="a folder of images, or a video file")],
    init: Annotated[str, typer.Option("--init", help="the target in the first frame: x,y,w,h in pixels")],
    device: Device = "auto",
    store: StorePath = Path("store"),
    json: Json = False,
) -> None:
    """Track one target with a stored run; a box x,y,w,h per line.

    Example: python -m harness track ncc clip.mp4 --init 50,46,25,62
    """
    with exit_status():
        from trackablate.harness.cli.pieces import track_video
        from trackablate.harness.cli.terminal import say_boxes, say_json

        boxes = track_video(run, video, init, store, device)
        say_json({"boxes": boxes}) if json else say_boxes(boxes)


@app.command()
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
    truncate: Annotated[
        bool, typer.Option("--truncate", help="cut predicted numbers to integers first, as pytracking's files are")
    ] = False,
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
        from trackablate.harness.cli.scoring import ScoreOptions, incomplete, output_folder, say_scores, scored_results
        from trackablate.harness.errors import BadInput

        if out:
            output_folder(out)
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


@app.command()
def cost(
    variant: Annotated[str, typer.Argument(help="a tracker, as `list trackers` shows them")],
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda: speed and memory there as well")] = "",
    json: Json = False,
) -> None:
    """Count the parameters and MACs of a tracker at its own size, on any machine.

    Example: python -m harness cost ostrack-256
    """
    with exit_status():
        from trackablate.trackers.variants import VARIANTS

        spec = VARIANTS[variant]
        from trackablate.harness.cli.terminal import say_document, say_json
        from trackablate.harness.costing.device_cost import cost_on
        from trackablate.harness.costing.macs import cost_document

        found = cost_on(spec, device) if device else cost_document(spec)
        say_json(found) if json else say_document(found)


@app.command()
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
        with step_bar(f"pretraining {name}", asked.recipe.steps) as done:
            make(asked, place, folder, resolve_device(device), done)


@app.command()
def doctor(store: StorePath = Path("store"), json: Json = False) -> None:
    """Say what this machine can run, and how to mend what it cannot.

    Example: python -m harness doctor
    """
    with exit_status():
        from trackablate.harness.cli.doctor import examine
        from trackablate.harness.cli.terminal import say_checks, say_json

        checks = examine(store)
        say_json([check.model_dump() for check in checks]) if json else say_checks(checks)


def plugins_first(arguments: list[str]) -> list[str]:
    """Return the arguments with every `--plugin FILE` before the command, where the option belongs."""
    options, others, rest = [], [], iter(arguments)
    for argument in rest:
        if argument == "--plugin":
            options += [argument, *([file] if (file := next(rest, None)) is not None else [])]
        elif argument.startswith("--plugin="):
            options.append(argument)
        else:
            others.append(argument)
    return [*options, *others]


def main() -> None:
    """Run the command line."""
    hide_checkout()
    app(plugins_first(sys.argv[1:]))
