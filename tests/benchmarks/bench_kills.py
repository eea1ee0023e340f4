"""kill -9 at random moments, in every phase and of every kind of process: what an interrupted study ends with.

    python tests/benchmarks/bench_kills.py [KILLS] [SEED]

The study has two rows, each trained by two processes whose pairs are made by two more. Each round is one store: one kill in
each phase, and the same command is started again until it ends with status 0. Weights, boxes and table must then be those of
an unbroken study bit for bit, no process may be left, and no command may end with a traceback. Else the status is 1.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

COMMAND = [
    *(sys.executable, "-m", "trackablate", "run", "table3", "--profile", "smoke", "--only", "ce-decoder"),
    *("--gpus-per-run", "2", "--loader-workers", "1", "--device", "cpu"),
    *("--set", "recipe.micro_batch=2", "--set", "recipe.steps=10"),
]
SPANS = {"preparing": 6.0, "training": 2.0, "checkpoint": 0.0, "tracking": 0.5, "FPS": 3.0, "drawing": 4.0}
"""Phases in their order, and seconds from a phase's begin within which a process is killed."""
TIMES = (
    *("train_seconds", "device_hours", "peak_memory_bytes"),
    *("fps", "fps_from_jpeg", "latency", "latency95"),
)
PATIENCE = 600.0
MOST_STARTS = 12


class Study:
    """One store, the command on it, and all processes that it ever had."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.starts, self.seen = folder, 0, set[int]()
        self.runs = folder / "store" / "runs"

    def start(self) -> None:
        """Start the command; what it says goes into a file."""
        self.starts, self.begun = self.starts + 1, time.time()
        self.log = self.folder / f"start-{self.starts}.txt"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(COMMAND, cwd=self.folder, stdout=output, stderr=output)

    def phase(self) -> str:
        """Return the phase that the study is in now, "" while it is in none."""
        if "drawing" in self.log.read_text():
            return "drawing"
        if any(self.runs.glob("*/.checkpoint*")):
            return "checkpoint"
        said = [file for file in self.runs.glob("*/progress.json") if _time(file) > self.begun]
        if not said:
            return "preparing" if self.processes()["worker"] else ""
        try:
            now = json.loads(max(said, key=_time).read_text())["phase"]
        except (OSError, ValueError):
            return ""
        return {"train": "training", "validate": "training", "speed": "FPS"}.get(now, "tracking")

    def processes(self) -> dict[str, list[int]]:
        """Return the study's processes by what they do."""
        found: dict[str, list[int]] = {"coordinator": [self.process.pid], "worker": [], "rank": [], "loader": []}
        for worker in _children(self.process.pid):
            found["worker"].append(worker)
            for one in _children(worker):
                found["rank" if os.getpgid(one) == one else "loader"].append(one)
                found["loader"] += _children(one)
        self.seen.update(pid for pids in found.values() for pid in pids)
        return found

    def ended(self) -> int | None:
        """Return the command's status, None while it runs. Raises AssertionError for a traceback."""
        status = self.process.poll()
        assert status is None or "Traceback" not in self.log.read_text(), self.log.read_text()
        return status

    def finish(self) -> None:
        """Start the command until it ends with status 0."""
        while self.process.wait(PATIENCE) != 0:
            self.ended()
            assert self.starts < MOST_STARTS, f"it does not end:\n{self.log.read_text()}"
            self.start()
        left = [pid for pid in self.seen if Path(f"/proc/{pid}").exists()]
        assert not left, f"processes are left: {left}"

    def result(self) -> dict[str, Any]:
        """Return the digests of all weights, all boxes, and the table without times."""
        found: dict[str, Any] = {
            str(file.relative_to(self.runs)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in self.runs.rglob("weights.safetensors")
        }
        for file in self.runs.glob("*/evaluations/*/target-*.json"):
            found[str(file.relative_to(self.runs))] = json.loads(file.read_text())["boxes"]
        (report,) = self.folder.glob("report/*/results.json")
        rows = json.loads(report.read_text())["rows"]
        for row in rows:
            timed = {name: row["cost"].pop(name) for name in TIMES}
            row["timed"] = timed["fps"] is not None
        return found | {"rows": rows}


def kill(study: Study, phase: str, chance: random.Random) -> tuple[str, str] | None:
    """Kill one process in a phase. Return the phase and the process, None if the study ended with status 0 before."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (status := study.ended()) == 0:
            return None
        if status is not None:
            study.start()
        if study.phase() == phase:
            time.sleep(chance.random() * SPANS[phase])
            kinds = {kind: pids for kind, pids in study.processes().items() if pids}
            kind = chance.choice(list(kinds)[1:] or list(kinds)) if chance.random() < 0.7 else "coordinator"
            hit = study.phase()
            with suppress(ProcessLookupError):
                if study.process.poll() is None:
                    os.kill(chance.choice(kinds[kind]), signal.SIGKILL)
                    return hit or phase, kind
        time.sleep(0.002 if phase == "checkpoint" else 0.05)
    raise AssertionError(f"the phase {phase} does not come:\n{study.log.read_text()}")


def round_of(folder: Path, kills: int, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Start a study, kill in one phase after the other, and let it finish; yield what was killed in which phase."""
    study = Study(folder)
    study.start()
    for phase in list(SPANS)[:kills]:
        if hit := kill(study, phase, chance):
            say(f"  killed: {hit[1]}, {hit[0]}")
            yield hit
            if hit[1] != "coordinator":
                continue  # the study goes on, or ends and is started again
            study.process.wait()
            study.start()
    study.finish()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    kills, seed = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 30), (2, 0)))
    chance, hits, lost = random.Random(seed), Counter[tuple[str, str]](), 0
    with tempfile.TemporaryDirectory() as place:
        unbroken = Study(Path(place, "unbroken"))
        unbroken.folder.mkdir()
        unbroken.start()
        assert unbroken.process.wait(PATIENCE) == 0, unbroken.log.read_text()
        expected, rounds = unbroken.result(), 0
        while sum(hits.values()) < kills:
            rounds += 1
            folder = Path(place, f"round-{rounds}")
            folder.mkdir()
            begun = time.monotonic()
            try:
                hits.update(round_of(folder, kills - sum(hits.values()), chance))
                study = Study(folder)
                found = study.result()
                differ = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
                assert not differ, f"other numbers: {differ}"
            except AssertionError as error:
                lost += 1
                say(f"round {rounds} lost: {error}")
            say(f"round {rounds}: {time.monotonic() - begun:.0f} s")
    for (phase, kind), count in sorted(hits.items()):
        say(f"{phase:12} {kind:12} {count}")
    say(f"{sum(hits.values())} kills in {rounds} studies, {lost} studies lost")
    return 1 if lost else 0


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def _time(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
