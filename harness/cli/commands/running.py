"""The command that runs a study, here or as jobs elsewhere."""

import sys
from collections.abc import Callable
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
    Fsdp,
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
    ReportFolder,
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
    from trackablate.harness.cli.launching import StudyRequest
    from trackablate.harness.running.executors.protocol import Executor
    from trackablate.harness.store import Store

    Start = Callable[[Store], Executor]


class Where(StrEnum):
    """Where runs are done."""

    local = "local"
    slurm = "slurm"
    ray = "ray"


ExecutorName = Annotated[
    Where,
    typer.Option("--executor", help="this machine, SLURM or Ray: one job for each run, on nodes that see the store"),
]
SlurmJobs = Annotated[
    str, typer.Option("--slurm", metavar="KEY=VALUE,...", help="what each job asks for: partition, gpus, time, ...")
]
RayTasks = Annotated[
    str, typer.Option("--ray", metavar="KEY=VALUE,...", help="cluster, and what each task asks for: address, gpus, ...")
]
Detach = Annotated[
    bool, typer.Option("--detach", help="hand in the jobs and leave; the same command takes up their results")
]
CompiledSpeed = Annotated[
    bool, typer.Option("--compile", help="measure FPS with compiled networks; boxes are tracked without")
]


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
    fsdp: Fsdp = False,
    compile_: CompiledSpeed = False,
    log: Log = "",
    executor: ExecutorName = Where.local,
    slurm: SlurmJobs = "",
    ray: RayTasks = "",
    detach: Detach = False,
    set_: Changes = None,
    store: StorePath = Path("store"),
    out: ReportFolder = None,
    truncate: Truncate = False,
    full: Full = False,
    json: Json = False,
) -> None:
    """Train and evaluate what is missing of a study, and report it.

    Example: python -m harness run table3
    """
    with exit_status():
        from trackablate.harness.cli.launching import StudyRequest, shared
        from trackablate.harness.cli.plan import forecast
        from trackablate.harness.cli.session import open_session
        from trackablate.harness.cli.terminal import say_result
        from trackablate.harness.running.machines import help_out, leading
        from trackablate.harness.running.runner import run as run_job

        shares = shared(gpus_per_run, nodes, node_rank, rendezvous)
        more = {"loader_workers": loader_workers, "fit_memory": fit_memory, "fsdp": fsdp, "log": log}
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
            changes=tuple(set_ or ()),
            how=shares.model_copy(update={**more, "compile": compile_}),
            device=device if executor == Where.local else "cuda",  # a node's is not known here
            truncate=truncate,
        )
        can_log(log)
        can_report(out or Path("report"))
        start = _executor(executor, {Where.slurm: slurm, Where.ray: ray}, detach, request, device)
        session = open_session(request)
        if request.how.helps:
            help_out(session.job, session.store, device)
            return
        workers, failure = start(session.store), None
        session.store.set_study(session.study_record())
        what = f"{session.study.name} at {session.profile.name}"
        with forecast(session.job, session.store, what, study=True) as observer:
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


def _executor(kind: Where, asked: dict[Where, str], detach: bool, request: "StudyRequest", device: str) -> "Start":
    """Return what starts the executor on a store, after all checks that need none: a refusal leaves no store behind."""
    for other, text in asked.items():
        if text and other != kind:
            raise BadInput(f"--{other} says what its jobs ask for: add --executor {other}")
    if detach and kind != Where.slurm:
        raise BadInput("--detach is for jobs of SLURM: add --executor slurm")
    if request.how.joining and kind != Where.local:
        raise BadInput(f"--executor {kind} gives each run a machine of its own: leave out --nodes and --rendezvous")
    return EXECUTORS[kind](request, asked.get(kind, ""), device, detach)


def _on_this_machine(_request: "StudyRequest", _asked: str, _device: str, _detach: bool) -> "Start":
    from trackablate.harness.running.executors.local import LocalExecutor

    return lambda store: LocalExecutor(store.logs)


def _on_slurm(request: "StudyRequest", asked: str, device: str, detach: bool) -> "Start":
    from trackablate.harness.profiles import load_profile
    from trackablate.harness.running.executors.slurm import SlurmExecutor
    from trackablate.harness.running.executors.slurm_options import refuse_absent, refuse_unknown, resources

    wanted = resources(asked, load_profile(request.profile), request.how.gpus_per_run, device)
    refuse_absent()
    refuse_unknown(wanted)
    return lambda store: SlurmExecutor(store, wanted, detached=detach, renews=bool(asked))


def _on_ray(request: "StudyRequest", asked: str, device: str, _detach: bool) -> "Start":
    from trackablate.harness.running.executors.ray import RayExecutor, join, resources

    wanted = resources(asked, request.how.gpus_per_run, device)
    join(request.store, wanted)
    return lambda store: RayExecutor(store, wanted)


EXECUTORS = {Where.local: _on_this_machine, Where.slurm: _on_slurm, Where.ray: _on_ray}
"""What refuses the options of each place, and returns what starts its executor on a store."""
