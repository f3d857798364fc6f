"""BM25 in SQL: the formula, who finds what, and statistics that are always exact."""

import math
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from agent_app.database.connect import Database
from agent_app.database.pool import Pool, open_pool
from agent_app.sources.corpus import add_documents, remove_from_corpus
from agent_app.sources.document import Document
from agent_app.sources.passage import Passage
from agent_app.sources.retrieval import find_passages, find_sources, words_met
from agent_app.sources.store import store_document

TEXTS = {
    "a": "cat dog dog bird",
    "b": "cat cat cat",
    "c": "horse bird fish whale shark seal otter",
    "d": "cat fish",
}


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """Yield connections to a fresh database."""
    async with open_pool(database, max_size=2) as pool:
        yield pool


def document(name: str, text: str) -> Document:
    """Return a document without a title, so that its words are those of the text."""
    return Document(f"x:{name}", "", text, "text/plain")


async def add(pool: Pool, texts: dict[str, str]) -> None:
    """Add texts to the corpus."""
    documents = [document(name, text) for name, text in texts.items()]
    await add_documents(pool, documents, added_by="test")


def bm25(query: str, texts: dict[str, str]) -> dict[str, float]:
    """Return the score of each text that has a word of the query, by the formula in the book."""
    words = {name: Counter(text.split()) for name, text in texts.items()}
    average = sum(counts.total() for counts in words.values()) / len(words)
    scores: dict[str, float] = {}
    for word in set(query.split()):
        having = [name for name in words if words[name][word]]
        idf = math.log(1 + (len(words) - len(having) + 0.5) / (len(having) + 0.5))
        for name in having:
            tf, length = words[name][word], words[name].total()
            share = tf * 2.2 / (tf + 1.2 * (1 - 0.75 + 0.75 * length / average))
            scores[f"x:{name}"] = scores.get(f"x:{name}", 0) + idf * share
    return scores


def scores(found: list[Passage]) -> dict[str, float]:
    """Return the scores by URL."""
    return {passage.url: passage.score for passage in found}


@pytest.mark.parametrize("query", ["cat", "cat dog", "fish whale cat", "bird bird"])
async def test_scores_are_those_of_the_formula(pool: Pool, query: str) -> None:
    """Scores are BM25's, the best first; a word counts once, however often the query has it."""
    await add(pool, TEXTS)
    found = await find_passages(pool, query)
    assert scores(found) == pytest.approx(bm25(query, TEXTS))
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)


async def test_index_is_the_same_however_it_came_about(pool: Pool) -> None:
    """Added in any order, replaced and removed, the index scores as one that was built anew."""
    dice = random.Random(7)
    names = list(TEXTS)
    for _ in range(5):
        dice.shuffle(names)
        for name in names:
            await add(pool, {name: f"{TEXTS[name]} {TEXTS[dice.choice(names)]}"})
        await remove_from_corpus(pool, urls=[f"x:{name}" for name in names[:2]])
    await add(pool, TEXTS)
    for query in ("cat", "fish bird", "whale cat dog"):
        assert scores(await find_passages(pool, query)) == pytest.approx(bm25(query, TEXTS))


async def test_run_finds_its_own_sources_too(pool: Pool) -> None:
    """A run searches the corpus and what it has; what others have changes none of its scores."""
    await add(pool, {"a": TEXTS["a"], "b": TEXTS["b"]})
    for run_id, name in (("r1", "c"), ("r1", "d"), ("r2", "e")):
        text = TEXTS.get(name, "cat cat whale")
        await store_document(
            pool, document(name, text), origin="web", fetched_by=run_id, run_id=run_id
        )
    corpus = {name: TEXTS[name] for name in "ab"}
    assert scores(await find_passages(pool, "cat whale")) == pytest.approx(
        bm25("cat whale", corpus)
    )
    assert scores(await find_passages(pool, "cat whale", run_id="r1")) == pytest.approx(
        bm25("cat whale", TEXTS)
    )


async def test_one_source_is_searched(pool: Pool) -> None:
    """Within a source its passages are found, by words that are as rare as everywhere."""
    long = "\n\n".join(f"{word} " * 180 + "." for word in ("cat", "dog", "whale"))
    await add(pool, TEXTS | {"long": long})
    source_id = document("long", long).source_id
    (found,) = await find_passages(pool, "dogs", source_id=source_id)
    assert (found.source_id, found.text[:7]) == (source_id, "dog dog")
    assert found.text == long[found.start : found.stop]
    everywhere = await find_passages(pool, "dogs")
    assert found.score in [passage.score for passage in everywhere]
    assert await find_passages(pool, "seal", source_id=source_id) == []


async def test_sources_are_found_by_their_best_passage(pool: Pool) -> None:
    """Each source is found once, with the passage of it that fits best."""
    long = "\n\n".join(f"{word} " * 180 + "." for word in ("bird", "cat bird", "cat dog"))
    await add(pool, TEXTS | {"long": long})
    passages = await find_passages(pool, "cat dog", max_count=50)
    found = await find_sources(pool, "cat dog", max_count=50)
    best: dict[str, float] = {}
    for passage in passages:
        best.setdefault(passage.url, passage.score)
    assert len(passages) > len(found)
    assert scores(found) == pytest.approx(best)
    assert len(await find_sources(pool, "cat dog", max_count=2)) == 2


@pytest.mark.parametrize("query", ["", "   ", "the of and", "?!", "\0", "\ud800", "unicorn"])
async def test_nothing_is_found(pool: Pool, query: str) -> None:
    """A query without a word that is known finds nothing, and is no error."""
    assert await find_passages(pool, query) == []
    await add(pool, TEXTS)
    assert await find_passages(pool, query) == []
    assert await find_sources(pool, query) == []


async def test_query_is_words_and_no_syntax(pool: Pool) -> None:
    """Operators and quotes in a query mean nothing; a very long one is cut."""
    await add(pool, TEXTS)
    for query in ("'cat' & !dog:*", "cat | dog", f"cat dog {'zzz ' * 100_000}"):
        assert scores(await find_passages(pool, query)) == pytest.approx(bm25("cat dog", TEXTS))


async def test_title_is_part_of_every_passage(pool: Pool) -> None:
    """Words of the title find passages that do not repeat them."""
    text = "\n\n".join("Nothing else is said here at all. " * 30 for _ in range(3))
    await add_documents(pool, [Document("x:t", "Otters", text, "text/plain")], added_by="test")
    found = await find_passages(pool, "otter")
    assert len(found) > 1
    assert all("tter" not in passage.text for passage in found)


async def test_matched_words_are_told(pool: Pool) -> None:
    """Words of a text that the query has by their stems are told as they stand there, once."""
    texts = ["Durable runs: running durably, a runner ran.", "Nothing."]
    assert await words_met(pool, "run durable", texts) == [
        ["Durable", "runs", "running", "durably"],
        [],
    ]
