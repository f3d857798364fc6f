"""A research of the web: a local server in the place of Tavily and of all pages."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart

from agent_app.agents.deep_research import workflow
from agent_app.agents.deep_research.models import (
    Finding,
    Plan,
    PlannedSearch,
    Quote,
    Reflection,
    ResearchResult,
)
from agent_app.durability.catalog import Catalog
from agent_app.sources.document import source_id_of
from tests.doors.page_server import Page, Site, serving_pages
from tests.durability.researching import (
    POTATO,
    QUESTION,
    YAM,
    answer,
    draft,
    page,
    reach_web,
    seat,
    tavily,
)
from tests.durability.running import Engine, call, scripted

ANDES = "It was first grown in the Andes about 8,000 years ago."


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Yield the server, with a page about the potato and one about the yam."""
    with serving_pages() as site:
        reach_web(site, monkeypatch)
        site.pages = {
            "/potato": page(POTATO, title="Potato"),
            "/yam": page(YAM, title="Yam"),
            "/search": tavily(site.url("/potato"), site.url("/yam")),
        }
        yield site


async def research(engine: Engine, models: dict[str, str], **fields: Any) -> ResearchResult:
    """Return the result of a research by Tavily; a replay gives it again."""
    async with engine:
        value = {"question": QUESTION, "search": "tavily", **fields}
        record = await engine.record(workflow.NAME, value, models=models)
        assert await engine.replay() == record
    return ResearchResult.model_validate(record["output"])


def one_search(*reads: Any, finding: Finding | None = None, seen: Any = None) -> dict[str, Any]:
    """Return scripts of a research with one search, whose searcher makes these calls at once."""
    turns = call("search", "s", query="potato"), list(reads), answer(finding or Finding())
    return {
        "planner": scripted(answer(Plan(searches=[PlannedSearch(query="potato")]))),
        "searcher": scripted(*turns, seen=seen),
        "reviewer": _CONTENT,
    }


_CONTENT = scripted(answer(Reflection()))


def read(source: str, call_id: str) -> Any:
    """Return a call that reads a page."""
    return call("read", call_id, source=source, about="potato")


def gets(site: Site) -> Counter[str]:
    """Return how often each page was asked for."""
    return Counter(path for path, _ in site.requests if path != "/search")


async def test_pages_are_found_read_and_quoted(
    engine: Engine, catalog: Catalog, site: Site
) -> None:
    """Offline searchers read what Tavily names; every quote stands in the text of a page."""
    result = await research(engine, seat(catalog))
    assert result.provider == "tavily"
    assert result.rates.verified_count == result.rates.quote_count > 0
    stored = dict(engine.sql("select source_id, text from agent_app.source"))
    for claim in result.claims:
        for quote in claim.quotes:
            assert stored[quote.source_id][quote.start : quote.stop] == quote.words
    assert {source.url for source in result.sources} == {site.url("/potato"), site.url("/yam")}
    assert engine.sql("select distinct origin, in_corpus from agent_app.source") == [("web", False)]
    asked = gets(site)
    assert set(asked) == {"/potato", "/yam"}
    assert max(asked.values()) <= len(result.searches)  # searches side by side may both read one


async def test_a_page_that_does_not_come_is_told_and_the_search_goes_on(
    engine: Engine, catalog: Catalog, site: Site
) -> None:
    """Missing, too large, of a wrong type, private, unreadable: each with its reason."""
    site.pages |= {
        "/large": Page(b"x" * 60_000),
        "/image": Page(b"png", media_type="image/png"),
        "/broken": Page(b"no pdf", media_type="application/pdf"),
        "/down": Page(status=503),
    }
    told: dict[str, str] = {}

    def note(messages: list[ModelMessage]) -> None:
        last = messages[-1]
        assert isinstance(last, ModelRequest)
        returns = (part for part in last.parts if isinstance(part, ToolReturnPart))
        told.update({part.tool_call_id: str(part.content) for part in returns})

    urls = {
        "missing": site.url("/missing"),
        "large": site.url("/large"),
        "image": site.url("/image"),
        "broken": site.url("/broken"),
        "down": site.url("/down"),
        "private": f"http://10.0.0.1:{site.port}/",
        "scheme": "file:///etc/passwd",
        "odd": "the potato page",
        "good": site.url("/potato"),
    }
    finding = Finding(summary="s", quotes=[Quote(source_id=source_id_of(POTATO), words=ANDES)])
    reads = [read(url, name) for name, url in urls.items()]
    models = seat(catalog, **one_search(*reads, finding=finding, seen=note))
    result = await research(engine, models, max_searches=1)
    for name, reason in {
        "missing": "404",
        "large": "more than 50,000 bytes",
        "image": "its content type is 'image/png'",
        "broken": "broken",
        "down": "503",
        "private": "its address is not public",
        "scheme": "its scheme is 'file'",
        "odd": "its scheme is ''",
    }.items():
        assert reason in told[name], told[name]
    assert ANDES in told["good"]
    assert gets(site)["/down"] == 1
    assert [search.error for search in result.searches] == [None]
    assert result.rates.verified_count == result.rates.quote_count > 0


async def test_a_provider_that_asks_for_patience_is_waited_for(
    engine: Engine, catalog: Catalog, site: Site
) -> None:
    """A 429 with `Retry-After` is tried again when it says, and the search succeeds."""
    good = tavily(site.url("/potato"))
    site.pages["/search"] = [Page(b"{}", 429, {"Retry-After": "1"}), good]
    models = seat(catalog, **one_search(read(site.url("/potato"), "r")))
    result = await research(engine, models, max_searches=1)
    assert [search.error for search in result.searches] == [None]
    assert len(site.posted) == 2
    tries = engine.sql(
        "select http_status, retry_after_s from agent_app.attempt"
        " where step_name = 'research-searcher.tool.search' order by attempt_number"
    )
    assert tries == [(429, 1.0), (None, None)]


async def test_a_provider_that_fails_costs_its_search_alone(
    engine: Engine, catalog: Catalog, site: Site
) -> None:
    """One search meets a wrong key and is told in the result; the other one is written up."""
    site.pages["/search"] = [Page(b"{}", 401), tavily(site.url("/potato"), site.url("/yam"))]
    plan = Plan(searches=[PlannedSearch(query="potato"), PlannedSearch(query="yam")])
    models = seat(catalog, planner=scripted(answer(plan)), reviewer=_CONTENT)
    result = await research(engine, models, max_searches=2)
    failed = [search for search in result.searches if search.error]
    assert len(failed) == 1
    assert "401" in (failed[0].error or "")
    assert "tvly-" not in (failed[0].error or "")
    assert len(site.posted) == 2
    assert result.rates.verified_count > 0


async def test_one_text_under_two_urls_is_one_source(
    engine: Engine, catalog: Catalog, site: Site
) -> None:
    """The same words at another place are no second witness, and are stored once."""
    site.pages["/copy"] = site.pages["/potato"]
    reads = read(site.url("/potato"), "r1"), read(site.url("/copy"), "r2")
    result = await research(engine, seat(catalog, **one_search(*reads)), max_searches=1)
    assert [source.source_id for source in result.sources] == [source_id_of(POTATO)]
    assert engine.sql("select count(*) from agent_app.source") == [(1,)]
    assert engine.sql("select count(*) from agent_app.source_url") == [(2,)]


async def test_a_page_is_fetched_once_however_it_is_asked_for(
    engine: Engine, catalog: Catalog, site: Site
) -> None:
    """Read again with a tracking parameter, by its ID, after a redirect: it is there already."""
    site.pages["/moved"] = Page(status=302, headers={"Location": "/potato"})
    searcher = scripted(
        call("search", "s", query="potato"),
        read(site.url("/moved"), "r1"),
        read(site.url("/moved"), "r2"),
        read(site.url("/potato") + "?utm_source=x#top", "r3"),
        read(source_id_of(POTATO), "r4"),
        answer(Finding()),
    )
    models = seat(catalog, **(one_search() | {"searcher": searcher}))
    await research(engine, models, max_searches=1)
    assert gets(site) == {"/moved": 1, "/potato": 1}


async def test_a_quote_by_the_url_of_a_page_that_was_read_is_verified(
    engine: Engine, catalog: Catalog, site: Site
) -> None:
    """A model that names the page instead of its ID means the stored text of it."""
    url = site.url("/potato") + "?utm_medium=mail"
    finding = Finding(summary="s", quotes=[Quote(source_id=url, words=ANDES)])
    seen: list[str] = []
    analyst = scripted(
        answer(draft(("Old.", url, ANDES))),
        seen=lambda messages: seen.append(str(messages[0].parts[-1].content)),  # type: ignore[union-attr]
    )
    models = seat(catalog, **one_search(read(url, "r"), finding=finding), analyst=analyst)
    result = await research(engine, models, max_searches=1)
    assert source_id_of(POTATO) in seen[0]
    (quote,) = result.claims[0].quotes
    assert (quote.status, quote.source_id) == ("verified", source_id_of(POTATO))


async def test_a_page_in_another_language_is_read_from_its_beginning(
    engine: Engine, catalog: Catalog, site: Site
) -> None:
    """No word of it is what was asked for; its text comes back all the same, and can be quoted."""
    words = "ジャガイモは約八千年前にアンデス山脈で初めて栽培されました。"
    text = f"{words}今日では中国とインドで最も多く生産されています。"
    site.pages["/ja"] = page(text, title="ジャガイモ")
    quoted = draft(("It is old.", source_id_of(text), words))
    scripts = one_search(read(site.url("/ja"), "r"))
    models = seat(catalog, **scripts, analyst=scripted(answer(quoted)))
    result = await research(engine, models, max_searches=1)
    assert [quote.status for quote in result.claims[0].quotes] == ["verified"]
    (step,) = [step for step in engine.steps("r:4") if step.name.endswith(".read")]
    assert step.value["result"][0]["text"] == text
