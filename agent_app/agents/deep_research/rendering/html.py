"""The report as one page: no scripts, nothing loaded from elsewhere."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agent_app.agents.deep_research.models import ResearchResult
from agent_app.agents.deep_research.rendering.outline import count, in_line, make_outline
from agent_app.agents.deep_research.rendering.prose import prose_to_html

_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'"
_TEMPLATES = Path(__file__).parent / "templates"


def as_html(result: ResearchResult, texts: Mapping[str, str] | None = None) -> str:
    """Return the report as a page for screen and paper, light and dark."""
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = _environment().get_template("report.html.j2")
    return page.render(
        outline=make_outline(result, texts),
        result=result,
        style=Markup(style),
        policy=f"{_NOTHING}; style-src 'sha256-{digest}'",
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["prose"] = lambda text: Markup(prose_to_html(text))
    environment.filters["line"] = in_line
    environment.filters["count_of"] = count
    return environment
