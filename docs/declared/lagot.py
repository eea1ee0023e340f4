"""Writes LaGOT's JSON annotation as text beside LaSOT's videos: python lagot.py ANNOTATION.json LASOT_FOLDER."""

import csv
import json
import sys
from pathlib import Path

PERIOD = 3
"""Every third frame is annotated (10 of 30 in a second)."""


def main(annotation: Path, lasot: Path) -> None:
    """Write LASOT_FOLDER/lagot/NAME.txt for each target, and the list lagot.csv into this folder."""
    rows = []
    for video, about in json.loads(annotation.read_text(encoding="utf-8")).items():
        targets = about["xywh"]
        several = targets.items() if isinstance(targets, dict) else [("", targets)]
        folder, (first, last) = Path(about["frames"][0]).parent, (about["frames"][0], about["frames"][-1])
        for target, boxes in several:
            name = f"{video}-{target}" if target else video
            lines = [",".join(map(str, box if min(box) >= 0 else [0] * 4)) for box in boxes[::PERIOD]]
            place = lasot / "lagot" / f"{name}.txt"
            place.parent.mkdir(exist_ok=True)
            place.write_text("\n".join(lines) + "\n", encoding="utf-8")
            rows.append([name, folder.as_posix(), int(Path(first).stem), int(Path(last).stem)])
    with Path("lagot.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["name", "folder", "first", "last"], *rows])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
