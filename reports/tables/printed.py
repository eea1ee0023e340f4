"""Our sizes at the published scale beside what the paper prints, with a footnote wherever the two differ."""

from collections.abc import Callable, Mapping

from trackablate.ablations.published import PaperSource
from trackablate.datasets.extents import official_extent
from trackablate.harness.record import PaperScale
from trackablate.harness.scoring.metrics import METRICS
from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Column
from trackablate.reports.tables.accuracy import value_of
from trackablate.reports.tables.block import Block, Footnotes
from trackablate.reports.tables.discrepancies import Printed, note_discrepancies, printed

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
    note_discrepancies(result, block, footnotes)


def _of_all(result: Result) -> str:
    """Return the backbone and the crops if all rows have the same."""
    specs = [result.study.spec(row) for row in result.study.rows] if result.study else []
    sizes = {f" ({s.backbone}, {s.crop.template_size}/{s.crop.search_size})" for s in specs}
    return sizes.pop() if len(sizes) == 1 else ""


def add_published(result: Result, block: Block, footnotes: Footnotes) -> None:
    """Add the paper's own columns, and how far ours are from them if they compare."""
    found = {name: of for name in _names(result) if (of := printed(result, name))}
    for key in _keys(result, found):
        _published_column(result, key, {name: of[key] for name, of in found.items() if key in of}, block, footnotes)
        if ":" in key:
            _gap_column(result, key, found, block, footnotes)


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
