"""All studies. Importing this module imports every module beside it, and so registers what they add to `STUDIES`: a new
study is one file in this folder."""

import importlib
import pkgutil
from pathlib import Path

import ablations
from ablations.study import STUDIES, Study
from ablations.study_file import load_study

for _module in pkgutil.iter_modules(ablations.__path__):
    if _module.name != "catalogue":
        importlib.import_module(f"ablations.{_module.name}")


def named_study(name: str) -> Study:
    """A study by name, or from a TOML file of one's own by its path. Raises UnknownName with the nearest names; for a
    faulty file, what `load_study` raises."""
    return load_study(Path(name)) if name.endswith(".toml") else STUDIES[name]


__all__ = ["STUDIES", "named_study"]
