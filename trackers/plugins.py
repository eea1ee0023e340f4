"""Trackers and heads from outside the project: a Python file, or an installed package with an entry point.

A plugin registers what it adds when it is executed: `add_head` for a new kind of head, `VARIANTS.add` for a named tracker.
It is found through `--plugin FILE`, the environment variable TRACKABLATE_PLUGINS (files, separated like PATH), or the entry
point group "trackablate.trackers" (each entry names a module). Every process that reads a specification loads them first;
workers inherit the variable. Imports neither torch nor the specifications: `--help` must not wait for them.
"""

import hashlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackablate.datasets.errors import DataError
from trackablate.trackers.old_names import RenamingFinder, RenamingLoader

if TYPE_CHECKING:
    from trackablate.trackers.spec import HeadSpec, Labels

VARIABLE = "TRACKABLATE_PLUGINS"
GROUP = "trackablate.trackers"
REMEDY = "mend the plugin, or leave it out"

OUTSIDE_HEADS: dict[str, Callable[..., Any]] = {}
"""Modules of the heads that plugins added, by kind: part of `model.HEADS`."""

_loaded: dict[str, str] = {}


def add_head(spec: "type[HeadSpec]", module: Callable[..., Any], labels: "tuple[Labels, ...]") -> None:
    """Add a kind of head: its specification, whose field `kind` has a Literal type with its only value as default; its
    module, made as module(spec, dim, grid, labels=..., denoising=...), whose contract is `trackers.tokens.Head`; and the
    label assignments it can be trained with.

    Raises ValueError for a kind that is taken, naming both claimants, and for a specification without a kind.
    """
    from trackablate.trackers.spec import HEAD_SPECS, LABELS_OF_HEAD

    field = spec.model_fields.get("kind")
    if field is None or not isinstance(field.default, str):
        raise ValueError(f'{spec.__name__} needs a field `kind: Literal["..."] = "..."`, the name of the head')
    HEAD_SPECS.add(field.default, spec)
    LABELS_OF_HEAD[field.default] = labels
    OUTSIDE_HEADS[field.default] = module


def load_plugins(files: Iterable[Path] = ()) -> dict[str, str]:
    """Load these files, those of TRACKABLATE_PLUGINS, and the installed plugins, each once in a process; the files are
    added to the variable, so that the processes started from here load them too.

    Returns {where each plugin comes from: the SHA-256 of its file, or its distribution's version}. Raises DataError, naming
    file, line and remedy, for a plugin that is not there or fails.
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
        raise DataError.at(file, "is no Python file, so it can be no plugin", "name a file that ends in .py")
    content = file.read_bytes()
    name = f"trackablate_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    found = importlib.util.spec_from_file_location(name, file, loader=RenamingLoader(name, str(file)))
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # as import does: classes look their module up by name
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        problem = f"the plugin fails with {type(error).__name__}: {error}"
        raise DataError.at(file, problem, REMEDY, line=_line(error, file)) from error
    return hashlib.sha256(content).hexdigest()


def _line(error: Exception, file: Path) -> int | None:
    """The last line of the plugin that the error passed through."""
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
    except Exception as error:
        raise DataError(
            f"the plugin {entry.name!r} of {origin} (entry point {GROUP}: {entry.value}) fails with "
            f"{type(error).__name__}: {error}; {REMEDY}"
        ) from error
    finally:
        sys.meta_path.remove(finder)
    return origin
