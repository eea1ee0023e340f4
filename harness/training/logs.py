"""Hands the figures of a training to a logger of the user's choice. They are for watching; the store keeps its own."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

EVERY = 1.0
"""Seconds between two losses that are logged."""
PROJECT = "trackablate"


class TrainingLog:
    """A run's log. A logger that fails is left out from then on, with a line on standard error; the training goes on.

    Args:
        kind: `tensorboard`, `wandb`, `trackio` or `mlflow`; "" for none.
        folder: Where loggers that write files put them, each run in a folder of its own.
        run: Name of the run.
        settings: What was asked for, as a nested document.
    """

    def __init__(self, kind: str, folder: Path, run: str, settings: Mapping[str, Any]) -> None:
        self._kind, self._last = kind, 0.0
        self._tracker: Any = None
        if kind:
            self._try(lambda: self._start(folder, run, settings))

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return self._tracker is not None

    def step(self, number: int, figures: Callable[[], Mapping[str, float]]) -> None:
        """Log the figures of a step, unless others were logged just now."""
        if self._tracker is not None and time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            self.point(number, figures())

    def point(self, number: int, figures: Mapping[str, float]) -> None:
        """Log figures of a step."""
        if (tracker := self._tracker) is not None:
            self._try(lambda: tracker.log(dict(figures), step=number))

    def close(self) -> None:
        """Write what is still to be written."""
        if (tracker := self._tracker) is not None:
            self._try(lambda: tracker.finish())

    def _start(self, folder: Path, run: str, settings: Mapping[str, Any]) -> None:
        arguments: dict[str, Any] = {
            "tensorboard": {"run_name": run, "logging_dir": folder},
            "mlflow": {"experiment_name": PROJECT, "logging_dir": folder, "run_name": run},
        }.get(self._kind, {"run_name": PROJECT, "name": run})
        tracker = LOGGER_TYPE_TO_CLASS[self._kind](**arguments)
        if hasattr(tracker, "start"):  # of newer versions of accelerate
            tracker.start()
        tracker.store_init_configuration(dict(_flat(settings)))
        self._tracker = tracker

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 whatever it is, the training is worth more
            self._tracker = None
            sys.stderr.write(f"--log {self._kind}: {type(error).__name__}: {error}; this run is not logged any more\n")


NO_LOG = TrainingLog("", Path(), "", {})


def _flat(document: Mapping[str, Any], before: str = "") -> list[tuple[str, str | float | int | bool]]:
    found: list[tuple[str, str | float | int | bool]] = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name}.")
        elif value is not None:
            found.append((f"{before}{name}", value if isinstance(value, str | float | int | bool) else str(value)))
    return found
