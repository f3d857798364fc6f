"""Search in what is stored: the corpus, and what the run has fetched."""

from agent_app.database.pool import Pool
from agent_app.sources.retrieval import find_sources
from agent_app.sources.search.result import SearchResult


class CorpusSearch:
    """Finds passages by BM25; no network."""

    name = "corpus"

    def __init__(self, pool: Pool, run_id: str | None) -> None:
        self._pool = pool
        self._run_id = run_id

    async def search(self, query: str, *, max_results: int) -> list[SearchResult]:
        """Return the best passage of each source that has words of the query, best first.

        Raises: DatabaseError.
        """
        passages = await find_sources(self._pool, query, run_id=self._run_id, max_count=max_results)
        return [
            SearchResult(url=p.url, title=p.title, snippet=p.text, source_id=p.source_id)
            for p in passages
        ]
