"""Search by Tavily, a search engine for agents that asks for a key."""

import httpx2

from agent_app.errors import ConfigurationInvalid
from agent_app.sources.search.result import SearchResult, web_results

BASE_URL = "https://api.tavily.com"
"""Source: https://docs.tavily.com/api-reference/introduction"""
_MAX_QUERY, _MAX_RESULTS = 400, 20
"""What the API takes. Source: https://docs.tavily.com/documentation/api-reference/endpoint/search"""
_TIMEOUT_S = 30.0


class TavilySearch:
    """Finds pages of the web; one request for each search, and no retries of its own."""

    name = "tavily"

    def __init__(self, key: str, *, base_url: str = BASE_URL) -> None:
        """Take the key; it is in no message, and not in `repr`.

        Raises: ConfigurationInvalid (no key can look like this, and a client would show it).
        """
        self._key = key.strip()
        if not self._key.isascii() or not self._key.isprintable():
            raise ConfigurationInvalid(
                "TAVILY_API_KEY is not valid: printable ASCII characters were expected."
            )
        self._base_url = base_url

    async def search(self, query: str, *, max_results: int) -> list[SearchResult]:
        """Return pages, best first.

        Raises: httpx2.HTTPStatusError (429 asks for patience, 401 says that the key is wrong, 432
        and 433 that the plan is used up), httpx2.TransportError, ValueError (no JSON).
        """
        async with httpx2.AsyncClient(timeout=_TIMEOUT_S) as client:
            response = await client.post(
                f"{self._base_url}/search",
                headers={"Authorization": f"Bearer {self._key}"},
                json={
                    "query": query[:_MAX_QUERY],
                    "max_results": min(max_results, _MAX_RESULTS),
                    "search_depth": "basic",
                },
            )
        response.raise_for_status()
        answer = response.json()
        rows = answer.get("results") if isinstance(answer, dict) else None
        return web_results(
            (
                (row.get("url"), row.get("title"), row.get("content"))
                for row in (rows if isinstance(rows, list) else [])
                if isinstance(row, dict)
            ),
            max_results=max_results,
        )
