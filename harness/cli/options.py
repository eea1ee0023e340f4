"""What all commands share: arguments, options, and how a command ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from trackablate.harness.errors import BadInput, RunFailed

StudyName = Annotated[str, typer.Argument(help="a study, as `list studies` shows them, or a TOML file of your own")]
ProfileName = Annotated[
    str, typer.Option("--profile", help="the size to run at: a name of `list profiles`, or a TOML file")
]
Protocols = Annotated[list[str] | None, typer.Option("--protocol", help="protocols instead of the profile's; repeat")]
Data = Annotated[list[str] | None, typer.Option("--data", help="NAME=PATH: where a data set lies; repeat")]
Only = Annotated[list[str] | None, typer.Option("--only", help="these rows alone, and the baseline; repeat")]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=1, max=1000, help="runs of each row; default: as many as the study says, mostly one"),
]
Results = Annotated[
    list[str] | None,
    typer.Option("--results", help="NAME=PATH (or NAME@PROTOCOL=PATH): raw results of a cited tracker; repeat"),
]
StorePath = Annotated[Path, typer.Option("--store", envvar="TRACKABLATE_STORE", help="the folder that keeps all runs")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
Full = Annotated[bool, typer.Option("--full", help="every column and every footnote in the terminal")]
RunName = Annotated[str, typer.Argument(help="a run in the store, as `plan` names them, or the beginning of its name")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]
TestLayers = Annotated[
    int | None, typer.Option("--test-layers", min=1, help="the evaluation with so many of the decoder's layers alone")
]


@contextmanager
def exit_status() -> Iterator[None]:
    """Turn an error that the user can mend into one message and an exit status: 2 bad input, 1 a run failed, 130 stopped."""
    try:
        yield
    except _mendable() as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(2) from error
    except OSError as error:
        if error.filename is None:
            raise
        sys.stderr.write(f"error: {error.filename}: {error.strerror}; name another place, or make room there\n")
        raise typer.Exit(2) from error
    except RunFailed as error:
        sys.stderr.write(f"failed: {error}\nwhat was done is kept; the same command goes on from there\n")
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        sys.stderr.write("stopped; what was done is kept; the same command goes on from there\n")
        raise typer.Exit(130) from error


def _mendable() -> tuple[type[Exception], ...]:
    # Imported once there is an error: importing them takes a fifth of a second, which `--help` must not wait for.
    from trackablate.ablations.study import FaultyStudy
    from trackablate.datasets.errors import DataError
    from trackablate.datasets.registry import UnknownName

    return BadInput, DataError, FaultyStudy, UnknownName, FileNotFoundError
