"""What a search brings: text of strangers, made harmless and short."""

from collections.abc import Iterable
from typing import Protocol

from pydantic import BaseModel

from agent_app.sources.document import canonical_url
from agent_app.sources.formats.prose import tidy

_MAX_URL, _MAX_TITLE, _MAX_SNIPPET = 2000, 300, 2000


class SearchResult(BaseModel, frozen=True):
    """A page that a provider names, or a passage that is stored already."""

    url: str
    """Canonical: see `canonical_url`."""
    title: str
    snippet: str
    source_id: str | None = None
    """The stored source that the snippet is a passage of; None for a page of the web."""


class SearchProvider(Protocol):
    """Finds pages by words."""

    name: str

    async def search(self, query: str, *, max_results: int) -> list[SearchResult]:
        """Return results, best first, each URL once; empty where nothing is found."""


def web_results(
    found: Iterable[tuple[object, object, object]], *, max_results: int
) -> list[SearchResult]:
    """Return results of (URL, title, snippet), as a provider sent them.

    Texts are one line each, cut, without control characters. What has no http or https URL is
    dropped, and so is the second of two that lead to the same page.
    """
    results: dict[str, SearchResult] = {}
    for url, title, snippet in found:
        canonical = canonical_url(tidy(_text(url)))
        if canonical.startswith(("http://", "https://")) and len(canonical) <= _MAX_URL:
            result = SearchResult(
                url=canonical,
                title=_cut(_text(title), _MAX_TITLE) or canonical,
                snippet=_cut(_text(snippet), _MAX_SNIPPET),
            )
            results.setdefault(canonical, result)
    return list(results.values())[:max_results]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _cut(text: str, max_chars: int) -> str:
    """Return the text in one line, ending between words."""
    line = tidy(text[: 4 * max_chars])
    if len(line) <= max_chars:
        return line
    return (line[: max_chars - 1].rpartition(" ")[0] or line[: max_chars - 1]) + "…"
