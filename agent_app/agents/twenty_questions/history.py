"""A game read out of its conversation: tool calls and their answers, in order."""

from collections.abc import Iterator, Sequence

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
)

from agent_app.agents.twenty_questions.models import PlayedTurn
from agent_app.agents.twenty_questions.table import Answer

ASK, GUESS = "ask", "guess"
"""Names of the questioner's two tools."""
_ARGUMENT = {ASK: "question", GUESS: "thing"}


def played_turns(messages: Sequence[ModelMessage]) -> list[PlayedTurn]:
    """Return the turns that were answered, in call order, up to the right guess if there is one.

    A call that was refused, or that was no valid call, is no turn.
    """
    turns: list[PlayedTurn] = []
    for turn in _turns(messages):
        turns.append(turn)
        if is_right_guess(turn):
            break
    return turns


def turns_before(messages: Sequence[ModelMessage], tool_call_id: str | None) -> int:
    """Return how many turns were made before this call, calls of the same answer included."""
    answered = len(played_turns(messages))
    last = messages[-1] if messages else None
    siblings = _calls(last) if isinstance(last, ModelResponse) else []
    ids = [call.tool_call_id for call in siblings]
    return answered + (ids.index(tool_call_id) if tool_call_id in ids else 0)


def is_right_guess(turn: PlayedTurn) -> bool:
    """Say whether this turn has won the game."""
    return turn.kind == "guess" and turn.answer == Answer.YES


def _turns(messages: Sequence[ModelMessage]) -> Iterator[PlayedTurn]:
    calls: list[ToolCallPart] = []
    number = 0
    for message in messages:
        if isinstance(message, ModelResponse):
            calls = _calls(message)
            continue
        answers = _answers(message)
        for call in [call for call in calls if call.tool_call_id in answers]:
            number += 1
            yield _turn(number, call, answers[call.tool_call_id])
            calls.remove(call)


def _answers(message: ModelRequest) -> dict[str, str]:
    return {
        part.tool_call_id: str(part.content)
        for part in message.parts
        if isinstance(part, ToolReturnPart) and part.outcome == "success"
    }


def _turn(number: int, call: ToolCallPart, answer: str) -> PlayedTurn:
    kind = "guess" if call.tool_name == GUESS else "question"
    return PlayedTurn(number=number, kind=kind, text=_text(call) or "", answer=answer)


def _calls(message: ModelResponse) -> list[ToolCallPart]:
    """Return the answer's calls that can be turns; a malformed one is sent back to the model."""
    calls = (part for part in message.parts if isinstance(part, ToolCallPart))
    return [call for call in calls if call.tool_name in _ARGUMENT and _text(call) is not None]


def _text(call: ToolCallPart) -> str | None:
    try:
        text = call.args_as_dict().get(_ARGUMENT[call.tool_name])
    except (ValueError, AssertionError):  # no JSON, or JSON that is no object
        return None
    return text if isinstance(text, str) else None
