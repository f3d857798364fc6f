"""A research with everything that it talks to: a model, a search engine and a site, all local."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from agent_app.sources.document import source_id_of
from tests.crash.laboratory import Laboratory
from tests.doors.openai_stub import ChatApi
from tests.doors.page_server import Page, Site, serving_pages
from tests.doors.stub_player import Heard, Said
from tests.doors.stub_server import Message, Stub, serving
from tests.durability.researching import tavily

RESEARCH = json.dumps({"question": "What do the seven pages say?", "search": "tavily"})
PLANNED, SECOND_ROUND, EXTRA = range(1, 6), 6, 7
"""Numbers of the searches, and of the page that each reads."""


def text_of(number: int) -> str:
    """Return what a page says; no other one says it."""
    return f"Page {number} says that the quantity in question is exactly {number * 111} units."


def query_of(number: int) -> str:
    """Return the words of a search."""
    return f"page {number}"


class _SteadyApi(ChatApi):
    """Numbers calls by their place in the conversation: the same ones in every run."""

    def say(self, said: Said, body: Message, number: int) -> Message:
        """Write an answer."""
        return super().say(said, body, len(body["messages"]))


@contextmanager
def research_world(laboratory: Laboratory) -> Iterator[tuple[Site, Stub]]:
    """Let the laboratory's researches talk to local servers, and count there what they ask."""
    with serving_pages() as site, serving(_SteadyApi(), "/v1") as stub:
        numbers = (*PLANNED, SECOND_ROUND, EXTRA)
        # Plain text: what reads a page of HTML is a process that takes a second to start.
        site.pages = {
            f"/{number}": Page(text_of(number).encode(), media_type="text/plain")
            for number in numbers
        }
        site.pages["/search"] = tavily(*(site.url(f"/{number}") for number in numbers))
        stub.player = lambda heard: _play(heard, site)
        laboratory.environment |= {
            "AGENT_APP_AGENTS": "tests.crash.research_subjects",
            "AGENT_APP_MODEL": "openai-chat:gpt-4o",
            "AGENT_APP_SEARCH_CONCURRENCY": "20",
            "CRASH_TEST_PORT": str(site.port),
            "OPENAI_API_KEY": "no-key",
            "OPENAI_BASE_URL": stub.url,
        }
        yield site, stub


def _play(heard: Heard, site: Site) -> Said:
    """Return what the model of each agent says; which one is asked, its tools and task tell."""
    task = json.loads(heard.prompt)
    if "search" in heard.tools:
        return _search(heard, task, site)
    if "extra_search" in heard.tools:
        return _analyse(heard)
    if "searches" not in task:
        return _end({"searches": [{"query": query_of(number)} for number in PLANNED]})
    is_first = len(task["searches"]) == len(PLANNED)
    return _end({"searches": [{"query": query_of(SECOND_ROUND)}] if is_first else []})


def _search(heard: Heard, task: Mapping[str, Any], site: Site) -> Said:
    number = int(task["query"].split()[-1])
    match len(heard.calls):
        case 0:
            return Said(tool="search", arguments={"query": task["query"]})
        case 1:
            url = site.url(f"/{number}")
            return Said(tool="read", arguments={"source": url, "about": "quantity in question"})
    return _end({"summary": "It was read.", "quotes": [_quote(number)]})


def _analyse(heard: Heard) -> Said:
    if not heard.calls:
        return Said(tool="extra_search", arguments={"query": query_of(EXTRA)})
    claims = [
        {"text": f"It amounts to {number * 111} units.", "quotes": [_quote(number)]}
        for number in (*PLANNED, SECOND_ROUND, EXTRA)
    ]
    return _end({"summary": "Seven quantities.", "claims": claims})


def _quote(number: int) -> dict[str, str]:
    return {"source_id": source_id_of(text_of(number)), "words": text_of(number)}


def _end(output: Mapping[str, Any]) -> Said:
    return Said(tool="final_result", arguments=dict(output))


def asked(site: Site) -> Counter[str]:
    """Return how often each page was asked for."""
    return Counter(path for path, _ in site.requests)
