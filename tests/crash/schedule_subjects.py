"""An agent whose tools do what a schedule says, one thing at each try; see schedule_model.

A process that is to die before a checkpoint waits a moment, so that the ledger has written by then
what became of the try: the one window in which a step's last failure is known and not recorded.
"""

import asyncio
import functools
import json
import time
from typing import Any

from dbos._sys_db import SystemDatabase
from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app import durable
from agent_app.durability.scope import current_step
from tests.crash import hooks
from tests.crash.schedule_model import ACTED, BEGAN, LIMIT_S, MAX_ATTEMPTS, Action, Call

_LAG_S = 0.2
"""Seconds in which the ledger writes what it has."""
_SLOW_S = 0.1


def _follow(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Call the tools of the next turn; after the last one, say which call got what."""
    hooks.call_out("model", BEGAN)
    turns = json.loads(_prompt(messages))
    turn = sum(isinstance(message, ModelResponse) for message in messages)
    hooks.call_out("model", ACTED)
    if turn < len(turns):
        return ModelResponse([_call(Call(**call)) for call in turns[turn]])
    return ModelResponse([TextPart(json.dumps(_returns(messages)))])


def _prompt(messages: list[ModelMessage]) -> str:
    first = messages[0]
    assert isinstance(first, ModelRequest)
    return next(str(part.content) for part in first.parts if isinstance(part, UserPromptPart))


def _call(call: Call) -> ToolCallPart:
    tool = "limited" if call.is_limited else "unlimited"
    return ToolCallPart(tool, {"key": call.key, "script": list(call.script)}, call.key)


def _returns(messages: list[ModelMessage]) -> dict[str, str]:
    return {
        part.tool_call_id: str(part.content)
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    }


follower = Agent(FunctionModel(_follow, model_name="offline"), name="follower")


@follower.tool_plain(metadata={"step": {"max_attempts": MAX_ATTEMPTS, "timeout_s": LIMIT_S}})
async def limited(key: str, script: list[Action]) -> str:
    """Follow the script within a time limit."""
    return await _act(Call(key, tuple(script)))


@follower.tool_plain(metadata={"step": {"max_attempts": MAX_ATTEMPTS, "timeout_s": None}})
async def unlimited(key: str, script: list[Action]) -> str:
    """Follow the script without a time limit."""
    return await _act(Call(key, tuple(script)))


async def _act(call: Call) -> str:
    """Do what the script says for this try, counted in the world outside."""
    number = hooks.count_own_starts()
    action = call.action(number)
    if action != "hang":
        _lift_limit()
    hooks.call_out(call.key, BEGAN)
    match action:
        case "lose":
            raise ConnectionError("lost before its effect")
        case "refuse":
            raise ValueError("refused")
        case "hang":
            await asyncio.sleep(3 * LIMIT_S)
        case "slow":
            await asyncio.sleep(_SLOW_S)
    hooks.call_out(call.key, ACTED)
    if action == "lose_late":
        await asyncio.sleep(_SLOW_S)
        raise ConnectionError("lost after its effect")
    return call.result(number)


def _lift_limit() -> None:
    """Let a slow disk or a busy machine end no try that is not meant to hang."""
    step = current_step()
    assert step is not None
    assert step.limit is not None
    step.limit.reschedule(None)


durable(follower)


def _give_ledger_time() -> None:
    inner = SystemDatabase.record_operation_result

    @functools.wraps(inner)
    def late(*args: Any, **options: Any) -> Any:
        if hooks.hooks.kill == ("checkpoint", hooks.counts["checkpoint"] + 1):
            time.sleep(_LAG_S)
        return inner(*args, **options)

    setattr(SystemDatabase, "record_operation_result", late)  # noqa: B010 - mypy takes no assignment


_give_ledger_time()
