"""The command line: one thin function per command, heavy imports inside, so that `--help` is instant.

This package and `__main__` are the composition root: they may import any package, and nothing else imports them.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import BadInput, RunFailed

app = typer.Typer(
    name="harness",
    help="Benchmark and ablation studies for single-object visual trackers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StudyName = Annotated[str, typer.Argument(help="a study, as `list studies` shows them")]
ProfileName = Annotated[str, typer.Option("--profile", help="the size to run at, as `list profiles` shows them")]
Protocols = Annotated[list[str] | None, typer.Option("--protocol", help="protocols instead of the profile's; repeat")]
Data = Annotated[list[str] | None, typer.Option("--data", help="NAME=PATH: where a data set lies; repeat")]
Only = Annotated[list[str] | None, typer.Option("--only", help="these rows alone, and the baseline; repeat")]
StorePath = Annotated[Path, typer.Option("--store", envvar="TRACKABLATE_STORE", help="the folder that keeps all runs")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
RunName = Annotated[str, typer.Argument(help="a run in the store, as `plan` names them, or the beginning of its name")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(help="studies, trackers, protocols, dialects, datasets or profiles; all of them if omitted")
    ] = "",
    json: Json = False,
) -> None:
    """What there is, one line each. Example: python -m harness list studies"""
    with _exit_status():
        from harness.cli.listing import listing
        from harness.cli.terminal import say, say_json

        found = listing(what)
        say_json(found) if json else say(found)


@app.command()
def show(name: Annotated[str, typer.Argument(help="a study, tracker or protocol")], json: Json = False) -> None:
    """One study, tracker or protocol in full. Example: python -m harness show table3"""
    with _exit_status():
        from harness.cli.listing import details
        from harness.cli.terminal import say_document, say_json

        found = details(name)
        say_json(found) if json else say_document(found)


@app.command()
def plan(
    study: StudyName,
    profile: ProfileName = "mini",
    protocol: Protocols = None,
    data: Data = None,
    only: Only = None,
    store: StorePath = Path("store"),
    json: Json = False,
) -> None:
    """The runs of a study: which are done, and what remains. Example: python -m harness plan table3"""
    with _exit_status():
        from harness.cli.session import Request, open_session
        from harness.cli.terminal import say_json, say_plan

        request = Request(study, profile, protocol or [], data or [], only or [], store, reads_only=True)
        planned = open_session(request).plan()
        say_json(planned) if json else say_plan(planned)


@app.command()
def run(
    study: StudyName,
    profile: ProfileName = "mini",
    protocol: Protocols = None,
    data: Data = None,
    only: Only = None,
    device: Device = "auto",
    store: StorePath = Path("store"),
    out: Annotated[Path | None, typer.Option(help="folder of the report; default: report/STUDY-PROFILE")] = None,
    json: Json = False,
) -> None:
    """Train, evaluate and report what is missing of a study. Example: python -m harness run table3"""
    with _exit_status():
        from harness.cli.session import Request, open_session

        session = open_session(Request(study, profile, protocol or [], data or [], only or [], store))
        try:
            session.run(device)
        except RunFailed:
            session.report(out, as_json=json)
            raise
        session.report(out, as_json=json)


@app.command()
def report(
    study: StudyName,
    profile: ProfileName = "mini",
    protocol: Protocols = None,
    data: Data = None,
    only: Only = None,
    store: StorePath = Path("store"),
    format: Annotated[str, typer.Option(help="comma-separated: html, latex, markdown, csv, json")] = "",
    out: Annotated[Path | None, typer.Option(help="folder of the report; default: report/STUDY-PROFILE")] = None,
    json: Json = False,
) -> None:
    """Render a study from the store alone. Example: python -m harness report table3 --format html,latex"""
    with _exit_status():
        from harness.cli.session import Request, chosen_formats, open_session

        chosen_formats(format)
        request = Request(
            study, profile, protocol or [], data or [], only or [], store, reads_only=True, must_exist=True
        )
        open_session(request).report(out, formats=format, as_json=json)


@app.command()
def train(
    variant: Annotated[str, typer.Argument(help="a tracker, as `list trackers` shows them")],
    profile: ProfileName = "mini",
    device: Device = "auto",
    store: StorePath = Path("store"),
    json: Json = False,
) -> None:
    """Train one variant at a profile's size. Example: python -m harness train ostrack-256-ce"""
    with _exit_status():
        from harness.cli.pieces import train_variant
        from harness.cli.terminal import say_document, say_json

        found = train_variant(variant, profile, store, device)
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
    """Evaluate a stored run on one protocol. Example: python -m harness evaluate ncc --protocol synthetic"""
    with _exit_status():
        from harness.cli.pieces import evaluate_run
        from harness.cli.terminal import say_document, say_json

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
    """Track one target with a stored run; a box x,y,w,h per line. Example: python -m harness track ncc clip.mp4 --init
    50,46,25,62"""
    with _exit_status():
        from harness.cli.pieces import track_video
        from harness.cli.terminal import say_boxes, say_json

        boxes = track_video(run, video, init, store, device)
        say_json({"boxes": boxes}) if json else say_boxes(boxes)


@app.command()
def cost(
    variant: Annotated[str, typer.Argument(help="a tracker, as `list trackers` shows them")], json: Json = False
) -> None:
    """Parameters and MACs of a tracker at its own size, on any machine. Example: python -m harness cost ostrack-256"""
    with _exit_status():
        from harness.cli.terminal import say_document, say_json
        from harness.cost import cost_document
        from trackers.variants import VARIANTS

        found = cost_document(VARIANTS[variant])
        say_json(found) if json else say_document(found)


@app.command()
def pretrain(
    name: Annotated[str, typer.Argument(help="the recipe in harness/pretraining")] = "mini",
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="the safetensors file to write; default: the shipped one")] = None,
    store: StorePath = Path("store"),
) -> None:
    """Make the embedded profile's pretrained backbone. Example: python -m harness pretrain mini --out mine.safetensors"""
    with _exit_status():
        import os

        from harness.threads import quiet_threads

        quiet_threads(os.cpu_count() or 1)
        from harness.devices import resolve_device
        from harness.pretrain import load_pretraining
        from harness.pretrain import pretrain as make
        from harness.progress import step_bar
        from trackers.pretrained import FILES

        asked = load_pretraining(name)
        place, folder = out or FILES[asked.backbone], store / "pretraining" / name
        with step_bar(f"pretraining {name}", asked.recipe.steps) as done:
            make(asked, place, folder, resolve_device(device), done)


@app.command()
def doctor(store: StorePath = Path("store"), json: Json = False) -> None:
    """What this machine can run, and what to do about what it cannot. Example: python -m harness doctor"""
    with _exit_status():
        from harness.cli.terminal import say_checks, say_json
        from harness.doctor import examine

        checks = examine(store)
        say_json([check.model_dump() for check in checks]) if json else say_checks(checks)


data_app = typer.Typer(help="Data sets: verify them.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command()
def check(
    entry: Annotated[str, typer.Argument(metavar="NAME=PATH", help="the data set and its folder")], json: Json = False
) -> None:
    """Verify a data set without running anything. Example: python -m harness data check otb=/data/OTB100"""
    with _exit_status():
        from harness.cli.pieces import check_data
        from harness.cli.terminal import say_document, say_json

        found = check_data(entry)
        say_json(found) if json else say_document(found)


@data_app.callback()
def _data_commands() -> None:
    """Data sets: verify them."""


@contextmanager
def _exit_status() -> Iterator[None]:
    """Turn what a user can mend into one message and the contract's exit status."""
    from ablations.study import FaultyStudy
    from datasets.errors import DataError
    from datasets.registry import UnknownName

    try:
        yield
    except (BadInput, DataError, FaultyStudy, UnknownName, FileNotFoundError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(2) from error
    except RunFailed as error:
        sys.stderr.write(f"failed: {error}\nwhat was done is kept; the same command goes on from there\n")
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        sys.stderr.write("stopped; what was done is kept; the same command goes on from there\n")
        raise typer.Exit(130) from error


def main() -> None:
    """Run the command line."""
    app()
