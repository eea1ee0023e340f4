"""Our sizes at the published scale beside what the paper prints, with a footnote wherever the two differ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from trackablate.ablations.published import PaperSource, PublishedRow, published
from trackablate.datasets.protocols import official_extent
from trackablate.harness.record import PaperScale
from trackablate.harness.scoring.metrics import METRICS
from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Column
from trackablate.reports.tables.accuracy import value_of
from trackablate.reports.tables.block import Block, Footnotes
from trackablate.reports.tables.costs import cost_of


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


def printed_order(result: Result, rows: Mapping[str, float]) -> str:
    """Return how far the order of the rows' figures, higher is better, is the printed one; "" if nothing is printed of two.

    The printed metric is the one that most rows have, the first of the file among several.
    """
    found = {name: printed(result, name) for name in rows}
    metrics = [key for of in found.values() for key in of if key.partition(":")[2] in METRICS]
    if not metrics:
        return ""
    key = max(dict.fromkeys(metrics), key=metrics.count)
    named = [name for name in rows if key in found[name]]
    gaps = [(rows[a] - rows[b], found[a][key].value - found[b][key].value) for a, b in combinations(named, 2)]
    counted = [ours * theirs for ours, theirs in gaps if ours * theirs]
    if not counted:
        return ""
    protocol, _, metric = key.partition(":")
    return (
        f"Of {len(counted)} pairs of variants, {sum(product > 0 for product in counted)} stand in the order that the paper"
        f" prints, by {METRICS[metric].symbol} on {protocol}."
    )


CONVENTIONS = (
    "Multiply-accumulates of one tracking step at batch 1 by two conventions, counted without weights: MACs counts linear"
    " layers, convolutions and both products of attention; lin.+conv. leaves attention's products out, as THOP does. What"
    " papers print as FLOPs is mostly one of these two, not twice the count."
)


OURS: Mapping[str, tuple[str, str, float, Callable[[PaperScale], int]]] = {
    "paper_params": ("Params", "M", 1e6, lambda p: p.params),
    "paper_macs": ("MACs", "G", 1e9, lambda p: p.macs),
    "paper_macs_linear_conv": ("lin.+conv.", "G", 1e9, lambda p: p.macs_linear_conv),
}
"""Our columns: symbol, unit, divisor, and the figure."""


def add_paper_scale(result: Result, block: Block, footnotes: Footnotes) -> None:
    """Add our sizes at paper scale if a row has them."""
    sized = {row.name: row.paper_scale for row in result.rows if row.paper_scale}
    if not sized:
        return
    others = [row.name for row in result.rows if row.role != "variant"]
    group = f"ours at paper scale{_of_all(result)}"
    for key, (symbol, unit, divisor, of) in OURS.items():
        notes = (footnotes.add(CONVENTIONS),) if unit == "G" else ()
        column = Column(key, symbol, unit, 1, group=group, panel="cost", footnotes=notes)
        block.add(column, {name: Cell(of(size) / divisor) for name, size in sized.items()}, others)
    _note_discrepancies(result, block, footnotes)


def _of_all(result: Result) -> str:
    """Return the backbone and the crops if all rows have the same."""
    specs = [result.study.spec(row) for row in result.study.rows] if result.study else []
    sizes = {f" ({s.backbone}, {s.crop.template_size}/{s.crop.search_size})" for s in specs}
    return sizes.pop() if len(sizes) == 1 else ""


def add_published(result: Result, block: Block, footnotes: Footnotes) -> None:
    """Add the paper's own columns, and how far ours are from them if they compare."""
    found = {name: of for name in _names(result) if (of := printed(result, name))}
    if any("gpu_hours" in of for of in found.values()):
        _add_full_length(result, block, footnotes)
    for key in _keys(result, found):
        _published_column(result, key, {name: of[key] for name, of in found.items() if key in of}, block, footnotes)
        if ":" in key:
            _gap_column(result, key, found, block, footnotes)


FULL_LENGTH = "Measured device hours times the pairs of the published training by those of this one: {}."


def _add_full_length(result: Result, block: Block, footnotes: Footnotes) -> None:
    """Add what the trainings would take at their published length, for trackers of the published size."""
    if result.study is None or result.profile is None or result.profile.scale is not None:
        return
    published = {row.name: result.study.recipes(row)[0] for row in result.study.rows}
    hours, factors = {}, {}
    for row in result.variants:
        recipe, took = row.record.asked.recipe if row.record else None, cost_of(row).device_hours
        if recipe and took is not None:
            full = published[row.name]
            factors[row.name] = full.steps * full.batch_size / (recipe.steps * recipe.batch_size)
            hours[row.name] = Cell(took * factors[row.name])
    if hours:
        said = ", ".join(f"{name} {factor:.4g} times" for name, factor in factors.items())
        group, notes = "ours, scaled to the published length", (footnotes.add(FULL_LENGTH.format(said)),)
        column = Column("full_length", "Training", "device h", 1, group=group, panel="published", footnotes=notes)
        block.add(column, hours, [row.name for row in result.of_role("floor", "control")])


def _names(result: Result) -> list[str]:
    """Return the names of the variants and the cited trackers."""
    study = [row.name for row in result.study.rows] if result.study else []
    return [*study, *(row.name for row in result.of_role("cited"))]


def _keys(result: Result, found: Mapping[str, Mapping[str, Printed]]) -> list[str]:
    """Return the keys of what is printed for any row: metrics in the order of the study's protocols, then the rest."""
    known = dict.fromkeys(key for of in found.values() for key in of)
    order = {name: number for number, name in enumerate(result.study.protocols if result.study else ())}
    metrics = [key for key in known if ":" in key]
    kinds = [*METRICS, "epochs"]
    metrics.sort(key=lambda key: (order.get(key.split(":")[0], len(order)), kinds.index(key.split(":")[1])))
    return metrics + [name for name in FIGURES if name in known]


def _published_column(result: Result, key: str, found: dict[str, Printed], block: Block, footnotes: Footnotes) -> None:
    protocol, _, metric = key.rpartition(":")
    symbol, unit, divisor, decimals = _heading(metric)
    at_column, at_row = footnotes.shared({name: _source_note(one.source) for name, one in found.items()})
    cells = {}
    for name, one in found.items():
        own = (footnotes.add("Printed for {}: " + f"{one.entry.note}.", name),) if one.entry.note else ()
        cells[name] = Cell(one.value / divisor, footnotes=(*at_row.get(name, ()), *own))
    group = f"published, {protocol}" if protocol else "published"
    note = "as printed in the paper, not measured here"
    column = Column(f"published_{key}", symbol, unit, decimals, None, group, note, "published", footnotes=at_column)
    block.add(column, cells, [row.name for row in result.of_role("floor", "control")])


GAP = (
    "Ours minus printed, on all sequences of the benchmark, where both mean the same: the profile runs at the paper's size"
    " on the paper's data, or the figure is recomputed from the printed tracker's own raw results."
)


def _gap_column(
    result: Result, key: str, found: Mapping[str, Mapping[str, Printed]], block: Block, footnotes: Footnotes
) -> None:
    protocol, _, metric = key.rpartition(":")
    facts = next((one for one in result.protocols if one.name == protocol and metric in one.metrics), None)
    if facts is None or len(facts.sequences) != len(official_extent(protocol).lengths):
        return
    cells = {}
    for row in result.of_role("variant", "cited"):
        one, ours = found.get(row.name, {}).get(key), value_of(row, facts, METRICS[metric])
        # An entry with a note says how the printed row differs from ours.
        compares = row.role == "cited" or (result.comparable_with_paper and one and not one.entry.note)
        if one and compares and ours is not None:
            cells[row.name] = Cell(ours - one.value)
    if cells:
        symbol, note = f"{METRICS[metric].symbol} gap", f"ours minus printed {METRICS[metric].symbol}"
        group, notes = f"published, {protocol}", (footnotes.add(GAP),)
        column = Column(f"gap_{key}", symbol, "points", 1, None, group, note, "published", signed=True, footnotes=notes)
        block.add(column, cells, [*_names(result), *(row.name for row in result.of_role("floor", "control"))])


def _source_note(source: PaperSource) -> str:
    trust = {"paper": "as printed", "secondary": "from a secondary source"}.get(
        source.trust, f"from the {source.trust}"
    )
    return f"Published, {trust}: {source.title}; {source.data}. Not measured here."


FIGURES = {
    "epochs": ("Epochs", "", 1.0, 0),
    "params": ("Params", "M", 1e6, 1),
    "trainable": ("Trainable", "M", 1e6, 1),
    "flops": ("FLOPs", "G", 1e9, 1),
    "fps": ("FPS", "frames/s", 1.0, 0),
    "gpu_hours": ("Training", "GPU h", 1.0, 1),
    "memory": ("Memory", "GB", 1e9, 1),
}
"""Printed figures other than metrics: symbol, unit, divisor, decimals."""


def _heading(key: str) -> tuple[str, str, float, int]:
    """Return symbol, unit, divisor and decimals of a published figure; metrics are printed in percent already."""
    if key in METRICS:
        return METRICS[key].symbol, METRICS[key].unit, 1.0, METRICS[key].decimals
    return FIGURES[key]


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


def _note_discrepancies(result: Result, block: Block, footnotes: Footnotes) -> None:
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
