"""A hook of mkdocs: makes the pages of commands, benchmarks, studies and public modules from the code, at each build."""

import ast
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("datasets", "trackers", "harness", "ablations", "reports")
"""Packages whose modules have a page, in the order in which they may import each other."""
HIDDEN = ("harness.cli", "harness.__main__")
"""Modules without a page: the commands have pages of their own."""

Pages = dict[str, str]
"""Markdown by the path of its page below docs/."""


def on_config(config: "MkDocsConfig") -> "MkDocsConfig":
    """Add the made pages to the navigation."""
    sys.path.insert(0, str(ROOT / "src"))
    os.environ["PYTHONPATH"] = str(ROOT / "src")
    config.extra["made"] = made = pages()
    for title, folder in (("Commands", "commands"), ("Benchmarks", "benchmarks"), ("Modules", "modules")):
        within = [path for path in made if path.startswith(f"{folder}/")]
        config.nav.append({title: within})  # type: ignore[union-attr]
    config.nav.append({"Studies": "studies.md"})  # type: ignore[union-attr]
    config.watch += [str(ROOT / room) for room in ROOMS]
    return config


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the made pages to the files of the site."""
    from mkdocs.structure.files import File

    for path, text in config.extra["made"].items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> Pages:
    """Return all made pages."""
    return {**command_pages(), **benchmark_pages(), "studies.md": study_page(), **module_pages()}


def command_pages() -> Pages:
    """Return a page for each command, and one that lists them."""
    import typer

    from trackablate.harness.cli import app

    found: Pages = {}
    lines = []
    for name, command in _commands(typer.main.get_command(app)):
        path = f"{name.replace(' ', '-')}.md"
        text, _, example = (command.help or "").partition("Example: ")
        lines.append((f"[{name}]({path})", " ".join(text.split())))
        found[f"commands/{path}"] = _command_page(name, text.strip(), example.strip(), command)
    top = "# Commands\n\n`python -m harness COMMAND` in a checkout, `trackablate COMMAND` anywhere.\n\n"
    return {"commands/index.md": top + table(("command", "does"), lines), **found}


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield from _commands(command, f"{name} ") if hasattr(command, "commands") else [(before + name, command)]


def _command_page(name: str, text: str, example: str, command: Any) -> str:
    types = get_type_hints(command.callback)
    arguments = [(f"`{p.name.upper()}`", p.help or "") for p in command.params if _is_argument(p)]
    options = [
        (_option(p, types[p.name]), f"{p.help or ''}{_default(p)}") for p in command.params if not _is_argument(p)
    ]
    parts = [f"# {name}", text, f"```\n{example}\n```" if example else ""]
    parts += ["## Arguments", table(("argument", "meaning"), arguments)] if arguments else []
    parts += ["## Options", table(("option", "meaning"), options)] if options else []
    return "\n\n".join(filter(None, parts)) + "\n"


def _is_argument(param: Any) -> bool:
    return bool(param.param_type_name == "argument")


def _option(param: Any, of: Any) -> str:
    value = "" if param.is_flag else f" {param.metavar or _value(of)}"
    return f"`{', '.join(param.opts)}{value}`"


def _value(of: Any) -> str:
    """Return a word for a value of a type: of lists and optional values, for one that is given."""
    if isinstance(of, type) and issubclass(of, StrEnum):
        return "|".join(of)
    inner = [one for one in get_args(of) if one is not type(None)]
    return _value(inner[0]) if inner else {int: "N", float: "NUMBER", Path: "PATH"}.get(of, "TEXT")


def _default(param: Any) -> str:
    if param.required:
        return " (required)"
    known = param.default not in (None, "", False, (), []) and not callable(param.default)
    return f" (default: `{param.default}`)" if known else ""


def benchmark_pages() -> Pages:
    """Return a page for each protocol, and one that lists them."""
    from trackablate.datasets.protocols import PROTOCOLS, official_extent

    found, lines = {}, []
    for name, protocol in PROTOCOLS.built_in.items():
        extent = official_extent(name)
        numbers = (str(len(extent.lengths)), f"{extent.frames:,}")
        lines.append((f"[{name}]({name}.md)", protocol.title, *numbers, protocol.metrics[0][1]))
        found[f"benchmarks/{name}.md"] = _benchmark_page(protocol, extent)
    top = "# Benchmarks\n\nA protocol is a list of sequences, and the metrics by which trackers are scored on it.\n\n"
    heads = ("protocol", "title", "sequences", "frames", "dialect")
    return {"benchmarks/index.md": top + table(heads, lines), **found}


def _benchmark_page(protocol: Any, extent: Any) -> str:
    from trackablate.datasets.reading.tables import quirks
    from trackablate.harness.scoring.dialects import DIALECTS
    from trackablate.harness.scoring.metrics import METRICS

    part = protocol.open
    facts = [
        ("protocol", f"`{protocol.name}`"),
        ("data set", f"`--data {protocol.data}=PATH`" if protocol.data else "made by the program"),
        ("sequences", str(len(extent.lengths))),
        ("frames", f"{extent.frames:,} ({extent.source})"),
        ("first pixel", str(protocol.origin)),
        ("truth of the test videos", "with the evaluation server" if getattr(part, "server", False) else "published"),
        ("trained on its own videos alone", "yes, or a footnote says so" if protocol.one_shot else "not required"),
        ("source", protocol.source),
    ]
    metrics = [(METRICS[m].symbol, METRICS[m].description, f"`{d}`") for m, d in protocol.metrics]
    parts = [f"# {protocol.title}", protocol.description, table(("fact", ""), facts)]
    parts += ["## Metrics", table(("metric", "meaning", "dialect"), metrics)]
    dialects = dict.fromkeys(d for _, d in protocol.metrics)
    parts += ["The rules of " + "; of ".join(f"`{d}`: {DIALECTS[d].description}" for d in dialects) + "."]
    if layouts := getattr(part, "layouts", ()):
        parts += ["## Layouts", "A folder or zip archive has one of these below its root, or below its only folder."]
        parts += ["\n".join(f"- `{layout.title}`" for layout in layouts)]
    if protocol.attributes:
        parts += ["## Attributes", ", ".join(f"`{one}`" for one in protocol.attributes)]
    if known := quirks(protocol.data) if protocol.data else {}:
        rows = [(name, rule, f"{q.value} ({q.source})") for name, rules in known.items() for rule, q in rules.items()]
        parts += ["## Known oddities", table(("sequence", "rule", "what"), rows)]
    return "\n\n".join(parts) + "\n"


def study_page() -> str:
    """Return the page of all built-in studies."""
    from trackablate.ablations.catalogue import STUDIES

    parts = ["# Studies", "`python -m harness run NAME` runs one; `show NAME` has every field in which a row differs."]
    for name, study in STUDIES.items():
        rows = [(f"`{row.name}`", *row.cells) for row in study.rows]
        parts += [f"## {name}", f"{study.title}. {study.question} Source: {study.source}."]
        parts += [table(("row", *study.factors), rows)]
        parts += ["\n".join(f"- {remark}" for remark in study.remarks)] if study.remarks else []
    return "\n\n".join(parts) + "\n"


def module_pages() -> Pages:
    """Return a page for each package, with the public members of its modules. The code is read, not imported."""
    found: Pages = {"modules/trackablate.md": "# trackablate\n\n::: trackablate\n"}
    lines = [("[trackablate](trackablate.md)", _summary(ROOT / "src" / "trackablate" / "__init__.py"))]
    for room in ROOMS:
        for folder in sorted({file.parent for file in (ROOT / room).rglob("*.py")}):
            name = ".".join(folder.relative_to(ROOT).parts)
            files = [file for file in sorted(folder.glob("*.py")) if file.stem != "__init__"]
            modules = [one for file in files if not (one := f"{name}.{file.stem}").startswith(HIDDEN)]
            if not modules or name.startswith(HIDDEN):
                continue
            lines.append((f"[{name}]({name}.md)", _summary(folder / "__init__.py")))
            text = [f"# {name}", _summary(folder / "__init__.py")]
            for one in modules:
                text.append(f"## {one.rpartition('.')[2]}\n\n::: trackablate.{one}\n    options: {{heading_level: 3}}")
            found[f"modules/{name}.md"] = "\n\n".join(text) + "\n"
    top = "# Modules\n\nWhat each package is for; every module is `trackablate.PACKAGE.MODULE`.\n\n"
    return {"modules/index.md": top + table(("package", "holds"), lines), **found}


def _summary(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells keep their markup, and bars in them are escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    cells = ([" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
