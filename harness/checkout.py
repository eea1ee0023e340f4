"""The checkout that this code runs from, if there is one."""

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
