"""Step names are contracts: whoever renames one strands the runs that are under way."""

import asyncio
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.toolsets import FunctionToolset
from pydantic_ai.toolsets._dynamic import DynamicToolset

from agent_app.durability.catalog import durable, workflow
from agent_app.durability.delegation import delegate
from tests.durability.running import Engine, call, scripted


async def test_function_tools_and_models_have_these_names(engine: Engine) -> None:
    """A model request is `{agent}.model`, a call of a function tool `{agent}.tool.{tool}`."""
    agent = durable(Agent(scripted(call("add", "a", x=1), "done"), name="counter"))

    @agent.tool_plain
    def add(x: int) -> int:
        return x + 1

    async with engine:
        assert await engine.run("counter", "go") == "done"
        assert engine.numbered() == [
            (1, "counter.model"),
            (2, "counter.tool.add"),
            (3, "counter.model"),
        ]


async def test_dynamic_toolsets_have_these_names(engine: Engine) -> None:
    """A dynamic toolset is listed as `….dynamic.{id}.tools`, its calls carry the tool's name."""

    def twice(x: int) -> int:
        return 2 * x

    toolset: DynamicToolset[Any] = DynamicToolset(lambda ctx: FunctionToolset([twice]), id="maths")
    model = scripted(call("twice", "a", x=4), "done")
    durable(Agent(model, name="counter", toolsets=[toolset]))
    async with engine:
        assert await engine.run("counter", "go") == "done"
        assert engine.names() == [
            "counter.dynamic.maths.tools",
            "counter.model",
            "counter.dynamic.maths.twice",
            "counter.dynamic.maths.tools",
            "counter.model",
        ]


async def test_arguments_validators_have_this_name(engine: Engine) -> None:
    """A tool's own validator is a step `{agent}.tool.validate.{tool}` before the call."""
    agent = durable(Agent(scripted(call("add", "a", x=1), "done"), name="counter"))

    def check(ctx: Any, x: int) -> None:
        assert x == 1

    @agent.tool_plain(args_validator=check)
    def add(x: int) -> int:
        return x + 1

    async with engine:
        assert await engine.run("counter", "go") == "done"
        assert engine.names() == [
            "counter.model",
            "counter.tool.validate.add",
            "counter.tool.add",
            "counter.model",
        ]
        assert (await engine.replay())["output"] == "done"


async def test_delegates_of_a_workflow_have_this_name(engine: Engine) -> None:
    """`delegate` in workflow code is `{workflow}.delegate.{agent}`."""
    durable(Agent(scripted("yes"), name="helper"))

    @workflow("both", output=list[str])
    async def both(question: str) -> list[str]:
        return list(await asyncio.gather(delegate("helper", "a"), delegate("helper", "b")))

    async with engine:
        assert await engine.run("both", "go") == ["yes", "yes"]
        assert engine.numbered() == [(1, "both.delegate.helper"), (2, "both.delegate.helper")]
        assert engine.names("r:1") == ["helper.model"]
