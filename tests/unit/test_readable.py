"""Bytes into text fit for quoting: what people read stays, everything else goes."""

import itertools
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfWriter

from agent_app.errors import SourceUnreadable
from agent_app.sources import reading
from agent_app.sources.document import Document
from agent_app.sources.readable import MEDIA_TYPES, media_type_of, read_document
from agent_app.sources.reading import read_apart
from tests.helpers import wait_until

URL = "https://pages.example/guide/page"


def read(body: bytes | str, media_type: str) -> Document:
    """Return the document that the bytes are."""
    data = body.encode() if isinstance(body, str) else body
    return read_document(data, media_type=media_type, url=URL)


def paragraphs(body: bytes | str, media_type: str) -> list[str]:
    """Return what the bytes say, by paragraph."""
    return read(body, media_type).text.split("\n\n")


def refusal(body: bytes, media_type: str) -> str:
    """Return why the bytes cannot be read."""
    with pytest.raises(SourceUnreadable) as caught:
        read(body, media_type)
    return caught.value.reason


def pdf(*pages: Sequence[str], title: str | None = None) -> bytes:
    """Return a PDF with these lines on its pages."""
    shown = [
        "BT /F1 10 Tf 12 TL 40 780 Td " + "".join(f"({line}) Tj T* " for line in lines) + "ET"
        for lines in pages
    ]
    return pdf_of([text.encode("latin-1") for text in shown], title=title)


def pdf_of(streams: Sequence[bytes], *, title: str | None = None, is_packed: bool = False) -> bytes:
    """Return a PDF whose pages have these content streams."""
    first = 4
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(len(streams)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(streams)}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    for number, stream in enumerate(streams):
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents {first + 2 * number + 1} 0 R"
            "/Resources<</Font<</F1 3 0 R>>>>>>".encode()
        )
        filters = b"/Filter/FlateDecode" if is_packed else b""
        head = b"<</Length %d%b>>stream\n" % (len(stream), filters)
        objects.append(head + stream + b"\nendstream")
    info = f"/Info<</Title({title})>>" if title else ""
    return _numbered(objects, info.encode())


def _numbered(objects: Sequence[bytes], info: bytes) -> bytes:
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return (
        body
        + b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<</Size %d/Root 1 0 R%b>>\n"
        % (
            size,
            table,
            size,
            info,
        )
        + b"startxref\n%d\n%%%%EOF" % len(body)
    )


PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>Rivers | Atlas</title>
<style>p {color: red}</style><script>var a = "not text";</script></head><body>
<header><a href="/">Atlas</a></header>
<nav><ul><li><a href="/a">Mountains</a></li><li><a href="/b">Lakes</a></li></ul></nav>
<main><article><h1>Rivers</h1>
<p>The <b>Elbe</b> is <a href="/km">1,094 km</a> long.<br>It rises in the Giant
Mountains&nbsp;and flows to the <code>North Sea</code> through Dresden and Hamburg.</p>
<h2>Tributaries</h2><ul><li>The Vltava comes from the Bohemian Forest.</li>
<li>The Saale comes from the Fichtel Mountains.</li></ul>
<pre><code>def flow():
    return 870</code></pre>
<table><tr><th>River</th><th>Length</th></tr><tr><td>Vltava</td><td>430 km</td></tr></table>
<blockquote><p>All rivers run into the sea, yet the sea is not full.</p></blockquote>
<p>Its basin has an area of 148,268 square kilometres, and 24.5 million people live in it.</p>
</article></main><aside>Subscribe to our letter!</aside>
<footer>Copyright 2024 Atlas</footer></body></html>"""


def test_html_is_what_the_page_is_about() -> None:
    """Navigation, scripts, code and footers go; sentences are whole across tags."""
    document = read(PAGE, "text/html")
    assert document.title == "Rivers | Atlas"
    assert document.media_type == "text/html"
    text = document.text.split("\n\n")
    assert text[:4] == [
        "Rivers",
        "The Elbe is 1,094 km long. It rises in the Giant Mountains and flows to the North Sea "
        "through Dresden and Hamburg.",
        "Tributaries",
        "The Vltava comes from the Bohemian Forest.",
    ]
    assert "Vltava | 430 km" in text
    assert "All rivers run into the sea, yet the sea is not full." in text
    for gone in ("Mountains\n", "Lakes", "Atlas", "not text", "def flow", "color", "Subscribe"):
        assert gone not in document.text


def test_a_short_page_is_read_too() -> None:
    """A page of one sentence keeps it, and no word of its navigation."""
    page = "<html><head><title>T</title></head><body><nav><a href=/>Home</a></nav><p>So it is.</p>"
    assert paragraphs(page + "</body></html>", "text/html") == ["So it is."]


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ("Zürich \u2013 café".encode(), "text/plain"),
        ("Zürich \u2013 café".encode(), "text/plain; charset=iso-8859-1"),  # declared wrongly
        ("Zürich \u2013 café".encode("cp1252"), "text/plain"),
        ("Zürich \u2013 café".encode("cp1252"), "text/plain; charset=ISO-8859-1"),
        ("Zürich \u2013 café".encode("cp1252"), "text/plain; charset=no-such"),
        ("Zürich \u2013 café".encode("utf-16"), "text/plain"),
        ("Zürich \u2013 café".encode("utf-8-sig"), "text/plain; charset=ascii"),
        ("Zu\u0308rich \u2013 cafe\u0301".encode(), 'text/plain; charset="UTF-8"'),
        (
            b"<html><head><meta charset=koi8-u></head><body><p>"
            b"Z\xc3\xbcrich \xe2\x80\x93 caf\xc3\xa9</p></body></html>",
            "text/html; charset=utf-8",
        ),
    ],
)
def test_text_is_decoded(body: bytes, media_type: str) -> None:
    """By its mark, its charset, as UTF-8 or as Latin-1; composed letters are one character."""
    assert paragraphs(body, media_type) == ["Zürich \u2013 café"]


def test_a_page_declares_its_charset() -> None:
    """The page's own word counts where the server has none."""
    page = (
        '<html><head><meta charset="koi8-r"></head><body><p>Река впадает в море.</p></body></html>'
    )
    assert paragraphs(page.encode("koi8-r"), "text/html") == ["Река впадает в море."]


def test_what_cannot_be_seen_is_no_text() -> None:
    """Controls, soft hyphens and marks of direction go, and ligatures become letters."""
    assert paragraphs("o\ufb03ce", "text/plain") == ["office"]
    assert paragraphs("in\u00advisi\u200bble\x07 \u202ewords\ufeff", "text/plain") == [
        "invisible words"
    ]


MARKDOWN = """---
title: "A guide"
tags: [x]
---
# Rivers :ocean:

[![Build](https://ci.example/badge.svg)](https://ci.example) ![logo](logo.png)

[Docs](https://a.example) • [Blog](https://b.example) | [Chat](https://c.example)

<p align="center"><img src="x.png"> An HTML block.</p>

## Table of Contents

- [Rivers](#rivers)
  - [Tributaries](#tributaries)

The **Elbe** is [1,094 km](https://km.example "title") long and _flows_ to
the `North Sea`.<br>It rises[^1] in the ~~Alps~~ mountains; see <https://elbe.example>.

```python
secret_code()
```

    indented_code()

Tributaries
-----------

1. The Vltava.
2. The Saale:
   - from the *Fichtel* Mountains

> [!NOTE]
> All rivers run
> into the sea.

| River | Length |
|-------|-------:|
| [Vltava](v.md) | 430 km |

[^1]: In 1,386 metres.

[ref]: https://ref.example
<!-- a comment -->
"""


def test_markdown_is_what_the_rendered_page_says() -> None:
    """Badges, images, targets, code, HTML blocks and tables of contents are no text."""
    document = read(MARKDOWN, "text/markdown")
    assert document.title == "A guide"
    assert document.text.split("\n\n") == [
        "Rivers",
        "The Elbe is 1,094 km long and flows to the North Sea. It rises in the Alps mountains; "
        "see https://elbe.example.",
        "Tributaries",
        "The Vltava.",
        "The Saale:",
        "from the Fichtel Mountains",
        "All rivers run into the sea.",
        "River | Length",
        "Vltava | 430 km",
        "In 1,386 metres.",
    ]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# One\n\n## Two", "One"),
        ("Words.\n\n# One", "One"),
        ("## Two\n\nWords.", "Two"),
        ('<h1 align="center"><img src="x">Three</h1>\n\n## Two', "Three"),
        ("Just words, and no heading.\n\n## Later", "Just words, and no heading."),
        ("word " * 100, "word " * 23 + "…"),
    ],
)
def test_a_markdown_document_has_a_title(text: str, title: str) -> None:
    """Its first great heading, of Markdown or HTML, or else how it begins."""
    assert read(text, "text/markdown").title == title


REST = """
.. image:: https://ci.example/badge.svg
   :target: https://ci.example

.. _top:

======
Rivers
======

.. contents:: Contents
   :depth: 2

|badge| The **Elbe** is `1,094 km <https://km.example>`_ long and *flows* to
the ``North *Sea*``; see :doc:`the map </map>`, :func:`~flow.basin.area`, tributaries_
and Dresden [1]_. C:\\\\elbe is a path, |unit| a unit.

.. |badge| image:: badge.png
.. |unit| replace:: the kilometre

Tributaries
-----------

- The Vltava comes
  from the Bohemian Forest.

  It is 430 km long.
- The Saale

1. First::

       literal_code()

2. Second

Example::

    >>> secret()

>>> doctest()
42

.. code-block:: python

   more_code()

.. note:: All rivers run
   into the sea.

.. versionadded:: 1.2
   The basin.

.. A comment
   of two lines.

.. [1] A city in Saxony.

.. _tributaries: https://t.example

term
    Its definition.

+--------+--------+
| River  | Length |
+========+========+
| Vltava | 430    |
|        | km     |
+--------+--------+

======  ======
Lake    Depth
======  ======
Baikal  1642 m
======  ======

:param basin: The area.
"""


def test_restructured_text_is_what_the_rendered_page_says() -> None:
    """Directives, roles, substitutions, underlines, literal blocks and targets are no text."""
    document = read(REST, "text/x-rst")
    assert document.title == "Rivers"
    assert document.text.split("\n\n") == [
        "Rivers",
        "The Elbe is 1,094 km long and flows to the North *Sea*; see the map, area, tributaries "
        "and Dresden. C:\\elbe is a path, the kilometre a unit.",
        "Tributaries",
        "The Vltava comes from the Bohemian Forest.",
        "It is 430 km long.",
        "The Saale",
        "First:",
        "Second",
        "Example:",
        "All rivers run into the sea.",
        "Added in version 1.2: The basin.",
        "A city in Saxony.",
        "term",
        "Its definition.",
        "River | Length",
        "Vltava | 430 km",
        "Lake | Depth",
        "Baikal | 1642 m",
        "param basin: The area.",
    ]


def test_plain_text_is_joined_where_it_was_wrapped() -> None:
    """Lines that ended for want of room are joined; verses, addresses and items are not."""
    text = """Rivers of Europe

The Elbe is one of the major rivers of Central Europe. It rises in
the Giant Mountains of the northern Czech Republic before it crosses
Bohemia.
Then a new line begins, though there was room.

Sesame Street 1
Springfield

- The first item goes on in
  a second line.
* The second item.
"""
    assert paragraphs(text, "text/plain") == [
        "Rivers of Europe",
        "The Elbe is one of the major rivers of Central Europe. It rises in the Giant Mountains of "
        "the northern Czech Republic before it crosses Bohemia.",
        "Then a new line begins, though there was room.",
        "Sesame Street 1",
        "Springfield",
        "The first item goes on in a second line.",
        "The second item.",
    ]


def test_a_pdf_is_joined_over_lines_hyphens_and_pages() -> None:
    """Words broken at line ends are whole, compounds keep their hyphen, running heads go."""
    pages = [
        [
            "Atlas of Rivers, page 1",
            "1 Introduction",
            "The Elbe is one of the major rivers of Central Europe and its ba-",
            "sin is large. A long-term record exists. It is used for a long-",
            "term study of the water that flows through Dresden and on to the",
            "1",
        ],
        [
            "Atlas of Rivers, page 2",
            "city of Hamburg, where it is tidal.",
            "It is short here.",
            "The basin belongs to four countries, which work together in the",
            "commission.",
            "2",
        ],
        ["Atlas of Rivers, page 3", "Contents . . . . . . . . . 12", "The end of it all.", "3"],
    ]
    assert paragraphs(pdf(*pages), "application/pdf") == [
        "1 Introduction",
        "The Elbe is one of the major rivers of Central Europe and its basin is large. A long-term "
        "record exists. It is used for a long-term study of the water that flows through Dresden "
        "and on to the city of Hamburg, where it is tidal.",
        "It is short here.",
        "The basin belongs to four countries, which work together in the commission.",
        "The end of it all.",
    ]


def test_a_pdf_has_a_title() -> None:
    """That of its metadata, unless it is the name of a file; else how it begins."""
    lines = ["The first line."]
    assert read(pdf(lines, title="An Atlas of Rivers"), "application/pdf").title == (
        "An Atlas of Rivers"
    )
    assert read(pdf(lines, title="final2.docx"), "application/pdf").title == "The first line."


def test_an_encrypted_pdf_is_unreadable() -> None:
    """A password that we do not have is said; an empty one, which readers try, opens it."""
    writer = PdfWriter(clone_from=BytesIO(pdf(["Some words."])))
    closed, opened = BytesIO(), BytesIO()
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(closed)
    assert refusal(closed.getvalue(), "application/pdf") == "it is encrypted"
    writer = PdfWriter(clone_from=BytesIO(pdf(["Some words."])))
    writer.encrypt("", "owner", algorithm="RC4-128")
    writer.write(opened)
    assert paragraphs(opened.getvalue(), "application/pdf") == ["Some words."]


@pytest.mark.parametrize(
    ("body", "media_type", "reason"),
    [
        (b"", "application/pdf", "it is damaged: "),
        (b"%PDF-1.4 and no more", "application/pdf", "it is damaged: "),
        (pdf(["words"])[:200], "application/pdf", "it is damaged: "),
        (b"", "text/html", "there is no text in it"),
        (b"<html><body><img src=x></body></html>", "text/html", "there is no text in it"),
        (b"\n \n", "text/plain", "there is no text in it"),
        (b"![x](y)", "text/markdown", "there is no text in it"),
        (bytes(range(256)), "text/plain", "it is binary and no text"),
        (b"PK\x03\x04\x00\x00", "text/markdown", "it is binary and no text"),
        (b"words", "image/png", "'image/png' is not read"),
        (b"words", "", "'' is not read"),
        (b"a " * 15_000_001, "text/plain", "it has more than 30 MB"),
        (b"a " * 2_500_001, "text/plain", "its text has more than 5,000,000 characters"),
    ],
    ids=itertools.count(),
)
def test_what_holds_no_text_is_unreadable(body: bytes, media_type: str, reason: str) -> None:
    """Damaged, empty, binary, foreign and huge documents say what they are."""
    assert refusal(body, media_type).startswith(reason)


def test_a_bomb_is_unreadable() -> None:
    """A stream of 100 kB that unpacks to 100 MB is stopped on its way."""
    packed = zlib.compress(b" " * 100_000_000, 9)
    assert refusal(pdf_of([packed], is_packed=True), "application/pdf").startswith("it is damaged")


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"<html><body>" + b"<div>" * 300_000 + b"text", "text/html"),
        (b"- " * 100_000 + b"x", "text/x-rst"),
        (b">" * 100_000 + b"x", "text/markdown"),
    ],
    ids=["html", "rst", "markdown"],
)
def test_deep_nesting_ends(body: bytes, media_type: str) -> None:
    """A tower of tags or items is read or refused; the next document is read as ever."""
    assert refusal(body, media_type)
    assert paragraphs("Words.", "text/plain") == ["Words."]


def test_what_takes_too_long_is_unreadable() -> None:
    """A reader over its processor seconds ends, and a new one takes its place."""
    body = b"<html><body>" + b"<p>Some words in a paragraph.</p>" * 100_000
    with pytest.raises(SourceUnreadable, match=r"reading it took more than 0\.1 s"):
        read_apart(body, media_type="text/html", charset=None, url=URL, max_cpu_s=0.1)
    assert paragraphs("Words.", "text/plain") == ["Words."]


def test_a_reader_that_was_killed_is_replaced() -> None:
    """Somebody who kills a waiting reader costs no document."""
    assert paragraphs("One.", "text/plain") == ["One."]
    for reader in reading._idle:
        os.kill(reader._process.pid, signal.SIGKILL)
        wait_until(partial(_is_dead, reader))
    assert paragraphs("Two.", "text/plain") == ["Two."]


def _is_dead(reader: reading._Reader) -> bool:
    return not reader.is_alive()


def test_a_reader_ends_with_its_parent() -> None:
    """A process that is killed leaves no reader behind."""
    code = (
        "from agent_app.sources import reading\n"
        "reading.read_apart(b'x', media_type='text/plain', charset=None, url='u')\n"
        "print(reading._idle[0]._process.pid, flush=True)\n"
        "import signal; signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        reader = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: not _is_running(reader))


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # an init that does not reap leaves it so


def test_a_reader_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and the database's URL are not in the environment of who reads strangers' bytes."""
    monkeypatch.setenv("TAVILY_API_KEY", "tvly-secret")
    reading._close_idle()
    assert paragraphs("One.", "text/plain") == ["One."]
    environment = Path(f"/proc/{reading._idle[0]._process.pid}/environ").read_bytes()
    assert b"tvly-secret" not in environment
    assert b"PATH=" in environment


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a/b/Page.HTML", "text/html"),
        ("paper.pdf", "application/pdf"),
        ("README.md", "text/markdown"),
        ("docs/index.rst", "text/x-rst"),
        ("notes.txt", "text/plain"),
        ("README", "text/plain"),
        ("/usr/share/LICENSE", "text/plain"),
        ("archive.zip", None),
        ("module.py", None),
        ("Makefile", None),
        ("", None),
        (".md", None),
    ],
)
def test_the_ending_tells_the_type(name: str, media_type: str | None) -> None:
    """Endings of what is read, in any case; the rest has none."""
    assert media_type_of(name) == media_type
    assert media_type is None or media_type in MEDIA_TYPES


def test_a_document_is_the_same_each_time() -> None:
    """The same bytes are the same source: its ID comes from the text."""
    assert read(PAGE, "text/html").source_id == read(PAGE, "text/html").source_id
    assert read(PAGE, "text/html").url == URL
