"""Pieces of a text that are searched: about 200 words, between sentences or paragraphs."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from pydantic import BaseModel

WORDS = 200
"""What a passage has, more or less."""
_SIGNS_OF_A_WORD = 10
"""Words longer than that count as several: lines of digits, and scripts without spaces."""
_MAX_UNIT_WORDS = 100
"""Longer sentences are cut."""
_BREAK = re.compile(
    r"(?P<paragraph>\n\s*\n\s*)|(?<=[.!?])[\"'\u201d\u2019)\]]*\s+|(?<=[\u3002\uff01\uff1f])"
)
_WORD = re.compile(r"\S+")
_MAX_HEADING_WORDS = 12
_INSIDE_PARAGRAPH, _AFTER_HEADING = 40, 80
"""Words of imbalance that a better border is worth."""


class Passage(BaseModel, frozen=True):
    """A piece of a stored source that a search has found."""

    source_id: str
    url: str
    title: str
    start: int
    """Where it begins in the source's text, in characters."""
    stop: int
    text: str
    score: float
    """BM25: higher is better; scores of different queries do not compare."""


@dataclass(frozen=True)
class Piece:
    """A span of a text, in characters; there is no blank at its ends."""

    start: int
    stop: int


@dataclass(frozen=True)
class _Unit:
    """What is not divided: a sentence or a heading."""

    start: int
    stop: int
    weight: int
    """Its length in words."""
    border: int
    """What a border before it costs."""


def split_passages(text: str) -> list[Piece]:
    """Return the pieces of a text, in order, all about the same size; a short text is one.

    They end with a paragraph where one is near, else with a sentence, and never after a heading.
    Every word is in exactly one; an empty text has none.
    """
    whole = _stripped(text, 0, len(text))
    if whole is None or _weight(text, whole) < WORDS * 3 / 2:
        return [whole] if whole else []
    units = list(_units(text))
    ends = list(accumulate(unit.weight for unit in units))
    count = max(1, round(ends[-1] / WORDS))
    borders = [0]
    for number in range(1, count):
        borders.append(_border(units, ends, wanted=ends[-1] * number / count, after=borders[-1]))
    borders.append(len(units))
    return [
        Piece(units[first].start, units[behind - 1].stop)
        for first, behind in pairwise(borders)
        if first < behind
    ]


def _border(units: list[_Unit], ends: list[int], *, wanted: float, after: int) -> int:
    """Return the number of the unit that a piece best begins with, near the wanted word."""
    first = bisect_left(ends, wanted - WORDS / 2) + 1
    behind = bisect_right(ends, wanted + WORDS / 2) + 2
    candidates = range(max(first, after + 1), min(behind, len(units)))
    return min(
        candidates,
        key=lambda number: abs(ends[number - 1] - wanted) + units[number].border,
        default=after,
    )


def _units(text: str) -> Iterator[_Unit]:
    is_heading = False
    for start, stop, begins_paragraph in _sentences(text):
        border = _AFTER_HEADING if is_heading else _INSIDE_PARAGRAPH * (not begins_paragraph)
        for piece in _cut(text, start, stop):
            weight = _weight(text, piece)
            yield _Unit(piece.start, piece.stop, weight, border)
            border = _INSIDE_PARAGRAPH
        is_heading = (
            weight <= _MAX_HEADING_WORDS and text[stop - 1] not in ".!?:;\u3002\uff01\uff1f"
        )


def _sentences(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield start, stop, and whether a paragraph begins there."""
    start, begins_paragraph = 0, True
    ends = [(found.end(), found["paragraph"] is not None) for found in _BREAK.finditer(text)]
    for end, is_paragraph in [*ends, (len(text), True)]:
        if piece := _stripped(text, start, end):
            yield piece.start, piece.stop, begins_paragraph
            begins_paragraph = False
        begins_paragraph = begins_paragraph or is_paragraph
        start = end


def _stripped(text: str, start: int, stop: int) -> Piece | None:
    piece = text[start:stop].rstrip()
    left = start + len(piece) - len(piece.lstrip())
    return Piece(left, start + len(piece)) if piece else None


def _weight(text: str, piece: Piece) -> int:
    words = len(_WORD.findall(text, piece.start, piece.stop))
    return max(1, words, (piece.stop - piece.start) // _SIGNS_OF_A_WORD)


def _cut(text: str, start: int, stop: int) -> Iterator[Piece]:
    """Yield a sentence, in pieces where it is too long: between words, or through a long one."""
    max_signs = _MAX_UNIT_WORDS * _SIGNS_OF_A_WORD
    while stop - start > max_signs:
        blank = max(text.rfind(sign, start + 1, start + max_signs) for sign in " \n\t")
        middle = blank if blank > start + max_signs // 2 else start + max_signs
        if piece := _stripped(text, start, middle):
            yield piece
        start = middle
    if piece := _stripped(text, start, stop):
        yield piece
