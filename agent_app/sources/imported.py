"""Texts of an imported run, stored again: they are searched by that run, and by no other."""

from collections.abc import Sequence
from typing import LiteralString

from agent_app.database.archive_sources import ArchivedSource
from agent_app.database.pool import Pool
from agent_app.sources.document import Document
from agent_app.sources.store import insert_documents

_NEW = "import"
"""Who has stored them, until the same transaction says who fetched them once."""
_AS_IT_WAS: LiteralString = """
update agent_app.source set origin = was.origin, fetched_at = was.fetched_at,
    fetched_by = was.fetched_by
from unnest(%(source_ids)s::text[], %(origins)s::text[], %(moments)s::timestamptz[],
    %(fetchers)s::text[]) as was (source_id, origin, fetched_at, fetched_by)
where source.source_id = was.source_id and source.fetched_by = %(new)s
"""


async def store_imported(pool: Pool, sources: Sequence[ArchivedSource]) -> None:
    """Store texts as they were elsewhere; what is here already stays as it is.

    Durable when it returns, whole or not at all. The corpus gets none of them.
    Raises: SourceUnreadable (another text has an ID); psycopg.Error.
    """
    documents = [
        Document(url, source.title, source.text, source.media_type)
        for source in sources
        for url in (*source.urls, source.url)  # the last one is the source's own
    ]
    values = {
        "source_ids": [source.source_id for source in sources],
        "origins": [source.origin for source in sources],
        "moments": [source.fetched_at for source in sources],
        "fetchers": [source.fetched_by for source in sources],
        "new": _NEW,
    }
    async with pool.connect() as connection, connection.transaction():
        await insert_documents(connection, documents, origin="web", fetched_by=_NEW)
        await connection.execute(_AS_IT_WAS, values)
