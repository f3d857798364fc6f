"""The two players that need no key: models to the agents, information theory and a table inside."""

from collections.abc import Mapping

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app.agents.conversation import prompts_of
from agent_app.agents.twenty_questions.history import is_right_guess, played_turns
from agent_app.agents.twenty_questions.information import as_turn
from agent_app.agents.twenty_questions.models import Asked, Reply
from agent_app.agents.twenty_questions.player import MAX_TURNS, next_turn
from agent_app.agents.twenty_questions.table import find_question, find_thing, load_table
from agent_app.durability.catalog import model_of
from agent_app.settings import OFFLINE_MODEL

PLAYER = "offline player, no language model"
"""How it calls itself wherever its output shows."""


def player_of(agent: str, models: Mapping[str, str]) -> str:
    """Return who plays the part of one of the two agents: a model string, or `PLAYER`."""
    model = model_of(agent, models)
    return PLAYER if model == OFFLINE_MODEL else model


def _play(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    history = played_turns(messages)
    if history and is_right_guess(history[-1]):
        return _say(f"It is: {history[-1].text} ({PLAYER}).")
    if len(history) >= MAX_TURNS:
        return _say(f"No turn is left, and I did not find it ({PLAYER}).")
    turn = next_turn(load_table(), [as_turn(played) for played in history])
    # The number as ID: a child run is then called after its turn.
    call_id = f"turn-{len(history) + 1}"
    if turn.kind == "guess":
        return ModelResponse([ToolCallPart("guess", {"thing": turn.text}, call_id)])
    return ModelResponse([ToolCallPart("ask", {"question": turn.text}, call_id)])


def _say(text: str) -> ModelResponse:
    return ModelResponse([TextPart(text)])


def _answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    reply = look_up(Asked.model_validate_json(prompts_of(messages)[-1]))
    return ModelResponse([ToolCallPart(info.output_tools[0].name, reply.model_dump(mode="json"))])


def look_up(asked: Asked) -> Reply:
    """Return the table's answer; none where the table has no such thing or question."""
    thing, question = find_thing(asked.secret), find_question(asked.question)
    if thing is None or question is None:
        return Reply(remark=f"The table has no answer to this ({PLAYER}).")
    return Reply(answer=thing.answers[question.key], remark=PLAYER)


QUESTIONER_MODEL = FunctionModel(_play, model_name="offline")
ANSWERER_MODEL = FunctionModel(_answer, model_name="offline")
