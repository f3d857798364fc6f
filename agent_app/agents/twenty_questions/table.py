"""The known things and their answers: things.txt in, one checked table and its look-ups out."""

import difflib
import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from types import MappingProxyType

SECTIONS = ("questions", "kinds", "things")


class Answer(StrEnum):
    """The five answers of the game, from the firmest yes to the firmest no."""

    YES = "yes"
    KIND_OF = "kind of"
    NOT_REALLY = "not really"
    NO = "no"
    COMPLETE_WRONG = "complete wrong"

    @property
    def leans_yes(self) -> bool:
        """Tell the two answers on the side of yes from the three on the side of no."""
        return self in (Answer.YES, Answer.KIND_OF)


LETTERS: Mapping[str, Answer] = MappingProxyType(dict(zip("ykrnx", Answer, strict=True)))


@dataclass(frozen=True)
class Question:
    """One question of the table."""

    key: str
    text: str
    other_wordings: tuple[str, ...] = ()
    """Sentences that ask the same; recognised, never asked."""


@dataclass(frozen=True)
class Thing:
    """One thing that can be the secret."""

    name: str
    variants: tuple[str, ...] = ()
    """Other names and irregular plurals."""
    answers: Mapping[str, Answer] = field(default_factory=dict, compare=False, repr=False)
    """The answer to every question of the table, by the question's key."""


@dataclass(frozen=True, eq=False)
class Table:
    """Every question and every thing, in the order of the file; equal only to itself."""

    questions: tuple[Question, ...]
    things: tuple[Thing, ...]


@functools.cache
def load_table() -> Table:
    """Return the shipped table, read and checked once in a process.

    Raises: ValueError: the file breaks a rule of its own form.
    """
    package = resources.files("agent_app.agents.twenty_questions")
    return parse_table((package / "things.txt").read_text(encoding="utf-8"))


def parse_table(text: str) -> Table:
    """Return the table that the text describes in the form that the head of things.txt explains.

    Raises: ValueError: an unknown section, kind, key or letter, or a name or key that comes twice.
    """
    sections = _split_sections(text)
    questions = tuple(_parse_question(line) for line in sections["questions"])
    keys = [question.key for question in questions]
    _refuse_repeats(keys, "Question")
    kinds: dict[str, dict[str, Answer]] = {}
    for head, lines in _blocks(sections["kinds"]):
        names, answers = _parse_block(head, lines, kinds=kinds, keys=keys)
        _refuse_repeats([*kinds, *names], "Kind")
        kinds[names[0]] = answers
    things = []
    for head, lines in _blocks(sections["things"]):
        names, answers = _parse_block(head, lines, kinds=kinds, keys=keys)
        complete = {key: answers.get(key, Answer.NO) for key in keys}
        things.append(Thing(names[0], tuple(names[1:]), MappingProxyType(complete)))
    _refuse_repeats([_squeeze(name) for thing in things for name in _names(thing)], "Thing")
    return Table(questions, tuple(things))


def _split_sections(text: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {name: [] for name in SECTIONS}
    current = ""
    for line in text.splitlines():
        if line.startswith("["):
            current = line.strip().strip("[]")
        elif line.strip() and not line.startswith("#"):
            if current not in sections:
                raise ValueError(f"Section {current!r} is unknown; expected one of {SECTIONS}.")
            sections[current].append(line)
    return sections


def _parse_question(line: str) -> Question:
    key, _, wordings = line.partition(" ")
    text, *others = (wording.strip() for wording in wordings.split("|"))
    return Question(key, text, tuple(others))


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each line that is not indented, with the indented ones that follow it."""
    if lines and lines[0][0].isspace():
        raise ValueError(f"{lines[0]!r} belongs to nothing; expected a name above it.")
    starts = [number for number, line in enumerate(lines) if not line[0].isspace()]
    for start, end in itertools.pairwise([*starts, len(lines)]):
        yield lines[start], lines[start + 1 : end]


def _parse_block(
    head: str, lines: list[str], *, kinds: Mapping[str, Mapping[str, Answer]], keys: list[str]
) -> tuple[list[str], dict[str, Answer]]:
    """Return the names in a block's head and the answers that its kinds and its lines set."""
    left, _, right = head.partition(":")
    names = [name.strip() for name in left.split("|")]
    answers: dict[str, Answer] = {}
    for kind in right.split():
        if kind not in kinds:
            raise ValueError(f"{names[0]!r} builds on kind {kind!r}, which does not stand above.")
        answers.update(kinds[kind])
    own = [(key, letter) for letter, *line in map(str.split, lines) for key in line]
    _refuse_repeats([key for key, _ in own], f"In {names[0]!r}, key")
    for key, letter in own:
        if key not in keys or letter not in LETTERS:
            raise ValueError(f"{names[0]!r} sets {letter} {key}; no such letter or question.")
        answers[key] = LETTERS[letter]
    return names, answers


def _refuse_repeats(names: list[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} {name!r} stands twice; expected once.")
        seen.add(name)


def find_thing(text: str, *, table: Table | None = None) -> Thing | None:
    """Return the thing that the text names, whatever its case, article, plural and punctuation.

    Without a table, the shipped one is searched.
    """
    index = _thing_index(table or load_table())
    return next((index[form] for form in _number_forms(_squeeze(text)) if form in index), None)


def nearest_things(text: str, count: int = 3) -> list[str]:
    """Return the names of the shipped things that look most like the text, the nearest first."""
    index = _thing_index(load_table())
    named = [thing.name for word in _words(text) if (thing := find_thing(word))]
    asked = _squeeze(text)
    close = sorted(index, key=lambda name: -_likeness(asked, name))
    return list(dict.fromkeys(named + [index[name].name for name in close]))[:count]


def _likeness(asked: str, name: str) -> float:
    """Return how much two names look alike; people seldom slip on the first letter."""
    same_start = asked[:1] == name[:1]
    return difflib.SequenceMatcher(None, asked, name).ratio() + 0.1 * same_start


@functools.lru_cache(maxsize=8)
def _thing_index(table: Table) -> dict[str, Thing]:
    return {_squeeze(name): thing for thing in table.things for name in _names(thing)}


def _names(thing: Thing) -> tuple[str, ...]:
    return (thing.name, *thing.variants)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", re.sub("['\u2019]", "", text.casefold()))


def _squeeze(text: str) -> str:
    """Return the letters of a name alone, without a leading article."""
    words = _words(text)
    if len(words) > 1 and words[0] in ("a", "an", "the"):
        words = words[1:]
    return "".join(words)


def _number_forms(name: str) -> Iterator[str]:
    """Yield the name as it stands, then as a singular, then as a plural."""
    yield name
    for ending, singular in (("s", ""), ("es", ""), ("ies", "y")):
        if name.endswith(ending):
            yield name.removesuffix(ending) + singular
    yield name + "s"


FILLERS = frozenset(
    """
    a an the is are it its this that thing object item something does do can could would be
    find found see usually often normally typically generally commonly any really
    """.split()  # noqa: SIM905
)
"""Words that change nothing in a question; a "not" or a "never" is no filler."""
SOMEBODY = frozenset({"i", "we", "one", "people", "humans", "someone", "somebody", "anyone"})
"""Words for the one who asks, read as "you": "can people eat it" is "can you eat it"."""

Gist = tuple[str, ...]


@functools.lru_cache(maxsize=4096)
def find_question(text: str, *, table: Table | None = None) -> Question | None:
    """Return the question that the text asks, or None where that is not plain.

    The words that matter must be the same and in the same order; one of them may be misspelt.
    Without a table, the shipped one is searched.
    """
    index = _question_index(table or load_table())
    gist = _gist(text)
    if gist in index:
        return index[gist]
    vocabulary = {word for known in index for word in known}
    near = {index[known] for known in index if _is_misspelling(gist, known, vocabulary)}
    return near.pop() if len(near) == 1 else None


@functools.lru_cache(maxsize=8)
def _question_index(table: Table) -> dict[Gist, Question]:
    return {
        _gist(wording): question
        for question in table.questions
        for wording in (question.text, *question.other_wordings)
    }


def _gist(text: str) -> Gist:
    """Return the words of a question that matter, in their order, as singulars."""
    words = (word for word in _words(text) if word not in FILLERS)
    return tuple("you" if word in SOMEBODY else _stem(word) for word in words)


def _stem(word: str) -> str:
    if word == "has":
        return "have"
    return word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] not in "su" else word


def _is_misspelling(asked: Gist, known: Gist, vocabulary: set[str]) -> bool:
    """Tell whether exactly one word differs, and that one only as a slip of the hand does."""
    if len(asked) != len(known):
        return False
    slips = [pair for pair in zip(asked, known, strict=True) if pair[0] != pair[1]]
    if len(slips) != 1:
        return False
    wrong, right = slips[0]
    if wrong in vocabulary or min(len(wrong), len(right)) < 5 or wrong[0] != right[0]:
        return False
    return difflib.SequenceMatcher(None, wrong, right).ratio() >= 0.85
