"""Words that are said to be copied from a text, looked up in it; else what is near them."""

# ruff: noqa: RUF001 - quotation marks of many shapes

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from agent_app.sources.folding import Folded, fold
from agent_app.sources.numbers import unsupported_numbers

__all__ = [
    "Folded",
    "Span",
    "find_folded",
    "find_quote",
    "fold",
    "is_too_short",
    "nearest_passage",
    "unsupported_numbers",
]

MIN_WORDS = 3
MIN_CHARACTERS = 12
"""Letters and digits; one of a script without spaces counts as a word, and as two."""
MAX_ELIDED = 300
"""Characters that `…` may stand for."""
_MAX_TRIES = 10_000
"""Places that are looked at for one part of a quote: a text of one repeated word has too many."""

_SPACE = " \t\r\n"
_QUOTES = "\"'‘’‚‛‹›`´“”„‟«»"
_ELISION = re.compile(r"[\[(]\s*(?:…|\.\.\.)\s*[\])]|…|\.(?:\s?\.){2,}")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nor|neither|nobody|nothing|cannot|without|unless|except)\b|n't\b", re.I
)
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Signs of scripts that put no spaces between words, Hangul (which does) left out."""
_NUMBER_BEFORE = re.compile(r"(?:^|[\s\d(])[.,]$|\d[/:]$|-$")
"""Before a digit: 2.50, .50, 1/50, -50 and X-50 are not 50."""
_NUMBER_AFTER = re.compile(r"[.,/:]\d|-\w| ?[%‰]")
"""After a digit: 50.2, 50/1, 50-60 and 50 % are not 50."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True)
class Span:
    """A piece of a text, in characters; `text[start:stop]`."""

    start: int
    stop: int


def find_quote(text: str, words: str) -> Span | None:
    """Return where the words stand in the text; None where they do not, or are too few to tell.

    The same are: any white space; quotation marks, dashes, ligatures and other compatible letters;
    a word and that word hyphenated at the end of a line; signs without a width. Case counts, but
    for the first letter. A full stop, a comma or quotation marks around the words may be missing.
    They begin and end with whole words and numbers: "able" is not found in "unable", nor "50" in
    "2.50". `…` and `...` stand for up to 300 characters between parts of which each could be a
    quote by itself, unless what they hide says "not" (in English).
    """
    for start, stop in _likely_places(text, words):
        found = find_folded(fold(text[start:stop]), words)
        # What touches an end of the piece may go on beyond it.
        if found and (found.start > 2 or not start) and (stop - start - found.stop > 2):
            return Span(start + found.start, start + found.stop)
    return find_folded(fold(text), words)


def _likely_places(text: str, words: str) -> Iterator[tuple[int, int]]:
    """Yield pieces around the quote's longest word: a long text need not be folded as a whole."""
    anchor = max(re.findall(r"[A-Za-z0-9]{4,}", words), key=len, default="")
    margin = 2 * len(words) + 200
    if anchor and len(text) > 4 * margin:
        for found in islice(re.finditer(anchor, text), 20):
            yield max(found.start() - margin, 0), min(found.end() + margin, len(text))


def find_folded(text: Folded, words: str) -> Span | None:
    """Return what `find_quote` does, for a text that many quotes are looked up in."""
    if is_too_short(words):
        return None
    quote = unicodedata.normalize("NFC", words).strip()
    for part in dict.fromkeys((quote, _bare(quote))):
        if found := next(_places(text, part), None):
            return Span(*text.origin(*found))
    parts = [part for part in map(_bare, _ELISION.split(quote)) if part]
    if parts == [_bare(quote)] or any(map(is_too_short, parts)):
        return None
    return _find_parts(text, parts)


def is_too_short(words: str) -> bool:
    """Say whether so few words could stand anywhere: below 3, or below 12 letters and digits."""
    plain = fold(words).text
    unspaced = len(_UNSPACED.findall(plain))
    word_count = len(_WORD.findall(_UNSPACED.sub(" ", plain))) + unspaced
    return word_count < MIN_WORDS or sum(map(str.isalnum, plain)) + unspaced < MIN_CHARACTERS


def _bare(words: str) -> str:
    """Return the words without quotation marks around them and marks at their end."""
    return words.lstrip(_SPACE + _QUOTES).rstrip(_SPACE + _QUOTES + ".,;:")


def _places(text: Folded, words: str) -> Iterator[tuple[int, int]]:
    """Yield where the words stand in folded text, the first letter in either case."""
    quote = fold(words)
    if not quote.text:
        return
    for start in islice(_occurrences(text.text, quote.text), _MAX_TRIES):
        stop = start + len(quote.text)
        if _is_whole(text.text, start, stop) and _has_same_hyphens(text, start, quote):
            yield start, stop


def _occurrences(text: str, words: str) -> Iterator[int]:
    """Yield where the words begin, in order."""
    other = words[0].swapcase() + words[1:]
    spellings = [words] if other == words or len(other) != len(words) else [words, other]
    found = {spelling: text.find(spelling) for spelling in spellings}
    while found := {spelling: at for spelling, at in found.items() if at >= 0}:
        spelling, at = min(found.items(), key=lambda item: item[1])
        yield at
        found[spelling] = text.find(spelling, at + 1)


def _is_whole(text: str, start: int, stop: int) -> bool:
    """Say whether neither end cuts a word or a number, or leaves a sign out."""
    before, after = text[max(0, start - 2) : start], text[stop : stop + 2]
    first, last = text[start], text[stop - 1]
    if _is_joined(before[-1:], first) or _is_joined(last, after[:1]):
        return False
    if first.isdigit() and _NUMBER_BEFORE.search(before):
        return False
    if last.isdigit() and _NUMBER_AFTER.match(after):
        return False
    if first.isalnum() and re.search(r"\w'$", before):
        return False
    # they can | 't; a possessive 's may be left out
    return not (last.isalpha() and re.match(r"'[^\Ws]", after))


def _is_joined(left: str, right: str) -> bool:
    are_words = left.isalnum() and right.isalnum()
    return are_words and not (_UNSPACED.match(left) or _UNSPACED.match(right))


def _has_same_hyphens(text: Folded, start: int, quote: Folded) -> bool:
    """Say whether a hyphen within a word of one is in the other too, or may be, at a line's end."""
    stop = start + len(quote.text)
    theirs = {at - start for at in _within(text.hyphens, start, stop)}
    their_breaks = {at - start for at in _within(text.breaks, start, stop)}
    ours, our_breaks = set(quote.hyphens), set(quote.breaks)
    return theirs <= ours | our_breaks and ours <= theirs | their_breaks


def _within(positions: tuple[int, ...], start: int, stop: int) -> tuple[int, ...]:
    # A hyphen before the first letter or after the last one would have cut a word.
    return positions[bisect_left(positions, start + 1) : bisect_left(positions, stop)]


def _find_parts(text: Folded, parts: list[str]) -> Span | None:
    """Return the span from the first part to the last one, each near the one before."""
    chains = {stop: start for start, stop in _places(text, parts[0])}  # of each end, its beginning
    for part in parts[1:]:
        ends, going_on = list(chains), {}
        for start, stop in _places(text, part):
            at = bisect_left(ends, start + 1) - 1
            if at >= 0 and _may_be_elided(text.text[ends[at] : start]):
                going_on[stop] = chains[ends[at]]
        chains = going_on
    found = next(iter(chains.items()), None)
    return Span(*text.origin(found[1], found[0])) if found else None


def _may_be_elided(words: str) -> bool:
    return len(words) <= MAX_ELIDED and not _NEGATION.search(words)


def nearest_passage(text: str, words: str) -> str | None:
    """Return the piece of the text that shares most with the words, rare ones above all.

    As long as the words, with a few more around; None where it shares less than half.
    """
    wanted = {word.lower() for word in _WORD.findall(words)}
    tokens = [(m.start(), m.end(), m[0].lower()) for m in _WORD.finditer(text)]
    counts = Counter(token for _, _, token in tokens if token in wanted)
    weights = {word: 1 / counts[word] ** 0.5 for word in counts}
    width = max(len(_WORD.findall(words)), 1)
    best, first = _best_window([token for _, _, token in tokens], weights, width)
    shared = {token for _, _, token in tokens[first : first + width]} & wanted
    if not shared or best <= 0 or len(shared) * 2 < len(wanted):
        return None
    around = max(first - 3, 0), min(first + width + 3, len(tokens)) - 1
    return text[tokens[around[0]][0] : tokens[around[1]][1]]


def _best_window(tokens: list[str], weights: dict[str, float], width: int) -> tuple[float, int]:
    """Return the greatest sum of weights, each word counted once, and where it begins."""
    inside: Counter[str] = Counter()
    total = best = 0.0
    first = 0
    for at, token in enumerate(tokens):
        if token in weights:
            total += weights[token] if not inside[token] else 0
            inside[token] += 1
        if at >= width and (gone := tokens[at - width]) in weights:
            inside[gone] -= 1
            total -= weights[gone] if not inside[gone] else 0
        if total > best + 1e-9:
            best, first = total, max(at - width + 1, 0)
    return best, first
