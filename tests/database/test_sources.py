"""Sources: each text once, whatever it is called, as long as the corpus or a run has it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from psycopg import sql

from agent_app.database.connect import Database
from agent_app.database.pool import Pool, open_pool
from agent_app.database.retention import drop_uncited_sources
from agent_app.errors import SourceUnreadable
from agent_app.sources.corpus import add_documents, list_corpus, remove_from_corpus
from agent_app.sources.document import Document
from agent_app.sources.installed import ensure_installed
from agent_app.sources.retrieval import find_passages
from agent_app.sources.store import (
    add_to_run,
    copy_run_sources,
    find_stored_url,
    read_sources,
    run_sources,
    store_document,
)
from tests.database.rows import plant_run

PAGE, OTHER_PAGE = "https://example.com/a", "https://example.com/b"


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """Yield connections to a fresh database."""
    async with open_pool(database, max_size=8) as pool:
        yield pool


def page(text: str, url: str = PAGE, title: str = "A page") -> Document:
    """Return a document."""
    return Document(url, title, text, "text/html")


async def store(pool: Pool, document: Document, run_id: str | None = "r1") -> str:
    """Store a document as a run does that has fetched it."""
    return await store_document(
        pool, document, origin="web", fetched_by=run_id or "x", run_id=run_id
    )


async def count(pool: Pool, table: str) -> int:
    """Return how many rows a table has."""
    query = sql.SQL("select count(*) as row_count from agent_app.{}").format(sql.Identifier(table))
    return int((await pool.execute(query))[0]["row_count"])


async def test_text_is_stored_once(pool: Pool) -> None:
    """The same text under two URLs is one source, with its passages once; runs share it."""
    first = await store(pool, page("The same words."))
    second = await store(pool, page("The same words.", OTHER_PAGE), run_id="r2")
    assert first == second == await store(pool, page("The same words."))
    assert [await count(pool, t) for t in ("source", "source_url", "passage")] == [1, 2, 1]
    assert await find_stored_url(pool, PAGE, run_id="r1") == first
    assert await find_stored_url(pool, OTHER_PAGE, run_id="r2") == first
    stored = (await read_sources(pool, [first, "unknown", "\0", "\ud800"]))[first]
    assert (stored.url, stored.text, stored.origin) == (PAGE, "The same words.", "web")
    assert stored.sha256.startswith(first)


async def test_url_is_known_to_the_run_that_has_it(pool: Pool) -> None:
    """A URL leads to what the run has under it, the newest text; for another run to nothing."""
    await store(pool, page("As it was."))
    newer = await store(pool, page("As it is now."))
    assert await find_stored_url(pool, PAGE, run_id="r1") == newer
    assert await find_stored_url(pool, PAGE, run_id="r2") is None
    assert await find_stored_url(pool, "\0", run_id="r1") is None


async def test_runs_have_sources(pool: Pool) -> None:
    """A run's sources are listed as they came; they are added and copied any number of times."""
    first, second = await store(pool, page("One.")), await store(pool, page("Two.", OTHER_PAGE))
    await add_to_run(pool, "r1", [second, first, "gone"])
    assert [entry.source_id for entry in await run_sources(pool, "r1")] == [first, second]
    for _ in range(2):
        assert await copy_run_sources(pool, from_run_id="r1", to_run_id="r2") == 2
    assert {entry.url for entry in await run_sources(pool, "r2")} == {PAGE, OTHER_PAGE}


async def test_odd_texts_are_stored(pool: Pool) -> None:
    """NUL, half a surrogate pair, words over 2 kB, a lexeme 1,000 times, a long URL: all stored."""
    text = f"a\0b\ud800 {'x' * 5_000} {'word ' * 1_000}{'字' * 9_000}"
    url = "https://example.com/" + "".join(f"{n}/" for n in range(3_000))
    source_id = await store(pool, page(text, url))
    assert (await read_sources(pool, [source_id]))[source_id].text == page(text).text
    found = await find_passages(pool, "words", run_id="r1")
    assert {passage.url for passage in found} == {url}
    assert all(p.text == page(text).text[p.start : p.stop] for p in found)
    assert await find_stored_url(pool, url, run_id="r1") == source_id


async def test_long_text_is_stored(pool: Pool) -> None:
    """A text of megabytes has thousands of passages, and the words of its end are found."""
    text = "Nothing of interest stands in this long sentence. " * 60_000 + "The needle is here."
    await store(pool, page(text))
    (found, *_) = await find_passages(pool, "needle", run_id="r1")
    assert found.stop == len(text)
    assert await count(pool, "passage") > 2_000


async def test_another_text_with_the_same_id_is_refused(pool: Pool) -> None:
    """A text whose ID is taken by another one is an error, and the first one stays."""
    source_id = await store(pool, page("Mine."))
    await pool.execute("update agent_app.source set sha256 = 'another'")
    with pytest.raises(SourceUnreadable, match="is that of another text"):
        await store(pool, page("Mine.", OTHER_PAGE))
    assert list(await read_sources(pool, [source_id])) == [source_id]
    assert await count(pool, "source_url") == 1


async def test_changed_document_replaces_its_earlier_version(pool: Pool) -> None:
    """A URL of the corpus has one text: what it had before is deleted, unless a run has it."""
    for text in ("First.", "Second.", "Third."):
        await add_documents(pool, [page(text)], added_by="t")
        if text == "Second.":
            await add_to_run(pool, "r1", [page(text).source_id])
    assert [entry.source_id for entry in await list_corpus(pool)] == [page("Third.").source_id]
    kept = await read_sources(pool, [page(t).source_id for t in ("First.", "Second.", "Third.")])
    assert {stored.text for stored in kept.values()} == {"Second.", "Third."}
    assert await find_passages(pool, "second") == []
    assert len(await find_passages(pool, "second", run_id="r1")) == 1


async def test_adding_says_what_changed(pool: Pool) -> None:
    """Documents are new, unchanged, or replace what was there; a web source can join the corpus."""
    await store(pool, page("Fetched."))
    first = {PAGE: "added", OTHER_PAGE: "added"}
    documents = [page("Fetched."), page("B", OTHER_PAGE)]
    assert await add_documents(pool, documents, added_by="t") == first
    assert len(await find_passages(pool, "fetched")) == 1
    assert set((await add_documents(pool, documents, added_by="t")).values()) == {"unchanged"}
    changed = await add_documents(pool, [page("C", OTHER_PAGE)], added_by="t")
    assert changed == {OTHER_PAGE: "replaced"}


async def test_removed_source_stays_for_the_run_that_has_it(pool: Pool) -> None:
    """Removing takes a text out of the corpus; a run that has it goes on finding it."""
    await add_documents(pool, [page("Cited words."), page("Other.", OTHER_PAGE)], added_by="t")
    await add_to_run(pool, "r1", [page("Cited words.").source_id])
    removed = await remove_from_corpus(pool, urls=[PAGE, OTHER_PAGE])
    assert (removed.url_count, removed.deleted_count, removed.cited_count) == (2, 1, 1)
    assert await list_corpus(pool) == []
    assert await find_passages(pool, "cited") == []
    assert len(await find_passages(pool, "cited", run_id="r1")) == 1


async def test_text_stays_while_one_of_its_urls_is_in_the_corpus(pool: Pool) -> None:
    """Of two URLs of one text, removing the first leaves the text under the second."""
    await add_documents(pool, [page("Shared."), page("Shared.", OTHER_PAGE)], added_by="t")
    assert (await remove_from_corpus(pool, urls=[PAGE])).deleted_count == 0
    assert [entry.url for entry in await list_corpus(pool)] == [OTHER_PAGE]
    assert [p.url for p in await find_passages(pool, "shared")] == [OTHER_PAGE]
    assert (
        await remove_from_corpus(pool, source_ids=[page("Shared.").source_id])
    ).deleted_count == 1


async def test_what_nobody_cites_goes(pool: Pool, database: Database) -> None:
    """Sources of deleted runs go; those of the corpus and of stored runs stay."""
    plant_run(database, "r1")
    kept = await store(pool, page("Of a run that is stored."), run_id="r1")
    gone = await store(pool, page("Of a run that is not.", OTHER_PAGE), run_id="deleted")
    alone = await store(pool, page("Of no run."), run_id=None)
    await add_documents(pool, [page("Of the corpus.")], added_by="t")
    assert await asyncio.to_thread(drop_uncited_sources, database) == 2
    assert set(await read_sources(pool, [kept, gone, alone])) == {kept}
    assert len(await list_corpus(pool)) == 1
    assert await run_sources(pool, "deleted") == []
    assert await asyncio.to_thread(drop_uncited_sources, database) == 0


async def test_adders_and_removers_meet(pool: Pool, database: Database) -> None:
    """Many that add, fetch, cite and remove the same texts at once neither block nor fail."""
    texts = [f"Text {n} of those that are shared." for n in range(20)]
    urls = [f"https://example.com/{n}" for n in range(20)]

    async def add(step: int) -> None:
        order = range(20) if step % 2 else reversed(range(20))
        documents = [page(texts[(n + step) % 20], urls[n]) for n in order]
        await add_documents(pool, documents, added_by="t")

    async def cite(step: int) -> None:
        for n in range(20):
            await store(pool, page(texts[(n * 7 + step) % 20], urls[n]), run_id=f"r{step}")

    async def remove(step: int) -> None:
        await remove_from_corpus(pool, urls=urls[step : step + 10])
        await asyncio.to_thread(drop_uncited_sources, database)

    await asyncio.gather(*(work(step) for step in range(6) for work in (add, cite, remove)))
    await add_documents(pool, [page(t, u) for t, u in zip(texts, urls, strict=True)], added_by="t")
    assert await count(pool, "passage") == await count(pool, "source") == 20
    assert len(await list_corpus(pool)) == 20
    rows = await pool.execute(
        "select count(*) as n from agent_app.posting where not in_corpus or passage_id not in"
        " (select passage_id from agent_app.passage)"
    )
    assert rows[0]["n"] == 0


async def test_empty_corpus_is_filled_with_what_is_installed(pool: Pool) -> None:
    """Installed documentation comes in once, and answers a question about durable agents."""
    assert await ensure_installed(pool) > 100
    assert await ensure_installed(pool) == 0
    question = (
        "What is the best Python agent framework if I care about durable execution and type safety?"
    )
    found = await find_passages(pool, question, max_count=2)
    packages = [passage.url.partition("@")[0] for passage in found]
    assert set(packages) == {"pkg:pypi/dbos", "pkg:pypi/pydantic-ai-slim"}
    assert not any(mark in p.text for p in found for mark in ("](", "```", "img.shields.io"))
    topics = [entry.url for entry in await list_corpus(pool) if entry.url.startswith("python:")]
    assert "python:topics/assert" in topics
