"""Outside trackers by name, and by the text that a user writes for one. No torch here, and no OpenCV."""

import ast
import json
import re
import shutil
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import Registry
from trackablate.trackers.spec import OutsideSpec

OPENCV = "trackablate.trackers.outside.opencv:OpenCV"
TRAX = "trackablate.trackers.outside.trax:Program"

OUTSIDE: Registry[OutsideSpec] = Registry("outside tracker")
"""Outside trackers by name. A plugin adds its own: `OUTSIDE.add("name", OutsideSpec(target="module:Class"))`."""

for _kind in ("MIL", "CSRT", "KCF", "MOSSE", "MedianFlow"):
    OUTSIDE.add(f"opencv-{_kind.lower()}", OutsideSpec(target=OPENCV, arguments={"kind": _kind}))

_FORM = re.compile(
    r"(?:(?P<python>/\S+|~\S+)\s+)?(?P<target>[A-Za-z_][\w.]*:[A-Za-z_][\w.]*)(?P<call>\(.*\))?", re.DOTALL
)


def outside_tracker(text: str) -> OutsideSpec | None:
    """Return the outside tracker that a text names, None if it names none.

    The text is a name in `OUTSIDE`, `[PYTHON ]module:Class[(key=value, ...)]`, or `trax:COMMAND`. Raises DataError for
    keyword arguments that cannot be read, or if no program is named.
    """
    if text in OUTSIDE:
        return OUTSIDE[text]
    if text.startswith("trax:"):
        command = text.removeprefix("trax:").strip()
        if not command:
            raise DataError("trax: names no program: write 'trax: COMMAND', as in a shell")
        return OutsideSpec(target=TRAX, arguments={"command": command})
    match = _FORM.fullmatch(text.strip())
    if match is None:
        return None
    arguments = _arguments(match["call"] or "()", text)
    return OutsideSpec(target=match["target"], arguments=arguments, python=match["python"] or "")


def fault_of(spec: OutsideSpec) -> str:
    """Return why an outside tracker cannot be used on this machine, with the remedy; "" if nothing speaks against it."""
    if spec.python:
        return "" if shutil.which(str(Path(spec.python).expanduser())) else f"there is no {spec.python}"
    if spec.target == OPENCV:
        from trackablate.trackers.outside.opencv import kinds

        return "" if spec.arguments.get("kind") in kinds() else "pip install opencv-contrib-python"
    if spec.target == TRAX and find_spec("trax") is None:
        return "pip install vot-trax"
    module = spec.target.partition(":")[0].partition(".")[0]
    return "" if PathFinder.find_spec(module, ["", *sys.path]) else f"there is no module {module} here"


def _arguments(call: str, text: str) -> dict[str, Any]:
    try:
        parsed = ast.parse(f"f{call}", mode="eval").body
        if not isinstance(parsed, ast.Call) or parsed.args or any(word.arg is None for word in parsed.keywords):
            raise ValueError("there are others than keyword arguments")
        found = {str(word.arg): ast.literal_eval(word.value) for word in parsed.keywords}
        return dict(json.loads(json.dumps(found)))
    except (SyntaxError, TypeError, ValueError) as error:
        raise DataError(f'{text!r} cannot be read ({error}): write module:Class(key=1, other="text")') from error
