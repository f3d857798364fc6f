"""Code that tries to end the process ends its own run, as an error; everything else goes on."""

import asyncio
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app.durability.catalog import durable, workflow
from agent_app.errors import StepExited
from tests.durability.running import Engine, call, scripted


class OwnExit(BaseException):
    """An exit of the user's own making."""


EXITS = [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, OwnExit]


def define_neighbour() -> None:
    """Define an agent that takes longer than the run that fails."""
    agent = durable(Agent(scripted(call("rest", "a"), "rested"), name="neighbour"))

    @agent.tool_plain
    async def rest() -> None:
        await asyncio.sleep(0.3)


async def check_run_fails_alone(engine: Engine, name: str, place: str) -> None:
    """Assert that the run ends with StepExited in both lives while another one ends well."""
    define_neighbour()
    async with engine:
        beside: Any = await engine.start("neighbour", "go", "beside")
        for life in (engine.record(name, "go"), engine.replay()):
            with pytest.raises(StepExited) as caught:
                await life
            assert caught.value.place == place
        assert (await beside.get_result())["output"] == "rested"
    assert engine.status() == "ERROR"
    assert engine.status("beside") == "SUCCESS"


@pytest.mark.parametrize("kind", EXITS, ids=lambda kind: kind.__name__)
async def test_an_exit_in_an_async_tool(engine: Engine, kind: type[BaseException]) -> None:
    """A tool that raises it fails; the error is the step's checkpoint."""
    agent = durable(Agent(scripted(call("leave", "a")), name="worker"))

    @agent.tool_plain
    async def leave() -> None:
        raise kind("bye")

    await check_run_fails_alone(engine, "worker", "worker.tool.leave")
    assert isinstance(engine.steps()[1].error, StepExited)


@pytest.mark.parametrize("kind", EXITS, ids=lambda kind: kind.__name__)
async def test_an_exit_in_a_sync_tool(engine: Engine, kind: type[BaseException]) -> None:
    """The same out of the thread of a synchronous tool."""
    agent = durable(Agent(scripted(call("leave", "a")), name="worker"))

    @agent.tool_plain
    def leave() -> None:
        raise kind("bye")

    await check_run_fails_alone(engine, "worker", "worker.tool.leave")


@pytest.mark.parametrize("kind", EXITS, ids=lambda kind: kind.__name__)
async def test_an_exit_in_a_model(engine: Engine, kind: type[BaseException]) -> None:
    """A model that raises it fails its request."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        raise kind("bye")

    durable(Agent(FunctionModel(answer), name="worker"))
    await check_run_fails_alone(engine, "worker", "worker.model")


@pytest.mark.parametrize("kind", EXITS, ids=lambda kind: kind.__name__)
async def test_an_exit_in_workflow_code(engine: Engine, kind: type[BaseException]) -> None:
    """A workflow that raises it ends as ERROR and does not stay PENDING."""

    @workflow("leaver")
    async def leaver(question: str) -> None:
        raise kind("bye")

    await check_run_fails_alone(engine, "leaver", "leaver")


@pytest.mark.parametrize("kind", EXITS, ids=lambda kind: kind.__name__)
async def test_an_exit_in_an_inline_tool_or_hook(engine: Engine, kind: type[BaseException]) -> None:
    """What an agent executes in workflow code, outside every step, cannot leave either."""
    agent = durable(Agent(scripted("text"), name="worker"))

    @agent.output_validator
    async def leave(output: str) -> str:
        raise kind("bye")

    await check_run_fails_alone(engine, "worker", "worker")


async def test_one_of_parallel_tools_leaves(engine: Engine) -> None:
    """The first in call order decides which error comes out, whoever was first in time."""
    agent = durable(Agent(scripted([call("leave", "a"), call("fail", "b")]), name="worker"))

    @agent.tool_plain
    async def leave() -> None:
        await asyncio.sleep(0.05)
        raise SystemExit(3)

    @agent.tool_plain
    async def fail() -> None:
        raise ValueError("fast")

    await check_run_fails_alone(engine, "worker", "worker.tool.leave")
