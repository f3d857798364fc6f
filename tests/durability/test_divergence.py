"""A checkpoint that belongs to another call is an error, never a wrong result."""

import asyncio
import time
from typing import Any

import pytest
from dbos import DBOS
from pydantic import BaseModel, Field
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage

from agent_app.durability.catalog import durable, workflow
from agent_app.errors import DelegateMisused, RecordedError, ReplayDiverged
from tests.durability.running import Engine, call, echoing, scripted


class OddError(Exception):
    """An error of the user's own."""


def measurer(fail: type[Exception] | None = None) -> Agent[None, str]:
    """Define an agent that measures two things at once; the tool can fail in one of two ways."""
    model = echoing(call("measure", "a", x=1), call("measure", "b", x=2))
    agent = durable(Agent(model, name="worker"))

    @agent.tool_plain
    async def measure(x: int) -> str:
        if fail is not None:
            raise fail(f"no {x}")
        return f"m{x}"

    return agent


async def test_swapped_results_are_noticed(engine: Engine) -> None:
    """Two results of one tool that changed places end the replay."""
    measurer()
    async with engine:
        assert await engine.run("worker", "go") == "a=m1 b=m2"
        engine.swap_steps(2, 3)
        with pytest.raises(ReplayDiverged) as caught:
            await engine.replay()
    error = caught.value
    assert error.step == "worker.tool.measure"
    assert (error.recorded[:9], error.asked[:9]) == ("measure b", "measure a")


@pytest.mark.parametrize("fail", [ValueError, OddError])
async def test_swapped_errors_are_noticed(engine: Engine, fail: type[Exception]) -> None:
    """Two recorded errors that changed places are noticed too, of whatever class they are."""
    agent = durable(Agent(scripted(call("measure", "a", x=1)), name="worker"))

    @agent.tool_plain
    async def measure(x: int) -> str:
        raise fail(f"no {x}")

    @workflow("stubborn")
    async def stubborn(question: str) -> list[str]:
        said = []
        for word in ("one", "two"):
            try:
                await agent.run(word)
            except (ValueError, RecordedError) as error:
                said.append(str(error))
        return said

    async with engine:
        first = await engine.record("stubborn", "go")
        assert await engine.replay() == first
        engine.sql("update dbos.operation_outputs set error = replace(error, 'measure a', 'z')")
        with pytest.raises(ReplayDiverged, match=r"'z .*asks for 'measure a"):
            await engine.replay()
    assert [name for _, name in engine.numbered()] == ["worker.model", "worker.tool.measure"] * 2


async def test_changed_arguments_are_noticed(engine: Engine) -> None:
    """A model answer that now asks for something else does not get the old result."""
    measurer()
    async with engine:
        await engine.run("worker", "go")
        engine.sql(
            "update dbos.operation_outputs set output = replace(output, '\"x\":1', '\"x\":7')"
            " where function_id = 1"
        )
        with pytest.raises(ReplayDiverged, match="measure a"):
            await engine.replay()


async def test_a_renamed_step_is_noticed(engine: Engine) -> None:
    """A step recorded under another name is an error of ours, with both names."""
    measurer()
    async with engine:
        await engine.run("worker", "go")
        engine.sql(
            "update dbos.operation_outputs set function_name = 'worker.tool.weigh'"
            " where function_id = 3"
        )
        with pytest.raises(ReplayDiverged) as caught:
            await engine.replay()
    assert caught.value.args == ("worker.tool.measure", "worker.tool.weigh", "worker.tool.measure")


@pytest.mark.parametrize("change", ["prompt", "history"])
async def test_another_conversation_is_noticed(engine: Engine, change: str) -> None:
    """A prompt that changed, or a message more, does not get the old answer."""
    agent = durable(Agent(scripted("first", "second", "third"), name="worker"))
    lives = iter([False, True])

    @workflow("talk")
    async def talk(question: str) -> str:
        is_second_life = next(lives)
        first = await agent.run("other" if is_second_life and change == "prompt" else "same")
        history = first.all_messages() * (2 if is_second_life and change == "history" else 1)
        return (await agent.run("more", message_history=history)).output

    async with engine:
        assert await engine.run("talk", "go") == "second"
        with pytest.raises(ReplayDiverged, match="messages"):
            await engine.replay()


async def test_instructions_may_tell_the_time(engine: Engine) -> None:
    """System prompts and instructions that differ between two lives are no divergence."""
    agent = durable(Agent(scripted(call("look", "a"), "done"), name="worker"))
    told: list[str] = []

    @agent.system_prompt
    def clock() -> str:
        told.append(f"It is {time.perf_counter_ns()}.")
        return told[-1]

    @agent.instructions
    def clock_again(ctx: RunContext[object]) -> str:
        return f"It is {time.perf_counter_ns()}."

    @agent.tool_plain
    async def look() -> str:
        return "seen"

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert len(set(told)) == 2


async def test_a_set_or_a_default_that_tells_the_time_does_not_diverge(engine: Engine) -> None:
    """A call is told by what the model sent: not by a set's order, nor by a default drawn anew."""

    class Order(BaseModel):
        things: set[str]
        at: float = Field(default_factory=time.perf_counter)

    things = [f"thing {number}" for number in range(20)]
    agent = durable(Agent(echoing(call("buy", "a", order={"things": things})), name="worker"))

    @agent.tool_plain
    async def buy(order: Order) -> int:
        return len(order.things)

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert first["output"] == "a=20"


async def test_a_fork_from_the_middle_goes_on_from_there(engine: Engine) -> None:
    """Only the steps from the fork's number on are executed again."""
    seen: list[int] = []

    def note(messages: list[ModelMessage]) -> None:
        seen.append(len(messages))

    bodies: list[int] = []
    model = scripted(call("look", "a"), call("look", "b"), "done", seen=note)
    agent = durable(Agent(model, name="worker"))

    @agent.tool_plain
    async def look() -> str:
        bodies.append(1)
        return "seen"

    async with engine:
        await engine.run("worker", "go")
        handle: Any = await DBOS.fork_workflow_async("r", 4)
        assert (await handle.get_result())["output"] == "done"
    assert seen == [1, 3, 5, 5]
    assert len(bodies) == 3


async def test_parallel_agent_runs_are_refused(engine: Engine) -> None:
    """Two agent runs at the same time would number their steps by timing: use `delegate`."""
    agent = durable(Agent(scripted("one"), name="worker"))

    @workflow("both")
    async def both(question: str) -> list[str]:
        results = await asyncio.gather(agent.run("a"), agent.run("b"), return_exceptions=True)
        return [type(result).__name__ for result in results]

    async with engine:
        output = await engine.run("both", "go")
    assert output == ["AgentRunResult", DelegateMisused.__name__]


async def test_nested_agent_runs_are_in_order(engine: Engine) -> None:
    """An agent run from another one's workflow code, here a validator, is durable and replays."""
    judge = durable(Agent(scripted("fine"), name="judge"))
    agent = durable(Agent(scripted("text"), name="worker"))

    @agent.output_validator
    async def ask_judge(output: str) -> str:
        return f"{output}: {(await judge.run(output)).output}"

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert first["output"] == "text: fine"
    assert first["usage"]["requests"] == 2
    assert engine.names() == ["worker.model", "judge.model"]
