"""Waits and time limits inside an agent run: durable, and the same in every life."""

import asyncio
import time

import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import RunTimedOut
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app.durability.catalog import durable, workflow
from tests.durability.running import Engine, call, scripted


class BackgroundModel(FunctionModel):
    """A model that answers in the background: first `suspended`, and after a wait for good."""

    def continuation_delay(self, response: ModelResponse) -> float | None:
        """Return the seconds to wait before asking again."""
        return 0.05


async def test_a_wait_for_a_background_answer_is_a_step(engine: Engine) -> None:
    """Each poll is a model step, the wait between them a durable sleep; a replay does not wait."""
    polls: list[float] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        polls.append(time.perf_counter())
        if len(polls) < 3:
            return ModelResponse(
                [], state="suspended", provider_response_id="p1", provider_name="function"
            )
        return ModelResponse([TextPart("done")])

    durable(Agent(BackgroundModel(answer), name="worker"))
    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert first["output"] == "done"
    assert len(polls) == 3
    assert engine.names() == [
        "worker.model",
        "DBOS.sleep",
        "worker.model",
        "DBOS.sleep",
        "worker.model",
    ]


async def test_a_time_limit_begins_at_a_recorded_moment(engine: Engine) -> None:
    """`timeout=` counts from a step; a replay after the limit still ends as the first life did."""
    agent = durable(Agent(scripted(call("look", "a"), "done"), name="worker"))

    @agent.tool_plain
    async def look() -> str:
        return "seen"

    @workflow("limited")
    async def limited(question: str) -> str:
        return (await agent.run(question, timeout=5.0)).output

    async with engine:
        first = await engine.record("limited", "go")
        await asyncio.sleep(5.1)
        assert await engine.replay() == first
    assert engine.names() == [
        "worker.run_start_time",
        "worker.model",
        "worker.tool.look",
        "worker.model",
    ]


async def test_a_time_limit_ends_the_run(engine: Engine) -> None:
    """A run over its limit fails with Pydantic AI's own error."""
    agent = durable(Agent(scripted(call("sleep", "a"), "done"), name="worker"))

    @agent.tool_plain
    async def sleep() -> str:
        await asyncio.sleep(30)
        return "rested"

    @workflow("limited")
    async def limited(question: str) -> str:
        return (await agent.run(question, timeout=0.3)).output

    async with engine:
        with pytest.raises(RunTimedOut):
            await engine.run("limited", "go")
    assert engine.status() == "ERROR"
