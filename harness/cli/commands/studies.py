"""The commands that look at a study: plan it, watch it, report it."""

from pathlib import Path
from typing import Annotated

import typer

from trackablate.harness.cli.options import (
    Beside,
    Changes,
    Data,
    Device,
    FrameGrid,
    Full,
    Json,
    LoaderWorkers,
    Only,
    ProfileName,
    Protocols,
    ReportFolder,
    Results,
    Seeds,
    StorePath,
    StudyName,
    Truncate,
    can_report,
    exit_status,
)


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
        from trackablate.harness.cli.launching import StudyRequest
        from trackablate.harness.cli.plan import plan_document, say_plan
        from trackablate.harness.cli.session import open_session
        from trackablate.harness.cli.terminal import say_json
        from trackablate.harness.progress.bars import doing
        from trackablate.harness.running.tasks import Execution

        request = StudyRequest(
            study=study,
            profile=profile,
            protocols=protocol or [],
            data=data or [],
            only=only or [],
            store=store,
            seeds=seeds,
            beside=tuple(with_ or ()),
            purpose="plan",
            changes=tuple(set_ or ()),
            how=Execution(loader_workers=loader_workers),
        )
        session = open_session(request)
        counts = f"counting sizes for {device_peak}" if device_peak else "reading the store"
        with doing(study, "measuring a few steps of each run on this device" if calibrate else counts):
            planned = plan_document(session, calibrate, device, device_peak, gpus, budget)
        say_json(planned) if json else say_plan(planned)
        session.refuse_absent_data()


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
        str,
        typer.Option(
            help="comma-separated: html, latex (one table for a paper, and all), markdown, csv, json; one alone is printed"
        ),
    ] = "",
    out: ReportFolder = None,
    truncate: Truncate = False,
    grid: FrameGrid = None,
    full: Full = False,
    json: Json = False,
) -> None:
    """Render a study from the store alone.

    Example: python -m harness report table3 --format html,latex
    """
    with exit_status():
        from trackablate.harness.cli.launching import StudyRequest
        from trackablate.harness.cli.session import chosen_formats, open_session
        from trackablate.harness.cli.terminal import say_doing, say_result

        chosen_formats(format)
        can_report(out or Path("report"))
        request = StudyRequest(
            study=study,
            profile=profile,
            protocols=protocol or [],
            data=data or [],
            only=only or [],
            store=store,
            seeds=seeds,
            results=tuple(results or ()),
            beside=tuple(with_ or ()),
            purpose="report",
            changes=tuple(set_ or ()),
            truncate=truncate,
            grid=tuple(grid or ()),
        )
        session = open_session(request)
        say_result(*session.draw(out, format), full=full, as_json=json, format=format)
        if elsewhere := session.elsewhere():
            say_doing(elsewhere)
