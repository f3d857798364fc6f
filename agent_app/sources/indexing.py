"""Texts into passages and postings, many texts at a time."""

from collections.abc import Sequence
from typing import LiteralString

from agent_app.database.pool import Connection
from agent_app.sources.document import Document
from agent_app.sources.passage import split_passages

# The title counts as part of each passage: a passage seldom repeats what the text is about.
# A lexeme counts 256 times at most, and one of more than 2 kB not at all: limits of a tsvector.
_INDEX: LiteralString = """
with lexed as materialized (
    select nextval(pg_get_serial_sequence('agent_app.passage', 'passage_id')) as passage_id,
        source_id, position, start, stop,
        to_tsvector('english', words) as lexemes
    from unnest(%(source_ids)s::text[], %(positions)s::integer[], %(starts)s::integer[],
            %(stops)s::integer[], %(words)s::text[])
        as piece (source_id, position, start, stop, words)
), measured as materialized (
    select lexed.*, (
        select coalesce(sum(cardinality(positions)), 0) from unnest(lexemes)) as length
    from lexed
), stored as (
    insert into agent_app.passage (passage_id, source_id, position, start, stop, length)
    select passage_id, source_id, position, start, stop, length from measured
), posted as (
    insert into agent_app.posting (passage_id, frequency, length, in_corpus, lexeme)
    select passage_id, cardinality(entry.positions), length, %(in_corpus)s, entry.lexeme
    from measured cross join unnest(measured.lexemes) as entry
    order by entry.lexeme collate "C", passage_id
)
update agent_app.source set passage_count = total.passage_count, length = total.length
from (
    select source_id, count(*) as passage_count, sum(length) as length from measured group by 1
) as total
where source.source_id = total.source_id
"""


async def index_documents(
    connection: Connection, documents: Sequence[Document], *, in_corpus: bool
) -> None:
    """Index texts that have just been stored, in the same transaction."""
    pieces = [
        (document, position, piece)
        for document in documents
        for position, piece in enumerate(split_passages(document.text))
    ]
    if not pieces:
        return
    values = {
        "source_ids": [document.source_id for document, _, _ in pieces],
        "positions": [position for _, position, _ in pieces],
        "starts": [piece.start for _, _, piece in pieces],
        "stops": [piece.stop for _, _, piece in pieces],
        "words": [f"{d.title}\n{d.text[piece.start : piece.stop]}" for d, _, piece in pieces],
        "in_corpus": in_corpus,
    }
    await connection.execute(_INDEX, values)
