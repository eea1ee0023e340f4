"""The command line: one thin function per command, heavy imports inside, so that `--help` is instant.

This package and `__main__` are the composition root: they may import any package, and nothing else imports them.
"""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from trackablate.harness.checkout import KEPT, hide_checkout
from trackablate.harness.cli.commands import about, fetching, running, runs, scores, studies
from trackablate.harness.cli.commands.data import data_app
from trackablate.harness.cli.commands.stores import store_app
from trackablate.harness.cli.options import exit_status
from trackablate.harness.errors import BadInput


class _Commands(TyperGroup):
    """The commands. An option with a value that it cannot have is refused in words of ours: option, problem, remedy."""

    def invoke(self, ctx: Any) -> Any:
        """Do the command."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            if (faults := getattr(error.__cause__, "errors", None)) is None or error.param is None:
                raise
            from trackablate.datasets.toml_files import in_words

            problem, remedy = in_words(faults()[0])
            with exit_status():
                raise BadInput("; ".join(filter(None, [f"{error.param.opts[0]}: {problem}", remedy]))) from error


app = typer.Typer(
    cls=_Commands,
    name="harness",
    help="Benchmark and ablation studies for single-object visual trackers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")
_COMMANDS: dict[str, Callable[..., None]] = {
    "list": about.list_,
    "show": about.show,
    "plan": studies.plan,
    "run": running.run,
    "watch": studies.watch,
    "report": studies.report,
    "train": runs.train,
    "score": scores.score,
    "fetch": fetching.fetch,
    "import": runs.import_,
    "export-weights": runs.export_weights,
    "evaluate": runs.evaluate,
    "track": runs.track,
    "site": scores.site,
    "submit": scores.submit,
    "returned": scores.returned,
    "export": scores.export,
    "cost": about.cost,
    "pretrain": runs.pretrain,
    "doctor": about.doctor,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)


@app.callback()
def _with_plugins(
    context: typer.Context,
    plugin: Annotated[
        list[Path] | None, typer.Option("--plugin", help="a Python file that adds trackers; anywhere, and repeat")
    ] = None,
    allow_links: Annotated[
        list[Path] | None,
        typer.Option("--allow-links", help="a folder into which links of data sets may lead; anywhere, and repeat"),
    ] = None,
) -> None:
    """Benchmark and ablation studies for single-object visual trackers."""
    with exit_status():
        from trackablate.datasets.errors import DataError
        from trackablate.datasets.toml_files import LINKS, configured_store
        from trackablate.trackers.plugins import load_plugins

        if allow_links:
            os.environ[LINKS] = os.pathsep.join(str(path.expanduser().resolve()) for path in allow_links)
        load_plugins(plugin or [])
        KEPT["--plugin"] = "".join(f" --plugin {shlex.quote(str(file))}" for file in plugin or [])
        try:
            found = configured_store()
        except DataError:
            if "--help" not in sys.argv:  # help needs no store
                raise
            found = None
        if found:
            assert isinstance(context.command, TyperGroup)
            context.default_map = {name: {"store": str(found)} for name in context.command.commands}
            context.default_map["store"] = {name: {"path": str(found)} for name in ("list", "verify", "gc", "migrate")}


def plugins_first(arguments: list[str]) -> list[str]:
    """Return the arguments with every `--plugin FILE` and `--allow-links PATH` before the command, where they belong."""
    options, others, rest = [], [], iter(arguments)
    for argument in rest:
        if argument in ("--plugin", "--allow-links"):
            options += [argument, *([file] if (file := next(rest, None)) is not None else [])]
        elif argument.startswith(("--plugin=", "--allow-links=")):
            options.append(argument)
        else:
            others.append(argument)
    return [*options, *others]


def open_standard_streams() -> None:
    """Open the null device for each standard stream that the caller has closed.

    Else the next file that is opened gets the stream's number, and with it what libraries print there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def main() -> None:
    """Run the command line."""
    from trackablate.harness.running.threads import LAUNCHED, drop_launchers

    open_standard_streams()
    hide_checkout()
    LAUNCHED.update(ignored := drop_launchers())
    if ignored and "--rendezvous env" not in " ".join(sys.argv).replace("=", " "):
        sys.stderr.write(f"ignored: {', '.join(ignored)} of the environment; what a run computes is in its recipe\n")
    app(plugins_first(sys.argv[1:]))
