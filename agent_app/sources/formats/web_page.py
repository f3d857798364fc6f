"""HTML into paragraphs: what the page is about, without what stands around it."""

import copy
import re
from collections.abc import Iterator

from lxml.html import HtmlElement  # type: ignore[import-untyped]
from trafilatura import bare_extraction, load_html
from trafilatura.settings import DEFAULT_CONFIG

from agent_app.sources.formats.prose import Prose, decode, readable

_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w.:-]+)", re.I)
_BLOCKS = frozenset({"p", "head", "item", "quote", "row", "list", "table", "div", "body"})
_SHORT = 250
"""Characters below which an extraction may have missed the text."""


def read_web_page(body: bytes, charset: str | None) -> Prose:
    """Return the page's paragraphs; headings, list items and table rows are some of their own."""
    declared = _META_CHARSET.search(body[:4096])
    text = decode(body, charset or (declared[1].decode("ascii") if declared else None))
    # lxml refuses a declaration of the encoding in what is decoded already.
    tree = load_html(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    if tree is None:
        return Prose("", [])
    paragraphs = _paragraphs(tree, is_generous=False)
    if len("".join(paragraphs)) < _SHORT:
        paragraphs = max(
            paragraphs, _paragraphs(tree, is_generous=True), key=lambda p: len("".join(p))
        )
    return readable(_title(tree), paragraphs)


def _title(tree: HtmlElement) -> str:
    """Return what the page calls itself when it is shared, or in its tab."""
    found = tree.xpath("string(//meta[@property='og:title']/@content)")
    return str(found or tree.xpath("string(//head/title)") or tree.xpath("string(//h1)")).strip()


def _paragraphs(tree: HtmlElement, *, is_generous: bool) -> list[str]:
    config = copy.deepcopy(DEFAULT_CONFIG)
    # Below this size it would fall back to all strings of the page, broken at each tag.
    config["DEFAULT"]["MIN_EXTRACTED_SIZE"] = "1"
    found = bare_extraction(
        copy.deepcopy(tree),
        include_comments=False,
        include_formatting=True,
        favor_recall=is_generous,
        config=config,
    )
    body = getattr(found, "body", None)
    return [] if body is None else ["".join(pieces) for pieces in _pieces(body)]


def _pieces(root: HtmlElement) -> Iterator[list[str]]:
    """Yield the strings of each paragraph in the order of the page; blocks of code are left out."""
    pieces: list[str] = []
    for event, element in _walk(root):
        if element.tag in _BLOCKS:
            yield pieces
            pieces = []
        elif element.tag == "lb":
            pieces.append(" ")
        elif element.tag == "cell" and event == "end" and element.getnext() is not None:
            pieces.append(" | ")
        text = element.text if event == "start" else element.tail
        if text and not (event == "start" and _is_code_block(element)):
            pieces.append(text)
    yield pieces


def _walk(root: HtmlElement) -> Iterator[tuple[str, HtmlElement]]:
    """Yield the start and the end of each element; nothing from inside a block of code."""
    stack = [("start", root)]
    while stack:
        event, element = stack.pop()
        yield event, element
        if event == "start":
            stack.append(("end", element))
            if not _is_code_block(element):
                stack.extend(("start", child) for child in reversed(element))


def _is_code_block(element: HtmlElement) -> bool:
    """Say whether it is code that stands for itself and not in a sentence."""
    if element.tag != "code":
        return False
    parent = element.getparent()
    return len(element) > 0 or (element.text or "").count("\n") > 0 or parent.tag == "body"
