"""Reports of a finished research: Markdown, HTML, JSON and BibTeX from one result."""

from collections.abc import Mapping
from typing import Literal

from agent_app.agents.deep_research.models import ResearchResult

Format = Literal["markdown", "html", "json", "bibtex"]


def render(result: ResearchResult, form: Format, *, texts: Mapping[str, str] | None = None) -> str:
    """Return the report; with the sources' texts, by ID, quotes stand among what is around them."""
    if form == "json":
        return result.model_dump_json(indent=2) + "\n"
    # Each imports what it needs: a list of sources takes no template engine.
    if form == "bibtex":
        from agent_app.agents.deep_research.rendering.bibtex import as_bibtex

        return as_bibtex(result)
    if form == "html":
        from agent_app.agents.deep_research.rendering.html import as_html

        return as_html(result, texts)
    from agent_app.agents.deep_research.rendering.markdown import as_markdown

    return as_markdown(result, texts)
