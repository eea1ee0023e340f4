"""`datasets` and `trackers` are also names of packages on the registry: make sure that ours are the ones imported.

The only work the project does at import time, because it is needed before the first import of either name: where no
`datasets` or `trackers` is loaded yet, the folders beside this package are bound to these names; where another one is,
that is an error, since both cannot live in one process.
"""

import importlib.util
import sys
from pathlib import Path

NAMES = ("datasets", "trackers", "ablations", "reports")


def ensure_siblings() -> None:
    """Bind the sibling packages. Raises ImportError, naming the intruder's file and the remedy, where one is loaded."""
    root = Path(__file__).resolve().parent.parent
    for name in NAMES:
        loaded = sys.modules.get(name)
        if loaded is None:
            _bind(name, root / name)
        elif _folder(loaded) != root / name:
            raise ImportError(
                f"another package called {name!r} is loaded already, from {_folder(loaded) or 'an unknown place'}; "
                f"trackablate needs its own, in {root / name}. Import harness before it, or use a virtual environment "
                f"of its own for trackablate (python -m pip uninstall {name} removes the other one)."
            )


def _folder(module: object) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve().parent if file else None


def _bind(name: str, folder: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"trackablate is incomplete: {folder} has no __init__.py; install it again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
