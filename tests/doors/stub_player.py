"""What a provider's stub says in a game: the table's answers and the offline player's questions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent_app.agents.twenty_questions.models import Asked
from agent_app.agents.twenty_questions.offline import look_up
from agent_app.agents.twenty_questions.player import Turn, next_turn
from agent_app.agents.twenty_questions.table import Answer, load_table


@dataclass(frozen=True)
class Called:
    """A tool call in the conversation, with what came back."""

    tool: str
    arguments: Any
    """None where they were no JSON."""
    answer: str


@dataclass(frozen=True)
class Heard:
    """A request, whatever API it came through."""

    tools: Sequence[str]
    calls: Sequence[Called]
    prompt: str
    """The first thing that the user said; later ones ask for mended arguments."""


@dataclass(frozen=True)
class Said:
    """An answer, whatever API it goes through: a text, or one tool call."""

    text: str = ""
    tool: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


def reply(heard: Heard) -> Said:
    """Return the next turn of the questioner, or the answer of the answerer."""
    if "guess" not in heard.tools:
        asked = Asked.model_validate_json(heard.prompt)
        answer = look_up(asked).model_dump(mode="json")
        if heard.tools:
            return Said(tool=heard.tools[0], arguments=answer)
        return Said(json.dumps(answer))  # models that keep to a schema by themselves
    history = [turn for call in heard.calls if (turn := _turn(call))]
    if history and history[-1].kind == "guess" and history[-1].answer == Answer.YES:
        return Said(f"It is: {history[-1].text}.")
    turn = next_turn(load_table(), history)
    tool, key = ("guess", "thing") if turn.kind == "guess" else ("ask", "question")
    return Said(tool=tool, arguments={key: turn.text})


def _turn(call: Called) -> Turn | None:
    """Return the turn, None for a call that was sent back as malformed."""
    if call.answer not in {answer.value for answer in Answer}:
        return None
    is_guess = call.tool == "guess"
    text = call.arguments["thing" if is_guess else "question"]
    return Turn("guess" if is_guess else "question", text, Answer(call.answer))
