"""The origin of every number: the runs, and a profile in words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from trackablate.harness.record import Provenance, RunRecord
from trackablate.harness.spec import Profile
from trackablate.reports.results import Result

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Of every language setting, so that the same store gives the same page."""


@dataclass(frozen=True)
class Run:
    """One run, with the table rows that use it."""

    record: RunRecord
    rows: tuple[str, ...]

    @property
    def where(self) -> Provenance | None:
        """Where it was trained or failed, None for a run that was not."""
        last = self.record.failure or self.record.training
        return last.where if last else None

    @property
    def verdict(self) -> str:
        """The verdict; a run without any has nothing to train or is not finished."""
        if self.where:
            return self.record.verdict
        return "needs no training" if self.record.asked.data is None else "not finished"

    @property
    def commit(self) -> str:
        """The commit, and whether the code was changed after it."""
        if self.where is None:
            return "–"
        state = {True: " + uncommitted changes", False: "", None: " (unknown whether changed)"}[self.where.dirty]
        return f"{self.where.commit[:10] if self.where.commit else 'no commit known'}{state}"


def runs(result: Result) -> list[Run]:
    """Return every distinct run of the study, in the table's order."""
    found: dict[str, tuple[RunRecord, dict[str, None]]] = {}
    for row in result.rows:
        for record in row.records:
            _, names = found.setdefault(record.asked.fingerprint, (record, {}))
            names[row.name] = None
    return [Run(record, tuple(names)) for record, names in found.values()]


def commands(result: Result, found: list[Run]) -> dict[str, list[str]]:
    """Return the commands of single runs that are not the page's own, each with its rows."""
    known = ((run.where.command, run) for run in found if run.where)
    return _rows_by((text, run) for text, run in known if text not in ("", result.command))


def versions(found: list[Run]) -> dict[str, list[str]]:
    """Return the distinct sets of versions, each with the rows that ran with it."""
    return _rows_by((_versions(run.where), run) for run in found if run.where)


def _versions(where: Provenance) -> str:
    return ", ".join([f"Python {where.python}", *(f"{name} {of}" for name, of in sorted(where.packages.items()))])


def _rows_by(texts: Iterable[tuple[str, Run]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text, run in texts:
        found.setdefault(text, []).extend(run.rows)
    return found


def moment(stamp: str) -> Markup:
    """Return an ISO 8601 time for readers, "28 Nov 2026, 08:38 UTC", with its machine form; a dash for none."""
    try:
        at = datetime.fromisoformat(stamp).astimezone(UTC)
    except ValueError:
        return Markup("{}").format(stamp or "–")
    words = f"{at.day} {MONTHS[at.month - 1]} {at.year}, {at:%H:%M} UTC"
    return Markup('<time datetime="{:%Y-%m-%dT%H:%M:%SZ}">{}</time>').format(at, words)


def profile_facts(profile: Profile) -> dict[str, str]:
    """Return the profile in words: what was trained, on what, how long."""
    parts = {"recipe": profile.recipe, "training data": profile.data, "scale": profile.scale}
    found = {title: in_words(part.model_dump()) for title, part in parts.items() if part is not None}
    return {"profile": f"{profile.name}: {profile.description}"} | found


def in_words(value: object, sign: str = " ") -> str:
    """Return a setting as words: "batch size 32, layers 1 2 3, backbones (dinov2-s: vit-mini-1)", without what is unset."""
    if isinstance(value, Mapping):
        known = {str(name).replace("_", " "): of for name, of in value.items() if of not in (None, (), {})}
        return ", ".join(f"{name}{sign}{_nested(of)}" for name, of in known.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(_nested, value)) if isinstance(value, list | tuple) else str(value)


def _nested(value: object) -> str:
    return f"({in_words(value, ': ')})" if isinstance(value, Mapping) else in_words(value)
