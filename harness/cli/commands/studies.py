"""The commands on a study: plan it, run it, watch it, report it."""

import sys
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackablate.harness.cli.options import (
    Beside,
    Changes,
    Data,
    Device,
    FitMemory,
    FrameGrid,
    Full,
    GpusPerRun,
    Json,
    LoaderWorkers,
    Log,
    NodeRank,
    Nodes,
    Only,
    ProfileName,
    Protocols,
    Rendezvous,
    Results,
    Seeds,
    StorePath,
    StudyName,
    Truncate,
    can_log,
    can_report,
    exit_status,
)
from trackablate.harness.errors import BadInput, RunFailed

if TYPE_CHECKING:
    from trackablate.harness.cli.session import StudyRequest
    from trackablate.harness.running.executors.protocol import Executor
    from trackablate.harness.store import Store


class Where(StrEnum):
    """Where runs are done."""

    local = "local"
    slurm = "slurm"
    ray = "ray"


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
    nodes: Nodes = 1,
    node_rank: NodeRank = 0,
    rendezvous: Rendezvous = "",
    loader_workers: LoaderWorkers = None,
    fit_memory: FitMemory = False,
    compile_: Annotated[
        bool, typer.Option("--compile", help="measure FPS with compiled networks; boxes are tracked without")
    ] = False,
    log: Log = "",
    executor: Annotated[
        Where,
        typer.Option(
            "--executor", help="this machine, SLURM or Ray: one job for each run, on nodes that see the store"
        ),
    ] = Where.local,
    slurm: Annotated[
        str, typer.Option("--slurm", metavar="KEY=VALUE,...", help="what each job asks for: partition, gpus, time, ...")
    ] = "",
    ray: Annotated[
        str,
        typer.Option("--ray", metavar="KEY=VALUE,...", help="cluster, and what each task asks for: address, gpus, ..."),
    ] = "",
    detach: Annotated[
        bool, typer.Option("--detach", help="hand in the jobs and leave; the same command takes up their results")
    ] = False,
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
        from trackablate.harness.cli.launching import shared
        from trackablate.harness.cli.plan import forecast
        from trackablate.harness.cli.session import StudyRequest, open_session
        from trackablate.harness.cli.terminal import say_result
        from trackablate.harness.running.machines import help_out, leading
        from trackablate.harness.running.runner import run as run_job

        names, added = (protocol or [], data or [], only or []), tuple(results or ())
        beside, changes = tuple(with_ or ()), tuple(set_ or ())
        how = shared(gpus_per_run, nodes, node_rank, rendezvous)
        how = how.model_copy(
            update={"loader_workers": loader_workers, "fit_memory": fit_memory, "log": log, "compile": compile_}
        )
        request = StudyRequest(
            study, profile, *names, store, seeds, added, beside, changes=changes, how=how, truncate=truncate
        )
        request = replace(request, device=device if executor == Where.local else "cuda")  # a node's is not known here
        can_log(log)
        can_report(out or Path("report"))
        start = _executor(executor, {Where.slurm: slurm, Where.ray: ray}, detach, request, device)
        session = open_session(request)
        if how.helps:
            help_out(session.job, session.store, device)
            return
        workers = start(session.store)
        session.store.set_study(session.study_record())
        failure = None
        with forecast(session.job, session.store, study=True) as observer:
            try:
                with leading(session.job, session.store) as job:
                    run_job(job, session.store, workers, device, observer)
            except RunFailed as error:
                failure = error
            finally:
                farewell = workers.farewell()
                sys.stderr.write(farewell)
            if farewell:
                return
            observer.drawing()
            drawn = session.draw(out)
        say_result(*drawn, full=full, as_json=json)
        if failure:
            raise failure


def _executor(
    kind: Where, asked: dict[Where, str], detach: bool, request: "StudyRequest", device: str
) -> "Callable[[Store], Executor]":
    """Return what starts the executor on a store, after all checks that need none: a refusal leaves no store behind."""
    for other, text in asked.items():
        if text and other != kind:
            raise BadInput(f"--{other} says what its jobs ask for: add --executor {other}")
    if detach and kind != Where.slurm:
        raise BadInput("--detach is for jobs of SLURM: add --executor slurm")
    if request.how.joining and kind != Where.local:
        raise BadInput(f"--executor {kind} gives each run a machine of its own: leave out --nodes and --rendezvous")
    each = request.how.gpus_per_run
    if kind == Where.local:
        from trackablate.harness.running.executors.local import LocalExecutor

        return lambda store: LocalExecutor(store.logs)
    if kind == Where.ray:
        from trackablate.harness.running.executors.ray import RayExecutor, join
        from trackablate.harness.running.executors.ray import resources as resources_of_ray

        found = resources_of_ray(asked[kind], each, device)
        join(request.store, found)
        return lambda store: RayExecutor(store, found)
    from trackablate.harness.profiles import load_profile
    from trackablate.harness.running.executors.slurm import SlurmExecutor
    from trackablate.harness.running.executors.slurm_options import refuse_absent, refuse_unknown, resources

    wanted = resources(asked[kind], load_profile(request.profile), each, device)
    refuse_absent()
    refuse_unknown(wanted)
    return lambda store: SlurmExecutor(store, wanted, detached=detach, renews=bool(asked[kind]))


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
