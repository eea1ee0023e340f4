"""The cost by phase: that it adds up to what the study's table says, and what a row without a figure shows."""

import json
import math
from dataclasses import replace

import pytest

import report_factory as factory
from trackablate.ablations.catalogue import STUDIES
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import PhaseCost, RunRecord
from trackablate.harness.scoring.scored import ScoredTracker
from trackablate.reports.formats.documents import results_json
from trackablate.reports.formats.latex import all_tables
from trackablate.reports.results import Result
from trackablate.reports.table import Table
from trackablate.reports.tables.cost_report import cost_table, phase_costs
from trackablate.reports.tables.costs import cost_of
from trackablate.reports.tables.pivot import pivot


@pytest.fixture(scope="module")
def result() -> Result:
    result = factory.study_result(4)
    rows = [
        replace(row, protocols={name: replace(found, seconds=10.0 + at) for name, found in row.protocols.items()})
        for at, row in enumerate(result.rows)
    ]
    return replace(result, rows=tuple(rows))


def with_phases(record: RunRecord, seed: int = 0, **phases: PhaseCost) -> RunRecord:
    assert record.training is not None
    cost = record.training.cost.model_copy(update={"phases": phases})
    training = record.training.model_copy(update={"cost": cost})
    asked = record.asked.model_copy(update={"seed": seed})
    return record.model_copy(update={"training": training, "asked": asked})


def value(table: Table, row: str, key: str) -> float | str | None:
    cell = next(r for r in table.rows if r.name == row).cells.get(key)
    return None if cell is None else cell.text if cell.text is not None else cell.value


def test_phases_add_up_to_the_studys_own_figures(result: Result) -> None:
    table = cost_table(result)
    for row in result.rows[:4]:
        parts = [value(table, row.name, key) for key in ("phase:data", "phase:train")]
        device = value(table, row.name, "phase:device")
        assert isinstance(device, float)
        assert sum(float(part or 0) for part in parts) == pytest.approx(device)
        assert device == pytest.approx(cost_of(row).device_seconds)
        assert value(table, row.name, "phase:wall") == pytest.approx(cost_of(row).train_seconds)
    assert value(table, "ncc", f"evaluation:{factory.PROTOCOL}") == 15.0
    assert [c.unit for c in table.columns if c.key.startswith("phase:")] == ["s"] * 4


def test_what_cannot_be_is_blank_and_what_is_missing_a_dash(result: Result) -> None:
    table = cost_table(factory.failed(result, "decoder"))
    assert value(table, "ncc", "phase:data") == value(table, "shuffled-template", "fps") == ""
    assert value(table, "ncc", "fps") == 2400
    assert value(table, "decoder", "phase:data") is None
    assert value(table, "decoder", f"evaluation:{factory.PROTOCOL}") is None


def with_speed(result: Result, **fields: object) -> Result:
    for row in result.variants:
        speed = factory.record_of(row).speed
        assert speed is not None
        record = factory.record_of(row).model_copy(update={"speed": speed.model_copy(update=fields)})
        result = factory.with_row(result, row.name, records=(record,))
    return result


def test_times_of_a_frame_stand_beside_fps(result: Result) -> None:
    assert "latency95" not in [column.key for column in cost_table(result).columns], "older measurements have none"
    table = cost_table(with_speed(result, fps_from_jpeg=80.0, latency=7.4, latency95=9.1))
    shown = [value(table, "decoder", key) for key in ("fps_from_jpeg", "latency", "latency95")]
    assert shown == [80.0, 7.4, 9.1]
    assert value(table, "ncc", "latency95") == "", "it was measured before"


def test_a_footnote_says_how_networks_were_computed(result: Result) -> None:
    def said(result: Result) -> str:
        return " ".join(pivot(result).footnotes)

    assert "1 thread, decoding excluded" in said(result)
    graphs = with_speed(result, forward="CUDA graph")
    assert "decoder: CUDA graph, " in said(graphs)
    assert "ncc: eager, " in said(graphs), "an older record of it"
    floors = (factory.record_of(row) for row in graphs.of_role("floor"))
    for row, record in zip(graphs.of_role("floor"), floors, strict=True):
        assert record.speed is not None
        speed = record.speed.model_copy(update={"forward": None})
        graphs = factory.with_row(graphs, row.name, records=(record.model_copy(update={"speed": speed}),))
    assert "1 thread, every network: CUDA graph, decoding excluded" in said(graphs)


def test_hours_are_scaled_to_the_published_length_beside_the_printed_ones(result: Result) -> None:
    """LoRAT prints 35.0 and 10.8 GPU-hours; a tenth of the training was measured."""
    study, names = STUDIES["lorat-cost"], {"conv": "full-l-224", "decoder": "lora-l-224"}
    rows = []
    for row in (row for row in result.rows if row.name in names):
        record = factory.record_of(row)
        published = study.recipes(next(one for one in study.rows if one.name == names[row.name]))[0]
        recipe = published.model_copy(update={"steps": published.steps // 10})
        asked = record.asked.model_copy(update={"recipe": recipe})
        rows.append(replace(row, name=names[row.name], records=(record.model_copy(update={"asked": asked}),)))
    short = replace(result, study=study, rows=tuple(rows), profile=load_profile("short"))
    table = pivot(short)
    hours = cost_of(rows[0]).device_hours
    assert hours is not None
    assert value(table, "full-l-224", "full_length") == pytest.approx(10 * hours)
    assert (value(table, "full-l-224", "published_gpu_hours"), value(table, "lora-l-224", "published_gpu_hours")) == (
        35.0,
        10.8,
    )
    assert any("full-l-224 10 times, lora-l-224 10 times" in note for note in table.footnotes)
    tiny = pivot(replace(short, profile=load_profile("mini")))
    assert "full_length" not in [column.key for column in tiny.columns], "of another size"


def test_a_part_of_a_protocol_has_no_evaluation_time(result: Result) -> None:
    found = result.rows[0].protocols[factory.PROTOCOL]
    part = replace(found, sequences=(*found.sequences, "one-more"))
    assert phase_costs(replace(result.rows[0], protocols={factory.PROTOCOL: part})).evaluation == {}


def test_seeds_are_averaged_and_another_training_is_not_mixed_in(result: Result) -> None:
    row = result.rows[0]
    first, second = (
        with_phases(factory.record_of(row), s, train=PhaseCost(device_seconds=d)) for s, d in ((0, 10.0), (1, 20.0))
    )
    other = with_phases(factory.record_of(row), 0, train=PhaseCost(device_seconds=1000.0))
    recipe = other.asked.recipe
    assert recipe is not None
    longer = other.asked.model_copy(update={"recipe": recipe.model_copy(update={"steps": 9000})})
    other = other.model_copy(update={"asked": longer})
    changed = replace(row, records=(first, second, other))
    costs = phase_costs(changed)
    assert (costs.phases["train"].device_seconds, costs.trainings) == (15.0, 2)
    table = cost_table(replace(result, rows=(changed,)))
    assert "different seeds" in table.footnotes[table.rows[0].footnotes[0]]


def metered(row: ScoredTracker, joules: float, validation: float | None) -> ScoredTracker:
    phases = {"train": PhaseCost(energy_joules=joules), "validate": PhaseCost(energy_joules=validation)}
    return replace(row, records=(with_phases(factory.record_of(row), **phases),))


def test_energy_is_shown_where_every_phase_was_metered(result: Result) -> None:
    rows = (metered(result.rows[0], 7200.0, 3600.0), metered(result.rows[1], 7200.0, None), *result.rows[2:])
    table = cost_table(replace(result, rows=rows))
    assert value(table, "conv", "energy") == 3.0
    assert value(table, "decoder", "energy") is None
    assert "energy" not in {column.key for column in cost_table(result).columns}


def test_as_a_document_and_in_latex(result: Result) -> None:
    document = {row["name"]: row for row in json.loads(results_json(result, pivot(result)))["phases"]}
    assert document["conv"]["training"]["data"]["device_seconds"] == 6.0
    assert document["conv"]["evaluation_seconds"] == {factory.PROTOCOL: 10.0}
    assert document["shuffled-template"]["training"] == {}
    assert math.isclose(document["conv"]["fps"], 190.0)
    assert r"\multicolumn{4}{c}{training}" in all_tables([cost_table(result)])


def test_a_study_of_nothing_has_an_empty_table(result: Result) -> None:
    assert cost_table(replace(result, rows=())).columns == ()


def memory_note(result: Result, **costs: dict[str, object]) -> tuple[dict[str, float | str | None], list[str]]:
    """Return the memory column, and its footnotes, of rows with other records of it."""
    for name, change in costs.items():
        row = next(row for row in result.rows if row.name == name)
        found = factory.record_of(row)
        assert found.training is not None
        training = found.training.model_copy(update={"cost": found.training.cost.model_copy(update=change)})
        result = factory.with_row(result, name, records=(found.model_copy(update={"training": training}),))
    table = pivot(result)
    column = {row.name: value(table, row.name, "memory") for row in result.rows[:4]}
    return column, [note for note in table.footnotes if "Peak memory" in note]


def test_a_processs_memory_is_that_of_the_training(result: Result) -> None:
    """Workers stay: what a process held before belongs to no training. An older record cannot tell it."""
    before, _ = memory_note(result)
    told = {name: {"resident_before_bytes": 960_000_000 + at} for at, name in enumerate(before)}
    column, (note,) = memory_note(result, **told)
    assert column["conv"] == pytest.approx(300)
    assert column["decoder"] == pytest.approx(390)
    assert "less the 960 MB of Python" in note
    told["conv"] = {"resident_before_bytes": None}
    column, notes = memory_note(result, **told)
    assert column["conv"] == pytest.approx(1.26)
    assert any("older record" in note for note in notes)
    assert len(notes) == 2
    told["conv"] = {"memory_kind": "device peak allocated", "peak_memory_bytes": 5_000_000_000}
    column, notes = memory_note(result, **told)
    assert column["conv"] == pytest.approx(5)
    assert any("allocated on the GPU" in note for note in notes)


def test_the_memory_note_says_whether_blocks_were_compiled(result: Result) -> None:
    row = next(row for row in result.rows if row.name == "conv")
    found = factory.record_of(row)
    assert found.asked.recipe is not None
    recipe = found.asked.recipe.model_copy(update={"compile": True})
    asked = found.model_copy(update={"asked": found.asked.model_copy(update={"recipe": recipe})})
    changed = factory.with_row(result, "conv", records=(asked,))
    for compiled, said in ((True, "Blocks were compiled."), (False, "Blocks could not be compiled on this machine.")):
        _, notes = memory_note(changed, conv={"compiled": compiled})
        assert any(note.endswith(said) for note in notes), notes


def test_the_share_of_the_peak_and_all_kinds_of_memory(result: Result) -> None:
    """A dash where the device's peak is not known; the convention is under the table."""
    row = next(row for row in result.rows if row.name == "conv")
    found = factory.record_of(row)
    assert found.training is not None
    held = {"reserved_bytes": 3_000_000_000, "driver_bytes": 4_000_000_000}
    cost = found.training.cost.model_copy(update={"flops_per_pair": 1e9, "peak_tflops": 0.5, **held})
    steps = cost.phases["train"].device_seconds
    training = found.training.model_copy(update={"cost": cost})
    changed = factory.with_row(result, "conv", records=(found.model_copy(update={"training": training}),))
    table = cost_table(changed)
    assert value(table, "conv", "mfu") == pytest.approx(100 * 4800 * 1e9 / (steps * 0.5e12))
    assert value(table, "decoder", "mfu") is None
    assert value(table, "ncc", "mfu") == ""
    assert [value(table, "conv", key) for key in ("memory", "reserved", "driver")] == pytest.approx([1.26, 3, 4])
    assert any("model FLOPs utilisation" in note and "A dash" in note for note in table.footnotes)
    document = json.loads(results_json(changed, pivot(changed)))
    share = pytest.approx(4800 * 1e9 / (steps * 0.5e12))
    assert (
        next(each for each in document["rows"] if each["name"] == "conv")["cost"] | held | {"mfu": share}
        == (next(each for each in document["rows"] if each["name"] == "conv")["cost"])
    )
    assert {each["name"]: each["mfu"] for each in document["phases"]}["decoder"] is None


def test_the_memory_note_says_how_many_pairs_were_computed_at_a_time(result: Result) -> None:
    recipe = factory.record_of(next(row for row in result.rows if row.name == "conv")).asked.recipe
    assert recipe is not None
    published = recipe.pairs_at_once
    for change, said in (
        ({"pairs_at_once": published}, None),
        ({"pairs_at_once": 1}, f"1 pairs at a time instead of {published}, which did not fit; the result is the same"),
        ({"pairs_at_once": 64}, f"{published} pairs at a time as published; after the first steps 64, which took more"),
        ({"recomputed": True}, "Activations were computed twice, because memory did not hold them."),
        ({"fsdp": True}, "GPUs or processes divided parameters, gradients and optimizer states among them (--fsdp)."),
    ):
        _, notes = memory_note(result, conv=change)
        assert any(said in note for note in notes) if said else len(notes) == 1, notes


def test_measured_columns_name_profile_device_and_who_shared_the_machine(result: Result) -> None:
    table = pivot(result)
    groups = {column.key: column.group for column in table.columns}
    assert groups["train_device"] == groups["memory"] == "measured, profile mini, Intel Xeon 2.1 GHz, 2 cores"
    assert groups["fps"] == "synthetic video", "of the same profile and device"
    assert cost_table(result).title == "Cost by phase, profile mini, Intel Xeon 2.1 GHz, 2 cores"
    (shared,) = [note for note in table.footnotes if note.startswith("Device time")]
    assert shared.endswith("beside other runs on the machine, 2 at a time: conv, decoder, ce-conv, ce-decoder.")
    assert any("a synthetic video of 160 x 120 pixels, at every profile" in note for note in table.footnotes)


def test_other_devices_and_runs_that_were_alone_are_told_apart(result: Result) -> None:
    own = factory.record_of(result.rows[0])
    assert own.training is not None
    where = own.training.where.model_copy(update={"device": "NVIDIA H100", "concurrent_workers": 1})
    moved = own.model_copy(update={"training": own.training.model_copy(update={"where": where})})
    table = pivot(factory.with_row(result, "conv", records=(moved,)))
    groups = {column.key: column.group for column in table.columns}
    assert groups["memory"] == "measured, profile mini, 2 devices, see the provenance"
    assert groups["fps"] == "profile mini, synthetic video, Intel Xeon 2.1 GHz, 2 cores"
    assert any("2 at a time: decoder, ce-conv, ce-decoder." in note for note in table.footnotes)
