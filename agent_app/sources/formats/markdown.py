"""Markdown into paragraphs: what the rendered page says, without badges, code and link targets."""

import re
from collections.abc import Iterable, Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from agent_app.sources.formats.prose import Prose, decode, readable

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S)
_FRONT_TITLE = re.compile(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", re.M)
_MARKS = re.compile(
    r"^\[!\w+\]|\[\^[^\]\s]+\]:?|(?<![\w:]):[a-z][a-z0-9_+-]*:(?![\w`])"  # of GitHub
    r"|^:{3,}.*$|\{[a-z:]+\}$"  # of MyST
)
_BREAK = re.compile(r"<br\b", re.I)
_LISTS = {"bullet_list_open": "bullet_list_close", "ordered_list_open": "ordered_list_close"}
_HTML_HEADING = re.compile(r"<h[1-3]\b[^>]*>(.*?)</h[1-3]>", re.S | re.I)
_TAG = re.compile(r"<[^>]*>")
_CONTENTS = re.compile(r"(?:table of )?contents:?|toc", re.I)


def read_markdown(body: bytes, charset: str | None) -> Prose:
    """Return the document's paragraphs; headings, items and table rows are of their own."""
    text = decode(body, charset).replace("\r\n", "\n")
    front = _FRONT_MATTER.match(text)
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(text[front.end() :] if front else text)
    named = _FRONT_TITLE.search(front[1]) if front else None
    paragraphs = [words for _, words in _pieces(_without_navigation(tokens))]
    return readable(named[1] if named else _title(tokens), paragraphs)


def _title(tokens: Sequence[Token]) -> str:
    """Return the first heading that says something, be it of Markdown or of HTML."""
    for position, token in enumerate(tokens):
        words = ""
        if token.type == "html_block" and (found := _HTML_HEADING.search(token.content)):
            words = _TAG.sub(" ", found[1])
        elif token.type == "heading_open" and (token.tag == "h1" or position == 0):
            words = _spoken(tokens[position + 1])
        if any(map(str.isalnum, words)):
            return words
    return ""


def _without_navigation(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield the tokens without lists that only link into the document, and bars of links."""
    position = 0
    while position < len(tokens):
        token = tokens[position]
        if token.type in _LISTS:
            stop = (
                next(
                    n
                    for n in range(position + 1, len(tokens))
                    if tokens[n].level == token.level and tokens[n].type == _LISTS[token.type]
                )
                + 1
            )
            inside = [inner for inner in tokens[position:stop] if inner.type == "inline"]
            if inside and all(_is_links(inner, into="#") for inner in inside):
                position = stop
                continue
        is_bar = token.type == "inline" and token.level < 2  # not in a list
        if not (is_bar and _is_links(token, into="", least=2)):
            yield token
        position += 1


def _is_links(token: Token, *, into: str, least: int = 1) -> bool:
    """Say whether it is `least` links and ornaments only, and the links all lead `into`."""
    children = token.children or []
    links = [child for child in children if child.type == "link_open"]
    depth = 0
    for child in children:
        depth += child.nesting if child.type in ("link_open", "link_close") else 0
        if depth == 0 and any(map(str.isalnum, _words([child]))):
            return False
    return len(links) >= least and all(str(link.attrGet("href")).startswith(into) for link in links)


def _pieces(tokens: Iterable[Token]) -> Iterator[tuple[str, str]]:
    """Yield the tag that the text stands in, and the text; the cells of a row are one piece."""
    tag = ""
    cells: list[str] | None = None
    for token in tokens:
        if token.type == "tr_open":
            cells = []
        elif token.type == "tr_close":
            yield "tr", " | ".join(cells or [])
            cells = None
        elif token.type != "inline":
            tag = token.tag if token.nesting == 1 else tag
        elif cells is not None:
            cells.append(_spoken(token))
        else:
            words = _spoken(token)
            if not (tag.startswith("h") and _CONTENTS.fullmatch(words.strip())):
                yield tag, words


def _spoken(token: Token) -> str:
    return _MARKS.sub("", _words(token.children or []))


def _words(children: Sequence[Token]) -> str:
    """Return what is read: text and code in a sentence, no images, no tags."""
    pieces = []
    for child in children:
        if child.type in ("text", "code_inline"):
            pieces.append(child.content)
        elif child.type in ("softbreak", "hardbreak") or _BREAK.match(child.content):
            pieces.append(" ")
    return "".join(pieces)
