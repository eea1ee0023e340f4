"""The command line: one thin function per command, heavy imports inside, so that `--help` is instant.

This package and `__main__` are the composition root: they may import any package, and nothing else imports them.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from trackablate.harness.checkout import hide_checkout
from trackablate.harness.cli.options import (
    Beside,
    Changes,
    Data,
    Device,
    FrameGrid,
    Full,
    GpusPerRun,
    Json,
    LoaderWorkers,
    Log,
    Only,
    ProfileName,
    Protocols,
    Results,
    Seeds,
    StorePath,
    StudyName,
    Truncate,
    answers,
    can_log,
    can_report,
    exit_status,
)
from trackablate.harness.cli.stores import (
    evaluate,
    export,
    export_weights,
    import_,
    returned,
    site,
    store_app,
    submit,
    track,
)
from trackablate.harness.cli.without_study import cost, data_app, doctor, pretrain
from trackablate.harness.errors import BadInput, RunFailed

app = typer.Typer(
    name="harness",
    help="Benchmark and ablation studies for single-object visual trackers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")


@app.callback()
def _with_plugins(
    context: typer.Context,
    plugin: Annotated[
        list[Path] | None, typer.Option("--plugin", help="a Python file that adds trackers; anywhere, and repeat")
    ] = None,
    allow_links: Annotated[
        list[Path] | None,
        typer.Option("--allow-links", help="a folder into which links of data sets may lead; anywhere, and repeat"),
    ] = None,
) -> None:
    """Benchmark and ablation studies for single-object visual trackers."""
    with exit_status():
        from trackablate.datasets.errors import DataError
        from trackablate.datasets.toml_files import LINKS, configured_store
        from trackablate.trackers.plugins import load_plugins

        if allow_links:
            os.environ[LINKS] = os.pathsep.join(str(path.expanduser().resolve()) for path in allow_links)
        load_plugins(plugin or [])
        try:
            found = configured_store()
        except DataError:
            if "--help" not in sys.argv:  # help needs no store
                raise
            found = None
        if found:
            assert isinstance(context.command, TyperGroup)
            context.default_map = {name: {"store": str(found)} for name in context.command.commands}


@app.command("list")
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


@app.command()
@answers
def show(
    name: Annotated[str, typer.Argument(help="a study, tracker, protocol or dialect")], json: Json = False
) -> dict[str, Any]:
    """Show one study, tracker, protocol or dialect in full.

    Example: python -m harness show table3
    """
    from trackablate.harness.cli.listing import details

    return details(name)


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
    set_: Changes = None,
    loader_workers: LoaderWorkers = None,
    with_: Beside = None,
    store: StorePath = Path("store"),
    json: Json = False,
) -> None:
    """Say which runs of a study are done, what remains, and what that takes.

    Example: python -m harness plan table3 --calibrate
    """
    with exit_status():
        from trackablate.harness.cli.plan import plan_document, say_plan
        from trackablate.harness.cli.session import StudyRequest, open_session
        from trackablate.harness.cli.terminal import say_json
        from trackablate.harness.running.tasks import Execution

        names, beside = (protocol or [], data or [], only or []), tuple(with_ or ())
        how, changes = Execution(loader_workers=loader_workers), tuple(set_ or ())
        request = StudyRequest(
            study, profile, *names, store, seeds, beside=beside, purpose="plan", changes=changes, how=how
        )
        session = open_session(request)
        planned = plan_document(session, calibrate, device, device_peak, gpus, budget)
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
    with_: Beside = None,
    device: Device = "auto",
    gpus_per_run: GpusPerRun = 1,
    loader_workers: LoaderWorkers = None,
    log: Log = "",
    set_: Changes = None,
    store: StorePath = Path("store"),
    out: Annotated[Path | None, typer.Option(help="folder of the report; default: report/STUDY-PROFILE")] = None,
    truncate: Truncate = False,
    full: Full = False,
    json: Json = False,
) -> None:
    """Train and evaluate what is missing of a study, and report it.

    Example: python -m harness run table3
    """
    with exit_status():
        from trackablate.harness.cli.plan import forecast
        from trackablate.harness.cli.session import StudyRequest, open_session
        from trackablate.harness.cli.terminal import say_result
        from trackablate.harness.running.executors import LocalExecutor
        from trackablate.harness.running.runner import run as run_job
        from trackablate.harness.running.tasks import Execution

        names, added = (protocol or [], data or [], only or []), tuple(results or ())
        beside, changes = tuple(with_ or ()), tuple(set_ or ())
        how = Execution(gpus_per_run=gpus_per_run, loader_workers=loader_workers, log=log)
        request = StudyRequest(
            study, profile, *names, store, seeds, added, beside, changes=changes, how=how, truncate=truncate
        )
        can_log(log)
        can_report(out or Path("report"))
        session = open_session(request)
        session.store.set_study(session.study_record())
        failure = None
        with forecast(session.job, session.store, study=True) as observer:
            try:
                run_job(session.job, session.store, LocalExecutor(session.store.logs), device, observer)
            except RunFailed as error:
                failure = error
            observer.drawing()
            drawn = session.draw(out)
        say_result(*drawn, full=full, as_json=json)
        if failure:
            raise failure


@app.command()
def watch(
    store: StorePath = Path("store"),
    once: Annotated[bool, typer.Option("--once", help="say it once, as it does where there is no terminal")] = False,
    json: Json = False,
) -> None:
    """Show what is at work in a store, from any terminal; Ctrl-C ends the looking, not the work.

    Example: python -m harness watch --store /data/runs
    """
    with exit_status():
        from trackablate.harness.cli.terminal import say_watch

        say_watch(store, once=once, as_json=json)


@app.command()
def report(
    study: StudyName,
    profile: ProfileName = "mini",
    protocol: Protocols = None,
    data: Data = None,
    only: Only = None,
    seeds: Seeds = None,
    results: Results = None,
    set_: Changes = None,
    with_: Beside = None,
    store: StorePath = Path("store"),
    format: Annotated[
        str, typer.Option(help="comma-separated: html, latex (one table for a paper, and all), markdown, csv, json")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="folder of the report; default: report/STUDY-PROFILE")] = None,
    truncate: Truncate = False,
    grid: FrameGrid = None,
    full: Full = False,
    json: Json = False,
) -> None:
    """Render a study from the store alone.

    Example: python -m harness report table3 --format html,latex
    """
    with exit_status():
        from trackablate.harness.cli.session import StudyRequest, chosen_formats, open_session
        from trackablate.harness.cli.terminal import say_result

        chosen_formats(format)
        can_report(out or Path("report"))
        names, added = (protocol or [], data or [], only or []), tuple(results or ())
        beside, changes = tuple(with_ or ()), tuple(set_ or ())
        request = StudyRequest(
            study, profile, *names, store, seeds, added, beside, "report", changes, truncate=truncate
        )
        request = replace(request, grid=tuple(grid or ()))
        session = open_session(request)
        say_result(*session.draw(out, format), full=full, as_json=json)
        if elsewhere := session.elsewhere():
            sys.stderr.write(f"{elsewhere}\n")


@app.command()
@answers
def train(
    variant: Annotated[str, typer.Argument(help="a tracker, as `list trackers` shows them")],
    profile: ProfileName = "mini",
    data: Data = None,
    device: Device = "auto",
    gpus_per_run: GpusPerRun = 1,
    loader_workers: LoaderWorkers = None,
    log: Log = "",
    set_: Changes = None,
    store: StorePath = Path("store"),
    json: Json = False,
) -> dict[str, Any]:
    """Train one variant at a profile's size.

    Example: python -m harness train ostrack-256-ce
    """
    from trackablate.harness.cli.pieces import train_variant
    from trackablate.harness.profiles import load_profile, with_changes
    from trackablate.harness.running.tasks import Execution

    can_log(log)
    asked = with_changes(load_profile(profile), set_ or [])
    how = Execution(gpus_per_run=gpus_per_run, loader_workers=loader_workers, log=log)
    return train_variant(variant, asked, data or [], store, device, how)


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


app.command("import")(import_)
app.command("export-weights")(export_weights)
for _command in (evaluate, track, site, submit, returned, export, cost, pretrain, doctor):
    app.command()(_command)


def plugins_first(arguments: list[str]) -> list[str]:
    """Return the arguments with every `--plugin FILE` and `--allow-links PATH` before the command, where they belong."""
    options, others, rest = [], [], iter(arguments)
    for argument in rest:
        if argument in ("--plugin", "--allow-links"):
            options += [argument, *([file] if (file := next(rest, None)) is not None else [])]
        elif argument.startswith(("--plugin=", "--allow-links=")):
            options.append(argument)
        else:
            others.append(argument)
    return [*options, *others]


def main() -> None:
    """Run the command line."""
    from trackablate.harness.running.threads import drop_launchers

    hide_checkout()
    if ignored := drop_launchers():
        sys.stderr.write(f"ignored: {', '.join(ignored)} of the environment; what a run computes is in its recipe\n")
    app(plugins_first(sys.argv[1:]))
