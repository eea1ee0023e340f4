"""Footnotes for sizes at the paper's scale that differ from the printed ones, with what would explain the difference."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from trackablate.ablations.published import PaperSource, PublishedRow, published
from trackablate.harness.record import PaperScale
from trackablate.harness.scoring.scored import ScoredTracker
from trackablate.reports.results import Result
from trackablate.reports.tables.block import Block, Footnotes

BLOCK_PARAMS = {"vit-b16": 85_054_464, "vit-l16": 302_309_376}
"""Parameters of the transformer blocks alone: depth times (12 d^2 + 13 d)."""

TOLERANCE = 0.01


@dataclass(frozen=True)
class _Check:
    """One printed figure against ours; one of our ways of counting should agree with it."""

    column: str
    what: str
    printed: str
    counts: tuple[Callable[[PaperScale], int], ...]
    without_qkv: Callable[[PaperScale], int]
    divisor: float
    unit: str
    convention: str = ""


CHECKS = (
    _Check("paper_params", "Params", "params", (lambda p: p.params,), lambda p: p.params - p.qkv_params, 1e6, "M"),
    _Check(
        "paper_macs",
        "MACs and lin.+conv.",
        "flops",
        (lambda p: p.macs, lambda p: p.macs_linear_conv),
        lambda p: p.macs_linear_conv - p.qkv_macs,
        1e9,
        "G",
        " by linear layers and convolutions",
    ),
)


@dataclass(frozen=True)
class Printed:
    """One printed figure: metrics in percent, the others in units."""

    value: float
    entry: PublishedRow
    source: PaperSource


def printed(result: Result, row: str) -> dict[str, Printed]:
    """Return what is printed for a study's row, by "PROTOCOL:METRIC" or by a figure's name.

    If several sources print the same figure, the first of the file counts.
    """
    found: dict[str, Printed] = {}
    for entry, source in published(result.study.name, row) if result.study else ():
        metrics = {f"{protocol}:{key}": value for protocol, of in entry.metrics.items() for key, value in of.items()}
        epochs = {f"{protocol}:epochs": value for protocol, value in entry.epochs.items()}
        for key, value in {**metrics, **epochs, **entry.figures}.items():
            found.setdefault(key, Printed(value, entry, source))
    return found


def note_discrepancies(result: Result, block: Block, footnotes: Footnotes) -> None:
    """Add a footnote for each kind of figure that no way of counting brings within 1 % of the printed one."""
    for check in CHECKS:
        apart = {row.name: pair for row in result.rows if (pair := _apart(result, row, check)) is not None}
        if not apart:
            continue
        note = footnotes.add(_text(result, check, apart))
        for name in apart:
            cell = block.cells[name][check.column]
            block.put(name, check.column, replace(cell, footnotes=(*cell.footnotes, note)))


def _apart(result: Result, row: ScoredTracker, check: _Check) -> tuple[PaperScale, float] | None:
    """Return our size and the printed figure if they differ."""
    size = row.paper_scale
    one = printed(result, row.name).get(check.printed) if row.role == "variant" else None
    theirs = one.value if one else None
    if size is None or theirs is None or any(_close(count(size), theirs) for count in check.counts):
        return None
    return size, theirs


def _close(ours: float, theirs: float) -> bool:
    return abs(ours - theirs) <= TOLERANCE * theirs


def _text(result: Result, check: _Check, apart: dict[str, tuple[PaperScale, float]]) -> str:
    rows = "; ".join(_row(name, check, size, theirs) for name, (size, theirs) in apart.items())
    text = f"{check.what} at paper scale differ from the printed figure by more than 1 %: {rows}."
    return text + _impossible(result, check, apart) + _explained(check, apart)


def _row(name: str, check: _Check, size: PaperScale, theirs: float) -> str:
    ours = " and ".join(_against(count(size), theirs, check.divisor) for count in check.counts)
    return f"{name} {ours} against {theirs / check.divisor:.1f} {check.unit}"


def _against(ours: float, theirs: float, divisor: float) -> str:
    share = f"{100 * (ours / theirs - 1):+.1f} %".replace("-", "−")
    return f"{ours / divisor:.1f} ({share})"


def _impossible(result: Result, check: _Check, apart: dict[str, tuple[PaperScale, float]]) -> str:
    backbone = result.study.baseline.backbone if result.study else ""
    blocks = BLOCK_PARAMS.get(backbone, 0)
    if check.printed != "params" or all(theirs >= blocks for _, theirs in apart.values()):
        return ""
    return (
        f" A figure below {blocks / 1e6:.1f} M cannot include the whole {backbone}: its blocks alone hold that many"
        " parameters."
    )


def _explained(check: _Check, apart: dict[str, tuple[PaperScale, float]]) -> str:
    """Return what profilers that hook linear layers miss, qkv called as a function, if that explains the difference."""
    fits = {
        n: check.without_qkv(size) for n, (size, theirs) in apart.items() if _close(check.without_qkv(size), theirs)
    }
    if not fits:
        return ""
    ours = ", ".join(f"{name} {value / check.divisor:.1f} {check.unit}" for name, value in fits.items())
    rest = ", ".join(
        f"{name} {check.without_qkv(size) / check.divisor:.1f} against {theirs / check.divisor:.1f} {check.unit}"
        for name, (size, theirs) in apart.items()
        if name not in fits
    )
    unexplained = f" That does not explain {rest}." if rest else ""
    return (
        " Without the blocks' qkv projections, which a profiler that hooks linear layers misses where they are called as a"
        f" function, ours{check.convention} is within 1 % of the printed figure: {ours}.{unexplained}"
    )
