"""What a model wrote: emphasis, code and lists are kept, links, images and markup become text."""

import re
from collections.abc import Iterator, Sequence

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from agent_app.agents.deep_research.rendering.outline import clean

_PARSER = MarkdownIt("zero").enable(
    ["paragraph", "list", "emphasis", "backticks", "escape", "newline"]
)
"""Knows no links and no HTML: only our own citations lead anywhere."""
_TAGS = {"p", "ul", "ol", "li", "em", "strong", "code", "br"}
_SPECIAL = re.compile(r"[\\`*\[\]<>~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|\|")
_LINE_START = re.compile(r"^(?=[-+#=](?:\s|$|[-+#=]))|^(\d{1,9})(?=[.)](?:\s|$))")


def prose_to_html(text: str) -> str:
    """Return what a model wrote as HTML that holds no link and no script."""
    return nh3.clean(_PARSER.render(clean(text)), tags=_TAGS, attributes={})


def prose_to_markdown(text: str) -> str:
    """Return what a model wrote as Markdown paragraphs that hold no link and no HTML."""
    return "\n\n".join(_paragraphs(_PARSER.parse(clean(text))))


def _paragraphs(tokens: Sequence[Token]) -> Iterator[str]:
    prefix = ""
    for token in tokens:
        if token.type == "list_item_open":
            prefix = f"{token.info}. " if token.info else "- "
        if token.type == "inline":
            yield prefix + at_line_start("".join(map(_inline, token.children or [])).strip())
            prefix = ""


def _inline(token: Token) -> str:
    if token.type in ("text", "text_special"):
        return escape_markdown(token.content)
    if token.type == "code_inline":
        longest = max(map(len, re.findall("`+", token.content)), default=0)
        fence = "`" * (longest + 1)
        pad = " " if token.content[:1] == "`" or token.content[-1:] == "`" else ""
        return f"{fence}{pad}{token.content}{pad}{fence}"
    if token.type in ("softbreak", "hardbreak"):
        return " "
    return token.markup  # of emphasis


def escape_markdown(text: str) -> str:
    """Return the text so that a reader of Markdown shows it as it is within a line."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def at_line_start(text: str) -> str:
    """Return escaped text that begins no heading, list or rule where a line begins with it."""
    return _LINE_START.sub(lambda found: f"{found[1]}\\" if found[1] else "\\", text)
