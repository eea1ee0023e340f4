"""The papers' printed figures, from `published.toml`. They are never computed and never mixed with measured figures."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from trackablate.trackers.spec import Frozen

Trust = Literal["paper", "abstract", "secondary", "config"]


class PaperSource(Frozen):
    """Where a figure is printed, on what data it was measured, and how far it can be trusted."""

    title: str
    data: str
    trust: Trust


class PublishedRow(Frozen):
    """The printed figures of a row.

    Attributes:
        rows: "STUDY/ROW" of every row that they belong to.
        source: A key of the file's sources.
        metrics: By protocol and metric, in percent.
        epochs: Epochs of 60,000 pairs, by the protocol that the training is for.
        params: Number of parameters.
        flops: As printed, in units.
        memory: In bytes.
        note: Differences between the printed row and ours.
    """

    rows: tuple[str, ...]
    source: str
    metrics: dict[str, dict[str, float]] = Field(default_factory=dict)
    epochs: dict[str, float] = Field(default_factory=dict)
    params: float | None = None
    trainable: float | None = None
    flops: float | None = None
    fps: float | None = None
    gpu_hours: float | None = None
    memory: float | None = None
    note: str = ""

    @property
    def figures(self) -> dict[str, float]:
        """Return everything but the metrics by name, in units: gpu_hours in hours, memory in bytes."""
        named = ("params", "trainable", "flops", "fps", "gpu_hours", "memory")
        return {name: value for name in named if (value := getattr(self, name)) is not None}


class _Published(Frozen):
    sources: dict[str, PaperSource]
    entries: tuple[PublishedRow, ...]


@cache
def _published() -> _Published:
    text = (Path(__file__).parent / "published.toml").read_text(encoding="utf-8")
    return _Published.model_validate(tomllib.loads(text))


def published(study: str, row: str) -> tuple[tuple[PublishedRow, PaperSource], ...]:
    """Return the printed figures of a study's row with their source, one pair for each source."""
    wanted = f"{study}/{row}"
    return tuple((entry, _published().sources[entry.source]) for entry in _published().entries if wanted in entry.rows)
