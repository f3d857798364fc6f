"""A person asks and guesses, and the answerer answers: lines in, answers out."""

import difflib
import random
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from agent_app.agents.twenty_questions.history import is_right_guess
from agent_app.agents.twenty_questions.information import with_bits
from agent_app.agents.twenty_questions.models import Asked, Game, GameResult, PlayedTurn, Reply
from agent_app.agents.twenty_questions.naming import is_same_thing
from agent_app.agents.twenty_questions.narrator import say_turns
from agent_app.agents.twenty_questions.offline import player_of
from agent_app.agents.twenty_questions.player import MAX_TURNS
from agent_app.agents.twenty_questions.table import (
    Answer,
    find_question,
    find_thing,
    load_table,
)
from agent_app.durability.dialogue import RunAgent

_GUESS = re.compile(r"(?:guess|i guess|my guess is)\b[\s:]*(?P<thing>.+)", re.IGNORECASE)
_IS_IT = re.compile(r"is it\b[\s:]*(?P<thing>.+)", re.IGNORECASE)


class PersonAsks:
    """A game in which a person is the questioner.

    What the answerer cannot answer takes no turn: a person's wording is free, its table is not.
    """

    def __init__(self, game: Any, run_id: str, models: Mapping[str, str]) -> None:
        self._secret = Game.model_validate(game).secret if game else _choose_secret(run_id)
        self._answerer = player_of("answerer", models)
        self._turns: list[PlayedTurn] = []
        self._records: list[dict[str, Any]] = []
        self.opening = (
            f"I am thinking of an everyday thing ({self._answerer}). You have {MAX_TURNS} turns: "
            "ask a question that yes or no answers, or type `guess` and a thing. An empty line "
            "ends the game."
        )

    @property
    def prompt(self) -> str:
        """Return the number of the coming turn."""
        return f"{len(self._turns) + 1:>2}  "

    @property
    def is_over(self) -> bool:
        """Say whether the thing is found or the turns are spent."""
        return len(self._turns) >= MAX_TURNS or self._is_found

    @property
    def _is_found(self) -> bool:
        return any(map(is_right_guess, self._turns))

    async def reply(self, line: str, run_agent: RunAgent) -> str:
        """Return the answer to a question or a guess."""
        thing = guessed_thing(line, self._secret)
        if thing is not None:
            right = is_same_thing(thing, self._secret)
            return self._take(thing, Answer.YES if right else Answer.NO, is_guess=True)
        asked = Asked(secret=self._secret, question=line[:2000])
        self._records.append(await run_agent("answerer", asked.model_dump()))
        reply = Reply.model_validate(self._records[-1]["output"])
        if reply.answer is None:
            return f"{reply.remark or 'That cannot be answered.'} No turn is taken.{_hint(line)}"
        return self._take(line, reply.answer, is_guess=False)

    def _take(self, text: str, answer: Answer, *, is_guess: bool) -> str:
        number = len(self._turns) + 1
        turn = PlayedTurn(
            number=number, kind="guess" if is_guess else "question", text=text, answer=answer
        )
        self._turns.append(turn)
        return answer.value

    def close(self) -> tuple[str, Any]:
        """Return how the game ended, in a sentence and as a GameResult."""
        spent = [record["usage"] for record in self._records]
        costs = [Decimal(r["cost_usd"]) for r in self._records if r["cost_usd"] is not None]
        result = GameResult(
            secret=self._secret,
            found=self._is_found,
            turns=len(self._turns),
            history=with_bits(self._turns, self._secret),
            player="person",
            answerer=self._answerer,
            input_tokens=sum(usage["input_tokens"] for usage in spent),
            output_tokens=sum(usage["output_tokens"] for usage in spent),
            cost_usd=sum(costs, Decimal()) if costs else None,
        )
        return _tell_end(result), result.model_dump(mode="json")


def guessed_thing(line: str, secret: str) -> str | None:
    """Return the thing that the line guesses; None for a question.

    "Is it …?" is a guess where it names a thing and is no question of the table.
    """
    text = line.strip().rstrip("?!. ")
    if found := _GUESS.fullmatch(text):
        return found["thing"]
    found = _IS_IT.fullmatch(text)
    if found is None or find_question(line) is not None:
        return None
    thing = found["thing"]
    return thing if find_thing(thing) or is_same_thing(thing, secret) else None


def _choose_secret(run_id: str) -> str:
    """Return a thing of the table by chance; the same one if the same run is played again."""
    return random.Random(run_id).choice(load_table().things).name


def _hint(line: str) -> str:
    texts = [question.text for question in load_table().questions]
    near = difflib.get_close_matches(line, texts, n=1, cutoff=0.6)
    return f" Try: {near[0]}" if near else ""


def _tell_end(result: GameResult) -> str:
    who = f"(answered by: {result.answerer})"
    if result.found:
        return f"You found it in {say_turns(result.turns)}: {result.secret} {who}."
    if result.turns >= MAX_TURNS:
        return f"No turn is left; it was: {result.secret} {who}."
    return f"You stopped after {say_turns(result.turns)}; it was: {result.secret} {who}."
