"""Search providers: real requests to a local server, and the choice among them."""

import json
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from pydantic_ai.models import Model, infer_model
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.models.wrapper import WrapperModel

from agent_app.database.connect import Database
from agent_app.database.pool import Pool
from agent_app.durability.policy import is_retryable, retry_after_s
from agent_app.errors import ConfigurationInvalid
from agent_app.sources.document import Document, source_id_of
from agent_app.sources.search import choose_provider, open_provider
from agent_app.sources.search.duckduckgo import DuckDuckGoSearch
from agent_app.sources.search.result import web_results
from agent_app.sources.search.tavily import TavilySearch
from agent_app.sources.store import store_document
from tests.doors.page_server import Page, Site, serving_pages

KEY = "tvly-secret-4711"
CAPABLE = ("openai:gpt-5.2", "anthropic:claude-sonnet-4-5")


@pytest.fixture
def site() -> Iterator[Site]:
    """Yield a server on loopback."""
    with serving_pages() as site:
        yield site


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no key of the machine's own in the environment, and give the models one."""
    monkeypatch.delenv("TAVILY_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-none")


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """Yield an open pool on a fresh database."""
    pool = Pool(database, 4)
    await pool.open()
    yield pool
    await pool.close()


def answer(*results: Any, **more: Any) -> Page:
    """Return a page of Tavily's."""
    body = json.dumps({"query": "q", "results": list(results), **more}).encode()
    return Page(body, media_type="application/json")


async def test_tavily_is_asked_and_answers(site: Site) -> None:
    """The key goes into a header, the query is cut to what the API takes, results keep order."""
    site.pages["/search"] = answer(
        {"url": "https://a.example/1", "title": "One", "content": "First.", "score": 0.9},
        {"url": "https://a.example/2", "title": "Two", "content": "Second.", "score": 0.8},
    )
    results = await TavilySearch(KEY, base_url=site.url("")).search("wörds" * 200, max_results=50)
    assert [(r.url, r.title, r.snippet, r.source_id) for r in results] == [
        ("https://a.example/1", "One", "First.", None),
        ("https://a.example/2", "Two", "Second.", None),
    ]
    asked = json.loads(site.posted[0])
    assert (len(asked["query"]), asked["max_results"]) == (400, 20)
    assert site.requests[0][1]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in site.posted[0].decode()


@pytest.mark.parametrize(
    ("status", "is_passing"), [(400, False), (401, False), (429, True), (432, False), (500, True)]
)
async def test_tavilys_errors_say_whether_a_retry_helps(
    site: Site, status: int, is_passing: bool
) -> None:
    """A wrong key and a used-up plan are final; 429 is waited for as long as it asks."""
    site.pages["/search"] = Page(b"{}", status, {"Retry-After": "3"})
    provider = TavilySearch(KEY, base_url=site.url(""))
    with pytest.raises(httpx2.HTTPStatusError) as caught:
        await provider.search("words", max_results=5)
    assert is_retryable(caught.value) == is_passing
    assert retry_after_s(caught.value) == 3
    told = "".join(traceback.format_exception(caught.value)) + repr(provider) + str(vars(caught))
    assert KEY not in told


@pytest.mark.parametrize(
    "body", [b"[]", b'{"results": null}', b'{"results": [1, {"url": 5}, null]}', b"{}"]
)
async def test_an_odd_answer_of_tavily_is_empty(site: Site, body: bytes) -> None:
    """JSON of another shape brings no result, and breaks nothing."""
    site.pages["/search"] = Page(body, media_type="application/json")
    assert await TavilySearch(KEY, base_url=site.url("")).search("words", max_results=5) == []


@pytest.mark.parametrize("key", ["tvly-secret\n4711", "tvly-secrét-4711"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(key: str) -> None:
    """The HTTP client would show such a key in its own error."""
    with pytest.raises(ConfigurationInvalid) as caught:
        TavilySearch(key)
    assert "secr" not in str(caught.value)


HITS = b"""<html><body><div class="result__body"><h2>Caf\xc3\xa9 <b>facts</b></h2>
<a href="https://b.example/?utm_source=x">About   coffee.</a></div>
<div class="result__body"><h2>Ad</h2><a href="https://duckduckgo.com/y.js?ad=1">Buy.</a></div>
</body></html>"""


@pytest.fixture
def duckduckgo(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Yield the server, which the package takes for DuckDuckGo."""
    engine = pytest.importorskip("ddgs.engines.duckduckgo").Duckduckgo
    monkeypatch.setattr(engine, "search_url", site.url("/html/"))
    return site


async def test_duckduckgo_answers(duckduckgo: Site) -> None:
    """Results of the real package come back clean, and the advertisement does not."""
    duckduckgo.pages["/html/"] = Page(HITS)
    (result,) = await DuckDuckGoSearch().search("coffee", max_results=5)
    assert (result.url, result.title) == ("https://b.example/", "Café facts")
    assert result.snippet == "About coffee."
    assert b"q=coffee" in duckduckgo.posted[0]


async def test_duckduckgo_without_results_is_empty(duckduckgo: Site) -> None:
    """Nothing found is no error."""
    duckduckgo.pages["/html/"] = Page(b"<html><body>No results.</body></html>")
    assert await DuckDuckGoSearch().search("coffee", max_results=5) == []


async def test_duckduckgo_unreached_can_be_tried_again(
    duckduckgo: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is refused is an error that passes."""
    engine = pytest.importorskip("ddgs.engines.duckduckgo").Duckduckgo
    monkeypatch.setattr(engine, "search_url", "http://127.0.0.1:9/html/")
    with pytest.raises(ConnectionError, match="was not reached") as caught:
        await DuckDuckGoSearch().search("coffee", max_results=5)
    assert is_retryable(caught.value)


@pytest.mark.parametrize(
    ("name", "error"), [("RatelimitException", ConnectionError), ("TimeoutException", TimeoutError)]
)
async def test_duckduckgos_refusals_can_be_tried_again(
    duckduckgo: Site, monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception]
) -> None:
    """The package's own classes for a limit and a time-out become errors that pass."""
    ddgs = pytest.importorskip("ddgs")
    exceptions = pytest.importorskip("ddgs.exceptions")

    def refuse(*arguments: Any, **options: Any) -> None:
        raise getattr(exceptions, name)("no")

    monkeypatch.setattr(ddgs.DDGS, "text", refuse)
    with pytest.raises(error) as caught:
        await DuckDuckGoSearch().search("coffee", max_results=5)
    assert is_retryable(caught.value)


async def test_the_corpus_answers_with_passages(pool: Pool) -> None:
    """Each source comes once, the best first, its snippet being words that stand in it."""
    much = "Zebras live in herds. Zebras graze on zebra grass."
    little = "Horses are common. A zebra is a relative of the horse, which few people ride."
    for number, text in enumerate((little, much)):
        document = Document(f"https://z.example/{number}", f"Title {number}", text, "text/plain")
        await store_document(pool, document, origin="corpus", fetched_by="test")
    results = await open_provider("corpus", pool=pool, run_id=None).search("zebras", max_results=5)
    assert [result.source_id for result in results] == [source_id_of(much), source_id_of(little)]
    assert results[0].snippet in much
    assert results[0].url == "https://z.example/1"


async def test_open_provider_wants_what_it_needs(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process without the key cannot open Tavily; the native search is nobody's to open."""
    for name in ("tavily", "native", "auto", "google"):
        with pytest.raises(ConfigurationInvalid, match=name):
            open_provider(name, pool=pool, run_id="r")
    monkeypatch.setenv("TAVILY_API_KEY", KEY)
    for name in ("corpus", "tavily", "duckduckgo"):
        assert open_provider(name, pool=pool, run_id="r").name == name


def test_results_of_strangers_are_made_harmless() -> None:
    """Control characters, other schemes, long texts and second copies do not come through."""
    results = web_results(
        [
            (
                "https://A.example/x?utm_source=s#top",
                "T\x1b[31m\x00i\u202et\n le",
                "  a\r\n b\u200b ",
            ),
            ("https://a.example/x", "the same page", "again"),
            ("javascript:alert(1)", "no", "no"),
            ("ftp://a.example/", "no", "no"),
            ("https://" + "a" * 3000 + ".example/", "no", "no"),
            (None, "no", "no"),
            ("http://c.example", None, "word " * 5000),
            ("https://d.example/", "one too many", ""),
        ],
        max_results=2,
    )
    assert [r.url for r in results] == ["https://a.example/x", "http://c.example/"]
    assert (results[0].title, results[0].snippet) == ("T[31mit le", "a b")
    assert results[1].title == "http://c.example/"
    assert len(results[1].snippet) <= 2000
    assert results[1].snippet.endswith("word…")


def test_auto_takes_the_best_that_there_is() -> None:
    """Tavily's key goes first, then a model that searches, then the corpus; each says why."""
    capable, incapable = infer_model(CAPABLE[0]), infer_model("openai-chat:gpt-5.2")
    for key, model, name, reason in (
        (KEY, capable, "tavily", "TAVILY_API_KEY is set"),
        (None, capable, "native", "no key, and gpt-5.2 searches by itself"),
        ("  ", capable, "native", "no key, and gpt-5.2 searches by itself"),
        (None, incapable, "corpus", "no key and no model that searches by itself"),
        ("", None, "corpus", "no key and no model that searches by itself"),
    ):
        choice = choose_provider("auto", tavily_key=key, model=model)
        assert (choice.name, choice.reason) == (name, reason)
        assert KEY not in repr(choice)


@pytest.mark.parametrize("wanted", ["corpus", "tavily", "duckduckgo", "native"])
def test_a_name_goes_before_all(wanted: str) -> None:
    """What is asked for by name is taken, whatever else there is."""
    choice = choose_provider(wanted, tavily_key=KEY, model=infer_model(CAPABLE[1]))
    assert choice.name == wanted
    assert choice.reason == "it was asked for by name"


def models_that_do_not_search() -> list[Model | None]:
    """Return models without a web search, three of which claim to have one."""
    offline = FunctionModel(lambda messages, info: None)  # type: ignore[arg-type,return-value]
    return [None, TestModel(), offline, WrapperModel(offline), FallbackModel(offline, offline)]


@pytest.mark.parametrize("number", range(5))
def test_native_needs_a_model_that_can(number: int) -> None:
    """Models of functions claim every native tool; they are not believed, wrapped or not."""
    model = models_that_do_not_search()[number]
    with pytest.raises(ConfigurationInvalid, match="searches the web by itself"):
        choose_provider("native", tavily_key=KEY, model=model)
    assert choose_provider("auto", tavily_key=None, model=model).name == "corpus"


def test_a_chain_of_models_searches_only_if_all_do() -> None:
    """A fallback to a model without a search would leave the research without one."""
    capable = [infer_model(name) for name in CAPABLE]
    both = FallbackModel(*capable)
    one = FallbackModel(capable[0], infer_model("openai-chat:gpt-5.2"))
    assert choose_provider("auto", tavily_key=None, model=both).name == "native"
    assert choose_provider("auto", tavily_key=None, model=one).name == "corpus"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("tavily", "set TAVILY_API_KEY"),
        ("google", "one of auto, corpus, tavily, duckduckgo, native was expected"),
        ("", "one of auto, corpus, tavily, duckduckgo, native was expected"),
        ("Corpus", "one of auto, corpus, tavily, duckduckgo, native was expected"),
    ],
)
def test_what_cannot_be_chosen_says_why(wanted: str, message: str) -> None:
    """A missing key and an unknown name end in a message with the way out."""
    with pytest.raises(ConfigurationInvalid, match=message):
        choose_provider(wanted, tavily_key=None, model=None)


def test_duckduckgo_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional; without it the message says what to install."""
    monkeypatch.setitem(sys.modules, "ddgs", None)
    with pytest.raises(ConfigurationInvalid, match=r"agent-app\[duckduckgo\]"):
        choose_provider("duckduckgo", tavily_key=None, model=None)
