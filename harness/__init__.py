"""Run specifications to run records: planning, training, evaluation, storage. `harness.results(store)` is a store as a
pandas DataFrame."""

from typing import TYPE_CHECKING

from harness.siblings import ensure_siblings

ensure_siblings()

if TYPE_CHECKING:
    from pathlib import Path

    from pandas import DataFrame

    from harness.store import Store


def results(store: "Path | str | Store") -> "DataFrame":
    """All that a store knows, a row for each run, evaluation and metric: see `harness.frame`. pandas is imported here."""
    from harness.frame import frame

    return frame(store)
