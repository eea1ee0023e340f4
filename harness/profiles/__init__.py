"""Profiles: the sizes at which studies run, one TOML file each."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.datasets.toml_files import anchored, faults, read_toml
from trackablate.harness.errors import BadInput
from trackablate.harness.spec import Profile

FOLDER = Path(__file__).parent
OWN = "Profile {} is one of your own, so that its figures are not comparable with the paper's."
"""The caveat of a profile that says nothing of it."""

LONGEST = 100
"""Characters of a profile's name that says what --set changed; a longer one has a digest of it instead."""


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
        return Profile.model_validate({"name": file.stem, "caveat": OWN.format(file.stem)} | anchored(file, document))
    except ValidationError as error:
        raise DataError("\n".join(faults(file, text, error, Profile))) from error


def with_changes(profile: Profile, changes: Sequence[str]) -> Profile:
    """Return a profile with fields of every run changed: texts as "recipe.steps=2000". Its name and caveat say them.

    Raises BadInput for a text that is not FIELD=VALUE, or a field of neither recipe nor tracker.
    """
    if not changes:
        return profile
    found: dict[str, Any] = {}
    for text in changes:
        path, equals, value = text.partition("=")
        if not equals or not path.startswith(("recipe.", "tracker.")):
            raise BadInput(f"--set {text}: write recipe.FIELD=VALUE or tracker.FIELD=VALUE, as `show` names fields")
        found[path] = _value(value)
    told = ", ".join(f"{path} = {value}" for path, value in found.items())
    name = "-".join([profile.name, *(f"{path}-{value}" for path, value in found.items())])
    if len(name) > LONGEST or not re.fullmatch(r"[\w.-]+", name):
        name = f"{profile.name}-set-{sha256(told.encode()).hexdigest()[:10]}"
    caveat = f"Changed by --set in every row that is trained here and has the field: {told}. {profile.caveat}".strip()
    return profile.model_copy(
        update={"name": name, "caveat": caveat, "changes": {**profile.changes, **found}, "comparable_with_paper": False}
    )


def with_packed(profile: Profile, packed: Mapping[str, str]) -> Profile:
    """Return a profile whose runs read these training sets as packed crops, by packing. Its name and caveat say so."""
    if not packed:
        return profile
    told = "; ".join(f"{name} ({words})" for name, words in packed.items())
    name = f"{profile.name}-packed-{sha256(told.encode()).hexdigest()[:8]}"
    caveat = (
        f"Read as packed crops in training: {told}. They were reduced to the resolution of a search crop and encoded again,"
        f" so that pixels differ a little from the frames'. {profile.caveat}"
    ).strip()
    return profile.model_copy(
        update={"name": name, "caveat": caveat, "packed": dict(packed), "comparable_with_paper": False}
    )


def _value(text: str) -> Any:
    # A value as in TOML; a word needs no quotes.
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
