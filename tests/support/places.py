"""Where things lie that tests read."""

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
SRC = ROOT / "src"
"""What a process of its own needs on PYTHONPATH to import the project."""
MINI = TESTS / "mini_benchmark"
"""Six short sequences with three trackers' results, scored by every dialect."""
GOLDEN = TESTS / "golden"
"""Outputs of the official code, from inputs that tests make again."""
SHARED = ROOT.parent / "shared"
"""Real data, which are not part of the project: tests that need them skip without them."""
