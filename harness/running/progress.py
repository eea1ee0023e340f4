"""Progress on the terminal, with an estimate from the rate seen so far, or from one who knows better."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Left(TimeRemainingColumn):
    """The time left as the task's field `left` says (seconds, None: not known yet), else from the rate seen so far."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if "left" not in task.fields:
            return super().render(task)
        left: float | None = task.fields["left"]
        if left is None:
            return Text("-:--:--", style="progress.remaining")
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        return Text(f"{hours:d}:{minutes:02d}:{seconds:02d}", style="progress.remaining")


class _Done(MofNCompleteColumn):
    """Done of total; a percentage where the field `share` says that the two are no numbers of things."""

    def render(self, task: Task) -> Text:
        if task.fields.get("share"):
            return Text(f"{task.percentage:.0f} %", style="progress.download")
        return super().render(task)


def progress_bars() -> Progress:
    """Bars on standard error: description, done of total, time gone and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _Done(),
        TimeElapsedColumn(),
        TextColumn("left"),
        _Left(),
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
