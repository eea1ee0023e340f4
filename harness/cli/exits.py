"""How a command ends: what a user can mend becomes one message and the contract's exit status."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from harness.errors import BadInput, RunFailed


@contextmanager
def exit_status() -> Iterator[None]:
    """Turn what a user can mend into one message and the contract's exit status."""
    from ablations.study import FaultyStudy
    from datasets.errors import DataError
    from datasets.registry import UnknownName

    try:
        yield
    except (BadInput, DataError, FaultyStudy, UnknownName, FileNotFoundError) as error:
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
