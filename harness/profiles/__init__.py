"""Profiles: the sizes at which studies run, one TOML file each."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from trackablate.datasets.registry import UnknownName, unknown
from trackablate.harness.errors import BadInput
from trackablate.harness.spec import Profile

FOLDER = Path(__file__).parent


def profile_names() -> list[str]:
    """Return the names of the profiles."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def load_profile(name: str) -> Profile:
    """Return a profile by name, or from a TOML file by its path.

    Raises:
        UnknownName: There is no such profile; the message has the nearest names.
        BadInput: The file is faulty; the message names file and field.
    """
    file = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not file.is_file():
        raise UnknownName(unknown("profile", name, profile_names()) + "; or name a TOML file of your own")
    try:
        return Profile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise BadInput(f"{file} is no valid profile: {error}") from error
