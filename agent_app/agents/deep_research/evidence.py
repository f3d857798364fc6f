"""What a searcher's conversation has met: stored sources, and pages that a provider attests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_ai.messages import ModelMessage, ToolCallPart, ToolReturnPart

from agent_app.agents.conversation import parts_of
from agent_app.agents.deep_research.attested import attested_sources, objects
from agent_app.agents.deep_research.models import Finding, Quote, SearchOutcome
from agent_app.sources.document import canonical_url

EXTRA_SEARCH, READ = "extra_search", "read"
"""Names of tools: of the analyst's, and of everybody's."""


def met_sources(messages: Sequence[ModelMessage]) -> list[str]:
    """Return the IDs of the stored sources that its tools returned, each once, in order."""
    found = [
        entry["source_id"]
        for part in parts_of(messages, ToolReturnPart)
        for entry in objects(part.content)
        if entry.get("source_id")
    ]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class MetPassage:
    """A result of a search or a passage of a source, as a tool returned it."""

    source_id: str | None
    """None for a page that was not read."""
    url: str
    title: str
    text: str


def met_passages(messages: Sequence[ModelMessage]) -> list[MetPassage]:
    """Return what the tools of a searcher returned, in order."""
    return [
        MetPassage(entry.get("source_id"), entry["url"], entry["title"], entry["text"])
        for part in parts_of(messages, ToolReturnPart)
        for entry in objects(part.content)
        if {"url", "title", "text"} <= entry.keys()
    ]


def stored_pages(messages: Sequence[ModelMessage]) -> dict[str, str]:
    """Return IDs of the stored sources that were met, by URL: their own, and what `read` got."""
    asked = {
        part.tool_call_id: part.args_as_dict().get("source")
        for part in parts_of(messages, ToolCallPart)
        if part.tool_name == READ
    }
    return {
        canonical_url(url): entry["source_id"]
        for part in parts_of(messages, ToolReturnPart)
        for entry in objects(part.content)
        if entry.get("source_id")
        for url in (entry.get("url"), asked.get(part.tool_call_id))
        if isinstance(url, str)
    }


def by_source_id(quotes: Sequence[Quote], ids_by_url: Mapping[str, str]) -> list[Quote]:
    """Return the quotes with the source's ID where they name its URL, in whatever spelling."""
    return [
        quote.model_copy(
            update={"source_id": ids_by_url.get(canonical_url(quote.source_id), quote.source_id)}
        )
        for quote in quotes
    ]


def make_outcome(finding: Finding, messages: Sequence[ModelMessage]) -> SearchOutcome:
    """Return what a searcher's conversation has brought.

    Quotes of sources that it never met are dropped; a page that was read is attested no more.
    """
    source_ids, stored = met_sources(messages), stored_pages(messages)
    attested = [
        page for page in attested_sources(messages) if canonical_url(page.url) not in stored
    ]
    known = stored | {canonical_url(page.url): page.url for page in attested}
    quotes = by_source_id(finding.quotes, known)
    met = {*source_ids, *known.values()}
    return SearchOutcome(
        finding=Finding(
            summary=finding.summary, quotes=[quote for quote in quotes if quote.source_id in met]
        ),
        source_ids=source_ids,
        attested=attested,
    )


@dataclass(frozen=True)
class ExtraSearch:
    """A search that the analyst asked for."""

    query: str
    outcome: SearchOutcome
    error: str | None = None
    """Why it failed, was refused, or cannot be read."""


def extra_searches(messages: Sequence[ModelMessage]) -> list[ExtraSearch]:
    """Return the extra searches of the analyst's conversation that were answered, in call order."""
    answers = {
        part.tool_call_id: part
        for part in parts_of(messages, ToolReturnPart)
        if part.tool_name == EXTRA_SEARCH
    }
    return [
        _extra_search(part, answers[part.tool_call_id])
        for part in parts_of(messages, ToolCallPart)
        if part.tool_call_id in answers
    ]


def _extra_search(call: ToolCallPart, answer: ToolReturnPart) -> ExtraSearch:
    query = str(call.args_as_dict().get("query", ""))
    try:
        return ExtraSearch(query, SearchOutcome.model_validate(answer.content))
    except ValidationError:
        return ExtraSearch(query, SearchOutcome(finding=Finding()), str(answer.content))
