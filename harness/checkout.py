"""The checkout that this code runs from, if there is one, and how its commands are called."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds our packages: the checkout's root, or `trackablate` among the installed packages."""


def hide_checkout() -> None:
    """Take the checkout's root off `sys.path`.

    Python puts the current folder there. In a checkout, libraries that look for the registry's package `datasets` would
    then find our folder of that name, and accelerate's `prepare(DataLoader)` would fail.
    """
    if (ROOT / "src" / "trackablate").is_dir():
        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]


COMMAND = "python -m harness "
"""The beginning of a command of ours, as remedies are written."""
WITHOUT_STORE = ("list", "show", "fetch", "data", "store")
"""Commands without --store."""
KEPT = {"--store": "", "--plugin": ""}
"""Options of this command that a command which the user is told has to have too."""


def as_called(text: str) -> str:
    """Return a text with our commands as the user has to call them: those in backticks, or one that is the whole text.

    They keep this command's store and plugins. Outside a checkout they are not called `python -m harness`.
    """
    whole = re.sub(rf"(?:(?<=`)|^){COMMAND}(?:[^`\n]+)(?=`)|^{COMMAND}.+$", lambda found: _with_kept(found[0]), text)
    started = Path(sys.argv[0])
    installed = {"trackablate": "trackablate", "__main__": "python -m trackablate"}
    own = "trackablate" in (started.stem, started.parent.name)
    return whole.replace(COMMAND, f"{installed[started.stem]} ") if own and started.stem in installed else whole


def _with_kept(command: str) -> str:
    name = command.removeprefix(COMMAND).split()[0]
    kept = [option for option in KEPT if option != "--store" or name not in WITHOUT_STORE]
    return command + "".join(KEPT[option] for option in kept if f"{option} " not in command)
