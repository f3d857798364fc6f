"""Agents that are made to be killed; imported through AGENT_APP_AGENTS."""

import asyncio
import json
from typing import Any

from pydantic_ai import Agent, ModelRetry, RunContext
from pydantic_ai.capabilities import AbstractCapability
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

from agent_app import delegate, durable, workflow
from tests.crash.hooks import count_own_starts, latency_s

KEYS = "abcde"


def _turn(messages: list[ModelMessage]) -> int:
    return sum(isinstance(message, ModelResponse) for message in messages)


def _returns(messages: list[ModelMessage]) -> str:
    """Return which call got what, so that a swap shows in the result."""
    return json.dumps(
        {
            part.tool_call_id: part.content
            for message in messages
            if isinstance(message, ModelRequest)
            for part in message.parts
            if isinstance(part, ToolReturnPart)
        }
    )


def _fetch_all(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    match _turn(messages):
        case 0:
            calls = [ToolCallPart("fetch", {"key": key}, f"fetch-{key}") for key in KEYS]
            return ModelResponse(calls)
        case 1:
            return ModelResponse([ToolCallPart("be_strict", {"word": "bad"}, "strict-1")])
        case 2:
            return ModelResponse([ToolCallPart("be_strict", {"word": "good"}, "strict-2")])
        case 3:
            return ModelResponse([ToolCallPart("ring", {}, "ring")])
    return ModelResponse([TextPart(_returns(messages))])


class _Dawdler(AbstractCapability[Any]):
    """Waits between a call's validation and its step, unrecorded and each time differently."""

    async def before_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: Any, args: dict[str, Any]
    ) -> dict[str, Any]:
        if call.tool_name == "fetch":
            await asyncio.sleep(latency_s(KEYS.index(args["key"]), len(KEYS)))
        return args


five_tools = Agent(
    FunctionModel(_fetch_all, model_name="offline"), name="five-tools", capabilities=[_Dawdler()]
)


@five_tools.tool_plain
async def fetch(key: str) -> str:
    """Take a time of its own."""
    await asyncio.sleep(latency_s(KEYS.index(key), len(KEYS)))
    return f"what {key} brought"


@five_tools.tool_plain
async def be_strict(word: str) -> str:
    """Send the model's first word back to it."""
    if word == "bad":
        raise ModelRetry("Another word.")
    return f"{word} it is"


@five_tools.tool_plain
async def ring() -> str:
    """Reach the other side at the third try, whoever tries."""
    if count_own_starts() <= 2:
        raise ConnectionError("engaged")
    return "hello"


durable(five_tools)


def _dig(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    place = _last_prompt(messages)
    if _turn(messages) == 0:
        return ModelResponse(
            [ToolCallPart(side, {"place": place}, f"{side}-hand") for side in ("left", "right")]
        )
    return ModelResponse([TextPart(_returns(messages))])


def _last_prompt(messages: list[ModelMessage]) -> str:
    first = messages[0]
    assert isinstance(first, ModelRequest)
    return next(str(part.content) for part in first.parts if isinstance(part, UserPromptPart))


digger = Agent(FunctionModel(_dig, model_name="offline"), name="digger")


@digger.tool_plain
async def left(place: str) -> str:
    """Dig on one side."""
    await asyncio.sleep(latency_s(0, 2))
    return f"left of {place}"


@digger.tool_plain
async def right(place: str) -> str:
    """Dig on the other side."""
    await asyncio.sleep(latency_s(1, 2))
    return f"right of {place}"


durable(digger)


@workflow("three-diggers", output=list[str])
async def dig_thrice(places: str) -> list[str]:
    """Delegate to three children at once."""
    return list(await asyncio.gather(*(delegate(digger, place) for place in places.split())))
