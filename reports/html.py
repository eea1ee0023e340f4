"""The page: one self-contained file. Templates format; everything they print is escaped unless made in figures.py."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import filmstrips, layout, provenance
from reports.attributes import attribute_tables
from reports.figures.drawing import Picture
from reports.results import StudyResult
from reports.table import Table

TEMPLATES = Path(__file__).parent / "templates"


def page(result: StudyResult, table: Table, pictures: list[Picture]) -> str:
    """index.html: no script, no network; a content security policy in the page forbids both."""
    return render("page.html", _view(result, table, pictures))


def render(template: str, view: dict[str, Any]) -> str:
    """A page made from a template; a name that the template uses and the view lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(view) + "\n"


def _view(result: StudyResult, table: Table, pictures: list[Picture]) -> dict[str, Any]:
    runs = provenance.runs(result)
    return {
        "result": result,
        "table": table,
        "layout": layout,
        "pictures": [(picture, Markup(picture.inline)) for picture in pictures],
        "attributes": attribute_tables(result),
        "strips": filmstrips.strips(result),
        "runs": runs,
        "versions": provenance.versions(runs),
        "profile_facts": provenance.profile_facts(result.profile),
        "failed": [row.name for row in result.rows if row.record.verdict == "failed"],
        "trials": [row.name for row in result.rows if row.record.verdict == "trial"],
    }
