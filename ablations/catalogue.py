"""All studies: importing this module imports every module in `studies/`, and so registers what they add to `STUDIES`."""

import importlib
import pkgutil
from pathlib import Path

from trackablate.ablations import studies
from trackablate.ablations.study import STUDIES, FaultyStudy, Study
from trackablate.ablations.study_file import load_study

for _module in pkgutil.iter_modules(studies.__path__):
    importlib.import_module(f"{studies.__name__}.{_module.name}")


def named_study(name: str) -> Study:
    """A study by name, or from a TOML file of one's own by its path. Raises UnknownName with the nearest names; for a
    faulty file, what `load_study` raises; FaultyStudy where its name is one of ours.
    """
    if not name.endswith(".toml"):
        return STUDIES[name]
    study = load_study(Path(name))
    if study.name in STUDIES:
        raise FaultyStudy(
            f"{name}: {study.name!r} is a study of ours, with printed figures of its own: choose another name"
        )
    return study


__all__ = ["STUDIES", "named_study"]
