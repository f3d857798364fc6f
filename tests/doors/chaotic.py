"""Agents that come to no good end under `agent-app chaos`; AGENT_APP_AGENTS names this module."""

import asyncio
import os

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app import durable


def _act_once(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    if len(messages) == 1:
        return ModelResponse([ToolCallPart("act", {}, "act-1")])
    return ModelResponse([TextPart("done")])


stumbler = durable(Agent(FunctionModel(_act_once, model_name="offline"), name="stumbler"))
sleeper = durable(Agent(FunctionModel(_act_once, model_name="offline"), name="sleeper"))
quitter = durable(Agent(FunctionModel(_act_once, model_name="offline"), name="quitter"))
payer = durable(Agent(FunctionModel(_act_once, model_name="offline"), name="payer"))


@stumbler.tool_plain(name="act")
async def stumble() -> str:
    """Fail, for good."""
    raise ValueError("the carpet")


@sleeper.tool_plain(name="act")
async def sleep() -> str:
    """Take longer than anybody waits."""
    await asyncio.sleep(600)
    return "awake"


@quitter.tool_plain(name="act")
async def quit_process() -> str:
    """Take the process along."""
    os._exit(3)


@payer.tool_plain(name="act", metadata={"step": {"effect": "external"}})
async def pay() -> str:
    """Take long to pay."""
    await asyncio.sleep(600)
    return "paid"
