"""Reads history: what cannot be read is left out, because predictions must not stop a study. Imports no torch."""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from trackablate.harness.errors import BadInput

P = ParamSpec("P")
T = TypeVar("T")


def readable(read: Callable[P, T], *args: P.args, **named: P.kwargs) -> T | None:
    """Return what `read` returns. If it raises BadInput, log a warning, which names the file, and return None."""
    try:
        return read(*args, **named)
    except BadInput as error:
        logging.getLogger(__name__).warning("left out of the predictions: %s", error)
        return None
