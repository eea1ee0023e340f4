"""The figure of frames with several trackers' boxes, and what `report --grid` refuses before it draws."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import report_factory as factory
import store_factory
from command_line import invoke
from trackablate.ablations.catalogue import STUDIES
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.documents import write_document
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import PlannedRow, SequenceResult
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import Store, read_protocol
from trackablate.reports.figures import pictures
from trackablate.reports.figures.drawing import looks_of
from trackablate.reports.figures.frame_grid import MOST, frame_grid
from trackablate.reports.results import FrameRow, Result
from trackablate.reports.tables.pivot import pivot

SMOKE = load_profile("smoke")


def result(*frames: int) -> Result:
    name = factory.names(1)[0]
    images = tuple(np.full((factory.HEIGHT, factory.WIDTH, 3), 60 + frame, np.uint8) for frame in frames)
    return replace(
        factory.study_result(), grid=(FrameRow(factory.PROTOCOL, name, frames, images, factory.truth(name)),)
    )


def test_every_variant_and_the_true_box_are_drawn_where_they_are() -> None:
    made = result(0, 5, 9)
    drawing = frame_grid(made, pivot(made), looks_of(made))
    assert drawing is not None
    (name,) = {of.sequence for of in made.grid}
    looks, panels = looks_of(made), drawing.figure.axes
    assert len(panels) == 3
    for frame, ax in zip((0, 5, 9), panels, strict=True):
        drawn = {(p.get_edgecolor(), p.get_linestyle() == "-"): p.get_bbox().bounds for p in ax.patches}  # type: ignore[attr-defined]
        assert len(ax.patches) == len(made.variants) + 1
        from matplotlib.colors import to_rgba

        for row in made.variants:
            box = row.protocols[factory.PROTOCOL].boxes[name][frame]
            assert np.allclose(drawn[to_rgba(looks[row.name].colour), True], box)
        assert np.allclose(drawn[to_rgba("#ffffff"), False], factory.truth(name)[frame])
        assert [text.get_text() for text in ax.texts] == [f"#{frame}"]
    names = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert names == [*(row.name for row in made.variants), "true box"]
    assert drawing.readings is not None


def test_it_is_a_pdf_a_png_and_on_the_page_and_always_the_same() -> None:
    made = result(0, 5)
    found, again = (next(p for p in pictures(made, pivot(made)) if p.name == "frames") for _ in range(2))
    assert set(found.files()) == {f"figures/frames.{kind}" for kind in ("svg", "pdf", "png")}
    assert found.files() == again.files()
    assert found.pdf is not None and found.pdf.startswith(b"%PDF")
    image = cv2.imdecode(np.frombuffer(found.png or b"", np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape[1] == round(6.9 * 300), "the text's width at print resolution"
    assert found.values is not None
    assert [row for row, _ in found.values.rows][-1].endswith(", 5")


def test_too_many_rows_are_named_in_the_caption() -> None:
    made = result(0)
    variant = made.variants[0]
    more = tuple(replace(variant, name=f"row-{i}", baseline=False) for i in range(MOST))
    made = replace(made, rows=(*made.rows, *more))
    drawing = frame_grid(made, pivot(made), looks_of(made))
    assert drawing is not None
    assert len(drawing.figure.legends[0].get_texts()) == MOST + 1
    assert f"row-{MOST - 1}" in drawing.caption.partition("Not drawn: ")[2]
    assert frame_grid(replace(made, grid=()), pivot(made), {}) is None


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose protocol is the synthetic one of this version."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    store, sequences = Store(tmp_path / "store"), PROTOCOLS["synthetic-smoke"].open(None)
    monkeypatch.setattr(store_factory, "DIGEST", sequences.digest())
    store_factory.fill(store, STUDIES["table3"], SMOKE)
    evaluation = Evaluation(protocol="synthetic-smoke", data=sequences.digest())
    kept = read_protocol(store.protocol(evaluation))
    assert kept is not None
    facts = []
    for of, one in zip(kept.sequences, sequences, strict=True):
        boxes = [(float(x), float(y), float(w), float(h)) for x, y, w, h in one.boxes]
        seen = {"name": one.name, "frames": len(one), "boxes": boxes, "visible": [True] * len(one)}
        facts.append(of.model_copy(update=seen))
    write_document(store.protocol(evaluation) / "protocol.json", kept.model_copy(update={"sequences": facts}))
    study = store.study("table3", "smoke")
    assert study is not None
    for row in study.rows:
        _track(store, row, evaluation, sequences[1].boxes.tolist())
    return tmp_path


def _track(
    store: Store, row: PlannedRow, evaluation: Evaluation, boxes: list[tuple[float, float, float, float]]
) -> None:
    tracked = SequenceResult(name="target-test-0001", boxes=boxes, seconds=1.0)
    store.run(row.runs[0].run).add_result(evaluation, tracked)


def test_the_report_has_the_figure_only_if_it_is_asked_for(place: Path) -> None:
    words = ["report", "table3", "--profile", "smoke", "--format", "html,latex", "--out", "out"]
    done = invoke(*words, "--grid", "target-test-0001,0,3", "--grid", "target-test-0001,7")
    assert done.exit_code == 0, done.output
    assert Path("out/figures/frames.png").stat().st_size > 10_000
    assert Path("out/figures/frames.pdf").exists()
    page = Path("out/index.html").read_text()
    assert "Frames of target-test-0001 (synthetic-smoke)" in page
    assert "--grid" not in page
    invoke(*words)
    assert "Frames of target-test-0001" not in Path("out/index.html").read_text()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            "target-test-001,0",
            "--grid: no sequence of synthetic-smoke is called 'target-test-001': did you mean target-t",
        ),
        ("target-test-0001,0,8", "target-test-0001 has 8 frames, counted from 0 to 7"),
        ("target-test-0001", "is not SEQUENCE,FRAME,FRAME,...: write for example --grid car-2,0,100,500"),
        ("target-test-0001,-1", "is not SEQUENCE,FRAME,FRAME,..."),
    ],
)
def test_what_is_refused_before_anything_is_drawn(place: Path, asked: str, told: str) -> None:
    done = invoke("report", "table3", "--profile", "smoke", "--out", "out", "--grid", asked)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not Path("out").exists()


def test_data_of_another_version_and_absent_data_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("report", "table3", "--profile", "smoke", "--out", "out", "--grid", "target-test-0001,0")
    evaluation = Evaluation(protocol="synthetic-smoke", data=store_factory.DIGEST)
    folder = Store(place / "store").protocol(evaluation)
    kept = read_protocol(folder)
    assert kept is not None
    moved = [of.model_copy(update={"boxes": [(0.0, 0.0, 1.0, 1.0)] * 8}) for of in kept.sequences]
    write_document(folder / "protocol.json", kept.model_copy(update={"sequences": moved}))
    assert (
        "the data of synthetic-smoke here are not those of the results; name these with --data" in invoke(*words).stderr
    )
    write_document(folder / "protocol.json", kept.model_copy(update={"name": "otb"}))
    refused = invoke(*words)
    assert refused.exit_code == 2
    assert "--grid 'target-test-0001,0' needs the images of target-test-0001: the folder of the data set 'otb'" in (
        refused.stderr
    )
    assert "--data otb=PATH" in refused.stderr
