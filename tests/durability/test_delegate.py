"""Delegation: one step here, a run of its own there, attached to again and never made twice."""

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from dbos import DBOS
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from agent_app.durability.catalog import durable, workflow
from agent_app.durability.delegation import PARENT, delegate
from agent_app.errors import (
    AgentNotFound,
    DelegateMisused,
    InputInvalid,
    RecordedError,
    ReplayDiverged,
    RunCancelled,
)
from tests.durability.running import Engine, call, echoing, scripted


class OddError(Exception):
    """An error of the user's own."""


class Question(BaseModel):
    """What the helper is asked."""

    text: str
    times: int = 1


def define_helper(bodies: Counter[str] | None = None) -> Agent[None, str]:
    """Define an agent that repeats its question and bills five tokens and a cent."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        text = str(messages[0].parts[-1].content)  # type: ignore[union-attr]
        if bodies is not None:
            bodies[text] += 1
        usage = RequestUsage(input_tokens=5, cost=Decimal("0.01"))
        return ModelResponse([TextPart(f"re {text}")], usage=usage)

    agent: Agent[None, str] = Agent(FunctionModel(answer), name="helper")
    return durable(agent, input=Question, prompt=lambda q: q.text)


async def test_tools_delegate_in_parallel(engine: Engine) -> None:
    """Each call has its child under `{run}:{tool call}`; the parent's bill holds all, once."""
    bodies: Counter[str] = Counter()
    helper = define_helper(bodies)
    agent = durable(Agent(echoing(*(call("ask", f"c{x}", about=x) for x in "abc")), name="worker"))

    @agent.tool_plain
    async def ask(about: str) -> str:
        answer: str = await delegate(helper, Question(text=about))
        return answer

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert first["output"] == "ca=re a cb=re b cc=re c"
    assert bodies == {"a": 1, "b": 1, "c": 1}
    assert first["usage"]["requests"] == 5
    assert first["cost_usd"] == "0.03"
    parents = engine.sql(
        f"select workflow_uuid, attributes->>'{PARENT}' from dbos.workflow_status"  # noqa: S608
        " where name = 'helper' order by 1"
    )
    assert parents == [("r:ca", "r"), ("r:cb", "r"), ("r:cc", "r")]
    assert engine.names() == ["worker.model", *["worker.tool.ask"] * 3, "worker.model"]


async def test_a_tool_can_delegate_twice(engine: Engine) -> None:
    """The second child of one tool call is `{run}:{tool call}:2`, in parallel or in turn."""
    bodies: Counter[str] = Counter()
    define_helper(bodies)
    agent = durable(Agent(echoing(call("ask", "a")), name="worker"))

    @agent.tool_plain
    async def ask() -> str:
        first, second = await asyncio.gather(delegate("helper", "x"), delegate("helper", "y"))
        third = await delegate("helper", {"text": "z"})
        return f"{first} {second} {third}"

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert first["output"] == "a=re x re y re z"
    assert bodies == {"x": 1, "y": 1, "z": 1}
    assert first["usage"]["requests"] == 5
    children = engine.sql("select workflow_uuid from dbos.workflow_status where name = 'helper'")
    assert sorted(children) == [("r:a",), ("r:a:2",), ("r:a:3",)]


@pytest.mark.parametrize("call_id", ["0", "a/b c", "x" * 200, "ü"])
async def test_odd_call_ids_make_fit_run_ids(engine: Engine, call_id: str) -> None:
    """A call ID that comes twice, is a number, or has odd signs gives run IDs that doors take."""
    define_helper()
    model = scripted(call("ask", call_id, about="x"), call("ask", call_id, about="y"), "done")
    agent = durable(Agent(model, name="worker"))

    @agent.tool_plain
    async def ask(about: str) -> str:
        answer: str = await delegate("helper", about)
        return answer

    @workflow("both")
    async def both(question: str) -> list[str]:
        return [await delegate("helper", "w"), (await agent.run(question)).output]

    async with engine:
        first = await engine.record("both", "go")
        assert await engine.replay() == first
    results = [step.value for step in engine.steps() if step.name == "worker.tool.ask"]
    assert [value["result"] for value in results] == ["re x", "re y"]
    ids = [row[0] for row in engine.sql("select workflow_uuid from dbos.workflow_status")]
    children = sorted(run_id for run_id in ids if run_id.startswith("r:"))
    assert len(children) == 3
    assert "r:1" in children
    assert all(len(child) < 80 and child.isascii() and "/" not in child for child in children)


async def test_a_workflow_delegates_with_gather(engine: Engine) -> None:
    """Numbers follow the order of the calls, results and bills are the same in both lives."""
    bodies: Counter[str] = Counter()
    define_helper(bodies)

    @workflow("many", output=list[str])
    async def many(question: str) -> list[str]:
        return list(await asyncio.gather(*(delegate("helper", str(n)) for n in range(4))))

    async with engine:
        first = await engine.record("many", "go")
        assert await engine.replay() == first
    assert first["output"] == ["re 0", "re 1", "re 2", "re 3"]
    assert (first["usage"]["requests"], first["cost_usd"]) == (4, "0.04")
    assert set(bodies.values()) == {1}
    assert engine.numbered() == [(n, "many.delegate.helper") for n in (1, 2, 3, 4)]
    assert [step.value for step in engine.steps()] == first["output"]


async def test_outputs_are_validated(engine: Engine) -> None:
    """What `delegate` returns is of the child's output type again."""

    @workflow("inner", output=Question)
    async def inner(text: str) -> Question:
        return Question(text=text, times=3)

    @workflow("outer", output=int)
    async def outer(text: str) -> int:
        answer: Question = await delegate("inner", text)
        return answer.times

    async with engine:
        assert await engine.run("outer", "go") == 3


@pytest.mark.parametrize(("fail", "seen"), [(ValueError, ValueError), (OddError, RecordedError)])
@pytest.mark.parametrize("place", ["workflow", "tool"])
async def test_a_childs_error_arrives_as_what_it_is(
    engine: Engine, fail: type[Exception], seen: type[Exception], place: str
) -> None:
    """The caller catches the child's own class, or RecordedError, the same in both lives."""
    agent = durable(Agent(scripted(call("ask", "a")), name="worker"))

    @workflow("failing")
    async def failing(text: str) -> None:
        raise fail(text)

    @agent.tool_plain
    async def ask() -> None:
        await delegate("failing", "sorry")

    @workflow("outer")
    async def outer(text: str) -> str:
        try:
            await (agent.run(text) if place == "tool" else delegate("failing", "sorry"))
        except seen as error:
            return f"{type(error).__name__} {error}"
        raise AssertionError

    async with engine:
        first = await engine.record("outer", "go")
        assert await engine.replay() == first
    assert first["output"].startswith(seen.__name__)
    assert first["output"].endswith("sorry")


async def test_a_wrong_delegate_is_refused(engine: Engine) -> None:
    """An unknown name and an input that does not fit are errors before a child exists."""
    define_helper()

    @workflow("outer")
    async def outer(text: str) -> Any:
        return await (delegate("helpr", "x") if text == "name" else delegate("helper", {}))

    async with engine:
        with pytest.raises(AgentNotFound, match="Did you mean 'helper'"):
            await engine.run("outer", "name", "r1")
        with pytest.raises(InputInvalid, match="text: Field required"):
            await engine.run("outer", "input", "r2")
    assert engine.sql("select count(*) from dbos.workflow_status where name = 'helper'") == [(0,)]


async def test_outside_a_run_there_is_nobody_to_delegate_for(ready: Engine) -> None:
    """`delegate` needs a run that pays and waits."""
    define_helper()
    with pytest.raises(DelegateMisused, match="outside a run"):
        await delegate("helper", "x")


@pytest.mark.parametrize("way", ["run", "run_sync", "run_stream", "iter"])
async def test_a_bare_run_inside_a_step_is_refused(engine: Engine, way: str) -> None:
    """A durable agent whose steps would be lost says how it is called instead."""
    helper = define_helper()
    agent = durable(Agent(scripted(call(f"ask_{way}", "a")), name="worker"))

    @agent.tool_plain
    async def ask_run() -> None:
        await helper.run("x")

    @agent.tool_plain
    def ask_run_sync() -> None:
        helper.run_sync("x")

    @agent.tool_plain
    async def ask_run_stream() -> None:
        async with helper.run_stream("x"):
            raise AssertionError

    @agent.tool_plain
    async def ask_iter() -> None:
        async with helper.iter("x"):
            raise AssertionError

    async with engine:
        with pytest.raises(DelegateMisused, match=r"await delegate.agent, input"):
            await engine.run("worker", "go")
    assert engine.names() == ["worker.model", f"worker.tool.ask_{way}"]


async def test_a_child_that_was_there_must_be_the_same(engine: Engine) -> None:
    """Two delegates of one tool call that changed places in a recovery are noticed."""
    define_helper()
    agent = durable(Agent(echoing(call("ask", "a")), name="worker"))
    asked = ["x"]

    @agent.tool_plain
    async def ask() -> str:
        answer: str = await delegate("helper", asked[0])
        if asked[0] == "x":
            asked[0] = "y"
            raise ConnectionError("lost")
        return answer

    async with engine:
        with pytest.raises(ReplayDiverged, match="delegate helper"):
            await engine.run("worker", "go")


async def test_cancelling_the_parent_cancels_the_child(engine: Engine) -> None:
    """The child becomes CANCELLED within two seconds or so, and its body stops."""
    state: Counter[str] = Counter()
    slow = durable(Agent(scripted(call("rest", "x"), "rested"), name="slow"))

    @slow.tool_plain
    async def rest() -> None:
        state["begun"] += 1
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            state["stopped"] += 1
            raise

    agent = durable(Agent(scripted(call("ask", "a")), name="worker"))

    @agent.tool_plain
    async def ask() -> None:
        await delegate(slow, "x")

    async with engine:
        await engine.start("worker", "go")
        await until(lambda: state["begun"])
        await DBOS.cancel_workflow_async("r")
        await until(lambda: engine.status("r:a") == "CANCELLED", 4)
        await until(lambda: state["stopped"], 4)
    assert engine.status() == "CANCELLED"
    assert state == {"begun": 1, "stopped": 1}
    assert engine.names() == ["worker.model"]


async def test_a_cancelled_child_is_an_error_here(engine: Engine) -> None:
    """A child that somebody cancels ends the step with RunCancelled, in both lives."""
    slow = durable(Agent(scripted(call("rest", "x"), "rested"), name="slow"))
    begun = asyncio.Event()

    @slow.tool_plain
    async def rest() -> None:
        begun.set()
        await asyncio.sleep(30)

    @workflow("outer")
    async def outer(text: str) -> str:
        try:
            await delegate("slow", text)
        except RunCancelled as error:
            return error.run_id
        raise AssertionError

    async with engine:
        handle = await engine.start("outer", "go")
        await begun.wait()
        await DBOS.cancel_workflow_async("r:1")
        first = await handle.get_result()
        assert await engine.replay() == first
    assert first["output"] == "r:1"


async def until(predicate: Any, timeout_s: float = 10) -> None:
    """Wait until `predicate` is true, leaving the loop to the runs."""
    async with asyncio.timeout(timeout_s):
        while not predicate():  # noqa: ASYNC110 - what is waited for lies in the database
            await asyncio.sleep(0.02)
