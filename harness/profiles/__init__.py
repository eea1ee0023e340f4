"""Profiles: the sizes at which studies run, one TOML file each."""

from pathlib import Path

from pydantic import ValidationError

from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.datasets.toml_files import faults, read_toml
from trackablate.harness.spec import Profile

FOLDER = Path(__file__).parent
OWN = "Profile {} is one of your own, so that its figures are not comparable with the paper's."
"""The caveat of a profile that says nothing of it."""


def profile_names() -> list[str]:
    """Return the names of the profiles."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def load_profile(name: str) -> Profile:
    """Return a profile by name, or from a TOML file by its path. A file without `name` is called as the file is.

    Raises:
        UnknownName: There is no such profile; the message has the nearest names.
        DataError: The file is faulty; the message names file, line, field and remedy.
    """
    file = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not file.is_file():
        raise UnknownName(unknown("profile", name, profile_names()) + "; or name a TOML file of your own")
    text, document = read_toml(file)
    try:
        return Profile.model_validate({"name": file.stem, "caveat": OWN.format(file.stem)} | document)
    except ValidationError as error:
        raise DataError("\n".join(faults(file, text, error, Profile))) from error
