"""The folders of data sets on this machine.

The first of these that names a folder wins:

- the command line: `--data otb=/data/otb100`
- the environment: `TRACKABLATE_DATA_OTB=/data/otb100`
- `otb = "/data/otb100"` under `[data]` in `trackablate.toml` here, then in `~/.config/trackablate/data.toml`
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.protocols import DATA_SETS, PROTOCOLS
from trackablate.datasets.registry import unknown
from trackablate.datasets.toml_files import SETTINGS, configured

PACKED_MARK = "packed.json"
"""The file that makes a folder one of packed training sets."""


def packed_name(name: str) -> str:
    """Return the name under which the packed training sets of a data set are given, beside the data set itself."""
    return f"{name} packed"


def open_protocol(name: str, given: Mapping[str, str], index: Path | None = None) -> SequenceList:
    """Open the sequences of a protocol. See `data_root` for `given` and `Opener` for `index`.

    Raises:
        UnknownName: There is no such protocol.
        DataError: Its data are not found.
    """
    protocol = PROTOCOLS[name]
    return protocol.open(data_root(protocol.data, given) if protocol.data else None, index)


def data_root(name: str, given: Mapping[str, str]) -> Path:
    """Return the folder or zip archive of a data set.

    Folders from the command line, `given` by data set, win over all others. Raises DataError, with all ways to name a
    folder, if none is named or the first one does not exist.
    """
    path, said_by = _named(name, given)
    if path is None:
        raise DataError(f"the folder of the data set {name!r} is not known; {_ways(name)}")
    if not path.is_dir() and not path.is_file():
        raise DataError(
            f"{shown(path)} is neither a folder nor an archive, but {said_by} names it for the data set {name!r};"
            f" {_ways(name)}"
        )
    return path


def training_root(name: str, given: Mapping[str, str]) -> tuple[str, Path]:
    """Return where the training sets of a data set lie, and under which name: that of packed ones if they are packed.

    Whoever names the folder of packed sets, `--data`, the environment or a file, says that they are used. Raises DataError
    as `data_root` does.
    """
    packed = packed_name(name)
    root = data_root(packed if packed in given else name, given)
    return (packed if (root / PACKED_MARK).is_file() else name), root


def parse_data_options(options: Iterable[str]) -> dict[str, str]:
    """Return folders by data set, the `given` of `data_root`, from command-line values such as "otb=/data/otb100".

    A folder of packed training sets stands beside the data set itself, by its `packed_name`. Raises DataError for a value
    that is not NAME=PATH, an unknown name, or one that is given twice.
    """
    given: dict[str, str] = {}
    for option in options:
        name, _, path = option.partition("=")
        if not name or not path:
            raise DataError(f"--data {option!r} is not NAME=PATH; write for example --data otb=/data/otb100")
        if name not in DATA_SETS:
            raise DataError(f"--data {shown(option)}: {unknown('data set', name, DATA_SETS)}")
        name = DATA_SETS[name].name  # it may be given as the file that declares it
        if (Path(path).expanduser() / PACKED_MARK).is_file():
            name = packed_name(name)
        if name in given:
            raise DataError(f"--data names {name!r} twice, {shown(given[name])} and {shown(path)}; keep one of them")
        given[name] = path
    return given


def _variable(name: str) -> str:
    return f"TRACKABLATE_DATA_{name.upper().replace('-', '_')}"


def _ways(name: str) -> str:
    here, home = SETTINGS
    return (
        f'give --data {name}=PATH, or set {_variable(name)}=PATH, or write {name} = "PATH" under [data] in {here}'
        f" or {home}"
    )


def _named(name: str, given: Mapping[str, str]) -> tuple[Path | None, str]:
    """Return the folder, and the option, variable or file that names it."""
    if path := given.get(name):
        return Path(path).expanduser(), "--data"
    if path := os.environ.get(_variable(name)):
        return Path(path).expanduser(), _variable(name)
    return configured("data", name)
