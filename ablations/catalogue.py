"""All studies: each `Study` in a module of `studies/`, and what plugins add to `STUDIES`."""

import importlib
import pkgutil
from pathlib import Path

from trackablate.ablations import studies
from trackablate.ablations.study import STUDIES, FaultyStudy, Study
from trackablate.ablations.study_file import load_study

__all__ = ["STUDIES", "named_study"]

for _module in pkgutil.iter_modules(studies.__path__):
    for _found in vars(importlib.import_module(f"{studies.__name__}.{_module.name}")).values():
        if isinstance(_found, Study) and STUDIES.get(_found.name) is not _found:
            STUDIES.add(_found.name, _found)


def named_study(name: str) -> Study:
    """Return a study by its name, or from a TOML file by its path.

    Raises:
        UnknownName: There is no study of that name. The message suggests the nearest ones.
        FaultyStudy: The file cannot be read, is faulty, or takes the name of a built-in study.
    """
    if not name.endswith(".toml"):
        return STUDIES[name]
    study = load_study(Path(name))
    if study.name in STUDIES:
        raise FaultyStudy(f"{name}: {study.name!r} is a built-in study with printed figures: choose another name")
    return study
