"""Documents, their URLs and IDs, and the passages that they are cut into."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_app.sources.document import Document, canonical_url, source_id_of
from agent_app.sources.passage import WORDS, split_passages

SENTENCE = "Seven words make this one short sentence. "


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTPS://Example.COM", "https://example.com/"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("https://me:secret@example.com/a#part", "https://example.com/a"),
        ("https://example.com./a/./b/../c/..", "https://example.com/a/"),
        ("https://example.com/../../a", "https://example.com/a"),
        ("https://example.com/?utm_source=x&b=2&a=1&FBCLID=z", "https://example.com/?b=2&a=1"),
        ("https://example.com/?utm_source=x", "https://example.com/"),
        ("https://example.com/%7euser/%2f%c3%A9", "https://example.com/~user/%2F%C3%A9"),
        ("https://example.com/ä b?q=ä b", "https://example.com/%C3%A4%20b?q=%C3%A4%20b"),
        ("http://[::1]:80/", "http://[::1]/"),
        (" https://example.com/a ", "https://example.com/a"),
    ],
)
def test_url_has_one_spelling(url: str, canonical: str) -> None:
    """Spellings of one page become one URL, which is its own canonical form."""
    assert canonical_url(url) == canonical
    assert canonical_url(canonical) == canonical


@pytest.mark.parametrize(
    "url",
    [
        "file:///A/../b#c",
        "pkg:pypi/Name@1.0",
        "python:topics/assert",
        "https://",
        "http://example.com:port/",
        "http://[::1/",
        "no url",
        "",
    ],
)
def test_what_is_no_web_address_stays(url: str) -> None:
    """Other schemes, and what is no URL, come back as they are."""
    assert canonical_url(url) == url


def test_same_text_has_the_same_id() -> None:
    """An ID is made of the text alone, in 16 hexadecimal digits."""
    one = Document("https://a.example/", "A", "text", "text/plain")
    other = Document("https://b.example/", "B", "text", "text/html")
    assert one.source_id == other.source_id == source_id_of("text") == "982d9e3eb996f559"


def test_text_can_be_stored() -> None:
    """What Postgres cannot store is replaced, and offsets stay what they were."""
    document = Document("u\0", "t\ud800", "a\0b\udfffc", "text/plain")
    assert (document.url, document.title, document.text) == (
        "u\ufffd",
        "t\ufffd",
        "a\ufffdb\ufffdc",
    )


def test_short_text_is_one_passage() -> None:
    """What is not much longer than a passage is not divided; an empty text has none."""
    assert [(p.start, p.stop) for p in split_passages(f"  {SENTENCE}")] == [(2, 43)]
    assert len(split_passages(SENTENCE * 40)) == 1
    assert split_passages("") == split_passages(" \n\n ") == []


def test_passages_are_about_as_long_and_end_with_sentences() -> None:
    """A long text is cut into pieces of about 200 words, each of whole sentences."""
    text = SENTENCE * 500
    passages = [text[piece.start : piece.stop] for piece in split_passages(text)]
    assert len(passages) == round(500 * 7 / WORDS)
    assert all(160 <= len(passage.split()) <= 240 for passage in passages)
    assert all(passage.endswith("sentence.") for passage in passages)


def test_passages_begin_with_paragraphs_and_headings() -> None:
    """Where a paragraph ends near by, a passage ends there, and a heading opens the next one."""
    part = "About it\n\n" + SENTENCE * 26 + "\n\n"
    text = part * 6
    passages = [text[piece.start : piece.stop] for piece in split_passages(text)]
    assert len(passages) == 6
    assert all(passage.startswith("About it") for passage in passages)


@pytest.mark.parametrize("text", ["x" * 50_000, "字" * 30_000, "字。" * 15_000, "a. " * 20_000])
def test_text_without_words_is_cut(text: str) -> None:
    """What has no blanks, or nothing but short words, is cut into pieces of bounded size."""
    pieces = split_passages(text)
    assert len(pieces) > 1
    assert max(piece.stop - piece.start for piece in pieces) <= 4_000


@given(
    st.lists(
        st.sampled_from(["word ", " ", ". ", "\n\n", "\n", "字。", "Long" * 400, "Head\n\n"]),
        max_size=400,
    )
)
def test_every_word_is_in_one_passage(parts: list[str]) -> None:
    """Passages are in order, do not overlap, lose nothing, and have no blank at their ends."""
    text = "".join(parts)
    pieces = split_passages(text)
    cut = [text[piece.start : piece.stop] for piece in pieces]
    assert "".join("".join(cut).split()) == "".join(text.split())
    assert all(passage and passage == passage.strip() for passage in cut)
