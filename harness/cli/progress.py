"""Progress bars on the terminal, with an estimate from the rate seen so far, or from a forecast."""

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
    """The time left: the task's field `left` in seconds (None: not known yet), or by the rate seen so far."""

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
    """Done of total; a percentage for tasks with the field `share`, whose total is not a count."""

    def render(self, task: Task) -> Text:
        if task.fields.get("share"):
            return Text(f"{task.percentage:.0f} %", style="progress.download")
        return super().render(task)


class _Bars(Progress):
    """Bars that can be stopped at any time, also if they were never started."""

    def stop(self) -> None:
        if self.live.is_started:
            super().stop()


def progress_bars() -> Progress:
    """Return bars on standard error: description, done of total, time gone and time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), _Done(), TimeElapsedColumn(), TextColumn("left"), _Left())
    return _Bars(*columns, console=Console(stderr=True))


@contextmanager
def step_bar(description: str, total: int, *, after: float = 0.0) -> Iterator[Callable[[int], None]]:
    """Show one bar for work that takes longer than `after` seconds. The yielded function takes the steps done."""
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
        bars.stop()
