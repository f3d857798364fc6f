"""How well passages are found, and how fast: SciFact's claims in, nDCG@10, recall and times out.

    uv run python -m benchmarks.retrieval FOLDER [--url URL] [--grow 50000 500000]

FOLDER holds SciFact as `corpus.jsonl.gz` and `claims_train.jsonl`: 5,183 abstracts, and claims with
the abstracts that they cite, which are what should be found. A fresh database is made on the server
of `--url`, or on an embedded one, and dropped at the end. `--grow` adds synthetic passages, whose
words are as rare as those of the abstracts, up to so many in all, and measures again.
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import math
import random
import shutil
import statistics
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import psycopg
from psycopg import conninfo, sql

from agent_app.database.connect import Database
from agent_app.database.embedded import embedded_server
from agent_app.database.migrate import migrate
from agent_app.database.pool import Pool, open_pool
from agent_app.durability.runtime import migrate_dbos
from agent_app.sources.corpus import add_documents, settle_planner
from agent_app.sources.document import Document
from agent_app.sources.retrieval import find_sources

RESULT_COUNT = 10
BATCH = 500
TIMED_QUERY_COUNT = 100
"""Queries of a grown corpus: enough for a median."""
_SIZE = """
select (select count(*) from agent_app.passage) as passage_count,
    pg_size_pretty(pg_total_relation_size('agent_app.posting')) as index_size,
    pg_size_pretty(pg_database_size(current_database())) as size
"""


@dataclass(frozen=True)
class Claim:
    """A query and what it should find."""

    text: str
    relevant: frozenset[str]
    """URLs."""


@dataclass(frozen=True)
class Score:
    """How good the results of one query are, and how long they took."""

    ndcg: float
    recall: float
    took_ms: float


def read_abstracts(folder: Path) -> list[Document]:
    """Return the abstracts, their IDs in their URLs."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        Document(
            url_of(row["doc_id"]), row["title"], " ".join(map(str.strip, row["sentences"])), "text"
        )
        for row in rows
    ]


def url_of(doc_id: object) -> str:
    """Return the URL that an abstract is stored under."""
    return f"scifact:{doc_id}"


def read_claims(folder: Path) -> list[Claim]:
    """Return the claims."""
    lines = (folder / "claims_train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Claim(row["claim"], frozenset(map(url_of, row["cited_doc_ids"]))) for row in rows]


async def add_all(pool: Pool, documents: Sequence[Document]) -> float:
    """Store and index the documents; return the seconds that it took."""
    started = time.perf_counter()
    for first in range(0, len(documents), BATCH):
        await add_documents(pool, documents[first : first + BATCH], added_by="benchmark")
    took_s = time.perf_counter() - started
    await settle_planner(pool)
    return took_s


async def score(pool: Pool, claim: Claim) -> Score:
    """Make one query and judge its results."""
    started = time.perf_counter()
    found = await find_sources(pool, claim.text, max_count=RESULT_COUNT)
    took_ms = (time.perf_counter() - started) * 1000
    hits = [passage.url in claim.relevant for passage in found]
    best = [True] * min(len(claim.relevant), RESULT_COUNT)
    return Score(gain(hits) / gain(best), sum(hits) / len(claim.relevant), took_ms)


def gain(hits: Sequence[bool]) -> float:
    """Return the discounted cumulative gain of results in order.

    Source: Järvelin and Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques (2002).
    """
    return sum(hit / math.log2(rank + 1) for rank, hit in enumerate(hits, 1))


async def show(pool: Pool, claims: Sequence[Claim], *, is_grown: bool = False) -> None:
    """Print what the queries come to, and how large everything is."""
    scores = [await score(pool, claim) for claim in claims]
    times = sorted(each.took_ms for each in scores)
    size = (await pool.execute(_SIZE))[0]
    print(
        f"  {size['passage_count']:,} passages, postings {size['index_size']}, all {size['size']}"
    )
    if not is_grown:
        print(f"  nDCG@10    {statistics.mean(each.ndcg for each in scores):.3f}")
        print(f"  recall@10  {statistics.mean(each.recall for each in scores):.3f}")
    p95 = times[int(0.95 * len(times))]
    print(f"  query      median {statistics.median(times):.1f} ms, 95 % within {p95:.1f} ms")


def synthetic(abstracts: Sequence[Document], count: int, dice: random.Random) -> list[Document]:
    """Return texts of one passage each, of words drawn as often as the abstracts have them."""
    frequencies = Counter(word for document in abstracts for word in document.text.split())
    words, sums = list(frequencies), list(accumulate(frequencies.values()))
    return [
        Document(
            f"synthetic:{uuid.UUID(int=dice.getrandbits(128))}",
            " ".join(dice.choices(words, cum_weights=sums, k=10)),
            " ".join(dice.choices(words, cum_weights=sums, k=190)),
            "text",
        )
        for _ in range(count)
    ]


async def grow(pool: Pool, abstracts: Sequence[Document], target: int) -> None:
    """Add synthetic passages until there are so many in all."""
    count = (await pool.execute(_SIZE))[0]["passage_count"]
    dice, added, took_s = random.Random(target), 0, 0.0
    while count + added < target:
        documents = synthetic(abstracts, min(20_000, target - count - added), dice)
        took_s += await add_all(pool, documents)
        added += len(documents)
    print(f"{added:,} synthetic passages added in {took_s:.1f} s")


@contextlib.contextmanager
def fresh_database(url: str | None) -> Iterator[Database]:
    """Yield a database of its own, dropped at the end."""
    with contextlib.ExitStack() as stack:
        if url is None:
            home = Path(tempfile.mkdtemp(prefix="aa-", dir="/tmp"))
            stack.callback(shutil.rmtree, home)
            home.chmod(0o711)  # as root, the server runs as another user, who must come in
            url = stack.enter_context(embedded_server(home, start_timeout_s=60, notify=print))
        name = f"retrieval_{uuid.uuid4().hex[:12]}"
        execute(url, "create database {}", name)
        stack.callback(execute, url, "drop database {} with (force)", name)
        parts = conninfo.conninfo_to_dict(url) | {"dbname": name}
        database = Database(conninfo.make_conninfo("", **parts), "benchmark")
        migrate(database, lambda: migrate_dbos(database))
        yield database


def execute(url: str, statement: str, name: str) -> None:
    """Execute one statement about a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Retrieval over SciFact.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", help="a server where a database may be created")
    parser.add_argument("--grow", type=int, nargs="*", default=[], metavar="COUNT")
    options = parser.parse_args()
    abstracts, claims = read_abstracts(options.folder), read_claims(options.folder)
    with fresh_database(options.url) as database:
        async with open_pool(database, max_size=1) as pool:
            took_s = await add_all(pool, abstracts)
            print(f"{len(abstracts):,} abstracts indexed in {took_s:.1f} s; {len(claims)} claims")
            await show(pool, claims)
            for target in sorted(options.grow):
                await grow(pool, abstracts, target)
                await show(pool, claims[:TIMED_QUERY_COUNT], is_grown=True)


if __name__ == "__main__":
    asyncio.run(main())
