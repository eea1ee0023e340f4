"""All studies. Importing this module imports every module beside it, and so registers what they add to `STUDIES`: a new
study is one file in this folder."""

import importlib
import pkgutil

import ablations
from ablations.study import STUDIES

for _module in pkgutil.iter_modules(ablations.__path__):
    if _module.name != "catalogue":
        importlib.import_module(f"ablations.{_module.name}")

__all__ = ["STUDIES"]
