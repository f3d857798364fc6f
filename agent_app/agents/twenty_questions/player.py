"""A player that is no language model: the turns so far in, the most informative next turn out."""

import functools
import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agent_app.agents.twenty_questions.table import (
    Answer,
    Question,
    Table,
    find_question,
    find_thing,
)

MAX_TURNS = 20
"""Questions and guesses together; the last turn is always a guess."""
NEAR = 0.2
"""How likely a neighbouring answer is beside the recorded one; each step farther counts as much."""
NOISE = 0.04
"""How likely any answer is beside the recorded one, however far: people err."""
TIE_BITS = 1e-9
"""Values closer together than this count as equal."""


@dataclass(frozen=True)
class Turn:
    """One turn of the game, answered or not yet."""

    kind: Literal["question", "guess"]
    text: str
    """The question, or the name of the guessed thing."""
    answer: Answer | None = None
    """A guess is answered yes or no."""


def next_turn(table: Table, history: Sequence[Turn], *, seed: int = 0) -> Turn:
    """Return the turn that tells the most after the history; the same one for the same arguments.

    A seed other than 0 chooses by chance among equally good turns; without one the first in the
    table is taken. Raises: ValueError: the thing is found already, or every thing was guessed.
    """
    chances = _chances(table, history)
    guessed = _guessed(table, history)
    rest = [number for number, thing in enumerate(table.things) if thing.name not in guessed]
    if not rest or _is_won(history):
        raise ValueError("The game is over; expected a history with something left to find.")
    shuffler = random.Random(seed) if seed else None
    guess = _best({number: chances[number] for number in rest}, shuffler)
    gains = _question_gains(table, history, chances) if len(history) < MAX_TURNS - 1 else {}
    if not gains or _guess_gain(chances[guess]) >= max(gains.values()):
        return Turn("guess", table.things[guess].name)
    return Turn("question", table.questions[_best(gains, shuffler)].text)


def information_gained(table: Table, history: Sequence[Turn]) -> list[float]:
    """Return the bits by which each turn lessened what is unknown; below 0 after a surprise."""
    unknown = [_entropy(_chances(table, history[:count])) for count in range(len(history) + 1)]
    return [before - after for before, after in itertools.pairwise(unknown)]


def _best(values: Mapping[int, float], shuffler: random.Random | None) -> int:
    """Return the number with the highest value; the first of equals, or one of them by chance."""
    highest = max(values.values())
    equals = [number for number, value in values.items() if value > highest - TIE_BITS]
    return shuffler.choice(equals) if shuffler else equals[0]


def _is_won(history: Sequence[Turn]) -> bool:
    return any(turn.kind == "guess" and turn.answer == Answer.YES for turn in history)


def _guessed(table: Table, history: Sequence[Turn]) -> set[str]:
    things = [find_thing(turn.text, table=table) for turn in history if turn.kind == "guess"]
    return {thing.name for thing in things if thing}


def _chances(table: Table, history: Sequence[Turn]) -> list[float]:
    """Return every thing's probability after the history, in the table's order."""
    weights = [1.0] * len(table.things)
    for turn in history:
        factors = _factors(table, turn) if turn.answer else None
        if factors:
            weights = [weight * factor for weight, factor in zip(weights, factors, strict=True)]
    total = sum(weights)
    return [weight / total for weight in weights] if total else weights


def _factors(table: Table, turn: Turn) -> list[float] | None:
    """Return how likely the turn's answer is for every thing; None where it tells nothing."""
    if turn.kind == "guess":
        named = find_thing(turn.text, table=table)
        is_right = turn.answer == Answer.YES
        return [float((thing == named) == is_right) for thing in table.things] if named else None
    question = find_question(turn.text, table=table)
    if question is None or turn.answer is None:
        return None
    row = {recorded: _likelihoods()[recorded][turn.answer] for recorded in Answer}
    return [row[thing.answers[question.key]] for thing in table.things]


@functools.cache
def _likelihoods() -> Mapping[Answer, Mapping[Answer, float]]:
    """Return how likely each answer is where the table records the outer one; none is 0."""
    scale = list(Answer)
    rows = {}
    for place, recorded in enumerate(scale):
        weights = [NEAR ** abs(place - other) + NOISE for other in range(len(scale))]
        rows[recorded] = {
            answer: weight / sum(weights) for answer, weight in zip(scale, weights, strict=True)
        }
    return rows


def _question_gains(
    table: Table, history: Sequence[Turn], chances: Sequence[float]
) -> dict[int, float]:
    """Return the bits that each question not yet asked is expected to bring."""
    asked = {
        question.key
        for turn in history
        if turn.kind == "question" and (question := find_question(turn.text, table=table))
    }
    return {
        number: _expected_gain(_masses(groups, chances))
        for number, groups in enumerate(_groups(table))
        if table.questions[number].key not in asked
    }


@functools.lru_cache(maxsize=8)
def _groups(table: Table) -> list[dict[Answer, list[int]]]:
    """Return, for each question, the numbers of the things by answer, without the largest group."""
    return [_smaller_groups(table, question) for question in table.questions]


def _smaller_groups(table: Table, question: Question) -> dict[Answer, list[int]]:
    groups: dict[Answer, list[int]] = {answer: [] for answer in Answer}
    for number, thing in enumerate(table.things):
        groups[thing.answers[question.key]].append(number)
    del groups[max(groups, key=lambda answer: len(groups[answer]))]
    return groups


def _masses(groups: Mapping[Answer, list[int]], chances: Sequence[float]) -> dict[Answer, float]:
    """Return the probability that the secret is recorded with each answer."""
    masses = {answer: sum(map(chances.__getitem__, numbers)) for answer, numbers in groups.items()}
    (largest,) = set(Answer) - masses.keys()
    return {**masses, largest: max(0.0, 1 - sum(masses.values()))}


def _expected_gain(masses: Mapping[Answer, float]) -> float:
    """Return the mutual information, in bits, between the secret and the answer to come."""
    rows = _likelihoods()
    answers = [sum(masses[known] * rows[known][heard] for known in Answer) for heard in Answer]
    noise = sum(masses[known] * _row_entropies()[known] for known in Answer)
    return _entropy(answers) - noise


@functools.cache
def _row_entropies() -> Mapping[Answer, float]:
    return {recorded: _entropy(row.values()) for recorded, row in _likelihoods().items()}


def _guess_gain(chance: float) -> float:
    """Return what a guess is worth in bits: what it tells, and the turn that it saves if right."""
    return _entropy((chance, 1 - chance)) + chance


def _entropy(chances: Iterable[float]) -> float:
    return -sum(chance * math.log2(chance) for chance in chances if chance > 0)
