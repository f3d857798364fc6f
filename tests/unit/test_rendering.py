"""Reports: the same research in four formats, and nothing in it that does what it should not."""

import json
import re
from html.parser import HTMLParser

import nh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from agent_app.agents.deep_research.models import ResearchResult
from agent_app.agents.deep_research.rendering import render
from agent_app.agents.deep_research.rendering.links import describe_place, web_link
from agent_app.agents.deep_research.rendering.prose import prose_to_html, prose_to_markdown
from tests.unit.awkward_research import SOURCES, TEXTS, awkward_research

RESULT = awkward_research()
HTML = render(RESULT, "html", texts=TEXTS)
MARKDOWN = render(RESULT, "markdown", texts=TEXTS)
BIBTEX = render(RESULT, "bibtex")


class Page(HTMLParser):
    """The tags of a page, in order, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Note that it ends."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data

    def links(self) -> list[str]:
        """Return where the links lead."""
        return [attributes["href"] for tag, attributes in self.tags if "href" in attributes]


PAGE = Page(HTML)
READ = Page(MarkdownIt("commonmark").render(MARKDOWN))  # as a reader of Markdown with HTML has it


@pytest.mark.parametrize("page", [PAGE, READ], ids=["html", "markdown"])
def test_nothing_is_executed_or_loaded(page: Page) -> None:
    """No script, no image, no handler, and links lead to the web or into the report."""
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "svg", "b", "iframe", "object", "link", "form", "base"}
    attributes = {name for _, values in page.tags for name in values}
    assert not {name for name in attributes if name.startswith("on")} | (attributes & {"style"})
    assert page.links()
    assert all(re.match(r"#[qcn]|https://", link) for link in page.links())
    assert not any("evil.example" in link for link in page.links())
    assert "src" not in attributes


def test_page_is_whole_and_allows_itself_nothing() -> None:
    """Every tag is closed, and the policy allows one style and nothing else."""
    assert PAGE.open == []
    (policy,) = [
        values["content"]
        for tag, values in PAGE.tags
        if values.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'; style-src")
    assert "unsafe" not in policy
    assert HTML.count("<style>") == 1
    assert not re.search(r"url\(|@import", HTML)


@pytest.mark.parametrize("page", [PAGE, READ], ids=["html", "markdown"])
def test_links_within_the_report_lead_somewhere(page: Page) -> None:
    """Each citation has its passage."""
    places = [values["id"] for _, values in page.tags if "id" in values]
    assert len(set(places)) == len(places)
    wanted = {link[1:] for link in page.links() if link.startswith("#")}
    assert wanted <= set(places)
    citations = {f"q{c}-{q}" for c, n in ((1, 2), (2, 2), (3, 3), (4, 3)) for q in range(1, n + 1)}
    assert citations <= wanted


@pytest.mark.parametrize("page", [PAGE, READ], ids=["html", "markdown"])
def test_what_was_written_is_shown_as_text(page: Page) -> None:
    """Scripts, links and marks of the model and the web stand there to be read."""
    text = " ".join(page.text.split())
    for words in (
        "What is durable? <script>alert('x')</script> [click](javascript:alert(1)) # two",
        "![i](https://evil.example/t.png)",
        "stores | pipes | and <b>tags</b> in its read-me file.",
        "Durable | execution: 100 % & more_of {it} #1 ~ \\ $5 @misc{x,",
        "<script>alert(1)</script> is what this page says",
        "👩\u200d🚀",
    ):
        assert words in text
    assert not re.search("[\u202a-\u202e\u2028\u2029]", text)


@pytest.mark.parametrize("page", [PAGE, READ], ids=["html", "markdown"])
def test_faults_are_told_at_the_top_and_in_their_places(page: Page) -> None:
    """What is not verified is counted before the summary, marked, and listed with its reason."""
    text = " ".join(page.text.split())
    head = text[: text.index("Summary")]
    assert re.search("6 of 10 quotes verified.*3 not verified.*1 attested by the provider", head)
    assert re.search("3 of 5 claims supported.*2 with numbers that no quote says", head)
    assert "Written by offline writer, no language model." in head
    assert "Search: corpus" in head
    claims = text[text.index("Claims") : text.index("Claim 4 has no verified quote.")]
    assert claims.count("not verified") == 3
    assert claims.count("attested only") == 1
    assert claims.count("no verified quote") == 2
    assert "in no quote: 15, 3.5 million" in claims
    for reason in ("The words do not stand in the source.", "was not fetched", "too short"):
        assert reason in text
    order = ["Summary", "Claims", "Not verified", "Numbers that no quote says", "Sources"]
    headings = [text.index(f" {heading} ") for heading in order]
    assert headings == sorted(headings)


@pytest.mark.parametrize("page", [PAGE, READ], ids=["html", "markdown"])
def test_web_sources_open_at_the_words(page: Page) -> None:
    """A long quote is named by its ends, a short one whole; an unverified one opens the page."""
    start = "https://example.org/a-b,c&d?x=1%202#part"
    found = [link for link in page.links() if link.startswith(start)]
    long = f"{start}:~:text=A%20workflow%20that%20is%20well%2Dknown%2C,no%20finished%20step%20runs"
    assert f"{long}%20again." in found
    assert f"{start}:~:text=released%20in%20March%202021%20by%2014%20people" in found
    assert start in found


def test_passages_show_what_is_around_the_words() -> None:
    """The words are marked among their neighbours; without texts they stand alone."""
    assert re.search(
        r"<blockquote[^>]*>The assert statement is <mark>a convenient way to insert debugging "
        r"assertions</mark>\.</blockquote>",
        HTML,
    )
    bare = render(RESULT, "html")
    assert "<mark>a convenient way to insert debugging assertions</mark></blockquote>" in bare
    assert "The assert statement is" not in bare
    assert (
        "The assert statement is **a convenient way to insert debugging assertions**." in MARKDOWN
    )
    assert "The assert statement is" not in render(RESULT, "markdown")


def test_pruned_or_other_texts_do_no_harm() -> None:
    """A text that is shorter than the place of the words counts as missing."""
    texts = {source.source_id: "short" for source in SOURCES}
    assert render(RESULT, "html", texts=texts) == render(RESULT, "html")


def test_sources_that_are_no_pages_are_named_and_not_linked() -> None:
    """A package, a topic and a file are described; no link is broken because there is none."""
    text = " ".join(PAGE.text.split())
    assert "Python package dbos 3.4.0, README.md" in text
    assert "Python documentation, topic assert" in text
    assert "Local file /srv/notes of mine.txt" in text


def test_json_is_the_result_itself() -> None:
    """What is read back is the same research."""
    text = render(RESULT, "json")
    assert ResearchResult.model_validate_json(text) == RESULT
    assert json.loads(text)["claims"][0]["quotes"][0]["status"] == "verified"


def read_bibtex(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Return entries by key, their kind and fields; every brace must be closed."""
    entries: dict[str, tuple[str, dict[str, str]]] = {}
    comment, *parts = re.split(r"^@(?=\w+\{)", text, flags=re.M)
    assert "@" not in comment
    for part in parts:
        head, *lines = part.strip().splitlines()
        kind, key = re.fullmatch(r"(\w+)\{([\w-]+),", head).groups()  # type: ignore[union-attr]
        assert lines.pop() == "}"
        fields = dict(re.fullmatch(r"  (\w+) = \{(.*)\},", line).groups() for line in lines)  # type: ignore[union-attr, misc]
        for value in fields.values():
            depth = 0
            for brace in re.findall(r"(?<!\\)[{}]", value.replace(r"\\", "")):
                depth += 1 if brace == "{" else -1
                assert depth >= 0
            assert depth == 0
        assert key not in entries
        entries[key] = (kind, fields)
    return entries


def test_bibtex_has_an_entry_for_each_source() -> None:
    """Keys are unique and stay; fields are escaped; what was fetched says when."""
    entries = read_bibtex(BIBTEX)
    assert len(entries) == len(SOURCES)
    kind, fields = entries["durable-execution-100-aaaaaaaaaaaaaaaa"]
    assert kind == "online"
    assert fields["url"] == "https://example.org/a-b,c&d?x=1%202#part"
    assert fields["urldate"] == "2026-01-31"
    assert fields["title"] == (
        r"{Durable | execution: 100 \% \& more\_of \{it\} \#1 \textasciitilde{} "
        r"\textbackslash{} \$5 @misc\{x,}"
    )
    kind, fields = entries["the-assert-statement-cccccccccccccccc"]
    assert (kind, fields["howpublished"]) == ("misc", "python:topics/assert")
    (attested,) = [fields for _, fields in entries.values() if "attested" in fields.get("url", "")]
    assert "urldate" not in attested
    assert "not fetched" in attested["note"]
    assert "offline writer, no language model" in BIBTEX.partition("@")[0]


def test_keys_do_not_depend_on_the_report() -> None:
    """Another report that has the same source names it in the same way."""
    other = RESULT.model_copy(update={"sources": SOURCES[::-1], "claims": []})
    assert set(read_bibtex(render(other, "bibtex"))) == set(read_bibtex(BIBTEX))


@pytest.mark.parametrize(
    ("url", "words", "link"),
    [
        ("https://e.org/x", "a-b, c&d", "https://e.org/x#:~:text=a%2Db%2C%20c%26d"),
        ("https://e.org/x#y", "ö “q”", "https://e.org/x#y:~:text=%C3%B6%20%E2%80%9Cq%E2%80%9D"),
        ("https://e.org/x", "one\n\ntwo three", "https://e.org/x#:~:text=one,two%20three"),
        ("https://e.org/ö 100%", "", "https://e.org/%C3%B6%20100%25"),
        ("https://e.org/%C3%B6", "", "https://e.org/%C3%B6"),
        ("https://e.org/(a)'\"<>", "", "https://e.org/%28a%29'%22%3C%3E"),
        ("javascript:alert(1)", "", None),
        ("data:text/html,x", "", None),
        ("pkg:pypi/dbos", "x", None),
        ("https://", "", None),
        ("https://[x", "", None),
        ("//e.org", "", None),
        ("", "", None),
    ],
)
def test_web_link(url: str, words: str, link: str | None) -> None:
    """Only web pages are linked; signs with a meaning in a text fragment are encoded."""
    assert web_link(url, words) == link


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("pkg:pypi/dbos@3.4.0", "Python package dbos 3.4.0"),
        ("pkg:pypi/dbos", "Python package dbos"),
        ("pkg:pypi/dbos/README.md", "Python package dbos, README.md"),
        ("pkg:pypi/dbos@3.4.0/docs/a%20b.md#part", "Python package dbos 3.4.0, docs/a b.md, part"),
        ("pkg:deb/bash@5", "deb package bash 5"),
        ("python:topics/assert", "Python documentation, topic assert"),
        ("python:json", "Python documentation, json"),
        ("file:///srv/x%20y.txt", "Local file /srv/x y.txt"),
        ("https://e.org/x", "e.org/x"),
        ("odd:thing", "odd:thing"),
        ("", ""),
    ],
)
def test_describe_place(url: str, place: str) -> None:
    """A source that no browser can open is named in words."""
    assert describe_place(url) == place


PIECES = [*"ab1.*_`[]()<>!#\\&;:|~-+=\n \"'/", "javascript:", "](", "\n\n", "    ", "https://e.org"]
PROSE = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


@settings(deadline=None)
@given(PROSE)
def test_no_prose_gets_out(text: str) -> None:
    """Whatever is written, neither format makes a link, an image or a tag of its own of it."""
    html = prose_to_html(text)
    assert nh3.clean(html, tags={"p", "ul", "ol", "li", "em", "strong", "code", "br"}) == html
    read = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    page = Page(read.render(f"1. {prose_to_markdown(text)}\n\n[b]: javascript:alert(1)"))
    assert {tag for tag, _ in page.tags} <= {"p", "ul", "ol", "li", "em", "strong", "code", "hr"}


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=200))
def test_any_text_can_be_rendered(text: str) -> None:
    """No sign, however odd, stops a report, and all of it can be written as UTF-8."""
    source = SOURCES[0].model_copy(update={"title": text, "url": f"https://e.org/{text}"})
    result = RESULT.model_copy(update={"question": text, "summary": text, "sources": [source]})
    for form in ("markdown", "html", "bibtex"):
        assert render(result, form).encode()
    read_bibtex(render(result, "bibtex"))
    assert Page(render(result, "html")).open == []
