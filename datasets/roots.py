"""The folders of data sets on this machine.

The first of these that names a folder wins:

- the command line: `--data otb=/data/otb100`
- the environment: `TRACKABLATE_DATA_OTB=/data/otb100`
- `otb = "/data/otb100"` under `[data]` in `trackablate.toml` here, then in `~/.config/trackablate/data.toml`
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from trackablate.datasets.benchmark import OnProgress, SequenceList
from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.protocols import DATA_SETS, PROTOCOLS
from trackablate.datasets.registry import unknown

FILES = (Path("trackablate.toml"), Path("~/.config/trackablate/data.toml"))


def open_protocol(
    name: str, given: Mapping[str, str], index: Path | None = None, progress: OnProgress | None = None
) -> SequenceList:
    """Open the sequences of a protocol. See `data_root` for `given` and the errors, and `Opener` for the other arguments."""
    protocol = PROTOCOLS[name]
    return protocol.open(data_root(protocol.data, given) if protocol.data else None, index, progress)


def data_root(name: str, given: Mapping[str, str]) -> Path:
    """Return the folder or zip archive of a data set. Folders from the command line, `given` by data set, win.

    Raises DataError, with all ways to name a folder, if none is named or the first one that is named does not exist.
    """
    variable = f"TRACKABLATE_DATA_{name.upper().replace('-', '_')}"
    in_file = f'write {name} = "PATH" under [data] in {FILES[0]} or {FILES[1]}'
    ways = f"give --data {name}=PATH, or set {variable}=PATH, or {in_file}"
    for said_by, path in _named(name, given, variable):
        if path.is_dir() or path.is_file():
            return path
        problem = f"is neither a folder nor an archive, but {said_by} names it for the data set {name!r}"
        raise DataError(f"{shown(path)} {problem}; {ways}")
    raise DataError(f"the folder of the data set {name!r} is not known; {ways}")


def parse_data_options(options: Iterable[str]) -> dict[str, str]:
    """Return folders by data set, the `given` of `data_root`, from command-line values such as "otb=/data/otb100".

    Raises DataError if a value is not NAME=PATH, a name is not a data set, or a name is given twice.
    """
    given: dict[str, str] = {}
    for option in options:
        name, _, path = option.partition("=")
        if not name or not path:
            raise DataError(f"--data {option!r} is not NAME=PATH; write for example --data otb=/data/otb100")
        if name not in DATA_SETS:
            raise DataError(f"--data {shown(option)}: {unknown('data set', name, DATA_SETS)}")
        if name in given:
            raise DataError(f"--data names {name!r} twice, {shown(given[name])} and {shown(path)}; keep one of them")
        given[name] = path
    return given


def _named(name: str, given: Mapping[str, str], variable: str) -> Iterator[tuple[str, Path]]:
    """Yield each option, variable or file that names a folder, and the folder."""
    for said_by, named in (("--data", given.get(name)), (variable, os.environ.get(variable))):
        if named:
            yield said_by, Path(named).expanduser()
    for file in FILES:
        if path := _tables_entry(file.expanduser(), name):
            # Relative to the file, which does not depend on where the program is started.
            yield str(file), file.expanduser().parent / Path(path).expanduser()


def _tables_entry(file: Path, name: str) -> str | None:
    if not file.is_file():
        return None
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8")).get("data", {})
    except (ValueError, OSError) as error:
        raise DataError.at(file, f"cannot be read ({error})", "correct it, or remove it") from None
    path = data.get(name) if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(path, str | None):
        raise DataError.at(file, f"does not name a folder for {name!r}", f'write [data] and below it {name} = "PATH"')
    return path
