"""Makes `tests/mini_benchmark`: six short sequences under names of LaSOT's test set, in its layout without images,
three trackers' results as pytracking writes them, and their scores by the oracle of `tests/support/toolkit_rules.py`.

    python tests/support/make_mini_benchmark.py [FOLDER]

    annotations/testing_set.txt, annotations/<sequence>/{groundtruth,absent,attributes}.txt
    results/<tracker>/<sequence>.txt
    scores.csv          tracker,dialect,metric,score (0..1)

The trackers: `oracle` is the true box, and while the target is absent or its box is not positive, the last good one; `lag10`
the oracle ten frames late; `static` the first box for ever.
"""

import csv
import io
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from places import MINI
from toolkit_rules import TOOLKITS, Scene, scores

HERE = MINI
PROTOCOL = "lasot"
TRACKERS = ("oracle", "lag10", "static")
Row = tuple[int, int, int, int]


@dataclass(frozen=True)
class Plan:
    """A sequence: its image's size in LaSOT, its frames, and what is odd about some of them (0-based).

    unseen: absent with a box; gone: absent without; flat: a true box without height although present; attributes:
    LaSOT's 14 columns; sway: how far the target moves, in pixels, which for some leads out of the image."""

    size: tuple[int, int]
    frames: int
    sway: tuple[int, int]
    unseen: range = range(0)
    gone: range = range(0)
    flat: range = range(0)
    attributes: str = "0,1,0,0,0,1,0,0,1,0,0,0,0,0"


PLANS = {
    "airplane-1": Plan((640, 360), 40, (90, 40)),
    "bird-2": Plan((480, 360), 48, (235, 60), unseen=range(11, 15), gone=range(15, 22)),
    "cat-18": Plan((1280, 720), 52, (660, 380), gone=range(30, 33), attributes="0,0,1,0,1,0,0,0,1,1,0,0,1,1"),
    "lion-5": Plan((406, 720), 60, (120, 90), flat=range(25, 26), attributes="1,1,0,0,1,0,1,0,1,0,0,0,0,0"),
    "microphone-6": Plan((640, 356), 44, (60, 20), unseen=range(20, 29), flat=range(36, 37)),
    "tiger-6": Plan((1280, 720), 56, (640, 200), unseen=range(5, 7), gone=range(40, 45), flat=range(9, 10)),
}


def truth(plan: Plan) -> list[Row]:
    """A box on a slow figure of eight around the image's middle, growing and shrinking."""
    rows = []
    for i in range(plan.frames):
        w, h = 48 + round(16 * math.sin(i / 9)), 36 + round(12 * math.cos(i / 7))
        x = plan.size[0] // 2 - w // 2 + round(plan.sway[0] * math.sin(i / 8))
        y = plan.size[1] // 2 - h // 2 + round(plan.sway[1] * math.sin(i / 4))
        rows.append((0, 0, 0, 0) if i in plan.gone else (x, y, w, 0 if i in plan.flat else h))
    return rows


def tracked(tracker: str, plan: Plan) -> list[Row]:
    rows = truth(plan)
    if tracker == "static":
        return [rows[0]] * len(rows)
    oracle, last = [], rows[0]
    for i, row in enumerate(rows):
        if i not in plan.unseen and i not in plan.gone and row[2] > 0 and row[3] > 0:
            last = row
        oracle.append(last)
    return oracle if tracker == "oracle" else oracle[:10] + oracle[:-10]


def scene(tracker: str, plan: Plan) -> Scene:
    floats = [[list(map(float, row)) for row in rows] for rows in (tracked(tracker, plan), truth(plan))]
    visible = [i not in plan.unseen and i not in plan.gone for i in range(plan.frames)]
    return Scene(*floats, visible, plan.size)


def files() -> Iterator[tuple[str, str]]:
    """Every file's path below the folder, and its text."""
    yield "annotations/testing_set.txt", "\n".join(PLANS)
    for name, plan in PLANS.items():
        folder = f"annotations/{name}"
        absent = (int(i in plan.unseen or i in plan.gone) for i in range(plan.frames))
        yield f"{folder}/groundtruth.txt", "".join(",".join(map(str, row)) + "\n" for row in truth(plan))
        yield f"{folder}/absent.txt", "".join(f"{flag}\n" for flag in absent)
        yield f"{folder}/attributes.txt", plan.attributes + "\n"
        for tracker in TRACKERS:
            rows = tracked(tracker, plan)
            yield f"results/{tracker}/{name}.txt", "".join("\t".join(map(str, row)) + "\n" for row in rows)
    yield "scores.csv", score_table()


def score_table() -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("tracker", "dialect", "metric", "score"))
    for tracker in TRACKERS:
        scenes = [scene(tracker, plan) for plan in PLANS.values()]
        for dialect in TOOLKITS:
            for metric, score in scores(dialect, scenes, PROTOCOL).items():
                table.writerow((tracker, dialect, metric, f"{score:.12f}"))
    return text.getvalue()


def main() -> None:
    """Write all files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for name, text in files():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
