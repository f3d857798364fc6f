"""Text as it is compared: one spelling for what looks the same, and the way back to the text."""

# ruff: noqa: RUF001 - signs that look alike are what this file is about

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

_SPELLINGS = (
    dict.fromkeys("'‘’‚‛′‹›ʼ`´", "'")
    | dict.fromkeys('"“”„‟″«»〝〞＂', '"')
    | dict.fromkeys("-‐‑‒–—―−﹘﹣－", "-")
    | {"\u00ad": "\u00ad"}  # it may end a line: see _between
)
_KEPT = ("<super>", "<sub>", "<fraction>")
"""Compatibility spellings that change the meaning: 10² is not 102, and 1½ is not 11⁄2."""
_SOFT_HYPHEN = "\u00ad"


@dataclass(frozen=True)
class Folded:
    """A text in its one spelling; hyphens between letters are out of it and kept beside it."""

    text: str
    hyphens: tuple[int, ...]
    """Where hyphens stood between letters, in `text`."""
    breaks: tuple[int, ...]
    """Where those stood that end a line, of which nobody knows whether they belong to the word."""
    _folded_at: list[int] = field(repr=False)
    _origin_at: list[int] = field(repr=False)
    _lengths: list[int] = field(repr=False)
    """Of the original of a piece that was replaced as a whole; 0 where signs stand one for one."""

    def origin(self, start: int, stop: int) -> tuple[int, int]:
        """Return where a piece of `text`, not an empty one, stands in the original."""
        return self._sign(start)[0], self._sign(stop - 1)[1]

    def _sign(self, position: int) -> tuple[int, int]:
        at = bisect_right(self._folded_at, position) - 1
        start, length = self._origin_at[at], self._lengths[at]
        if length:
            return start, start + length
        start += position - self._folded_at[at]
        return start, start + 1


_Edit = tuple[int, int, str, str]
"""Where a piece of the original begins and ends, what stands for it, and which hyphen went: `-` for
one between letters, `/` for one at the end of a line. No class: a long text has 100,000 of them."""


def fold(text: str) -> Folded:
    """Return the text in its one spelling; takes time in proportion to its length.

    White space is one space; quotation marks are `'`, after a digit `"` stays (inches); dashes are
    `-`; letters are NFKC but for superscripts, subscripts and fractions; soft hyphens, other signs
    without a width and hyphens between letters are gone. Case stays.
    """
    signs = set(text)
    plain = _replace(text, {s: p for s in signs if len(p := _spelling(s)) == 1 and p != s})
    if '"' in plain:
        before = (plain[max(found.start() - 1, 0)] for found in re.finditer('"', plain))
        plain = re.sub('"', lambda _: '"' if next(before).isdigit() else "'", plain)
    return _apply(plain, _edits(plain, signs))


def _replace(text: str, spellings: dict[str, str]) -> str:
    """Return the text with signs replaced by others, one for one."""
    if len(spellings) > 100:
        return text.translate({ord(sign): spelling for sign, spelling in spellings.items()})
    for sign, spelling in spellings.items():  # ten times as fast as translate, if they are few
        text = text.replace(sign, spelling)
    return text


def _apply(plain: str, edits: Iterable[_Edit]) -> Folded:
    parts: list[str] = []
    folded_at, origin_at, lengths = [0], [0], [0]
    marks: dict[str, list[int]] = {"-": [], "/": []}
    length = origin = 0
    for start, stop, text, hyphen in edits:
        parts += (plain[origin:start], text)
        length += start - origin
        if hyphen:
            marks[hyphen].append(length)
        if text:
            folded_at.append(length)
            origin_at.append(start)
            lengths.append(stop - start)
        length, origin = length + len(text), stop
        folded_at.append(length)
        origin_at.append(origin)
        lengths.append(0)
    parts.append(plain[origin:])
    hyphens, breaks = tuple(marks["-"]), tuple(marks["/"])
    return Folded("".join(parts), hyphens, breaks, folded_at, origin_at, lengths)


def _spelling(sign: str) -> str:
    """Return what stands for a sign; empty for one without a width."""
    if sign in _SPELLINGS:
        return _SPELLINGS[sign]
    if sign.isspace():
        return " "
    if sign.isascii():
        return sign if sign.isprintable() else ""
    if unicodedata.category(sign) in ("Cf", "Cc") or "\ufe00" <= sign <= "\ufe0f":
        return ""
    if unicodedata.decomposition(sign).startswith(_KEPT):
        return sign
    return unicodedata.normalize("NFKC", sign)


def _edits(plain: str, signs: set[str]) -> Iterator[_Edit]:
    """Yield what is not one for one, in order."""
    gone = "".join(sign for sign in signs if _spelling(sign) == "")
    without = str.maketrans("", "", gone)

    @cache
    def replaced(piece: str) -> str:
        return "".join(map(_spelling, unicodedata.normalize("NFC", piece)))

    @cache
    def between(piece: str, before: str, after: str) -> tuple[str, str]:
        return _between(piece.translate(without), before, after)

    for found in _pattern(signs, gone + _SOFT_HYPHEN).finditer(plain):
        start, stop = found.span()
        piece, hyphen = found[0], ""
        if found.lastgroup is None:
            text = replaced(piece)
        else:
            text, hyphen = between(piece, plain[start - 1 : start], plain[stop : stop + 1])
        if text != piece:
            yield start, stop, text, hyphen


def _pattern(signs: set[str], gone: str) -> re.Pattern[str]:
    """Return what finds the pieces that are not one for one."""
    longer = "".join(sign for sign in signs if len(_spelling(sign)) > 1)
    marks = "".join(s for s in signs if unicodedata.category(s)[0] == "M" and s not in gone)
    drop = re.escape(gone)
    alternatives = [rf"(?P<loose>(?: [ \-{drop}]|[\-{drop}])[ \-{drop}]*)"]
    if marks:
        alternatives.append(rf".[{re.escape(marks)}]+")
    if any("\u1100" <= sign <= "\u11ff" for sign in signs):  # letters of Hangul, to be joined
        alternatives.append("[\u1100-\u11ff]+")
    if longer:
        alternatives.append(f"[{re.escape(longer)}]")
    return re.compile("|".join(alternatives))


def _between(piece: str, before: str, after: str) -> tuple[str, str]:
    """Return what stands for spaces and hyphens between two signs, and which hyphen went."""
    is_within_word = before.isalpha() and after.isalpha()
    core = piece.replace(_SOFT_HYPHEN, "")
    spaced = re.sub(" +", " ", core)
    if core.startswith("-") and not core[1:].strip():
        if is_within_word:
            return "", "/" if len(core) > 1 else "-"
        if before.isalnum() and after.isalnum():
            return "-", ""
    if core and not core.strip() and is_within_word and piece.startswith(_SOFT_HYPHEN):
        return "", "/"
    return spaced, ""
