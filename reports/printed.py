"""Ours at the published size beside what the paper prints, and a footnote wherever the two differ."""

from collections.abc import Callable
from dataclasses import dataclass

from ablations.published import Source
from harness.metrics import METRICS
from harness.record import PaperScale
from reports.block import NOT_APPLICABLE, Block
from reports.discrepancies import note_discrepancies, printed_figures, printed_of
from reports.notes import Notes
from reports.results import StudyResult
from reports.table import Cell, Column

CONVENTIONS = (
    "Multiply-accumulates of one tracking step at batch 1 by two conventions, counted without weights: MACs counts linear"
    " layers, convolutions and both products of attention; lin.+conv. leaves attention's products out, as THOP does. What"
    " papers print as FLOPs is mostly one of these two, not twice the count."
)


@dataclass(frozen=True)
class _Ours:
    key: str
    symbol: str
    divisor: float
    unit: str
    of: Callable[[PaperScale], int]


OURS = (
    _Ours("paper_params", "Params", 1e6, "M", lambda p: p.params),
    _Ours("paper_macs", "MACs", 1e9, "G", lambda p: p.macs),
    _Ours("paper_macs_linear_conv", "lin.+conv.", 1e9, "G", lambda p: p.macs_linear_conv),
)


def paper_scale_block(result: StudyResult, notes: Notes) -> Block:
    """Our sizes at paper scale; empty where no row has them."""
    block, sized = Block(), {row.name: row.paper_scale for row in result.rows if row.paper_scale}
    if not sized:
        return block
    crop, baseline = result.study.baseline.crop, result.study.baseline
    group = f"ours at paper scale ({baseline.backbone}, {crop.template_size}/{crop.search_size})"
    for ours in OURS:
        for row in result.rows:
            if size := sized.get(row.name):
                block.put(row.name, ours.key, Cell(ours.of(size) / ours.divisor))
            elif row.role != "variant":
                block.put(row.name, ours.key, NOT_APPLICABLE)
        footnotes = (notes.add(CONVENTIONS),) if ours.unit == "G" else ()
        block.columns.append(
            Column(ours.key, ours.symbol, ours.unit, 1, group=group, panel="cost", footnotes=footnotes)
        )
    note_discrepancies(result, block, notes)
    return block


def published_block(result: StudyResult, notes: Notes) -> Block:
    """The paper's own columns; empty where the paper prints nothing for this study."""
    block = Block()
    found = {row.name: entry for row in result.rows if (entry := printed_of(result, row))}
    keys = dict.fromkeys(key for entry, _ in found.values() for key in printed_figures(entry))
    at_column, at_row = notes.shared({name: _source_note(source) for name, (_, source) in found.items()})
    for key in keys:
        symbol, unit, divisor = _heading(key)
        for row in result.rows:
            if entry := found.get(row.name):
                value = printed_figures(entry[0]).get(key)
                cell = Cell(None if value is None else value / divisor, footnotes=at_row.get(row.name, ()))
                block.put(row.name, f"published_{key}", cell)
            elif row.role != "variant":
                block.put(row.name, f"published_{key}", NOT_APPLICABLE)
        note = "as printed in the paper, not measured here"
        block.columns.append(
            Column(f"published_{key}", symbol, unit, 1, None, "published", note, "cost", footnotes=at_column)
        )
    return block


def _source_note(source: Source) -> str:
    trust = {"paper": "as printed", "secondary": "from a secondary source"}.get(
        source.trust, f"from the {source.trust}"
    )
    return f"Published, {trust}: {source.title}; {source.data}. Not measured here."


def _heading(key: str) -> tuple[str, str, float]:
    """Symbol, unit and divisor of a published figure; metrics are printed in percent already."""
    if key in METRICS:
        return METRICS[key].symbol, METRICS[key].unit, 1.0
    return {"params": ("Params", "M", 1e6), "flops": ("FLOPs", "G", 1e9)}.get(key, (key, "", 1.0))
