"""All studies. Importing this module imports every module beside it, and so registers what they add to `STUDIES`: a new
study is one file in this folder."""

import importlib
import pkgutil
from pathlib import Path

import ablations
from ablations.study import STUDIES, FaultyStudy, Study
from ablations.study_file import load_study

for _module in pkgutil.iter_modules(ablations.__path__):
    if _module.name != "catalogue":
        importlib.import_module(f"ablations.{_module.name}")


def named_study(name: str) -> Study:
    """A study by name, or from a TOML file of one's own by its path. Raises UnknownName with the nearest names; for a
    faulty file, what `load_study` raises; FaultyStudy where its name is one of ours."""
    if not name.endswith(".toml"):
        return STUDIES[name]
    study = load_study(Path(name))
    if study.name in STUDIES:
        raise FaultyStudy(
            f"{name}: {study.name!r} is a study of ours, with printed figures of its own: choose another name"
        )
    return study


__all__ = ["STUDIES", "named_study"]
