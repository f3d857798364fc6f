"""Sentences and the words that they share: what the offline model knows of language."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9'\u2019+#.-]*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"\u201d\u2019)]*\s+(?=[\"\u201c(A-Z0-9])|\n{2,}")
_CLAUSE_END = re.compile(
    r"[,;:?!()]|\b(?:and|or|if|but|because|while|when|than|versus|vs|compared)\b", re.IGNORECASE
)
_ODD = re.compile(r"[|{}<>`=\\]|::|https?:|\.\.\.|…")
"""Signs of code, tables and addresses, which are no sentences to be quoted."""
_STOP_WORDS = """\
a about after all also an and any are as at be because been best better but by can care
could did do does each else few find for from get give good great had has have how i if in
into is it its like many may me more most much my need no not of on one only or other our
should so some such tell than that the their them then there these they this those to too
under use used using very want was we were what when where which while who whom whose why
will with would you your
"""
_STOPPED = frozenset(_STOP_WORDS.split())
_MIN_SIGNS, _MAX_SIGNS, _MIN_WORDS = 40, 400, 6


@dataclass(frozen=True)
class Sentence:
    """A sentence of a source, exactly as it stands there."""

    source_id: str
    words: str
    topic: str = ""
    """Title of the source, which says what the sentence is about."""
    weight: float = 1.0
    """How well it was found: 1 for the best result of a search, less further down."""


def content_words(text: str) -> list[str]:
    """Return the words that carry meaning, in order, each once."""
    words = (word.strip(".'\u2019-") for word in _WORD.findall(text))
    kept = [word for word in words if len(word) > 1 and word.lower() not in _STOPPED]
    return list({word.lower(): word for word in reversed(kept)}.values())[::-1]


def clauses(text: str) -> list[list[str]]:
    """Return the content words of each clause that has any."""
    return [words for part in _CLAUSE_END.split(text) if (words := content_words(part))]


def stems(text: str) -> frozenset[str]:
    """Return what is left of the content words without their commonest endings."""
    return frozenset(_stem(word.lower()) for word in content_words(text))


_ENDINGS = ("ation", "ions", "ing", "ion", "ers", "ies", "ed", "es", "er")


def _stem(word: str) -> str:
    word = word.replace("bility", "ble")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word[:-1] if word.endswith("s") and len(word) > 3 else word.rstrip("e")


def weight_of(rank: int) -> float:
    """Return what the result at a place, from 0, counts against the first one."""
    return 1 / (1 + 0.2 * rank)


def split_sentences(text: str) -> list[str]:
    """Return the whole sentences of a text as they stand there; headings and code are none."""
    return [part for piece in _SENTENCE_END.split(text) if _is_sentence(part := piece.strip())]


def _is_sentence(text: str) -> bool:
    return (
        _MIN_SIGNS <= len(text) <= _MAX_SIGNS
        and text[-1] in ".!?"
        and text[0].isalnum()
        and "\n" not in text
        and len(text.split()) >= _MIN_WORDS
        and not _ODD.search(text)
    )


def choose(
    sentences: Iterable[Sentence], question: str, *, max_count: int, max_per_source: int = 3
) -> list[Sentence]:
    """Return the sentences that say most about the question and least twice, the best first.

    Source: Carbonell and Goldstein, The Use of MMR (1998), for the trade of one against the other.
    """
    left = {sentence.words: _Candidate(sentence) for sentence in sentences}
    worth = _worth(stems(question), left.values())
    chosen: list[_Candidate] = []
    while left and len(chosen) < max_count:
        best = max(left.values(), key=lambda candidate: candidate.value(worth, chosen))
        del left[best.sentence.words]
        if best.value(worth, chosen) <= 0:
            break
        same = sum(best.sentence.source_id == other.sentence.source_id for other in chosen)
        if same < max_per_source:
            chosen.append(best)
    return [candidate.sentence for candidate in chosen]


class _Candidate:
    """A sentence and its words."""

    def __init__(self, sentence: Sentence) -> None:
        self.sentence = sentence
        self._own = stems(sentence.words)
        self.all = self._own | stems(sentence.topic)

    def value(self, worth: Mapping[str, float], chosen: Sequence["_Candidate"]) -> float:
        """Return the worth of the shared words, those of the title by half, less what repeats."""
        shared = sum(worth.get(stem, 0.0) for stem in self._own)
        by_title = sum(worth.get(stem, 0.0) for stem in self.all - self._own)
        if not shared:
            return 0.0
        overlap = max((_likeness(self._own, other._own) for other in chosen), default=0.0)
        length = math.sqrt(len(self._own) + 5)
        return self.sentence.weight * (shared + 0.5 * by_title) / length * (1 - overlap)


def _worth(wanted: Collection[str], candidates: Collection[_Candidate]) -> dict[str, float]:
    """Return how much a word of the question tells: less, the more sentences have it."""
    counts = Counter(stem for candidate in candidates for stem in candidate.all)
    return {stem: math.log(1 + len(candidates) / (1 + counts[stem])) for stem in wanted}


def _likeness(one: Collection[str], other: Collection[str]) -> float:
    both = len(set(one) & set(other))
    return both / (len(one) + len(other) - both) if both else 0.0
