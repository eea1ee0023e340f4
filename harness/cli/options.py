"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

StudyName = Annotated[str, typer.Argument(help="a study, as `list studies` shows them, or a TOML file of your own")]
ProfileName = Annotated[
    str, typer.Option("--profile", help="the size to run at: a name of `list profiles`, or a TOML file")
]
Protocols = Annotated[list[str] | None, typer.Option("--protocol", help="protocols instead of the profile's; repeat")]
Data = Annotated[list[str] | None, typer.Option("--data", help="NAME=PATH: where a data set lies; repeat")]
Only = Annotated[list[str] | None, typer.Option("--only", help="these rows alone, and the baseline; repeat")]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=1, max=1000, help="runs of each row; default: as many as the study says, mostly one"),
]
Results = Annotated[
    list[str] | None,
    typer.Option("--results", help="NAME=PATH (or NAME@PROTOCOL=PATH): raw results of a cited tracker; repeat"),
]
StorePath = Annotated[Path, typer.Option("--store", envvar="TRACKABLATE_STORE", help="the folder that keeps all runs")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
RunName = Annotated[str, typer.Argument(help="a run in the store, as `plan` names them, or the beginning of its name")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]
TestLayers = Annotated[
    int | None, typer.Option("--test-layers", min=1, help="the evaluation with so many of the decoder's layers alone")
]
