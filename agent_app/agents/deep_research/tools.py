"""What a searcher and the analyst can do: search, and read a source."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel
from pydantic_ai import RunContext, ToolFailed
from pydantic_ai.messages import ModelMessage, ToolCallPart

from agent_app.agents.conversation import parts_of
from agent_app.agents.deep_research.models import SearchTask
from agent_app.agents.deep_research.searching import SEARCH
from agent_app.database.pool import Pool
from agent_app.durability.scope import current_run
from agent_app.durability.storage import storage
from agent_app.errors import AgentAppError, DatabaseError
from agent_app.sources.document import canonical_url
from agent_app.sources.fetch import fetch
from agent_app.sources.passage import Passage, split_passages
from agent_app.sources.readable import read_document
from agent_app.sources.retrieval import find_passages
from agent_app.sources.search import open_provider
from agent_app.sources.store import add_to_run, find_stored_url, read_sources, store_document

MAX_RESULTS = 8
"""Results of one search."""
MAX_PASSAGES = 6
"""Passages that one reading of a source brings."""
MAX_BEGINNING = 3
"""Passages from the beginning of a source in which nothing is about what was asked."""


class Found(BaseModel):
    """A result of a search, or a passage of a source, as a model is told of it."""

    source_id: str | None
    """None for a page that was not read yet: its URL is what `read` takes."""
    url: str
    title: str
    text: str


def research_id() -> str:
    """Return the run that sources are stored for: the research, whose searches are its children.

    Not a part of a search's input: a fork of the research asks for the same searches.
    """
    run = current_run()
    assert run is not None
    parent_id = run.run_id.rpartition(":")[0]
    return parent_id if run.agent == SEARCH and parent_id else run.run_id


async def search(ctx: RunContext[SearchTask], query: str) -> list[Found]:
    """Search for the words of a query; results with a source_id can be quoted at once."""
    if earlier_calls(ctx, "search") > 0:
        raise ToolFailed("This search was the one there is. Read its results, or answer.")
    pool, run_id = storage().pool, research_id()
    provider = open_provider(ctx.deps.provider, pool=pool, run_id=run_id)
    results = await provider.search(query, max_results=MAX_RESULTS)
    known = [result.source_id for result in results if result.source_id]
    await add_to_run(pool, run_id, known)
    return [
        Found(source_id=hit.source_id, url=hit.url, title=hit.title, text=hit.snippet)
        for hit in results
    ]


async def read(ctx: RunContext[Any], source: str, about: str) -> list[Found]:
    """Read a source, given by its source_id or URL: the passages of it that say most about this.

    Where none has a word of it, the source's beginning comes back.
    """
    pool, run_id = storage().pool, research_id()
    source_id = await _stored_source(pool, source, run_id)
    if source_id is None:
        source_id = await _fetched_source(pool, source, run_id)
    passages = await find_passages(
        pool, about, run_id=run_id, source_id=source_id, max_count=MAX_PASSAGES
    )
    if not passages:
        return await _beginning(pool, source_id)
    return [_as_found(passage) for passage in passages]


async def _beginning(pool: Pool, source_id: str) -> list[Found]:
    """Return how a source begins, in which no word was found: it may be in another language.

    Raises: ToolFailed.
    """
    stored = (await read_sources(pool, [source_id])).get(source_id)
    pieces = split_passages(stored.text)[:MAX_BEGINNING] if stored else []
    if not stored or not pieces:
        raise ToolFailed(f"The source {source_id!r} has no text.")
    return [
        Found(
            source_id=source_id,
            url=stored.url,
            title=stored.title,
            text=stored.text[piece.start : piece.stop],
        )
        for piece in pieces
    ]


def _as_found(passage: Passage) -> Found:
    return Found(
        source_id=passage.source_id, url=passage.url, title=passage.title, text=passage.text
    )


async def _stored_source(pool: Pool, source: str, run_id: str) -> str | None:
    if source in await read_sources(pool, [source]):
        await add_to_run(pool, run_id, [source])
        return source
    return await find_stored_url(pool, canonical_url(source), run_id=run_id)


async def _fetched_source(pool: Pool, url: str, run_id: str) -> str:
    """Fetch, read and store a page; what goes wrong with it is the model's to know.

    Raises: ToolFailed; DatabaseError.
    """
    try:
        fetched = await fetch(url)
        document = await asyncio.to_thread(
            read_document, fetched.body, media_type=fetched.media_type, url=fetched.final_url
        )
        # Under the URL that was asked for, too: after a redirect it would be fetched once more.
        for met in dict.fromkeys((document.url, canonical_url(url))):
            source_id = await store_document(
                pool, replace(document, url=met), origin="web", fetched_by=run_id, run_id=run_id
            )
        return source_id
    except DatabaseError:
        raise
    except (AgentAppError, OSError) as error:
        raise ToolFailed(str(error)) from error
    except Exception as error:
        if not type(error).__module__.startswith("httpx2"):
            raise
        raise ToolFailed(f"{url!r} could not be fetched: {error}") from error


def earlier_calls(ctx: RunContext[Any], name: str) -> int:
    """Return how many calls of a tool came before this one, those of the same answer included."""
    return calls_before(ctx.messages, name, ctx.tool_call_id)


def calls_before(messages: Sequence[ModelMessage], name: str, tool_call_id: str | None) -> int:
    """Return how many calls of a tool a conversation has before the one of that ID."""
    calls = [part for part in parts_of(messages, ToolCallPart) if part.tool_name == name]
    ids = [call.tool_call_id for call in calls]
    return ids.index(tool_call_id) if tool_call_id in ids else len(ids)
