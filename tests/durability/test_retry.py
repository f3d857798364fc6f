"""Retry of a failed run: its failed step runs again with all its tries, what finished does not."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, PromptedOutput
from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app.database import history
from agent_app.durability.catalog import durable, workflow
from agent_app.durability.delegation import delegate
from agent_app.errors import (
    AgentAppError,
    PayloadRefused,
    RunFailed,
    RunNotFound,
    RunNotRetryable,
)
from agent_app.operations.control import Executor, cancel_run, resume_run
from agent_app.operations.retry import retry_run
from agent_app.operations.start import wait_for_run
from tests.durability.running import Engine, call, scripted

EXECUTOR = Executor("me", "1")


class World:
    """What the tools touch: counts what ran, and fails what it is told to."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.failing: dict[str, Exception] = {}

    def touch(self, name: str) -> str:
        """Count, then fail or answer."""
        self.calls[name] += 1
        if name in self.failing:
            raise self.failing[name]
        return f"{name} done"

    def tool(self, name: str) -> Callable[[], Any]:
        """Return a tool of that name."""

        async def use() -> str:
            return self.touch(name)

        use.__name__ = name
        return use


@pytest.fixture
def world() -> World:
    """Return a fresh one."""
    return World()


def employ(world: World, *turns: Any, name: str = "worker", **metadata: Any) -> None:
    """Define an agent whose calls each use a tool of the world."""

    def seen(messages: list[ModelMessage]) -> None:
        world.calls[f"{name}.model"] += 1

    agent = durable(Agent(scripted(*turns, seen=seen), name=name))
    for tool in ("look", "work", "rest"):
        change = {"step": metadata[tool]} if tool in metadata else None
        agent.tool_plain(metadata=change)(world.tool(tool))


async def fail(engine: Engine, agent: str = "worker") -> None:
    """Execute the run `r` to its failure."""
    with suppress(Exception):
        await engine.run(agent, "go")
    assert engine.status() == "ERROR"


async def retry(engine: Engine, run_id: str = "r") -> Any:
    """Retry a run and return its output."""
    await asyncio.to_thread(retry_run, engine.database, run_id, EXECUTOR)
    return (await wait_for_run(run_id))["output"]


async def test_failed_step_runs_again_and_nothing_else(engine: Engine, world: World) -> None:
    """The run keeps its ID and its finished steps; the failed one and what follows are made."""
    employ(world, call("look", "a"), call("work", "b"), "end")
    world.failing["work"] = ValueError("no")
    async with engine:
        await fail(engine)
        world.failing.clear()
        world.calls.clear()
        assert await retry(engine) == "end"
        assert world.calls == {"work": 1, "worker.model": 1}
        assert engine.numbered() == [
            (1, "worker.model"),
            (2, "worker.tool.look"),
            (3, "worker.model"),
            (4, "worker.tool.work"),
            (5, "worker.model"),
        ]
        assert engine.sql("select count(*) from dbos.workflow_status")[0][0] == 1


async def test_step_has_all_its_tries_again(engine: Engine, world: World) -> None:
    """After a retry the tries before it do not count, and the error is of the new ones alone."""
    employ(world, call("work", "a"), "end", work={"max_attempts": 3})
    world.failing["work"] = ConnectionError("down")
    async with engine:
        await fail(engine)
        assert world.calls["work"] == 3
        with pytest.raises(RunFailed):
            await retry(engine)
        assert world.calls["work"] == 6
        error = engine.steps()[1].error
        assert error is not None
        assert [text.split(":")[0] for text in vars(error)["step_attempts"]] == [
            f"attempt {number}" for number in (4, 5, 6)
        ]
        world.failing.clear()
        assert await retry(engine) == "end"
    rows = engine.sql(
        "select attempt_number, outcome, retried_at is not null from agent_app.attempt"
        " where step_number = 2 order by 1"
    )
    assert rows == [*((n, "error", True) for n in range(1, 7)), (7, "success", False)]


async def test_crash_after_a_retry_counts_the_tries_since(engine: Engine, world: World) -> None:
    """A recovery after a retry takes up the tries that failed since, not those before."""
    employ(world, call("work", "a"), "end", work={"max_attempts": 2})
    world.failing["work"] = ConnectionError("down")
    async with engine:
        await fail(engine)
        with pytest.raises(RunFailed):
            await retry(engine)
        assert world.calls["work"] == 4
        # The checkpoint is lost, the run goes on: two failed since, so that one try is left.
        engine.sql("delete from dbos.operation_outputs where function_id = 2")
        engine.sql("delete from dbos.workflow_output")
        engine.sql("update dbos.workflow_status set status = 'CANCELLED'")
        await resume_run(engine.database, "r", EXECUTOR)
        with pytest.raises(RunFailed):
            await wait_for_run("r")
        assert world.calls["work"] == 5


async def test_finished_sibling_is_kept(engine: Engine, world: World) -> None:
    """Of parallel calls the failed ones run again, and the one that finished does not."""
    done = asyncio.Event()
    agent = durable(
        Agent(
            scripted([call("work", "a"), call("look", "b"), call("rest", "c")], "end"),
            name="worker",
        )
    )

    @agent.tool_plain
    async def work() -> str:
        await done.wait()
        return world.touch("work")

    @agent.tool_plain
    async def look() -> str:
        done.set()
        return world.touch("look")

    @agent.tool_plain
    async def rest() -> str:
        return world.touch("rest")

    world.failing |= {"work": ValueError("no"), "rest": KeyError("no")}
    async with engine:
        await fail(engine)
        world.failing.clear()
        world.calls.clear()
        assert await retry(engine) == "end"
        assert world.calls["look"] == 0
        assert (world.calls["work"], world.calls["rest"]) == (1, 1)


async def test_failed_child_is_retried_below(engine: Engine, world: World) -> None:
    """A failed delegate is retried in its child, from the child's own failed step, at any depth."""
    employ(world, call("look", "x"), call("work", "y"), "deep", name="bottom")

    def delegator(name: str, below: str) -> None:
        agent = durable(Agent(scripted(call("look", "a"), call("ask", "b/1"), "end"), name=name))
        agent.tool_plain(world.tool("look"))

        @agent.tool_plain
        async def ask() -> str:
            world.calls[f"{name}.ask"] += 1
            result: str = await delegate(below, "go")
            return result

    delegator("middle", "bottom")
    delegator("top", "middle")
    world.failing["work"] = ValueError("no")
    async with engine:
        await fail(engine, "top")
        ids = [row[0] for row in engine.sql("select workflow_uuid from dbos.workflow_status")]
        assert len(ids) == 3
        world.failing.clear()
        world.calls.clear()
        assert await retry(engine) == "end"
        assert world.calls == {"top.ask": 1, "middle.ask": 1, "work": 1, "bottom.model": 1}
        rows = engine.sql("select workflow_uuid, status from dbos.workflow_status")
        assert {row[0] for row in rows} == set(ids)
        assert {row[1] for row in rows} == {"SUCCESS"}


async def test_failed_delegate_of_a_workflow_is_retried(engine: Engine, world: World) -> None:
    """One of two delegates of a workflow failed: its child goes on, the other one's is kept."""
    employ(world, call("look", "x"), "fine", name="fine")
    employ(world, call("look", "x"), call("work", "y"), "poor", name="poor")

    @workflow("both")
    async def both(value: str) -> list[str]:
        return [await delegate("fine", value), await delegate("poor", value)]

    world.failing["work"] = ValueError("no")
    async with engine:
        await fail(engine, "both")
        world.failing.clear()
        world.calls.clear()
        assert await retry(engine) == ["fine", "poor"]
        assert world.calls == {"work": 1, "poor.model": 1}


async def test_child_whose_failure_was_handled_is_left_alone(engine: Engine, world: World) -> None:
    """A tool that answered for its failed child is finished; the child is not retried."""
    employ(world, call("rest", "x"), "never", name="child")
    agent = durable(Agent(scripted([call("ask", "a")], call("work", "b"), "end"), name="parent"))
    agent.tool_plain(world.tool("work"))

    @agent.tool_plain
    async def ask() -> str:
        with suppress(ValueError):
            await delegate("child", "go")
        return "without"

    world.failing |= {"rest": ValueError("no"), "work": KeyError("no")}
    async with engine:
        await fail(engine, "parent")
        world.failing.clear()
        world.calls.clear()
        assert await retry(engine) == "end"
        assert world.calls == {"work": 1}
        assert engine.status("r:a") == "ERROR"


async def test_handled_error_stays_recorded(engine: Engine, world: World) -> None:
    """A workflow went on after one failure and ended by another: only the latter runs again."""
    employ(world, call("rest", "x"), "never", name="optional")
    employ(world, call("work", "y"), "end", name="needed")

    @workflow("both")
    async def both(value: str) -> str:
        try:
            first = await delegate("optional", value)
        except ValueError:
            first = "without"
        await asyncio.sleep(0.01)  # steps are told apart by milliseconds
        return f"{first} {await delegate('needed', value)}"

    world.failing |= {"rest": ValueError("no"), "work": KeyError("no")}
    async with engine:
        await fail(engine, "both")
        world.failing.clear()
        world.calls.clear()
        assert await retry(engine) == "without end"
        assert world.calls == {"work": 1, "needed.model": 1}


async def test_answer_that_was_no_output_is_asked_for_again(engine: Engine) -> None:
    """A run that ended because a model's answer did not fit asks that model once more."""
    asked: list[int] = []

    class Number(BaseModel):
        number: int

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked.append(len(messages))
        if len(messages) == 1:
            return ModelResponse([call("look", "a")])
        text = '{"number": 3}' if len(asked) > 2 else "none"
        return ModelResponse([TextPart(text)])

    agent = durable(
        Agent(FunctionModel(answer), name="worker", output_type=PromptedOutput(Number), retries=0)
    )

    @agent.tool_plain
    async def look() -> str:
        return "seen"

    async with engine:
        with suppress(UnexpectedModelBehavior):
            await engine.run("worker", "go")
        assert engine.status() == "ERROR"
        assert await retry(engine) == {"number": 3}
        assert asked == [1, 3, 3]


async def test_model_is_asked_again_where_its_calls_were_refused(engine: Engine) -> None:
    """A tool that refused what the model asked for, too often, is asked for anew."""
    asked: list[int] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked.append(len(messages))
        if len(messages) > 1:
            return ModelResponse([TextPart("end")])
        return ModelResponse([call("look", f"c{len(asked)}", at=len(asked))])

    agent = durable(Agent(FunctionModel(answer), name="worker", retries=0))

    @agent.tool_plain
    async def look(at: int) -> str:
        if at == 1:
            raise ModelRetry("not there")
        return "seen"

    async with engine:
        with suppress(UnexpectedModelBehavior):
            await engine.run("worker", "go")
        assert engine.status() == "ERROR"
        assert engine.names() == ["worker.model", "worker.tool.look"]
        assert await retry(engine) == "end"
        assert asked == [1, 1, 3]


async def test_workflow_that_failed_by_itself_only_replays(engine: Engine, world: World) -> None:
    """Where code failed behind a finished tool, no step runs again: the code does."""
    employ(world, call("work", "a"), "end")
    broken = [True]

    @workflow("flow")
    async def flow(value: str) -> str:
        result = await delegate("worker", value)
        if broken:
            raise LookupError("a bug")
        return f"{result}!"

    async with engine:
        await fail(engine, "flow")
        broken.clear()
        world.calls.clear()
        assert await retry(engine) == "end!"
        assert world.calls == {}


async def test_external_call_that_failed_is_made_again(engine: Engine, world: World) -> None:
    """A person's retry makes a call again whose failure is recorded; its intent is a new one."""
    employ(world, call("work", "a"), "end", work={"effect": "external"})
    world.failing["work"] = ValueError("refused")
    async with engine:
        await fail(engine)
        first = engine.sql("select executor_id, intended_at from agent_app.intent")
        world.failing.clear()
        assert await retry(engine) == "end"
        assert world.calls["work"] == 2
        again = engine.sql("select executor_id, intended_at from agent_app.intent")
        assert len(again) == 1
        assert again[0][1] > first[0][1]


async def test_external_call_without_an_outcome_still_waits_for_a_person(
    engine: Engine, world: World
) -> None:
    """A retry for a sibling's sake does not make a call of which nobody knows what became of it."""
    employ(
        world,
        [call("work", "a"), call("look", "b")],
        "end",
        look={"effect": "external"},
    )
    async with engine:
        assert await engine.run("worker", "go") == "end"
        engine.sql("delete from dbos.operation_outputs where function_id > 2")
        engine.sql("delete from dbos.workflow_output")
        engine.sql(
            "update dbos.operation_outputs set output = null, error ="
            """ '{"$error":{"type":"builtins:ValueError","message":"no","args":["no"],"state":"""
            """{"checkpoint_of":"' || (output::jsonb ->> '$checkpoint') || '"}}}'"""
            " where function_id = 2"
        )
        engine.sql("update dbos.workflow_status set status = 'ERROR', error = null, output = null")
        world.calls.clear()
        await asyncio.to_thread(retry_run, engine.database, "r", EXECUTOR)
        async with asyncio.timeout(20):
            while not engine.sql("select 1 from agent_app.undecided_call"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert world.calls == {"work": 1}
        cancel_run(engine.database, "r")


async def test_what_a_transaction_committed_is_taken(engine: Engine, world: World) -> None:
    """A transactional step that committed and then failed gives its committed result."""
    employ(world, call("work", "a"), "end", work={"effect": "transactional"})
    async with engine:
        assert await engine.run("worker", "go") == "end"
        engine.sql("delete from dbos.operation_outputs where function_id > 2")
        engine.sql("delete from dbos.workflow_output")
        engine.sql(
            "update dbos.operation_outputs set output = null, error ="
            """ '{"$error":{"type":"builtins:ValueError","message":"no","args":["no"]}}'"""
            " where function_id = 2"
        )
        engine.sql("update dbos.workflow_status set status = 'ERROR'")
        world.calls.clear()
        assert await retry(engine) == "end"
        assert world.calls["work"] == 0
        assert engine.sql("select count(*) from agent_app.committed_call")[0][0] == 1


async def test_run_that_was_given_up_goes_on(engine: Engine, world: World) -> None:
    """MAX_RECOVERY_ATTEMPTS_EXCEEDED goes on where it stood, its child that was given up too."""
    employ(world, call("work", "a"), "end", name="child")

    @workflow("flow")
    async def flow(value: str) -> str:
        return str(await delegate("child", value))

    async with engine:
        assert await engine.run("flow", "go") == "end"
        engine.sql("delete from dbos.operation_outputs where workflow_uuid = 'r'")
        engine.sql("delete from dbos.operation_outputs where function_id = 3")
        engine.sql("delete from dbos.workflow_output")
        engine.sql("update dbos.workflow_status set status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'")
        world.calls.clear()
        assert await retry(engine) == "end"
        assert world.calls == {"child.model": 1}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("status = 'SUCCESS'", RunNotRetryable, "it is SUCCESS, and only a run that failed is."),
        ("status = 'PENDING'", RunNotRetryable, "it is PENDING, and only a run that failed is."),
        ("status = 'CANCELLED'", RunNotRetryable, "`agent-app resume r` goes on."),
        ("application_version = '2'", RunNotRetryable, "it belongs to application version '2'."),
        ("serialization = 'py_pickle'", PayloadRefused, "'py_pickle'"),
        ("workflow_uuid = 's'", RunNotFound, "Run 'r' does not exist."),
    ],
)
async def test_run_that_is_not_to_be_retried(
    engine: Engine, world: World, change: str, error: type[AgentAppError], message: str
) -> None:
    """What has not failed, or is not ours, is refused, and its steps stay as they are."""
    employ(world, call("work", "a"), "end")
    world.failing["work"] = ValueError("no")
    async with engine:
        await fail(engine)
        engine.sql(f"update dbos.workflow_status set {change}")  # noqa: S608 - of this test
        with pytest.raises(error) as caught:
            await asyncio.to_thread(retry_run, engine.database, "r", EXECUTOR)
        assert message in str(caught.value)
        assert engine.sql("select count(*) from dbos.operation_outputs")[0][0] == 2


async def test_retry_is_whole_or_not_at_all(
    engine: Engine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks in the middle, the run keeps its failed step, its intent and its status."""
    employ(world, call("work", "a"), "end", work={"effect": "external"})
    world.failing["work"] = ValueError("no")

    def breaking(*arguments: Any) -> None:
        history.drop_steps(*arguments)
        raise ConnectionError("cut off")

    async with engine:
        await fail(engine)
        monkeypatch.setattr("agent_app.operations.retry.drop_steps", breaking)
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(retry_run, engine.database, "r", EXECUTOR)
        assert engine.status() == "ERROR"
        assert engine.numbered() == [(1, "worker.model"), (2, "worker.tool.work")]
        assert engine.sql("select count(*) from agent_app.intent")[0][0] == 1
        assert engine.sql("select count(*) from agent_app.attempt where retried_at is null") == [
            (2,)
        ]


async def test_of_two_who_retry_one_does(engine: Engine, world: World) -> None:
    """Two retries at once make the step's body run once; the slower one is told."""
    employ(world, call("work", "a"), "end")
    world.failing["work"] = ValueError("no")
    async with engine:
        await fail(engine)
        world.failing.clear()
        world.calls.clear()
        both = [asyncio.to_thread(retry_run, engine.database, "r", EXECUTOR) for _ in range(2)]
        ends = await asyncio.gather(*both, return_exceptions=True)
        refused = [end for end in ends if isinstance(end, BaseException)]
        assert [type(end) for end in refused] == [RunNotRetryable]
        assert (await wait_for_run("r"))["output"] == "end"
        assert world.calls["work"] == 1
