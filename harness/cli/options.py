"""What all commands share: arguments, options, what they check of their outputs, and how a command ends."""

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, ParamSpec

import typer

from trackablate.datasets.progress import FOLLOW, Told, unseen
from trackablate.harness.checkout import KEPT, as_called
from trackablate.harness.errors import BadInput, RunFailed

StudyName = Annotated[str, typer.Argument(help="a study, as `list studies` shows them, or a TOML file of your own")]
ProfileName = Annotated[
    str, typer.Option("--profile", help="the size to run at: a name of `list profiles`, or a TOML file")
]
Protocols = Annotated[list[str] | None, typer.Option("--protocol", help="protocols instead of the profile's; repeat")]
Data = Annotated[list[str] | None, typer.Option("--data", help="NAME=PATH: where a data set lies; repeat")]
Version = Annotated[
    list[str] | None,
    typer.Option("--data", help="NAME=PATH: which version of the data, if the store has results on several"),
]
Only = Annotated[list[str] | None, typer.Option("--only", help="these rows alone, and the baseline; repeat")]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=1, max=1000, help="runs of each row; default: as many as the study says, mostly one"),
]
Results = Annotated[
    list[str] | None,
    typer.Option("--results", help="NAME=PATH (or NAME@PROTOCOL=PATH): raw results of a cited tracker; repeat"),
]
Beside = Annotated[
    list[str] | None,
    typer.Option("--with", help="[NAME=]RUN: one more row, a run in the store or an outside tracker; repeat"),
]
FrameGrid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid", metavar="SEQUENCE,FRAME,...", help="also a figure of these frames with all boxes; a row each, repeat"
    ),
]
ReportFolder = Annotated[Path | None, typer.Option("--out", help="folder of the report; default: report/STUDY-PROFILE")]


def _keep_store(context: typer.Context, store: Path) -> Path:
    source = context.get_parameter_source("store")
    chosen = source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")
    KEPT["--store"] = f" --store {quote(str(store))}" if chosen else ""
    return store


StorePath = Annotated[
    Path,
    typer.Option("--store", envvar="TRACKABLATE_STORE", help="the folder that keeps all runs", callback=_keep_store),
]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
Full = Annotated[bool, typer.Option("--full", help="every column and every footnote in the terminal")]
Truncate = Annotated[
    bool, typer.Option("--truncate", help="cut tracked boxes to integers, as pytracking's and OSTrack's own files are")
]
RunName = Annotated[
    str, typer.Argument(help="a run in the store, as `plan` names them, the beginning of its name, or a study's row")
]
AnyRun = Annotated[
    str,
    typer.Argument(
        help="a run in the store, by name, its beginning or a study's row; or an outside tracker: opencv-mil,"
        " module:Class(key=1), '/envs/x/bin/python module:Class', 'trax: COMMAND'"
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, or cuda:N for one GPU")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="change a field of every run, as recipe.steps=2000; repeat"),
]
GpusPerRun = Annotated[
    int,
    typer.Option(
        "--gpus-per-run", min=1, max=64, help="GPUs of each machine that share each run; without a GPU, processes"
    ),
]
Nodes = Annotated[
    int,
    typer.Option(
        "--nodes", min=1, max=1024, help="machines that share each run: start the same command on each of them"
    ),
]
NodeRank = Annotated[int, typer.Option("--node-rank", min=0, help="this machine's number of --nodes, from 0")]
Rendezvous = Annotated[
    str,
    typer.Option(
        "--rendezvous",
        metavar="HOST:PORT",
        help="where the machines meet: number 0, and a free port of it; or slurm in a step of srun; or env: as torchrun or"
        " accelerate launch say",
    ),
]
FitMemory = Annotated[
    bool,
    typer.Option(
        "--fit-memory",
        help="where the device's memory does not hold a step, compute it in smaller parts, to the same result; else the run"
        " fails and says which part fits",
    ),
]
Fsdp = Annotated[
    bool,
    typer.Option(
        "--fsdp",
        help="the GPUs of a run divide the parameters, gradients and optimizer states of full fine-tuning among them, by"
        " torch's FSDP2; a study's other trainings are shared as without",
    ),
]
Log = Annotated[str, typer.Option("--log", help="also log trainings: tensorboard, wandb, trackio or mlflow")]
LoaderWorkers = Annotated[
    int | None,
    typer.Option(
        "--loader-workers",
        min=0,
        max=256,
        help="processes that make the training pairs of each run; they change no result. Default: on GPUs up to 8, as"
        " cores allow; on a CPU none",
    ),
]


class Precisions(StrEnum):
    """In what tracking can be computed."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


TrackingPrecision = Annotated[
    Precisions, typer.Option("--precision", help="in which the network is computed; reports show fp32")
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="compile the network: a CUDA graph on a GPU, torch's compiler on a CPU; reports show it without",
    ),
]
TestLayers = Annotated[
    int | None, typer.Option("--test-layers", min=1, help="the evaluation with so many of the decoder's layers alone")
]

P = ParamSpec("P")
LOGGERS = ("tensorboard", "wandb", "trackio", "mlflow")
STOPPING = ("SIGTERM", "SIGHUP", "SIGQUIT")
"""Signals that stop a command as Ctrl-C does, by name since not every system has all of them."""
REPORT_BYTES = 100_000_000
"""Disk space that a report needs at most, about."""


def answers(command: Callable[P, dict[str, Any]], words: str = "") -> Callable[P, None]:
    """Make a command of a function that returns a document: it is printed, as JSON if the option says so.

    `words` is the function of `harness.cli.listing` that returns the document for people; it is imported when it is used.
    """

    @wraps(command)
    def run(*args: P.args, **options: P.kwargs) -> None:
        with exit_status():
            found = command(*args, **options)
            from trackablate.harness.cli.terminal import say_document, say_json

            document = {key: as_called(value) if isinstance(value, str) else value for key, value in found.items()}

            if options.get("json"):
                say_json(document)
                return
            say_document(
                getattr(import_module("trackablate.harness.cli.listing"), words)(document) if words else document
            )

    return run


def writable(place: Path, option: str = "--out", *, file: bool = False, needed: float = REPORT_BYTES) -> None:
    """Check, before any work, that an output can be written. Raises BadInput with the remedy.

    Args:
        place: The folder or file.
        option: The option that names it.
        file: Whether it is a file.
        needed: Number of bytes that it takes, about.
    """
    place = place.expanduser().absolute()
    there = next(path for path in (place.parent if file else place, *place.parents) if path.exists())
    try:
        if file and place.is_dir():
            raise IsADirectoryError
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError:
        kind = "file" if file else "folder"
        raise BadInput(f"{option} {str(place)!r} is no {kind} that can be written: name another") from None
    if free < needed:
        raise BadInput(
            f"{option} {str(place)!r}: {free / 1e6:.0f} MB are free there, and about {needed / 1e6:.0f} MB are needed: make"
            " room, or name another disk"
        )


def can_log(kind: str) -> None:
    """Check, before any work, that there is such a logger. Raises BadInput with the remedy."""
    if kind and kind not in LOGGERS:
        raise BadInput(f"--log {kind}: there are {', '.join(LOGGERS)}")
    if kind and find_spec(kind) is None:
        raise BadInput(f"--log {kind} needs a package: python -m pip install {kind}")


def can_report(out: Path) -> None:
    """Check, before any work, that a report can be written and drawn. Raises BadInput with the remedy."""
    writable(out)
    from trackablate.harness.cli.doctor import fonts

    if not (found := fonts()).ok:
        raise BadInput(f"figures cannot be drawn, {found.found}: {found.remedy}")


class Stopped(KeyboardInterrupt):
    """The signal `number` has asked the command to stop."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def _stoppable() -> Iterator[None]:
    """Raise Stopped where the command is, so that it ends its workers, for signals that the caller does not ignore."""
    known = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
    heard = [number for number in known if signal.getsignal(number) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        heard = []

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends the command at once
        raise Stopped(number)

    for number in heard:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


def follow_opening() -> None:
    """Show how far data sets are opened from now on, in this process and not in those that it forks."""
    own = os.getpid()

    def follow(name: str) -> AbstractContextManager[Told]:
        from trackablate.harness.progress.bars import phase_bar

        return phase_bar(name) if os.getpid() == own else unseen(name)

    FOLLOW.set(follow)


@contextmanager
def exit_status() -> Iterator[None]:
    """Turn an error that the user can mend into one message and an exit status.

    The status is 2 for bad input, 1 if a run failed, and 128 + N if signal N stopped the command (130 for Ctrl-C).
    """
    try:
        with _stoppable():
            follow_opening()
            yield
    except _mendable() as error:
        gone = isinstance(error, FileNotFoundError) and error.filename is None and error.errno is not None
        _say_error(f"error: {'the current folder was removed: change to another one' if gone else _printable(error)}")
        raise typer.Exit(2) from error
    except OSError as error:
        from trackablate.datasets.errors import FULL

        if error.filename is None and error.errno not in FULL:
            raise
        place = f"{error.filename}: " if error.filename else ""
        _say_error(f"error: {_printable(place)}{error.strerror}; name another place, or make room there")
        raise typer.Exit(2) from error
    except RunFailed as error:
        _say_error(f"failed: {_printable(error)}\nwhat was done is kept; the same command goes on from there")
        raise typer.Exit(1) from error
    except RuntimeError as error:
        if "home directory" not in str(error):  # what Path.expanduser says
            raise
        _say_error(
            "error: a path begins with ~ and a name, and no user of this machine is called so: write the whole path"
        )
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Stopped) else signal.SIGINT
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        sys.stderr.write(f"stopped{by}; what was done is kept; the same command goes on from there\n")
        raise typer.Exit(128 + number) from error


def _say_error(text: str) -> None:
    from trackablate.harness.cli.terminal import say_to

    say_to(sys.stderr, text.splitlines())


def _printable(text: object) -> str:
    from trackablate.datasets.errors import printable

    return printable(str(text))


def _mendable() -> tuple[type[Exception], ...]:
    # Imported once there is an error: importing them takes a fifth of a second, which `--help` must not wait for.
    from trackablate.ablations.study import FaultyStudy
    from trackablate.datasets.errors import DataError
    from trackablate.datasets.registry import UnknownName

    return BadInput, DataError, FaultyStudy, UnknownName, FileNotFoundError
