"""A research in tests: the shipped agents with scripted models, and a small corpus."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from pydantic_ai.messages import ToolCallPart

from agent_app.agents.deep_research import tools, workflow
from agent_app.agents.deep_research.budget import AGENTS
from agent_app.agents.deep_research.models import Claim, Draft, Quote
from agent_app.agents.deep_research.searching import SEARCH
from agent_app.durability.catalog import Catalog
from agent_app.durability.catalog import catalog as current_catalog
from agent_app.durability.storage import storage
from agent_app.sources import search as providers
from agent_app.sources.document import Document
from agent_app.sources.fetch import fetch
from agent_app.sources.search.tavily import TavilySearch
from agent_app.sources.store import store_document
from tests.doors.page_server import Page, Site, reach_of
from tests.durability.running import call

SHIPPED = {name: current_catalog().find(name) for name in (workflow.NAME, SEARCH, *AGENTS)}
"""Taken while the shipped catalog is in place: the tests' own is empty."""
POTATO = (
    "The potato is a starchy tuber of the plant Solanum tuberosum. It was first grown in the "
    "Andes about 8,000 years ago. Spanish ships brought the potato to Europe in the 1570s.\n\n"
    "Most potatoes of today are grown in China and India."
)
YAM = (
    "The yam is the tuber of a vine that grows in West Africa. More than 90 percent of the yams "
    "of the world are grown there. A yam can weigh as much as 60 kilograms."
)
STAR = (
    "The Sun is the star at the centre of the Solar System. Its light needs about eight minutes "
    "to reach the Earth."
)
CORPUS = {"potato": POTATO, "yam": YAM, "star": STAR}
QUESTION = "Where was the potato first grown, and where are most yams grown?"


def seat(catalog: Catalog, **models: Any) -> dict[str, str]:
    """Put the shipped research into the catalog; return the models of a run.

    Keywords name agents by what follows `research-`, with `_` for `-`.
    """
    chosen = {f"research-{name.replace('_', '-')}": model for name, model in models.items()}
    for name, shipped in SHIPPED.items():
        model = chosen.get(name)
        catalog.add(replace(shipped, models={"scripted": model}) if model else shipped)
    return dict.fromkeys(chosen, "scripted")


async def fill(corpus: dict[str, str]) -> dict[str, str]:
    """Store documents in the corpus; return their source IDs by name."""
    return {
        name: await store_document(
            storage().pool,
            Document(f"file:{name}.txt", name.title(), text, "text/plain"),
            origin="corpus",
            fetched_by="test",
        )
        for name, text in corpus.items()
    }


def answer(value: Any, call_id: str = "answer") -> ToolCallPart:
    """Return the call that ends an agent's run with this output."""
    return call("final_result", call_id, **value.model_dump(mode="json"))


def draft(*claims: tuple[str, str, str], summary: str = "This is so.") -> Draft:
    """Return a draft of claims: text, source ID and quoted words."""
    return Draft(
        summary=summary,
        claims=[
            Claim(text=text, quotes=[Quote(source_id=source_id, words=words)])
            for text, source_id, words in claims
        ],
    )


def reach_web(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the research's own fetching and its Tavily client reach a server on loopback.

    Every host that is named ends `.example` and is this server; no setting could do it.
    """
    limits = site.limits(max_bytes=50_000)
    monkeypatch.setenv("TAVILY_API_KEY", "tvly-not-a-key")
    monkeypatch.setattr(tools, "fetch", partial(fetch, limits=limits, reach=reach_of()))
    monkeypatch.setattr(providers, "TavilySearch", partial(TavilySearch, base_url=site.url("")))


def page(*paragraphs: str, title: str = "A page") -> Page:
    """Return a page of the web with a navigation, which is no text of it."""
    body = "".join(f"<p>{paragraph}</p>" for text in paragraphs for paragraph in text.split("\n\n"))
    head = f"<html><head><title>{title}</title></head><body><nav><a href='/'>Home</a></nav>"
    return Page(f"{head}<main>{body}</main></body></html>".encode())


def tavily(*urls: str) -> Page:
    """Return Tavily's answer with these pages."""
    results = [{"url": url, "title": url, "content": "A snippet of it."} for url in urls]
    return Page(json.dumps({"results": results}).encode(), media_type="application/json")
