"""The papers' printed figures, from `published.toml`: never computed, never mixed with measured ones."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Source(BaseModel):
    """Where a figure is printed, what it was measured on, and how far it can be trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str
    data: str
    trust: Literal["paper", "abstract", "secondary", "config"]


class PublishedRow(BaseModel):
    """The printed figures of one row: metrics in percent, params and flops in units."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    study: str
    row: str
    source: str
    ao: float | None = None
    params: float | None = None
    flops: float | None = None


class _Published(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    sources: dict[str, Source]
    rows: tuple[PublishedRow, ...]


@cache
def _published() -> _Published:
    text = (Path(__file__).parent / "published.toml").read_text(encoding="utf-8")
    return _Published.model_validate(tomllib.loads(text))


def published(study: str, row: str) -> tuple[PublishedRow, Source] | None:
    """The printed figures of a study's row and their source, or None where the paper has none."""
    for entry in _published().rows:
        if (entry.study, entry.row) == (study, row):
            return entry, _published().sources[entry.source]
    return None
