"""A research whose model searches by itself: providers' own clients, against local servers."""

import json
from collections.abc import Iterator

import pytest
from pydantic_ai import models

from agent_app.agents.deep_research.models import ResearchResult
from agent_app.sources.document import source_id_of
from tests.doors.conftest import Command
from tests.doors.native_stub import CLAIM, NativeMessages, NativeResponses, Script, native_stub
from tests.doors.page_server import Site, serving_pages
from tests.durability.researching import POTATO, page, reach_web

ANDES = "It was first grown in the Andes about 8,000 years ago."
QUESTION = ("run", "deep-research", "Where was the potato first grown?", "--search", "native")
OPENAI, ANTHROPIC = "openai:gpt-5.2", "anthropic:claude-sonnet-5-5"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Yield a server of pages that can be read."""
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", True)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "not-a-key")
    monkeypatch.setenv("AGENT_APP_RETRY_BACKOFF_S", "0.001")
    with serving_pages() as site:
        reach_web(site, monkeypatch)
        site.pages["/potato"] = page(POTATO, title="Potato")
        yield site


@pytest.fixture
def script(site: Site) -> Script:
    """Return a script in which a page is found that nobody reads."""
    url = site.url("/potato")
    return Script(pages=[url, site.url("/other")], words=ANDES, cited=url)


def research(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch, model: str, script: Script
) -> tuple[str, ResearchResult]:
    """Return what a research by that model, played by its stub, prints, and its result."""
    api = NativeResponses(script) if model == OPENAI else NativeMessages(script)
    with native_stub(api) as stub:
        for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
            monkeypatch.setenv(name, stub.url)
        done = agent_app(*QUESTION, "--model", model, "--id", "r")
    assert done.code == 0, done.stderr
    return done.stdout, ResearchResult.model_validate(
        agent_app("show", "r", "--json").json()["output"]
    )


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
def test_a_page_that_nobody_read_is_attested(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch, model: str, script: Script, site: Site
) -> None:
    """What the provider names can be cited, and is never shown as verified."""
    told, result = research(agent_app, monkeypatch, model, script)
    (quote,) = result.claims[0].quotes
    assert (quote.status, quote.source_id, quote.start) == ("attested", script.pages[0], None)
    assert [(s.source_id, s.fetched_at) for s in result.sources] == [
        (u, None) for u in script.pages
    ]
    assert (result.rates.attested_count, result.rates.verified_count) == (1, 0)
    assert result.rates.supported_claim_count == 0
    assert site.requests == []
    report = agent_app("report", "r").stdout
    assert "attested" in report
    assert script.pages[0] in report
    assert "potato: 2 sources, 2 new" in told
    assert "Quotes: 0 of 1 stand in their sources, 1 are of pages that nobody has fetched" in told


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
def test_a_page_that_was_read_is_verified(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch, model: str, script: Script, site: Site
) -> None:
    """Read by the searcher it is a stored source like any other, though it is cited by its URL."""
    script.reads = [script.pages[0]]
    _, result = research(agent_app, monkeypatch, model, script)
    (quote,) = result.claims[0].quotes
    assert (quote.status, quote.source_id) == ("verified", source_id_of(POTATO))
    assert [source.source_id for source in result.sources] == [quote.source_id, script.pages[1]]
    assert result.searches[0].source_ids == [quote.source_id, script.pages[1]]
    assert [path for path, _ in site.requests] == ["/potato"]
    assert CLAIM in agent_app("report", "r").stdout


def test_a_page_that_the_provider_never_named_is_no_source(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    """A URL that the model made up is unverified, and in no list of sources."""
    script.cited = "https://made-up.example/"
    _, result = research(agent_app, monkeypatch, OPENAI, script)
    (quote,) = result.claims[0].quotes
    assert quote.status == "unverified"
    assert script.cited not in {source.url for source in result.sources}


@pytest.mark.parametrize("model", ["openai-chat:gpt-4o", "offline"])
def test_a_model_that_cannot_search_is_refused(agent_app: Command, site: Site, model: str) -> None:
    """It says which model lacks a search of its own, before anything is asked."""
    done = agent_app(*QUESTION, "--model", model)
    assert done.code == 1
    assert "'native' needs a model that searches the web by itself" in done.stderr
    assert json.loads(agent_app("steps", "r", "--json").stdout or "[]") == []
