"""Search by DuckDuckGo, which needs no key and may refuse who asks too often."""

import asyncio
from typing import Any

from agent_app.sources.search.result import SearchResult, web_results

_TIMEOUT_S = 20
_NOTHING_FOUND = "No results found."


class DuckDuckGoSearch:
    """Finds pages of the web by the package `ddgs`, in a thread: it blocks."""

    name = "duckduckgo"

    async def search(self, query: str, *, max_results: int) -> list[SearchResult]:
        """Return pages, best first.

        An answer that is no page of results, which is how DuckDuckGo refuses those who ask too
        often, cannot be told from one without results: it is empty (ddgs 9.16).
        Raises: TimeoutError, ConnectionError (a refusal, or no connection): both can pass.
        """
        found = await asyncio.to_thread(_search, query, max_results)
        return web_results(
            ((row.get("href"), row.get("title"), row.get("body")) for row in found),
            max_results=max_results,
        )


def _search(query: str, max_results: int) -> list[dict[str, Any]]:
    from ddgs import DDGS
    from ddgs.exceptions import DDGSException, RatelimitException, TimeoutException

    try:
        return DDGS(timeout=_TIMEOUT_S).text(query, max_results=max_results, backend="duckduckgo")
    except TimeoutException:
        raise TimeoutError(f"DuckDuckGo did not answer within {_TIMEOUT_S} s.") from None
    except RatelimitException:
        raise ConnectionError("DuckDuckGo asks for fewer searches.") from None
    except DDGSException as error:
        if str(error) == _NOTHING_FOUND:
            return []
        raise ConnectionError(f"DuckDuckGo was not reached: {str(error)[:300]}") from error
