"""Inline markup of reStructuredText into the words that a reader sees."""

import re

_REPLACEMENT = re.compile(r"^[ ]*\.\. \|([^|\n]+)\| replace:: (.+)$", re.M)
_TARGET = re.compile(r"^[ ]*\.\. _`?([\w .-]+?)`?:", re.M)
_ROLE = r":[a-zA-Z][\w:+.-]*:"
_CODE = re.compile(r"``(.+?)``")
_RULES = (
    (re.compile(r"\s*\[(?:\d+|#\w*|\*|[A-Z]\w*)\]_(?!\w)"), ""),  # footnotes, citations
    (re.compile(_ROLE + r"`([^`<]+?)\s*<[^`>]+>`"), r"\1"),
    (re.compile(_ROLE + r"`~(?:[\w.]+\.)?(\w+(?:\(\))?)`"), r"\1"),
    (re.compile(_ROLE + r"`[!~]?([^`]+)`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]+>`_{0,2}"), r"\1"),
    (re.compile(r"_?`<?([^`>]+)>?`_{0,2}"), r"\1"),
    (re.compile(r"(?<![\w*])\*\*(?=\S)(.+?)(?<=\S)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*(?=[^\s*])([^*]+?)(?<=\S)\*(?![\w*])"), r"\1"),
)
_SUBSTITUTION = re.compile(r"(?<![\w|])\|([^\s|](?:[^|]*[^\s|])?)\|_{0,2}(?![\w|])")
_ESCAPE = re.compile(r"\\(?:\s|$|(\S))")


class Markup:
    """Knows what the document calls by a name: its substitutions and its targets."""

    def __init__(self, text: str) -> None:
        self._replacements: dict[str, str] = dict(_REPLACEMENT.findall(text))
        names = {re.escape(name) for name in _TARGET.findall(text)}
        self._references = re.compile(rf"\b({'|'.join(sorted(names)) or '(?!)'})__?(?!\w)")

    def spoken(self, text: str) -> str:
        """Return the text without its markup; code between double backquotes is kept whole."""
        pieces = _CODE.split(text)  # text, code, text, code …
        return "".join(
            piece if number % 2 else self._without_markup(piece)
            for number, piece in enumerate(pieces)
        )

    def _without_markup(self, text: str) -> str:
        text = _SUBSTITUTION.sub(lambda found: self._replacements.get(found[1], ""), text)
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        return _ESCAPE.sub(r"\1", self._references.sub(r"\1", text))
