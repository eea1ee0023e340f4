"""Footnotes for sizes at the paper's scale that differ from the printed ones, with what would explain the difference."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from trackablate.ablations.published import PaperSource, PublishedRow, published
from trackablate.harness.record import PaperScale
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

    def shown(self, value: float) -> str:
        """Return a figure with the printed decimals."""
        return f"{value / self.divisor:.1f}"


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
        apart = {}
        for row in result.variants:
            one, size = printed(result, row.name).get(check.printed), row.paper_scale
            if one and size and not any(_close(count(size), one.value) for count in check.counts):
                apart[row.name] = size, one.value
        note = footnotes.add(_text(result, check, apart)) if apart else 0
        for name in apart:
            cell = block.cells[name][check.column]
            block.put(name, check.column, replace(cell, footnotes=(*cell.footnotes, note)))


def _close(ours: float, theirs: float) -> bool:
    return abs(ours - theirs) <= TOLERANCE * theirs


def _text(result: Result, check: _Check, apart: dict[str, tuple[PaperScale, float]]) -> str:
    rows = []
    for name, (size, theirs) in apart.items():
        counted = [count(size) for count in check.counts]
        ours = " and ".join(f"{check.shown(count)} ({100 * (count / theirs - 1):+.1f} %)" for count in counted)
        rows.append(f"{name} {ours.replace('-', '−')} against {check.shown(theirs)} {check.unit}")
    text = f"{check.what} at paper scale differ from the printed figure by more than 1 %: {'; '.join(rows)}."
    backbone = result.study.baseline.backbone if result.study else ""
    blocks = BLOCK_PARAMS.get(backbone, 0)
    if check.printed == "params" and any(theirs < blocks for _, theirs in apart.values()):
        text += (
            f" A figure below {check.shown(blocks)} M cannot include the whole {backbone}: its blocks alone hold that many"
            " parameters."
        )
    return text + _explained(check, apart)


def _explained(check: _Check, apart: dict[str, tuple[PaperScale, float]]) -> str:
    """Return what profilers that hook linear layers miss, qkv called as a function, if that explains the difference."""
    fits, rest = [], []
    for name, (size, theirs) in apart.items():
        ours = f"{name} {check.shown(check.without_qkv(size))}"
        if _close(check.without_qkv(size), theirs):
            fits.append(f"{ours} {check.unit}")
        else:
            rest.append(f"{ours} against {check.shown(theirs)} {check.unit}")
    if not fits:
        return ""
    unexplained = f" That does not explain {', '.join(rest)}." if rest else ""
    return (
        " Without the blocks' qkv projections, which a profiler that hooks linear layers misses where they are called as a"
        f" function, ours{check.convention} is within 1 % of the printed figure: {', '.join(fits)}.{unexplained}"
    )
