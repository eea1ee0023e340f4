"""The command that downloads published weights and results."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from trackablate.harness.cli.options import Json, answers, writable
from trackablate.harness.errors import BadInput


@answers
def fetch(
    what: Annotated[str, typer.Argument(help="weights or results")],
    name: Annotated[str, typer.Argument(help="which; without it, all are listed")] = "",
    out: Annotated[Path | None, typer.Option(help="the file to write; default: its own name, in this folder")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="download without asking")] = False,
    json: Json = False,
) -> dict[str, Any]:
    """Download published weights or results from their official place, or say what to do by hand.

    Example: python -m harness fetch weights dinov2-b14
    """
    from trackablate.harness.exchange import fetching
    from trackablate.harness.progress.bars import step_bar

    if not name:
        entries = fetching.downloads(what)
        return {what: {key: f"{one.title}{' (by hand)' if one.by_hand else ''}" for key, one in entries.items()}}
    found = fetching.download(what, name)
    place = out or Path(found.file)
    offer = fetching.inspect(found)
    writable(place, file=True, needed=offer.size)
    checksums = [f"MD5 {found.md5}..."] * bool(found.md5) + [f"SHA-256 {offer.sha256}"] * bool(offer.sha256)
    sys.stderr.write(
        f"{found.title}: {offer.size / 1e6:,.1f} MB from {found.address}\nsource: {found.source}\nlicence: {found.licence}\n"
        f"published checksum: {', '.join(checksums) or 'none; the SHA-256 of what arrives is printed and recorded'}\n"
    )
    if not yes:
        if not sys.stdin.isatty():
            raise BadInput(f"nothing is downloaded without your word: python -m harness fetch {what} {name} --yes")
        typer.confirm("download it?", abort=True, err=True)
    with step_bar(f"fetching {place.name}", offer.size, after=1.0) as bar:
        return fetching.fetch(found, offer, place, bar)
