"""Trackers and heads from outside the project, in a Python file or an installed package with an entry point.

A plugin registers things when it is executed: `add_head` adds a kind of head, `VARIANTS.add` a named tracker. It is
found through `--plugin FILE`, the environment variable TRACKABLATE_PLUGINS (files, separated as in PATH), or the entry
point group "trackablate.trackers" (each entry names a module). Every process loads the plugins before it reads a
specification, and workers inherit the variable. This module imports neither torch nor pydantic, so that `--help` stays
fast.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import Registry
from trackablate.trackers.old_names import RenamingFinder, RenamingLoader

if TYPE_CHECKING:
    from pydantic import BaseModel

VARIABLE = "TRACKABLATE_PLUGINS"
GROUP = "trackablate.trackers"
REMEDY = "mend the plugin, or leave it out"


class HeadKind(NamedTuple):
    """A registered kind of head.

    Attributes:
        spec: The class of its specification.
        module: Its torch module, or where that is ("MODULE:CLASS"), so that a specification is read without torch.
        labels: The label assignments that it can be trained with.
    """

    spec: "type[BaseModel]"
    module: Callable[..., Any] | str
    labels: tuple[str, ...]

    def make(self, *arguments: Any, **axes: Any) -> Any:
        """Return a new module of this kind."""
        module = self.module
        if isinstance(module, str):
            room, _, name = module.partition(":")
            module = getattr(importlib.import_module(room), name)
        return module(*arguments, **axes)


HEADS: Registry[HeadKind] = Registry("head")
"""Every kind of head by name. `trackers.axes.heads` adds those of the project."""

_loaded: dict[str, str] = {}


def add_head(spec: "type[BaseModel]", module: Callable[..., Any] | str, labels: tuple[str, ...]) -> None:
    """Add a kind of head.

    Args:
        spec: A subclass of `HeadSpec` whose field `kind` has a Literal type and its only value as the default.
        module: Called as module(spec, dim, grid, labels=..., denoising=...). `trackers.tokens.Head` is its contract.
            The text "MODULE:CLASS" imports it when the first such head is made.
        labels: The label assignments that it can be trained with.

    Raises:
        ValueError: The kind is taken (the message names both claimants), or the specification has no kind.
    """
    field = spec.model_fields.get("kind")
    if field is None or not isinstance(field.default, str):
        raise ValueError(f'{spec.__name__} needs a field `kind: Literal["..."] = "..."`, the name of the head')
    HEADS.add(field.default, HeadKind(spec, module, labels))


def load_plugins(files: Iterable[Path] = ()) -> dict[str, str]:
    """Load these files, those of TRACKABLATE_PLUGINS and the installed plugins, each once in a process.

    The files are added to the variable, so that processes started from here load them too. Returns the origin of each
    plugin, with the SHA-256 of its file or its distribution's version. Raises DataError, with file, line and remedy, for
    a plugin that is missing or fails.
    """
    inherited = [Path(entry) for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry]
    wanted = list(dict.fromkeys(file.absolute() for file in [*inherited, *files]))
    for file in wanted:
        if str(file) not in _loaded:
            _loaded[str(file)] = _execute(file)
    if wanted:
        os.environ[VARIABLE] = os.pathsep.join(map(str, wanted))
    for entry in entry_points(group=GROUP):
        if entry.value not in _loaded:
            _loaded[entry.value] = _import(entry)
    return dict(_loaded)


def _execute(file: Path) -> str:
    if not file.is_file() or file.suffix != ".py":
        raise DataError.at(file, "is not a Python file, so it cannot be a plugin", "name a file that ends in .py")
    content = file.read_bytes()
    name = f"trackablate_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    found = importlib.util.spec_from_file_location(name, file, loader=RenamingLoader(name, str(file)))
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # as `import` does, because classes look up their module by name
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        problem = f"the plugin fails with {type(error).__name__}: {error}"
        raise DataError.at(file, problem, REMEDY, line=_line(error, file)) from error
    return hashlib.sha256(content).hexdigest()


def _line(error: BaseException, file: Path) -> int | None:
    """Return the last line of the plugin that the error passed through."""
    if isinstance(error, SyntaxError):
        return error.lineno
    return next(
        (f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == str(file)), None
    )


def _import(entry: EntryPoint) -> str:
    origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"
    finder = RenamingFinder(entry.module.split(".")[0])
    sys.meta_path.insert(0, finder)
    try:
        entry.load()
    except (Exception, SystemExit) as error:
        raise DataError(
            f"the plugin {entry.name!r} of {origin} (entry point {GROUP}: {entry.value}) fails with "
            f"{type(error).__name__}: {error}; {REMEDY}"
        ) from error
    finally:
        sys.meta_path.remove(finder)
    return origin
