"""Progress on the terminal, with an estimate from the rate seen so far."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
def step_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """One bar; the yielded function takes the number of steps done."""
    with progress_bars() as bars:
        task = bars.add_task(description, total=total)
        yield lambda done: bars.update(task, completed=done)
