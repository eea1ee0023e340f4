"""TOML files that a user wrote, and what is wrong with them: the file, the line, the field, and the remedy."""

import os
import re
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from trackablate.datasets.atomic import read_ordinary_text
from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import near

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

REMEDIES = {
    "missing": ("is missing", "write it"),
    "extra_forbidden": ("is no field of this file", "correct its name, or remove it"),
    "union_tag_not_found": ("has no `kind`", "write one"),
    "union_tag_invalid": ("is of no known kind", "write one of {expected_tags}"),
}
"""Problem and remedy by pydantic's name of a fault, where its own words are not plain."""
OF_VALUES = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), ("is no whole number", "write one")),
    **dict.fromkeys(("float_parsing", "float_type"), ("is no number", "write one")),
    **dict.fromkeys(("bool_parsing", "bool_type"), ("is no truth value", "write true or false")),
    "literal_error": ("is no known value", "write {expected}"),
    "greater_than": ("is too small", "write more than {gt}"),
    "greater_than_equal": ("is too small", "write {ge} or more"),
    "less_than": ("is too large", "write less than {lt}"),
    "less_than_equal": ("is too large", "write {le} or less"),
}
"""The same of faults whose message repeats the value."""

LARGEST_TOML = 2 * 2**20
"""Bytes. A data set that names 20,000 sequences in its file is smaller."""
MOST_DOTS = 64
"""Parts of a dotted key. The time to read one grows with the square of their number."""
_LONG_KEY = re.compile(rf"(?:[\w-]+\s*\.\s*){{{MOST_DOTS}}}")
MOST_FAULTS = 10
"""Faults of one file that are told."""

SETTINGS = (Path("trackablate.toml"), Path("~/.config/trackablate/data.toml"))
"""Files in which a user says where the data sets and the store lie. The first one that names a thing wins."""

LINKS = "TRACKABLATE_ALLOW_LINKS"
"""Environment variable with the folders of `--allow-links`, separated as in PATH, so that workers know them too."""


def read_toml(file: Path) -> tuple[str, dict[str, Any]]:
    """Return a file's text and content; a byte order mark is no part of it. Raises DataError with file and line."""
    try:
        text = read_ordinary_text(file, LARGEST_TOML)
        if _LONG_KEY.search(text):
            raise DataError.at(file, f"has a key of more than {MOST_DOTS} parts", "correct it")
        return text, tomllib.loads(text)
    except DataError:
        raise
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+).*\)$", str(error))
        line, problem = (int(found[1]), str(error)[: found.start()]) if found else (None, str(error))
        raise DataError.at(file, f"is no TOML ({problem})", "correct it", line=line) from None
    except (UnicodeDecodeError, OSError) as error:
        raise DataError.at(file, f"cannot be read as TOML ({error})", "write a text file in UTF-8") from None
    except (ValueError, RecursionError):  # an integer of thousands of digits, or brackets in thousands of brackets
        raise DataError.at(file, "has a number or a nesting that is too long", "correct it") from None


def settings() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each settings file that is there, with its content: trackablate.toml here, then the one of the user."""
    for file in SETTINGS:
        place = Path(os.path.expanduser(file))  # noqa: PTH111 for a user without a home, as in a container, Path's raises
        if place.is_file():
            yield file, read_toml(place)[1]


def named_by(file: Path, path: str) -> Path:
    """Return the place that a settings file names: relative to the file, wherever the program is started."""
    return file.expanduser().parent / Path(path).expanduser()


def anchored(file: Path, content: Any, field: str = "") -> Any:
    """Return a file's content with the paths in it relative to the file, wherever the program is started.

    Paths are names of TOML files in lists, what follows "file:", and the `python` of an environment. In the file's own
    folder they stay as they are written, since they are part of what runs are.
    """
    if isinstance(content, dict):
        return {key: anchored(file, value, key) for key, value in content.items()}
    if isinstance(content, list):
        return [anchored(file, value, "list") for value in content]
    if not isinstance(content, str) or file.parent == Path():
        return content
    prefix = "file:" if content.startswith("file:") else ""
    path = Path(content.removeprefix(prefix))
    named = prefix or (field == "list" and path.suffix == ".toml") or (field == "python" and "/" in content)
    return f"{prefix}{named_by(file, str(path))}" if named and not path.is_absolute() else content


def configured_store() -> Path | None:
    """Return the store that `store = "PATH"` of a settings file names, None if none does. Raises DataError."""
    for file, found in settings():
        if (path := found.get("store")) is not None:
            if not isinstance(path, str) or not path.strip():
                raise DataError.at(
                    file, f"`store` is {path!r}, which is no folder", 'write store = "PATH" above [data]'
                )
            return named_by(file, path)
    return None


def configured(table: Literal["data", "weights"], name: str) -> tuple[Path | None, str]:
    """Return the path that `NAME = "PATH"` under a [table] of a settings file names, and that file; None if none does.

    Raises DataError for a settings file that has something else there.
    """
    for file, found in settings():
        named = found.get(table, {})
        path = named.get(name) if isinstance(named, dict) else 0
        if path is not None and not isinstance(path, str):
            problem = f"names no {'folder' if table == 'data' else 'file'} for {name!r}"
            raise DataError.at(file, problem, f'write [{table}] and below it {name} = "PATH"')
        if path:
            return named_by(file, path), str(file)
    return None, ""


def allowed_links() -> tuple[Path, ...]:
    """Return the folders outside a data set into which its links may lead, as environment and settings files name them.

    Raises DataError for a settings file whose `allow_links` is no list of folders.
    """
    named = [Path(path) for path in os.environ.get(LINKS, "").split(os.pathsep) if path]
    for file, found in settings():
        paths = found.get("allow_links", [])
        if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
            raise DataError.at(file, "`allow_links` is no list of folders", 'write allow_links = ["PATH"] above [data]')
        named += [named_by(file, path) for path in paths]
    return tuple(path.expanduser().resolve() for path in named)


def faults(file: Path, text: str, error: "ValidationError", *models: "type[BaseModel]") -> Iterator[str]:
    """Yield every fault that pydantic found in a file's text, as "FILE, line N: field: problem; remedy".

    `models` are the file's model, then those of parts that are validated on their own. Their fields are suggested for an
    unknown one.
    """
    tables = [table for model in models if model.__name__ == error.title for table in _tables(model)]
    for fault in error.errors()[:MOST_FAULTS]:
        where = [str(part) for part in fault["loc"] if part not in ("synthetic", "videos")]
        problem, remedy = in_words(fault)
        if fault["type"] == "extra_forbidden":
            place = tuple(part for part in fault["loc"][:-1] if isinstance(part, str))
            here = {name for loc, name, _ in tables if loc == place}  # a table of another kind has other fields
            others = dict.fromkeys(name for _, name, fields in tables if where[-1] in fields and name not in here)
            if others and error.title == models[0].__name__:
                named = " or ".join(f"[{name}]" if name else "the top of the file" for name in others)
                problem, remedy = f"belongs in another table ({named})", "move it there"
            elif likely := near(where[-1], [name for loc, _, fields in tables if loc == place for name in fields]):
                remedy = f"did you mean {' or '.join(likely)}?"
        field = f"{'.'.join(where)}: " if where else ""
        yield f"{file}{line_of(text, *where[::-1])}: {field}{problem}" + (f"; {remedy}" if remedy else "")
    if (more := error.error_count() - MOST_FAULTS) > 0:
        yield f"{file}: {more} more faults"


def _tables(
    model: "type[BaseModel]", loc: tuple[str, ...] = (), table: str = ""
) -> Iterator[tuple[tuple[str, ...], str, Collection[str]]]:
    """Yield each table of a model's file: its place in pydantic's words, its name, and its fields."""
    yield loc, table, model.model_fields.keys()
    for name, field in model.model_fields.items():
        inner = list(_models(field.annotation))
        for each in inner:
            tag = [each.model_fields["kind"].default] if len(inner) > 1 else []
            for kind in (each, *each.__subclasses__()):  # a head is read into the class of its kind
                yield from _tables(kind, (*loc, name, *tag), f"{table}.{name}".lstrip("."))


def _models(annotation: Any) -> "Iterator[type[BaseModel]]":
    if hasattr(annotation, "model_fields"):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def in_words(fault: "ErrorDetails") -> tuple[str, str]:
    """Return what is wrong with a field, after its name, and what to do; "" if the problem says that."""
    plain = fault["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if fault["type"] == "value_error":  # a message of our own, with its remedy
        return plain, ""
    problem, remedy = REMEDIES.get(fault["type"]) or OF_VALUES.get(fault["type"], (plain, "correct it"))
    if fault["type"] not in REMEDIES and not isinstance(fault["input"], dict):
        problem += f", got {fault['input']!r}"
    return problem, remedy.format(**fault.get("ctx", {}))


def line_of(text: str, *words: str) -> str:
    """Return ", line N" of the line to blame, "" if there is none.

    It is the first line that sets one of the words or has it as a value; failing that, a word quoted in one of them.
    """
    quoted = [part for word in words for part in word.split("'")[1::2]]
    for word in filter(None, (*words, *quoted)):
        key = re.compile(rf"""(^|[\s".{{,\[]){re.escape(word)}["\s]*[=\]]""")
        value = re.compile(rf"""=.*(?<![\w-]){re.escape(word)}(?![\w-])""")
        for pattern in (key, value):
            for number, line in enumerate(text.splitlines(), 1):
                if pattern.search(line):
                    return f", line {number}"
    return ""
