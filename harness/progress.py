"""Progress on the terminal, with an estimate from the rate seen so far."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bars() -> Progress:
    """Bars on standard error: description, done of total, time gone and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


@contextmanager
def step_bar(description: str, total: int, *, after: float = 0.0) -> Iterator[Callable[[int], None]]:
    """One bar; the yielded function takes the number of steps done. after: seconds that work must take to be shown."""
    bars, begun = progress_bars(), monotonic()
    task = bars.add_task(description, total=total)

    def done(steps: int) -> None:
        bars.update(task, completed=steps)
        if not bars.live.is_started and monotonic() - begun >= after:
            bars.start()

    try:
        if not after:
            bars.start()
        yield done
    finally:
        if bars.live.is_started:
            bars.stop()
