"""The command line: one thin function per command, heavy imports inside, so that `--help` is instant.

This module and `__main__` are the composition root: they may import any package, and nothing imports them.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="harness",
    help="Benchmark and ablation studies for single-object visual trackers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def pretrain(
    name: Annotated[str, typer.Argument(help="the recipe in harness/pretraining")] = "mini",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    out: Annotated[Path | None, typer.Option(help="the safetensors file to write; default: the shipped one")] = None,
    store: Annotated[Path, typer.Option(help="where the checkpoint lies meanwhile")] = Path("store"),
) -> None:
    """Make the embedded profile's pretrained backbone. Example: python -m harness pretrain mini"""
    from harness.threads import quiet_threads

    quiet_threads(os.cpu_count() or 1)
    from harness.devices import resolve_device
    from harness.pretrain import load_pretraining
    from harness.pretrain import pretrain as make
    from harness.progress import step_bar
    from trackers.pretrained import FILES

    asked = load_pretraining(name)
    with step_bar(f"pretraining {name}", asked.recipe.steps) as report:
        make(asked, out or FILES[asked.backbone], store / "pretraining" / name, resolve_device(device), report)


@app.callback()
def _commands() -> None:
    """Several commands, also while there is one."""


def main() -> None:
    """Run the command line."""
    app()
