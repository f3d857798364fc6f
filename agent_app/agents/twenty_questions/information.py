"""What each turn of a played game told, in bits."""

from collections.abc import Sequence

from agent_app.agents.twenty_questions.models import PlayedTurn
from agent_app.agents.twenty_questions.player import Turn, information_gained
from agent_app.agents.twenty_questions.table import (
    Answer,
    find_question,
    find_thing,
    load_table,
)

_ANSWERS = {answer.value: answer for answer in Answer}


def as_turn(played: PlayedTurn) -> Turn:
    """Return the turn as the player reads it, without an answer that is none of the five."""
    return Turn(played.kind, played.text, _ANSWERS.get(played.answer))


def with_bits(turns: Sequence[PlayedTurn], secret: str) -> list[PlayedTurn]:
    """Return the turns with the bits that each brought to one who knows the table.

    None of them has any where the table lacks the secret: the answers are about something else.
    """
    if find_thing(secret) is None:
        return list(turns)
    gains = information_gained(load_table(), [as_turn(turn) for turn in turns])
    return [
        turn.model_copy(update={"bits": round(gain, 3)}) if _tells(turn) else turn
        for turn, gain in zip(turns, gains, strict=True)
    ]


def _tells(turn: PlayedTurn) -> bool:
    if turn.answer not in _ANSWERS:
        return False
    known = find_thing(turn.text) if turn.kind == "guess" else find_question(turn.text)
    return known is not None
