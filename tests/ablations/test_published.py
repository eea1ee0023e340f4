"""The printed figures: each belongs to a row and a source, and each table reads as in its paper."""

import pytest

from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.published import _published, published
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.scoring.metrics import METRICS

ENTRIES = _published().entries


@pytest.mark.parametrize("entry", ENTRIES, ids=[f"{e.rows[0]}-{e.source}" for e in ENTRIES])
def test_a_printed_figure_belongs_to_a_row_and_a_source(entry) -> None:  # type: ignore[no-untyped-def]
    assert entry.source in _published().sources
    for name in entry.rows:
        study, row = name.split("/", 1)
        known = {r.name for r in STUDIES[study].rows} | set(STUDIES[study].cited)
        assert row in known, f"no such row: {name}"
    assert set(entry.metrics) <= set(PROTOCOLS)
    assert entry.metrics or entry.figures
    for of in entry.metrics.values():
        assert set(of) <= set(METRICS)
        assert all(0 < value < 100 for value in of.values())


def test_no_source_prints_a_row_twice() -> None:
    named = [(name, entry.source) for entry in ENTRIES for name in entry.rows]
    assert len(set(named)) == len(named)


def test_every_cited_tracker_has_printed_figures() -> None:
    for study in STUDIES.values():
        for name in study.cited:
            assert published(study.name, name), f"{study.name} cites {name}, of which nothing is printed"


def figures(study: str, protocol: str, metric: str, rows: tuple[str, ...]) -> list[float | None]:
    found = [published(study, row) for row in rows]
    return [
        next((e.metrics[protocol][metric] for e, _ in of if metric in e.metrics.get(protocol, {})), None)
        for of in found
    ]


def test_detrack_table_1() -> None:
    rows = ("detrack", "OSTrack", "ostrack", "MixFormer", "Ocean", "ATOM", "SiamRPN++")
    assert figures("table1", "got10k", "ao", rows) == [72.9, 71.0, 71.5, 70.7, 61.1, None, 51.7]
    assert figures("table1", "got10k", "sr75", rows) == [69.9, 68.2, 68.9, 67.8, 47.3, None, 32.5]
    assert figures("table1", "trackingnet", "norm_precision", rows) == [88.3, 87.8, 87.7, 88.1, None, 77.1, 80.0]
    assert figures("table1", "lasot", "auc", rows) == [69.0, 69.1, 68.5, 69.2, 56.0, 51.5, 49.6]
    assert figures("table1", "lasot", "precision", rows) == [75.1, 75.2, 74.9, 74.7, 56.6, 50.5, 49.1]
    assert len(STUDIES["table1"].cited) + len(STUDIES["table1"].rows) == 19


def test_detrack_table_2() -> None:
    rows = ("SiamRPN++", "STARK", "OSTrack", "detrack")
    assert figures("table2", "nfs", "auc", rows) == [50.2, 65.2, 64.7, 65.3]
    assert figures("table2", "uav123", "auc", rows) == [61.3, 69.1, 68.3, 68.7]


def test_detrack_table_3() -> None:
    rows = ("conv", "decoder", "ce-conv", "ce-decoder")
    assert figures("table3", "got10k", "ao", rows) == [71.5, 72.9, 71.7, 72.9]
    assert [published("table3", row)[0][0].flops for row in rows] == [22.3e9, 21.4e9, 16.4e9, 15.6e9]
    assert [published("table3", row)[0][0].params for row in rows] == [70.9e6, 68.9e6, 70.9e6, 68.9e6]
    assert published("table3", "none") == ()


def test_detrack_table_4() -> None:
    trained = {2: [71.4, 71.2], 3: [72.9, 72.1, 71.4], 4: [72.5, 72.3, 71.7, 71.1]}
    for layers, printed in trained.items():
        rows = tuple(f"train-{layers}-test-{tested}" for tested in range(layers, 0, -1))
        assert figures("table4", "got10k", "ao", rows) == printed


def test_detrack_table_5() -> None:
    rows = ("none", "embedding", "corner", "outside")
    assert figures("table5", "got10k", "ao", rows) == [71.2, 71.3, 72.9, 72.4]
    assert figures("table5", "got10k", "sr50", rows) == [80.1, 80.3, 82.1, 81.9]


def test_detrack_table_6() -> None:
    for label, (got10k, lasot) in {
        "centre": ([55.8, 65.4, 71.2], [43.0, 52.3, 68.8]),
        "hungarian": ([51.0, 59.1, 65.2], [35.6, 47.9, 66.4]),
        "hard": ([65.7, 65.4, 66.3], [62.1, 63.4, 62.9]),
        "quality": ([72.9, 72.9, 72.4], [69.0, 68.6, 68.9]),
    }.items():
        rows = tuple(f"{label}-{epochs}" for epochs in (20, 50, 100))
        assert figures("table6", "got10k", "ao", rows) == got10k
        assert figures("table6", "lasot", "auc", rows) == lasot


def test_lorats_figures_say_how_far_they_can_be_trusted() -> None:
    full, lora = published("lorat-cost", "full-l-224"), published("lorat-cost", "lora-l-224")
    assert [(e.gpu_hours, s.trust) for e, s in (*full, *lora)] == [(35.0, "abstract"), (10.8, "abstract")]
    assert figures("lorat-adaptation", "lasot", "auc", ("lora-b-224", "full-b-224")) == [71.7, 70.9]
    assert {source.trust for _, source in published("lorat-variants", "b-224")} == {"abstract", "secondary"}
