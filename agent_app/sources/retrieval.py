"""Passages of stored sources, best first, by BM25."""

from collections.abc import Sequence
from typing import LiteralString

from agent_app.database.pool import Pool
from agent_app.sources.passage import Passage

_PASSAGES: LiteralString = """
select source_id, url, title, start, stop, text, score
from agent_app.find_passage(%(words)s, %(max_count)s, %(run_id)s, %(source_id)s)
"""
_SOURCES: LiteralString = """
select source_id, url, title, start, stop, text, score
from agent_app.find_source(%(words)s, %(max_count)s, %(run_id)s)
"""
_WORDS_MET: LiteralString = """
select array(
    select token from (
        select part.token, min(part.place) as place
        from ts_parse('default', piece.text) with ordinality as part (kind, token, place)
        where tsvector_to_array(to_tsvector('english', part.token))
            && tsvector_to_array(to_tsvector('english', %(words)s))
        group by part.token
    ) as met order by place) as met
from unnest(%(texts)s::text[]) with ordinality as piece (text, number)
order by piece.number
"""
_MAX_QUERY = 10_000
"""Characters of a query that count."""


async def find_passages(
    pool: Pool,
    query: str,
    *,
    run_id: str | None = None,
    max_count: int = 10,
    source_id: str | None = None,
) -> list[Passage]:
    """Return passages that have words of the query, best first; empty where none has.

    They come from the corpus and, with `run_id`, from what that run has besides; with `source_id`
    from that source only. Words are compared by their English stems.
    Raises: DatabaseError.
    """
    rows = await pool.execute(
        _PASSAGES,
        words=_storable(query),
        run_id=run_id,
        source_id=source_id,
        max_count=max_count,
    )
    return [Passage(**row) for row in rows]


async def find_sources(
    pool: Pool, query: str, *, run_id: str | None = None, max_count: int = 10
) -> list[Passage]:
    """Return the best passage of each source that has one, best first.

    Raises: DatabaseError.
    """
    rows = await pool.execute(_SOURCES, words=_storable(query), run_id=run_id, max_count=max_count)
    return [Passage(**row) for row in rows]


def _storable(query: str) -> str:
    return query[:_MAX_QUERY].encode("utf-8", "replace").decode().replace("\0", " ")


async def words_met(pool: Pool, query: str, texts: Sequence[str]) -> list[list[str]]:
    """Return of each text the words that a query has, too, by their stems; each once, in order.

    Raises: DatabaseError.
    """
    rows = await pool.execute(_WORDS_MET, words=_storable(query), texts=list(texts))
    return [row["met"] for row in rows]
