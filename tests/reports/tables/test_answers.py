"""The sentences that answer a result's question, word for word, and the short table below them."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

import report_factory as factory
import score_factory
from trackablate.harness.scoring.metrics import METRICS
from trackablate.harness.scoring.scored import Returned, ScoredTracker
from trackablate.harness.speed import Speed
from trackablate.reports.formats.documents import results_json
from trackablate.reports.formats.panels import beginning
from trackablate.reports.formats.summary import MOST_FOOTNOTES, summary, without_footnotes
from trackablate.reports.formats.text import TerminalSummary, TerminalTable
from trackablate.reports.results import Result, result_of
from trackablate.reports.statistics.bootstrap import Estimate
from trackablate.reports.statistics.sample_size import Needed
from trackablate.reports.table import Cell, Table
from trackablate.reports.tables import effects
from trackablate.reports.tables.answers import _factor, answers, cost_of_run
from trackablate.reports.tables.pivot import pivot
from trackablate.reports.tables.printed import printed, printed_order

P = factory.PROTOCOL
CHANCE = Needed(2900, None)
MINI = "At profile mini (not comparable with the paper)"
TRACKS = (
    "It does track: it beats static (a box that stands still, 24.0 %), ncc (correlation without learning, 40.2 %) and"
    " shuffled-template (the baseline with a wrong template, 24.2 %) by more than chance."
)
COST = (
    "It took 67 s of device time to train (conv: 51 s), held 1.35 GB of memory at most (conv: 1.26 GB) and tracks 135"
    " frames/s (conv: 190 frames/s), on Intel Xeon 2.1 GHz, 2 cores, trained while 2 runs shared the machine."
)
FLOORS = {
    "static": Cell(24.0, beaten=True),
    "ncc": Cell(40.2, beaten=True),
    "shuffled-template": Cell(24.2, beaten=True),
}


@pytest.fixture(scope="module")
def result() -> Result:
    return factory.study_result(4)


def against(value: float, delta: float, p: float, needed: Needed | None = None) -> Cell:
    """A figure with a tested difference to the first row, whose interval excludes 0 exactly where p says so."""
    half = abs(delta) * (0.5 if p < 0.05 else 2)
    own = Cell(value, low=value - 4, high=value + 4, n=80, p=p, needed=needed)
    return replace(own, delta=delta, delta_low=delta - half, delta_high=delta + half)


def told(result: Result, cells: dict[str, Cell], protocol: str = P, metric: str = "ao") -> Table:
    """The result's table with these figures in its primary column, and none besides."""
    return with_figures(pivot(result), f"{protocol}:{metric}" if result.study else metric, cells)


def with_figures(table: Table, key: str, cells: dict[str, Cell]) -> Table:
    rows = (replace(row, cells=row.cells | {key: cells.get(row.name, Cell())}) for row in table.rows)
    return replace(table, rows=tuple(rows))


def test_a_clear_winner(result: Result) -> None:
    cells = {
        "conv": Cell(47.8, n=80),
        "decoder": against(53.1, 5.3, 0.003),
        "ce-conv": against(44.0, -3.8, 0.012),
        "ce-decoder": against(48.0, 0.2, 0.9, CHANCE),
    }
    assert answers(result, told(result, cells | FLOORS)) == (
        f"{MINI}, changing the head helps: decoder has the highest average overlap (AO) on {P}, 53.1 %, 5.3 points above the"
        " baseline conv (47.8 %), more than chance explains (Holm-corrected p = 0.003); ce-decoder cannot be told from conv"
        " and ce-conv is worse than conv.",
        TRACKS,
        COST,
    )


def test_nothing_is_told_apart(result: Result) -> None:
    cells = {"conv": Cell(47.8, n=80), "decoder": against(48.6, 0.8, 0.648, CHANCE)}
    assert answers(result, told(result, cells))[0] == (
        f"{MINI} and with 2 of 4 variants scored, no change of the head is shown to make a difference: decoder has the"
        f" highest average overlap (AO) on {P}, 48.6 %, 0.8 points above the baseline conv (47.8 %), which may be chance"
        " (Holm-corrected p = 0.648; it would take about 2900 sequences to tell, and there are 80)."
    )


@pytest.mark.parametrize(
    ("figures", "effect"),
    [
        (
            {"ce-conv": (2.0, 0.7), "decoder": (-1.0, 0.8)},
            "no change of the sparsity or the head is shown to make a difference: ",
        ),
        ({"ce-conv": (2.0, 0.7), "decoder": (-9.0, 0.01)}, "no change of the sparsity or the head is shown to help: "),
        ({"ce-conv": (-8.0, 0.01)}, "no change of the sparsity is shown to help: conv, the baseline, has the highest"),
        (
            {"ce-decoder": (8.0, 0.01), "ce-conv": (-2.0, 0.7)},
            "changing the sparsity and the head helps: ce-decoder has ",
        ),
    ],
)
def test_the_first_sentence_names_what_was_varied(
    result: Result, figures: dict[str, tuple[float, float]], effect: str
) -> None:
    cells = {name: against(47.8 + delta, delta, p) for name, (delta, p) in figures.items()}
    first = answers(result, told(result, cells | {"conv": Cell(47.8, n=80)}))[0]
    assert effect in first
    assert first.startswith(MINI)


def test_what_a_study_varies_has_a_name_in_words() -> None:
    assert _factor("Trained", "head.layers") == "decoder layers in training"
    assert (_factor("Token types", "embedding.token_types"), _factor("LoRA", "adaptation")) == ("token types", "LoRA")


def test_nothing_is_told_apart_either(result: Result) -> None:
    cells = {"conv": Cell(47.8, n=80), "decoder": against(48.6, 0.8, 0.648), "ce-conv": against(47.9, 0.1, 0.9)}
    assert answers(result, told(result, cells))[0].endswith("; ce-conv cannot be told from conv either.")


def test_the_baseline_leads_and_seeds_would_tell(result: Result) -> None:
    cells = {"conv": Cell(47.8, n=80), "decoder": against(47.0, -0.8, 0.3, Needed(None, 7))}
    (first, *_, cost) = answers(result, told(result, cells))
    assert first.endswith(
        f"conv, the baseline, has the highest average overlap (AO) on {P}, 47.8 %, 0.8 points above decoder (47.0 %), which"
        " may be chance (Holm-corrected p = 0.300; it would take about 7 seeds per row to tell)."
    )
    assert cost.startswith(
        "It took 51 s of device time to train, held 1.26 GB of memory at most and tracks 190 frames/s,"
    )


def test_the_best_by_the_written_figure_are_named_together(result: Result) -> None:
    cells = {"conv": Cell(50.0, n=80), "decoder": against(50.02, 0.02, 0.9), "ce-conv": against(44.0, -6.0, 0.01)}
    first, tracking, cost = answers(result, told(result, cells | FLOORS))
    assert first.endswith(
        f"decoder and conv (the baseline) have the highest average overlap (AO) on {P}, 50.0 %; ce-conv is worse than"
        " conv."
    )
    assert tracking.startswith("decoder does track: it beats ")
    assert cost.startswith("decoder took 67 s ")
    two = {"conv": Cell(47.8, n=80), "decoder": against(53.1, 5.3, 0.003), "ce-conv": against(53.1, 5.3, 0.01)}
    assert answers(result, told(result, two))[0].endswith(
        f"decoder and ce-conv have the highest average overlap (AO) on {P}, 53.1 %; decoder is 5.3 points above the baseline"
        " conv (47.8 %), more than chance explains (Holm-corrected p = 0.003); ce-conv is better than conv."
    )


def test_speeds_of_another_device_name_it(result: Result) -> None:
    elsewhere = result
    for row in result.variants:
        speed = factory.record_of(row).speed
        assert speed is not None
        record = factory.record_of(row).model_copy(update={"speed": replace_device(speed, "NVIDIA H200")})
        elsewhere = factory.with_row(elsewhere, row.name, records=(record,))
    cells = {"conv": Cell(47.8, n=80), "decoder": against(53.1, 5.3, 0.003)}
    assert answers(elsewhere, told(elsewhere, cells))[-1] == (
        "It took 67 s of device time to train (conv: 51 s) and held 1.35 GB of memory at most (conv: 1.26 GB), on Intel Xeon"
        " 2.1 GHz, 2 cores, trained while 2 runs shared the machine; it tracks 135 frames/s (conv: 190 frames/s), on NVIDIA"
        " H200."
    )


def test_speeds_that_were_measured_apart_are_not_put_side_by_side(result: Result) -> None:
    """Another study measures the runs that it shares again, with its own."""
    record = factory.record_of(next(row for row in result.rows if row.name == "conv"))
    assert record.speed is not None
    speed = record.speed.model_copy(update={"measured_with": ["conv", "mlp"]})
    apart = factory.with_row(result, "conv", records=(record.model_copy(update={"speed": speed}),))
    cells = {"conv": Cell(47.8, n=80), "decoder": against(53.1, 5.3, 0.003)}
    assert answers(apart, told(apart, cells))[-1] == COST.replace(" (conv: 190 frames/s)", "")


def replace_device(speed: Speed, device: str) -> Speed:
    return speed.model_copy(update={"device": device})


def test_costs_are_rounded_and_the_first_that_is_known_names_the_baseline(result: Result) -> None:
    table = told(result, {"conv": Cell(47.8, n=80), "decoder": against(53.1, 5.3, 0.003)})
    for key, own, other in (("train_device", 156.27, None), ("memory", 451.8, 1260.0), ("fps", 90123.0, 0.51284)):
        cells = {"decoder": Cell(own), "conv": Cell(other)}
        table = with_figures(table, key, cells)
    assert answers(result, table)[-1].startswith(
        "It took 156 s of device time to train, held 452 GB of memory at most (conv: 1,260 GB) and tracks 90,100 frames/s"
        " (conv: 0.513 frames/s), on "
    )


def test_one_row_alone_and_a_baseline_that_is_missing(result: Result) -> None:
    alone = answers(result, told(result, {"conv": Cell(47.8, n=80)}))
    assert alone[0] == (
        f"{MINI} and with 1 of 4 variants scored, conv, the baseline, has 47.8 % average overlap (AO) on {P}; there is"
        " nothing to compare it with."
    )
    orphans = answers(result, told(result, {"decoder": Cell(48.6, n=80), "ce-conv": Cell(40.0, n=80)}))
    assert orphans[0].endswith(f"(AO) on {P}, 48.6 %; the baseline has no score to compare it with.")


def test_everything_is_missing(result: Result) -> None:
    expected = f"{MINI} and with 0 of 4 variants scored, nothing can be said yet: no variant has a score."
    assert answers(result, told(result, FLOORS)) == (expected,)
    nothing = replace(result, rows=())
    assert answers(nothing, pivot(nothing)) == (expected,)
    assert "Row" not in shown(nothing)


@pytest.mark.parametrize(
    ("beaten", "floor", "sentence"),
    [
        (False, 40.2, "Caution: conv is not shown to beat ncc (correlation without learning, 40.2 %)."),
        (False, 52.5, "Caution: conv is not shown to beat ncc (correlation without learning, 52.5 %)."),
        (None, 40.2, "Whether it beats ncc (correlation without learning, 40.2 %) is not tested."),
    ],
)
def test_a_floor_that_is_not_beaten(result: Result, beaten: bool | None, floor: float, sentence: str) -> None:
    cells = FLOORS | {"ncc": Cell(floor, beaten=beaten), "conv": Cell(47.8, n=80)}
    assert answers(result, told(result, cells))[1] == sentence


def test_floors_are_not_tested_on_fewer_than_four_sequences() -> None:
    few = factory.study_result(2)
    floors = [row for row in pivot(few).rows if row.role != "variant"]
    assert {row.cells[f"{P}:ao"].beaten for row in floors} == {None}
    assert answers(few, pivot(few))[1].startswith("Whether it beats static (")
    assert not any("not shown to beat" in note for note in pivot(few).footnotes)


def test_floors_and_controls_are_tested_together(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """A p of 0.02 is 0.06 among three, whatever the interval of the difference says."""
    monkeypatch.setattr(effects, "row_difference", lambda *_: Estimate(-0.2, -0.3, -0.1, 80, p=0.02))
    assert {found.verdict.adjusted for found in effects.floor_effects(result).values() if found.verdict} == {0.06}
    table = pivot(result)
    assert {row.cells[f"{P}:ao"].beaten for row in table.rows if row.role != "variant"} == {False}
    assert any("−20.0 AO [−30.0, −10.0], Holm-corrected p = 0.060" in note for note in table.footnotes)
    monkeypatch.setattr(effects, "row_difference", lambda *_: Estimate(-0.2, -0.3, -0.1, 80, p=0.01))
    assert {row.cells[f"{P}:ao"].beaten for row in pivot(result).rows if row.role != "variant"} == {True}


def test_several_protocols(result: Result) -> None:
    second = replace(result.protocols[0], name="other", dialects=factory.dialects("auc"))
    rows = tuple(replace(r, protocols=r.protocols | {"other": r.protocols[P]}) for r in result.rows)
    both = replace(result, protocols=(*result.protocols, second), rows=rows)
    table = told(both, {"conv": Cell(47.8, n=80), "decoder": against(53.1, 5.3, 0.0004)} | FLOORS)
    floors = FLOORS | {"ncc": Cell(40.2, beaten=False)}
    other = {"conv": Cell(50.0, n=80), "decoder": against(49.0, -1.0, 0.2, CHANCE)}
    assert answers(both, with_figures(table, "other:auc", other | FLOORS))[:2] == (
        f"{MINI} and with 2 of 4 variants scored, decoder leads on {P} with 53.1 % AO, 5.3 points above conv, more than"
        " chance explains (Holm-corrected p < 0.001); conv leads on other with 50.0 % AUC, 1.0 points above decoder, which"
        " may be chance (Holm-corrected p = 0.200; it would take about 2900 sequences to tell, and there are 80).",
        "The best variant does track: it beats static (a box that stands still), ncc (correlation without learning) and"
        " shuffled-template (the baseline with a wrong template) by more than chance.",
    )
    tied = other | {"decoder": against(50.0, 0.0, 1.0)}
    assert (
        "; conv and decoder lead on other with 50.0 % AUC." in answers(both, with_figures(table, "other:auc", tied))[0]
    )
    unbeaten = answers(both, with_figures(table, "other:auc", other | floors))[1]
    assert unbeaten == "Caution: the best variant is not shown to beat ncc (correlation without learning, on other)."


def test_a_metric_where_lower_is_better(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        METRICS._entries, "ao", replace(METRICS["ao"], better="lower", unit="px", symbol="E", description="error")
    )
    cells = {"conv": Cell(10.0, n=80), "decoder": against(8.0, -2.0, 0.01), "ce-conv": against(12.0, 2.0, 0.01)}
    assert answers(result, told(result, cells))[0].endswith(
        f"decoder has the lowest error (E) on {P}, 8.0 px, 2.0 px below the baseline conv (10.0 px), more than chance"
        " explains (Holm-corrected p = 0.010); ce-conv is worse than conv."
    )


def test_a_part_of_a_benchmark_is_called_a_part(result: Result) -> None:
    cells = {"conv": Cell(47.8, n=4), "decoder": Cell(48.6, n=4, delta=0.8)}
    part = replace(result, protocols=(replace(result.protocols[0], coverage="4 of 280 sequences"),))
    assert f"on {P} (4 of 280 sequences), 48.6 %" in answers(part, told(part, cells))[0]
    whole = replace(result, protocols=(replace(result.protocols[0], coverage="280 of 280 sequences"),))
    assert f"on {P}, 48.6 %" in answers(whole, told(whole, cells))[0]


def test_too_few_sequences_are_not_tested_and_a_profile_may_compare(result: Result) -> None:
    profile = replace_profile(result, comparable=True)
    untested = Cell(48.6, n=3, delta=0.8)
    found = answers(profile, told(profile, {"conv": Cell(47.8, n=3), "decoder": untested}))
    assert found[0].startswith(
        "At profile mini and with 2 of 4 variants scored, no change of the head is shown to make"
    )
    assert found[0].endswith(
        "0.8 points above the baseline conv (47.8 %), which may be chance (3 sequences are too few to test it)."
    )


def replace_profile(result: Result, *, comparable: bool) -> Result:
    assert result.profile is not None
    return replace(result, profile=result.profile.model_copy(update={"comparable_with_paper": comparable}))


def test_raw_results_with_a_winner() -> None:
    result = result_of(score_factory.scored())
    assert answers(result, pivot(result)) == (
        "SiamSteady has the highest area under the success curve (AUC) on lasot, 63.7 %, 13.3 points above OceanDrift (50.4"
        " %), more than chance explains (Holm-corrected p < 0.001); StaticBox is worse than SiamSteady.",
    )


@pytest.mark.parametrize("allowed", [False, True])
def test_raw_results_that_are_incomplete_do_not_win(allowed: bool) -> None:
    result = result_of(score_factory.partial(score_factory.scored(), "SiamSteady", 12, allowed))
    found = answers(result, pivot(result))
    assert found[0].startswith("With 2 of 3 trackers complete, OceanDrift has the highest area under")
    assert "SiamSteady" not in found[0]


def test_the_document_and_the_sentences_are_one(result: Result) -> None:
    table = pivot(result)
    assert json.loads(results_json(result, table))["answers"] == list(answers(result, table))


def test_a_single_run_costs_in_the_same_words(result: Result) -> None:
    """`train` says it as the answer to a study does."""
    record = factory.record_of(next(row for row in result.rows if row.name == "conv"))
    held, on = "held 1.26 GB of memory at most", "on Intel Xeon 2.1 GHz, 2 cores."
    assert cost_of_run(record) == f"It took 51 s of device time to train, {held} and tracks 190 frames/s, {on}"
    unmeasured = record.model_copy(update={"speed": None})
    assert cost_of_run(unmeasured) == f"It took 51 s of device time to train and {held}, {on}"
    assert cost_of_run(unmeasured.model_copy(update={"training": None})) == ""


# The short form


def shown(result: Result, width: int = 80) -> str:
    file = io.StringIO()
    Console(width=width, file=file, color_system=None).print(TerminalSummary(summary(result, pivot(result))))
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal_shows_one_line_for_each_row(width: int) -> None:
    text = shown(factory.failed(factory.study_result(), "ce-conv"), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["conv"][-2:] == ["baseline", "51.0"]
    assert lines["decoder"][-3:] == ["+5.2", "better", "67.0"]
    assert lines["ce-conv"][-3:] == ["–", "missing", "–"]
    assert lines["ce-decoder"][-5:] == ["+0.6", "not", "told", "apart", "64.0"]
    assert lines["ncc"][-1] == "beaten"
    assert not lines["ncc"][-2].startswith(("+", "−")), "a floor is no competitor of the baseline"
    assert "not told apart: it may be chance." in " ".join(text.split())
    assert lines["shuffled-template"][-1] == "beaten"
    assert text.count("Brackets: ") == 1
    assert f"missing: ce-conv on {P}: failed: CUDA out of memory" in " ".join(text.split())
    assert f"{P} | measured, profile mini, Intel Xeon 2.1 GHz, 2 cores" in text


def test_footnotes_begin_in_the_terminal_and_are_whole_in_the_full_table() -> None:
    text, full = " ".join(shown(factory.study_result()).split()), io.StringIO()
    Console(width=80, file=full, color_system=None).print(TerminalTable(pivot(factory.study_result())))
    assert "Device time: on a CPU the process's CPU time" in text
    assert "Runs that share a machine slow each other down" not in text
    assert "Runs that share a machine slow each other down" in " ".join(full.getvalue().split())
    assert "more footnotes; its footnotes are whole." in text
    assert beginning("Dialect got10k. GOT-10k: mean IoU. AO: average.") == "Dialect got10k. GOT-10k: mean IoU."
    assert beginning("Published: Q. Wei, B. Zeng: Training. Not measured.") == "Published: Q. Wei, B. Zeng: Training."
    assert beginning("The mean of 0.5 is on vs. of the rest. It is.") == "The mean of 0.5 is on vs. of the rest."


LONG = {
    "conv": "centre-head-of-the-published-baseline",
    "decoder": "deformable-decoder-with-denoising-abc",
}


@pytest.fixture(scope="module")
def long_names(result: Result) -> Result:
    assert result.study is not None
    study = replace(
        result.study, rows=tuple(replace(row, name=LONG.get(row.name, row.name)) for row in result.study.rows)
    )
    return replace(result, study=study, rows=tuple(replace(r, name=LONG.get(r.name, r.name)) for r in result.rows))


@pytest.mark.parametrize("width", [40, 60, 80])
def test_long_names_are_folded_and_no_verdict_is_lost(long_names: Result, width: int) -> None:
    text = shown(long_names, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    lines = [line.rstrip() for line in text.splitlines()]
    assert any(
        line.split()[-3:] == ["not", "told", "apart"] for line in lines if line.startswith("deformable-decoder-")
    )
    assert "  denoising-abc (b,c)" in " ".join(lines) or width < 80
    told = " ".join(text.split())
    assert "Too wide for this terminal: Training. --full prints every column and" in told
    assert "Device time: on a CPU" not in told
    assert "Difference" in text and "Verdict" in text


def test_footnotes_are_those_of_the_columns_that_are_shown(long_names: Result) -> None:
    found = summary(long_names, pivot(long_names))
    narrow = found.with_columns([("difference", "verdict")])
    assert any(note.startswith("Device time") for note in found.tables[0].footnotes)
    (table,) = narrow.tables
    assert [column.key for column in table.columns] == ["difference", "verdict"]
    carriers = [
        *table.columns,
        *table.rows,
        *(row.cells[c.key] for row in table.rows for c in table.columns if c.key in row.cells),
    ]
    assert {index for carrier in carriers for index in carrier.footnotes} == set(range(len(table.footnotes)))
    assert narrow.left_out == len(pivot(long_names).footnotes) - len(table.footnotes)


def test_at_most_five_footnotes_the_most_important_first(result: Result) -> None:
    trial = factory.record(result.study.spec(result.study.rows[2]), "ce-conv", dirty=True)  # type: ignore[union-attr]
    changed = factory.with_row(result, "ce-conv", records=(trial,))
    found = summary(changed, pivot(changed))
    (table,) = found.tables
    assert len(table.footnotes) == MOST_FOOTNOTES
    assert table.footnotes[0].startswith("Trial: ")
    assert table.footnotes[1].startswith("With fewer than 20 sequences")
    assert not any(note.startswith(("Brackets", "The row that", "The best variant")) for note in table.footnotes)
    assert {row.cells["verdict"].text for row in table.rows if row.role == "floor"} == {"unbeaten"}
    assert "Beaten or unbeaten: whether the best variant is shown to be better than that row." in found.legend
    assert found.left_out == len(pivot(changed).footnotes) - MOST_FOOTNOTES
    carriers = [*table.columns, *table.rows, *(cell for row in table.rows for cell in row.cells.values())]
    assert {index for carrier in carriers for index in carrier.footnotes} <= set(range(MOST_FOOTNOTES))


def test_what_is_missing_for_one_reason_is_one_line(result: Result) -> None:
    for name in ("decoder", "ce-conv"):
        result = factory.failed(result, name)
    assert summary(result, pivot(result)).missing == (
        f"decoder, ce-conv on {P}: failed: CUDA out of memory at step 40",
    )


def test_raw_results_show_two_more_metrics_and_no_verdict_alone() -> None:
    scored = score_factory.scored()
    text = shown(result_of(scored))
    assert "P_norm" in text
    assert "best" in text
    alone = shown(result_of(replace(scored, trackers=scored.trackers[:1])))
    assert "Verdict" not in alone
    assert "there is nothing to compare it with" in " ".join(alone.split())


def test_a_server_tests_nothing_and_a_cited_tracker_is_not_missing(result: Result) -> None:
    served = replace(result.protocols[0], on_server=True)
    scores = {
        row.name: replace(
            row.protocols[P], records=row.records, returned=(Returned({"ao": 0.5 + at / 100}, "2026-05-09"),)
        )
        for at, row in enumerate(result.variants)
    }
    rows = (*(replace(r, protocols={P: scores[r.name]}) for r in result.variants), ScoredTracker("ATOM", "cited", {}))
    found = replace(result, protocols=(served,), rows=rows)
    assert answers(found, pivot(found))[0].endswith(
        f"ce-decoder has the highest average overlap (AO) on {P} by the evaluation server, 53.0 %, 3.0 points above the"
        " baseline conv (50.0 %), which may be chance (not tested); ce-conv and decoder are not tested."
    )
    text = shown(found)
    assert "ATOM" not in text
    assert "Holm" not in text


def test_a_further_table_goes_without_footnotes() -> None:
    result = result_of(score_factory.partial(score_factory.scored(), "SiamSteady", 12, True))
    plain = without_footnotes(pivot(result))
    assert not plain.footnotes and not plain.missing and not plain.caveat
    assert not any(column.footnotes for column in plain.columns)
    assert [row.name for row in plain.rows] == [row.name for row in pivot(result).rows]


def test_the_order_of_published_sizes_is_held_against_the_printed_one(result: Result) -> None:
    """Two rows of Table 3 are printed alike. Of other sizes nobody expects that order."""
    found = {"conv": 50.0, "decoder": 51.0, "ce-conv": 52.0, "ce-decoder": 53.0}
    figures = [printed(result, name)["got10k:ao"].value for name in found]
    assert figures == [71.5, 72.9, 71.7, 72.9]
    said = "Of 5 pairs of variants, 4 stand in the order that the paper prints, by AO on got10k."
    assert printed_order(result, found) == said
    assert printed_order(result, {"conv": 50.0, "static": 20.0}) == ""
    table = told(result, {name: Cell(value, n=80) for name, value in found.items()})
    assert result.profile is not None
    short = replace(result, profile=result.profile.model_copy(update={"name": "short", "length": 0.1}))
    assert said in answers(short, table)
    assert said not in answers(result, table)
