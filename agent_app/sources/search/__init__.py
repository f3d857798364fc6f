"""Search providers: words in, pages or passages out; which one a research uses, and why."""

import os

from agent_app.database.pool import Pool
from agent_app.errors import ConfigurationInvalid
from agent_app.sources.search.choice import ProviderChoice, ProviderName, choose_provider
from agent_app.sources.search.corpus import CorpusSearch
from agent_app.sources.search.duckduckgo import DuckDuckGoSearch
from agent_app.sources.search.result import SearchProvider, SearchResult
from agent_app.sources.search.tavily import TavilySearch

__all__ = [
    "ProviderChoice",
    "ProviderName",
    "SearchProvider",
    "SearchResult",
    "choose_provider",
    "open_provider",
]


def open_provider(name: str, *, pool: Pool, run_id: str | None) -> SearchProvider:
    """Return the provider of that name, which has been chosen for the run.

    Raises: ConfigurationInvalid (this process lacks its key or its package; `native`, which the
    model's provider executes itself; an unknown name).
    """
    if name in ("auto", "native"):
        raise ConfigurationInvalid(
            f"The search provider {name!r} is not opened by agent_app; corpus, tavily or "
            "duckduckgo was expected."
        )
    key = os.environ.get("TAVILY_API_KEY", "")
    choice = choose_provider(name, tavily_key=key, model=None)
    if choice.name == "tavily":
        return TavilySearch(key)
    return DuckDuckGoSearch() if choice.name == "duckduckgo" else CorpusSearch(pool, run_id)
