from typing import Any

from pydantic_ai.messages import (
    Citation,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    NativeToolCallPart,
    NativeToolReturnPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
    WebCitationSource,
)

from agent_app.agents.deep_research.attested import attested_sources
from agent_app.agents.deep_research.evidence import (
    extra_searches,
    make_outcome,
    met_passages,
    met_sources,
)
from agent_app.agents.deep_research.models import Finding, Quote, SearchOutcome
from agent_app.agents.deep_research.tools import calls_before


def found(source_id: str | None, url: str) -> dict[str, Any]:
    """Return an entry as the tools return it."""
    return {"source_id": source_id, "url": url, "title": "T", "text": "Some words."}


def test_stored_sources_are_met_in_order_and_once() -> None:
    """A page that was only listed is no source; one that was read is."""
    messages: list[ModelMessage] = [
        ModelRequest([UserPromptPart("go")]),
        ModelResponse([ToolCallPart("search", {"query": "q"}, "1")]),
        ModelRequest(
            [
                ToolReturnPart(
                    "search", [found("b", "u:1"), found(None, "u:2"), found("a", "u:3")], "1"
                )
            ]
        ),
        ModelRequest([ToolReturnPart("read", [found("b", "u:1"), found("c", "u:2")], "2")]),
    ]
    assert met_sources(messages) == ["b", "a", "c"]
    assert [passage.source_id for passage in met_passages(messages)] == ["b", None, "a", "b", "c"]


def test_a_providers_own_search_attests_pages() -> None:
    """Pages are taken at any depth, once each, and only if they are web pages."""
    content = {
        "status": "completed",
        "sources": [
            {"type": "url", "url": "https://example.org/a#top", "title": "A"},
            {"url": "https://EXAMPLE.org/a"},
            {"url": "javascript:alert(1)"},
            {"deep": [{"url": "http://example.org/b"}]},
            {"uri": "https://example.org/google", "title": "G", "domain": "example.org"},
        ],
    }
    opened = {"type": "open_page", "url": "https://example.org/opened"}
    failed = {"type": "open_page", "url": "https://example.org/failed"}
    cited = Citation(sources=[WebCitationSource(url="https://example.org/cited", title="C")])
    messages: list[ModelMessage] = [
        ModelResponse(
            [
                NativeToolReturnPart("web_search", content, "1"),
                NativeToolCallPart("web_search", opened, "2"),
                NativeToolReturnPart("web_search", {"status": "completed"}, "2"),
                NativeToolCallPart("web_search", failed, "3"),
                NativeToolReturnPart("web_search", {"status": "failed"}, "3"),
                TextPart("As they say.", citations=[cited]),
            ]
        )
    ]
    assert [(page.url, page.title) for page in attested_sources(messages)] == [
        ("https://example.org/a#top", "A"),
        ("http://example.org/b", ""),
        ("https://example.org/google", "G"),
        ("https://example.org/opened", ""),
        ("https://example.org/cited", "C"),
    ]


def test_quotes_of_sources_that_were_never_met_are_dropped() -> None:
    """A searcher cannot bring in a source that it has made up; a read page has an ID."""
    cited = {
        "a": "by ID",
        "z": "of nothing",
        "https://example.org/a?utm_source=x": "by the URL of what was read",
        "https://example.org/moved": "by the URL that was asked for",
        "https://example.org/x#y": "of a page that is attested",
    }
    finding = Finding(
        summary="s",
        quotes=[Quote(source_id=source_id, words=words) for source_id, words in cited.items()],
    )
    pages = [{"url": f"https://example.org/{name}"} for name in ("x", "moved", "unread")]
    messages: list[ModelMessage] = [
        ModelResponse(
            [
                NativeToolReturnPart("web_search", pages, "1"),
                ToolCallPart("read", {"source": "https://example.org/moved", "about": "b"}, "2"),
            ]
        ),
        ModelRequest([ToolReturnPart("read", [found("a", "https://example.org/a")], "2")]),
    ]
    outcome = make_outcome(finding, messages)
    assert {quote.words: quote.source_id for quote in outcome.finding.quotes} == {
        "by ID": "a",
        "by the URL of what was read": "a",
        "by the URL that was asked for": "a",
        "of a page that is attested": "https://example.org/x",
    }
    assert outcome.source_ids == ["a"]
    assert [page.url for page in outcome.attested] == [pages[0]["url"], pages[2]["url"]]


def test_extra_searches_are_read_out_of_the_conversation() -> None:
    """One that was refused keeps its query and the reason."""
    outcome = SearchOutcome(finding=Finding(summary="s"), source_ids=["a"])
    messages: list[ModelMessage] = [
        ModelResponse(
            [
                ToolCallPart("extra_search", {"query": "one"}, "1"),
                ToolCallPart("extra_search", '{"query": "two"}', "2"),
                ToolCallPart("extra_search", {"query": "not answered"}, "3"),
            ]
        ),
        ModelRequest(
            [
                ToolReturnPart("extra_search", outcome.model_dump(mode="json"), "1"),
                ToolReturnPart("extra_search", "No search is left.", "2"),
            ]
        ),
    ]
    searches = extra_searches(messages)
    assert [(each.query, each.error) for each in searches] == [
        ("one", None),
        ("two", "No search is left."),
    ]
    assert searches[0].outcome.source_ids == ["a"]


def test_calls_of_one_answer_are_counted_one_after_another() -> None:
    """The limit holds for parallel calls too."""
    messages: list[ModelMessage] = [
        ModelResponse([ToolCallPart("search", {}, "1")]),
        ModelResponse(
            [
                ToolCallPart("read", {}, "2"),
                ToolCallPart("search", {}, "3"),
                ToolCallPart("search", {}, "4"),
            ]
        ),
    ]
    assert [calls_before(messages, "search", each) for each in ("1", "3", "4")] == [0, 1, 2]
