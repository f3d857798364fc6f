"""How well the offline player plays: games over the whole table in, a Markdown table out.

`uv run python benchmarks/twenty_questions.py [--seed N] [--sample N]`; the same seed gives the same
figures. The player is no language model: it knows the table and chooses by information theory.
"""

import argparse
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent_app.agents.twenty_questions.offline import PLAYER
from agent_app.agents.twenty_questions.player import MAX_TURNS, Turn, next_turn
from agent_app.agents.twenty_questions.table import (
    Answer,
    Table,
    Thing,
    find_question,
    load_table,
)

Choose = Callable[[Table, Sequence[Turn]], Turn]


@dataclass(frozen=True)
class Score:
    """What came out of the games of one kind."""

    name: str
    found: int
    games: int
    mean_turns: float
    """Over all games; a lost one counts with all its turns."""


def play(table: Table, secret: Thing, choose: Choose, *, wrong: float, dice: random.Random) -> int:
    """Return the number of turns until the thing is found; one more than there are if it is not."""
    history: list[Turn] = []
    while len(history) < MAX_TURNS:
        turn = choose(table, history)
        if turn.kind == "guess" and turn.text == secret.name:
            return len(history) + 1
        answer = Answer.NO if turn.kind == "guess" else _answer(secret, turn.text, wrong, dice)
        history.append(Turn(turn.kind, turn.text, answer))
    return MAX_TURNS + 1


def _answer(secret: Thing, text: str, wrong: float, dice: random.Random) -> Answer:
    question = find_question(text)
    assert question is not None
    right = secret.answers[question.key]
    if dice.random() >= wrong:
        return right
    return dice.choice([answer for answer in Answer if answer != right])


def random_questions(dice: random.Random) -> Choose:
    """Return a player that guesses like ours and asks anything that was not asked yet."""

    def choose(table: Table, history: Sequence[Turn]) -> Turn:
        turn = next_turn(table, history)
        if turn.kind == "guess":
            return turn
        asked = {past.text for past in history}
        texts = [question.text for question in table.questions if question.text not in asked]
        return Turn("question", dice.choice(texts))

    return choose


def score(
    name: str, things: Sequence[Thing], *, wrong: float, seed: int, is_random: bool = False
) -> Score:
    """Return what one game about each thing comes to."""
    table, dice = load_table(), random.Random(f"{seed} {name}")
    choose = random_questions(dice) if is_random else next_turn
    turns = [play(table, secret, choose, wrong=wrong, dice=dice) for secret in things]
    found = sum(count <= MAX_TURNS for count in turns)
    mean = statistics.mean(min(count, MAX_TURNS) for count in turns)
    return Score(name, found, len(turns), mean)


def scores(things: Sequence[Thing], seed: int) -> list[Score]:
    """Return the scores of the four kinds of games."""
    return [
        score("true answers", things, wrong=0.0, seed=seed),
        score("5 % wrong answers", things, wrong=0.05, seed=seed),
        score("10 % wrong answers", things, wrong=0.10, seed=seed),
        score("true answers, random questions", things, wrong=0.0, seed=seed, is_random=True),
    ]


def as_markdown(rows: Sequence[Score]) -> str:
    """Return the table for the documentation."""
    head = ["| games | found | success | mean turns |", "|---|---:|---:|---:|"]
    lines = [
        f"| {row.name} | {row.found} of {row.games} | {row.found / row.games:.1%}"
        f" | {row.mean_turns:.1f} |"
        for row in rows
    ]
    return "\n".join([*head, *lines])


def main() -> None:
    """Print the scores."""
    parser = argparse.ArgumentParser(description="Scores of the game of twenty questions.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, help="play about so many things, not all")
    options = parser.parse_args()
    table = load_table()
    things: Sequence[Thing] = table.things
    if options.sample:
        things = random.Random(options.seed).sample(table.things, options.sample)
    print(f"{PLAYER}; {len(table.things)} things, {len(table.questions)} questions, ", end="")
    print(f"{MAX_TURNS} turns, seed {options.seed}\n")
    print(as_markdown(scores(things, options.seed)))


if __name__ == "__main__":
    main()
