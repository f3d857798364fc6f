"""reStructuredText into paragraphs, without docutils: directives, roles and targets go."""

import re
import textwrap
from collections.abc import Generator, Iterator

from agent_app.sources.formats.prose import Prose, decode, readable
from agent_app.sources.formats.restructured_markup import Markup
from agent_app.sources.formats.restructured_table import is_table, table_rows

_ADORNMENT = re.compile(r"([^\w\s])\1*\s*$")
_DIRECTIVE = re.compile(r"\.\.\s+(?:[\w-]+:)?([\w.-]+)::(?:\s+(.*))?$")
_FOOTNOTE = re.compile(r"\.\.\s+\[[^\]]+\]\s+(.*)$")
_OPTION = re.compile(r":[\w -]+:(?:\s|$)")
_SPEAKING = re.compile(
    "attention|caution|danger|epigraph|error|highlights|hint|important|note|pull-quote|seealso|tip"
    "|warning"
)
"""Directives that say what stands behind their name and below it."""
_TITLED = re.compile(
    "admonition|attribute|class|confval|data|describe|envvar|exception|function|method|option"
    "|rubric|setting|sidebar|table|topic"
)
"""Directives with a title of its own."""
_VERSIONED = {
    "versionadded": "Added in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
    "versionremoved": "Removed in version",
}
"""As Sphinx writes them. Source: sphinx.domains.changeset, Sphinx 8."""
_WRAPPING = re.compile("compound|container|only")
_ITEM = re.compile(r"(?:[-*+•]|\(?(?:\d+|#|[a-z])[.)])\s+(?=\S)")
_FIELD = re.compile(r":((?:[^:\s`]|\s(?=\S))+):(?:\s+|$)")
_NEW_LINE = re.compile(r"([^\w\s])\1*\s*$|[*•] ")
"""What ends a paragraph without a blank line: a title's line, and an item that should have one."""
_VERSE = re.compile(r"\|\s+")


def read_restructured_text(body: bytes, charset: str | None) -> Prose:
    """Return the document's paragraphs; titles, list items and table rows are some of their own."""
    text = decode(body, charset).expandtabs(8)
    markup = Markup(text)
    return readable("", map(markup.spoken, _pieces(text.splitlines())))


def _pieces(lines: list[str]) -> Iterator[str]:
    """Yield the text of each paragraph, still with its inline markup."""
    position = 0
    while position < len(lines):
        line = lines[position].rstrip()
        if not line:
            position += 1
        elif line[0] == " ":
            stop = _indented_until(lines, position)
            yield from _pieces(_dedent(lines[position:stop]))
            position = stop
        elif is_table(line) or line.startswith(">>> "):
            stop = _blank_after(lines, position)
            if line[0] != ">":
                yield from table_rows(lines[position:stop])
            position = stop
        elif _ADORNMENT.match(line) and line not in ("..", "::"):
            position += 1
        else:
            position = yield from _body_element(lines, position, line)


def _body_element(lines: list[str], position: int, line: str) -> Generator[str, None, int]:
    """Yield the explicit markup, item, field or paragraph that begins there; return its end."""
    found = _ITEM.match(line) or _FIELD.match(line) or _VERSE.match(line)
    is_explicit = line == ".." or line.startswith((".. ", "__ "))
    if not found and not is_explicit:
        return (yield from _paragraph(lines, position))
    stop = _indented_until(lines, position + 1)
    content = lines[position + 1 : stop]
    if found and found.re is _ITEM:
        margin = " " * found.end()
        yield from _pieces([line[found.end() :], *(_without(margin, under) for under in content)])
    elif found:
        name = f"{found[1]}: " if found.re is _FIELD else ""
        yield from _pieces([name + line[found.end() :], *_dedent(content)])
    else:
        yield from _explicit(line, _dedent(content))
    return stop


def _explicit(line: str, content: list[str]) -> Iterator[str]:
    """Yield what a directive or a footnote says; comments and targets say nothing."""
    if footnote := _FOOTNOTE.match(line):
        yield from _pieces([footnote[1], *content])
    if not (directive := _DIRECTIVE.match(line)):
        return
    while content and _OPTION.match(content[0]):
        content = content[1:]
    yield from _directive(directive[1], directive[2] or "", content)


def _directive(name: str, argument: str, content: list[str]) -> Iterator[str]:
    if _SPEAKING.fullmatch(name):
        yield from _pieces([argument, *content])
    elif name in _VERSIONED:
        version, _, text = argument.partition(" ")
        words = " ".join([text, *content]).strip() if _is_one_paragraph(content) else text
        yield f"{_VERSIONED[name]} {version}{':' if words else '.'} {words}"
        if not _is_one_paragraph(content):
            yield from _pieces(content)
    elif _TITLED.fullmatch(name):
        yield argument
        yield from _pieces(content)
    elif _WRAPPING.fullmatch(name):
        yield from _pieces(content)


def _is_one_paragraph(content: list[str]) -> bool:
    return all(line.strip() for line in content)


def _paragraph(lines: list[str], position: int) -> Generator[str, None, int]:
    """Yield the paragraph, title or term that begins there; return where what follows begins."""
    stop = position
    while stop < len(lines) and lines[stop].strip() and lines[stop][0] != " ":
        if stop > position and _NEW_LINE.match(lines[stop]):
            break
        stop += 1
    text = " ".join(lines[position:stop]).rstrip()
    if not text.endswith("::"):
        yield text
        return stop
    yield text.removesuffix("::") + ("" if text.endswith(" ::") else ":")
    return _indented_until(lines, stop)  # the literal block


def _indented_until(lines: list[str], position: int) -> int:
    """Return where the next line without indentation is; blank lines before it do not count."""
    while position < len(lines) and lines[position][:1] in ("", " "):
        position += 1
    return position


def _without(margin: str, line: str) -> str:
    """Return the line without that margin, or without as much of it as it has."""
    return line[len(margin) :] if line.startswith(margin) else line.lstrip(" ")


def _blank_after(lines: list[str], position: int) -> int:
    while position < len(lines) and lines[position].strip():
        position += 1
    return position


def _dedent(lines: list[str]) -> list[str]:
    """Return the lines moved to the left together, without blank ones at both ends."""
    return textwrap.dedent("\n".join(lines)).strip("\n").split("\n")
