"""Pages that a model's provider names: it has searched by itself, and nobody else has seen them."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    NativeToolCallPart,
    NativeToolReturnPart,
    TextPart,
    WebCitationSource,
)

from agent_app.agents.deep_research.models import AttestedSource
from agent_app.sources.document import canonical_url


def attested_sources(messages: Sequence[ModelMessage]) -> list[AttestedSource]:
    """Return the pages that the model's own search names, each once, in order.

    They are results of a search (`url`; Google says `uri`), pages that it has opened (OpenAI), and
    what its texts cite.
    """
    pages: dict[str, AttestedSource] = {}
    for message in messages:
        for entry in _named(message) if isinstance(message, ModelResponse) else ():
            url = entry.get("url") or entry.get("uri")
            if isinstance(url, str) and url.startswith(("http://", "https://")):
                page = AttestedSource(url=url, title=str(entry.get("title") or ""))
                pages.setdefault(canonical_url(url), page)
    return list(pages.values())


def _named(response: ModelResponse) -> Iterator[dict[str, Any]]:
    returns = [part for part in response.parts if isinstance(part, NativeToolReturnPart)]
    results = {part.tool_call_id: part.content for part in returns}
    for part in response.parts:
        if isinstance(part, NativeToolReturnPart):
            yield from objects(part.content)
        elif isinstance(part, NativeToolCallPart):
            if _is_completed(results.get(part.tool_call_id)):
                yield part.args_as_dict()
        elif isinstance(part, TextPart):
            yield from _cited(part)


def _is_completed(result: Any) -> bool:
    return isinstance(result, dict) and result.get("status") == "completed"


def _cited(part: TextPart) -> Iterator[dict[str, Any]]:
    for citation in part.citations or ():
        for source in citation.sources:
            if isinstance(source, WebCitationSource):
                yield {"url": source.url, "title": source.title}


def objects(content: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object in a value, at any depth."""
    if hasattr(content, "model_dump"):
        content = content.model_dump(mode="json")
    if isinstance(content, dict):
        yield content
        content = list(content.values())
    if isinstance(content, list):
        for item in content:
            yield from objects(item)
