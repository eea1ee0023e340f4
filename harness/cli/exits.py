"""How a command ends: what a user can mend becomes one message and the contract's exit status."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from trackablate.harness.errors import BadInput, RunFailed


@contextmanager
def exit_status() -> Iterator[None]:
    """Turn what a user can mend into one message and the contract's exit status."""
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
    """The errors of what a user can mend. Asked for once there is an error: importing them takes a fifth of a second, which
    `--help` must not wait for.
    """
    from trackablate.ablations.study import FaultyStudy
    from trackablate.datasets.errors import DataError
    from trackablate.datasets.registry import UnknownName

    return BadInput, DataError, FaultyStudy, UnknownName, FileNotFoundError
