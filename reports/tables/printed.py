"""Ours at the published size beside what the paper prints, and a footnote wherever the two differ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trackablate.ablations.published import PaperSource
from trackablate.datasets.extents import official_extent
from trackablate.harness.record import PaperScale
from trackablate.harness.scoring.metrics import METRICS
from trackablate.reports.results import ProtocolFacts, ProtocolResult, StudyResult
from trackablate.reports.table import Cell, Column
from trackablate.reports.tables.accuracy import row_value
from trackablate.reports.tables.block import NOT_APPLICABLE, Block
from trackablate.reports.tables.discrepancies import Printed, note_discrepancies, printed
from trackablate.reports.tables.effects import complete
from trackablate.reports.tables.footnotes import Notes
from trackablate.reports.tables.server import server_value

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
    group = f"ours at paper scale{_of_all(result)}"
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


def _of_all(result: StudyResult) -> str:
    """The backbone and the crops, where all rows have the same."""
    specs = [result.study.spec(row) for row in result.study.rows]
    sizes = {f" ({s.backbone}, {s.crop.template_size}/{s.crop.search_size})" for s in specs}
    return sizes.pop() if len(sizes) == 1 else ""


def published_block(result: StudyResult, notes: Notes) -> Block:
    """The paper's own columns, and how far ours are from them where the two compare; empty where nothing is printed."""
    block = Block()
    found = {name: of for name in _names(result) if (of := printed(result.study.name, name))}
    for key in _keys(result, found):
        _published_column(result, key, {name: of[key] for name, of in found.items() if key in of}, block, notes)
        if ":" in key:
            _gap_column(result, key, found, block, notes)
    return block


def _names(result: StudyResult) -> list[str]:
    """Variants and cited trackers."""
    return [row.name for row in result.study.rows] + [row.name for row in result.cited]


def _keys(result: StudyResult, found: Mapping[str, Mapping[str, Printed]]) -> list[str]:
    """What is printed for any row: metrics by the study's protocols, then the rest."""
    known = dict.fromkeys(key for of in found.values() for key in of)
    order = {name: number for number, name in enumerate(result.study.protocols)}
    metrics = [key for key in known if ":" in key]
    kinds = [*METRICS, "epochs"]
    metrics.sort(key=lambda key: (order.get(key.split(":")[0], len(order)), kinds.index(key.split(":")[1])))
    return metrics + [name for name in FIGURES if name in known]


def _published_column(result: StudyResult, key: str, found: dict[str, Printed], block: Block, notes: Notes) -> None:
    protocol, _, metric = key.rpartition(":")
    symbol, unit, divisor, decimals = _heading(metric)
    at_column, at_row = notes.shared({name: _source_note(one.source) for name, one in found.items()})
    for name, one in found.items():
        own = (notes.add(f"Printed for {name}: {one.entry.note}."),) if one.entry.note else ()
        cell = Cell(one.value / divisor, footnotes=(*at_row.get(name, ()), *own))
        block.put(name, f"published_{key}", cell)
    for row in result.rows:
        if row.role != "variant":
            block.put(row.name, f"published_{key}", NOT_APPLICABLE)
    group = f"published, {protocol}" if protocol else "published"
    note = "as printed in the paper, not measured here"
    column = Column(f"published_{key}", symbol, unit, decimals, None, group, note, "published", footnotes=at_column)
    block.columns.append(column)


GAP = (
    "Ours minus printed, on all sequences of the benchmark, where both mean the same: the profile runs at the paper's size"
    " on the paper's data, or the figure is recomputed from the printed tracker's own raw results."
)


def _gap_column(
    result: StudyResult, key: str, found: Mapping[str, Mapping[str, Printed]], block: Block, notes: Notes
) -> None:
    protocol, _, metric = key.rpartition(":")
    facts = next((one for one in result.every_protocol if one.name == protocol), None)
    if facts is None or metric not in facts.metrics or facts.sequences != len(official_extent(protocol).lengths):
        return
    cited = {row.name for row in result.cited}
    # A note says in what the printed row is another than ours.
    theirs = {n: of[key].value for n, of in found.items() if key in of and (n in cited or not of[key].entry.note)}
    ours = {name: value for name in theirs if (value := _comparable(result, name, facts, metric)) is not None}
    gaps = {name: METRICS[metric].scale * value - theirs[name] for name, value in ours.items()}
    if not gaps:
        return
    for row in result.rows:
        block.put(row.name, f"gap_{key}", NOT_APPLICABLE if row.role != "variant" else Cell())
    for name in _names(result):
        block.put(name, f"gap_{key}", Cell(gaps[name]) if name in gaps else NOT_APPLICABLE)
    symbol, unit = f"{METRICS[metric].symbol} gap", "points"
    group, note = f"published, {protocol}", f"ours minus printed {METRICS[metric].symbol}"
    block.columns.append(
        Column(f"gap_{key}", symbol, unit, 1, None, group, note, "published", signed=True, footnotes=(notes.add(GAP),))
    )


def _comparable(result: StudyResult, name: str, facts: ProtocolFacts, metric: str) -> float | None:
    """Our figure for a row where it means what the printed one means, a share; None otherwise."""
    for cited in result.cited:
        if cited.name == name:
            return _share(cited.protocols.get(facts.name), facts, metric)
    row = next((one for one in result.rows if one.name == name), None)
    if row is None or not result.profile.comparable_with_paper:
        return None
    served = any(one.name == facts.name for one in result.on_server)
    return server_value(row, facts.name, metric) if served else _share(complete(row, facts), facts, metric)


def _share(found: ProtocolResult | None, facts: ProtocolFacts, metric: str) -> float | None:
    return None if found is None else row_value(found, facts, metric)


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
"""Printed figures that are no metrics: symbol, unit, divisor, decimals."""


def _heading(key: str) -> tuple[str, str, float, int]:
    """Symbol, unit, divisor and decimals of a published figure; metrics are printed in percent already."""
    if key in METRICS:
        return METRICS[key].symbol, METRICS[key].unit, 1.0, METRICS[key].decimals
    return FIGURES[key]
