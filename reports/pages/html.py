"""The page: one self-contained file. Templates format; everything they print is escaped unless made in reports/figures.

The page's only script is ours, inlined. A content security policy in the page lets that script run by its digest and
nothing else, so that no name can become a script. The page is complete without it: the script adds sorting, filters,
values at the pointer and the sequence viewer.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from trackablate.reports.figures.drawing import Picture
from trackablate.reports.formats import panels
from trackablate.reports.formats.summary import summary
from trackablate.reports.pages import filmstrips, provenance
from trackablate.reports.pages.sections import Section
from trackablate.reports.pages.viewer import viewer
from trackablate.reports.results import Result
from trackablate.reports.table import Table

TEMPLATES = Path(__file__).parents[1] / "templates"
SCRIPTS = ("tables.js", "plots.js", "viewer.js")
DOCUMENTS = ("table.tex", "table.md", "table.csv", "results.json")
FIRST = "distributions"
"""The figure that stands beside the answers; all others have a section of their own."""


def page(
    result: Result, table: Table, pictures: list[Picture], sections: list[Section], files: Sequence[str] = ()
) -> str:
    """Return index.html, which needs no network and forbids it. It links `files`, which lie beside it."""
    runs = provenance.runs(result)
    first = [picture for picture in pictures if picture.name == FIRST]
    view = {
        "result": result,
        "table": table,
        "short": summary(result, table, wide=True),
        "first": first,
        "pictures": [picture for picture in pictures if picture not in first],
        "sections": sections,
        "files": files,
        "documents": [name for name in files if "/" not in name],
        "absent": [name for name in DOCUMENTS if result.study and name not in files],
        "viewer": viewer(result),
        "strips": filmstrips.strips(result),
        "runs": runs,
        "commands": provenance.commands(result, runs),
        "versions": provenance.versions(runs),
        "profile_facts": provenance.profile_facts(result.profile) if result.profile else {},
        "failed": [row.name for row in result.rows if row.verdict == "failed"],
        "trials": [row.name for row in result.rows if row.verdict == "trial"],
    }
    return render("page.html", view | {"contents": _contents(view)})


def render(template: str, view: dict[str, Any]) -> str:
    """Return a page made from a template; a name that the template uses and the view lacks is an error."""
    script = "\n" + "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    whole = {"script": Markup(script), "script_digest": f"sha256-{digest}", **view}
    return _environment().get_template(template).render(whole) + "\n"


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["layout"] = panels
    found.filters["moment"] = provenance.moment
    return found


def _contents(view: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the sections that the page has, for its navigation."""
    parts = [
        ("results", "Results", view["short"].parts),
        ("table", "All columns", True),
        ("figures", "Figures", view["pictures"]),
        *((section.anchor, section.title, True) for section in view["sections"]),
        ("viewer", "Sequence viewer", view["viewer"]),
        ("filmstrips", "Easy and failed sequences", view["strips"]),
        ("problems", "Problems", view["result"].problems),
        ("provenance", "Provenance", True),
    ]
    return [(anchor, title) for anchor, title, there in parts if there]
