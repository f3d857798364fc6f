"""Tool calls: each is one step, numbered in call order, executed once."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from dbos import DBOS
from pydantic_ai import Agent, RunContext
from pydantic_ai.capabilities import Hooks
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import ApprovalRequiredToolset, FunctionToolset, PrefixedToolset

from agent_app.durability.catalog import durable, workflow
from agent_app.errors import AgentInvalid
from tests.durability.running import Engine, call, echoing, scripted


async def test_sync_and_async_tools_are_executed_once(engine: Engine) -> None:
    """Both kinds of function tool are steps; no body runs on replay."""
    bodies: Counter[str] = Counter()
    agent = durable(Agent(echoing(call("block", "a"), call("wait", "b")), name="worker"))

    @agent.tool_plain
    def block() -> str:
        bodies["block"] += 1
        return "blocked"

    @agent.tool
    async def wait(ctx: RunContext[object]) -> str:
        bodies["wait"] += 1
        await asyncio.sleep(0)
        return "waited"

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert first["output"] == "a=blocked b=waited"
    assert first["usage"]["tool_calls"] == 2
    assert bodies == {"block": 1, "wait": 1}
    assert engine.names() == [
        "worker.model",
        "worker.tool.block",
        "worker.tool.wait",
        "worker.model",
    ]


def five_calls() -> list[ToolCallPart]:
    """Return five calls of `measure`, at once."""
    return [call("measure", f"c{number}", x=number) for number in range(5)]


async def test_parallel_results_stay_with_their_calls(engine: Engine) -> None:
    """Latencies that flip between two lives move no result to another call, and no number."""
    agent = durable(Agent(echoing(*five_calls()), name="worker"))
    delays: list[int] = [0, 1, 2, 3, 4]
    bodies: Counter[int] = Counter()

    @agent.tool_plain
    async def measure(x: int) -> str:
        bodies[x] += 1
        await asyncio.sleep(delays[x] / 100)
        return f"m{x}"

    async with engine:
        first = await engine.record("worker", "go")
        recorded = [(step.number, step.of) for step in engine.steps()]
        engine.sql("delete from dbos.operation_outputs where function_id in (3, 5)")
        delays.reverse()
        handle = await DBOS.fork_workflow_async("r", 99)
        assert await handle.get_result() == first
        fork_id = handle.get_workflow_id()
    assert first["output"] == "c0=m0 c1=m1 c2=m2 c3=m3 c4=m4"
    assert bodies == {0: 1, 1: 2, 2: 1, 3: 2, 4: 1}
    assert [(step.number, step.of) for step in engine.steps(fork_id)] == recorded


async def test_a_hook_that_waits_does_not_change_the_numbers(engine: Engine) -> None:
    """Numbers are drawn when calls are validated, whatever a hook awaits before they execute."""
    rng = random.Random(1)
    hooks: Any = Hooks()

    async def linger(
        ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: Any
    ) -> Any:
        await asyncio.sleep(rng.random() / 50)
        return args

    hooks.on.before_tool_execute(linger)
    agent = durable(Agent(echoing(*five_calls()), name="worker", capabilities=[hooks]))

    @agent.tool_plain
    async def measure(x: int) -> str:
        return f"m{x}"

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
        assert await engine.replay() == first
    measured = [step for step in engine.steps() if step.name == "worker.tool.measure"]
    assert [step.number for step in measured] == [2, 3, 4, 5, 6]
    assert [step.value["result"] for step in measured] == ["m0", "m1", "m2", "m3", "m4"]


async def test_an_inline_tool_runs_again_and_one_at_a_time(engine: Engine) -> None:
    """`metadata={"step": False}` leaves a tool unrecorded; its own steps keep their order."""
    running = Counter[str]()
    agent = durable(
        Agent(echoing(call("look", "a"), call("look", "b"), call("look", "c")), name="worker")
    )

    @agent.tool_plain(metadata={"step": False})
    async def look() -> int:
        running["now"] += 1
        assert running["now"] == 1
        await asyncio.sleep(0.005)
        running["now"] -= 1
        running["times"] += 1
        return 0

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert running["times"] == 6
    assert engine.names() == ["worker.model", "worker.model"]


async def test_an_unknown_policy_key_is_refused(engine: Engine) -> None:
    """A misspelt key of a tool's policy is an error that names the known ones."""
    agent = durable(Agent(echoing(call("look", "a")), name="worker"))

    @agent.tool_plain(metadata={"step": {"tries": 3}})
    async def look() -> int:
        return 0

    async with engine:
        with pytest.raises(AgentInvalid, match=r"known keys are .'backoff_max_s'"):
            await engine.run("worker", "go")


async def test_wrapped_toolsets_are_recorded(engine: Engine) -> None:
    """A prefix or an approval around a toolset hides none of its calls."""
    bodies: Counter[int] = Counter()

    def twice(x: int) -> int:
        bodies[x] += 1
        return 2 * x

    toolset: FunctionToolset[None] = FunctionToolset([twice], id="maths")
    guarded = ApprovalRequiredToolset(PrefixedToolset(toolset, "m"), lambda *_: False)
    durable(Agent(echoing(call("m_twice", "a", x=2)), name="worker", toolsets=[guarded]))
    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert first["output"] == "a=4"
    assert bodies == {2: 1}
    assert engine.names() == ["worker.model", "worker.tool.twice", "worker.model"]


async def test_the_same_call_id_can_come_twice(engine: Engine) -> None:
    """A provider that counts calls from 0 in every answer mixes nothing up."""
    model = scripted(call("measure", "0", x=1), call("measure", "0", x=2), "done")
    agent = durable(Agent(model, name="worker"))

    @agent.tool_plain
    async def measure(x: int) -> str:
        return f"m{x}"

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert [step.value["result"] for step in engine.steps() if "measure" in step.name] == [
        "m1",
        "m2",
    ]


async def test_two_agent_runs_in_turn_have_their_own_ids(engine: Engine) -> None:
    """The n-th agent run of a run is `{run}:{n}` in every life."""
    ids: list[str | None] = []
    agent = durable(Agent(scripted("one"), name="worker"))

    @agent.instructions
    def note(ctx: RunContext[object]) -> str:
        ids.append(ctx.run_id)
        return "Work."

    @workflow("twice")
    async def twice(question: str) -> str:
        return (await agent.run(question)).output + (await agent.run(question)).output

    async with engine:
        assert await engine.run("twice", "go") == "oneone"
    assert ids == ["r:1", "r:2"]
