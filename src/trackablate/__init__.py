"""Benchmark and ablation studies for single-object visual trackers.

The folders of the checkout are the packages in here: `trackablate.datasets`, `trackablate.trackers`, `trackablate.harness`,
`trackablate.ablations` and `trackablate.reports`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pandas import DataFrame

    from trackablate.harness.store import Store


def results(store: "Path | str | Store", *, protocol: str = "", role: str = "", precision: str = "fp32") -> "DataFrame":
    """Return what a store knows as a DataFrame, one row for each run, evaluation and metric.

    `protocol`, `role` ("variant", "floor" or "control") and `precision` of the tracking ("" for any) leave out all others.
    See `trackablate.harness.exchange.dataframe`. pandas is imported only here.
    """
    from trackablate.harness.exchange.dataframe import frame

    return frame(store, protocol, role, precision)
