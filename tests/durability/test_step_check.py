"""The one question before a step: what it costs, and what it keeps a process from."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dbos._dbos import _get_dbos_instance
from dbos._sys_db import SystemDatabase
from psycopg.pq import TransactionStatus
from pydantic_ai import Agent
from sqlalchemy import Connection, event

from agent_app.durability import attempts, step_check
from agent_app.durability.catalog import durable
from agent_app.durability.scope import current_run
from tests.durability.running import Engine, call, scripted
from tests.durability.takeover import change_owner, eventually
from tests.durability.test_outage import until_nobody_executes

STEPS = {"few": 1, "many": 3}
"""Tool calls of two runs; each has a model request with it, so 4 steps lie between the two."""


@contextmanager
def counting(counts: Counter[str]) -> Iterator[None]:
    """Count the round trips that the steps of runs make on DBOS's connections.

    psycopg sends BEGIN by itself before the first statement, and neither that nor COMMIT in
    autocommit. What DBOS's own threads ask for is in no run.
    """

    def note_statement(connection: Connection, *rest: Any) -> None:
        driver = connection.connection.dbapi_connection
        if current_run() is not None and driver is not None:
            counts["statement"] += 1
            is_idle = driver.info.transaction_status == TransactionStatus.IDLE
            counts["begin"] += is_idle and not driver.autocommit

    def note_end(connection: Connection) -> None:
        driver = connection.connection.dbapi_connection
        if current_run() is not None and driver is not None:
            counts["end"] += driver.info.transaction_status != TransactionStatus.IDLE

    engine = _get_dbos_instance()._sys_db.engine
    listeners = {
        "before_cursor_execute": note_statement,
        "commit": note_end,
        "rollback": note_end,
    }
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)


async def cost_of_four_steps(engine: Engine) -> Counter[str]:
    """Return what a run with four steps more sends more."""
    counts = {name: Counter[str]() for name in STEPS}
    async with engine:
        for name, count in counts.items():
            with counting(count):
                assert await engine.run(name, "go", name) == "done"
    return counts["many"] - counts["few"]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make two agents, and answers that are good for as long as a slow machine takes."""
    monkeypatch.setattr(step_check, "_VALID_S", 60.0)
    for name, count in STEPS.items():
        turns = [call("step", f"c{number}") for number in range(count)]
        agent = durable(Agent(scripted(*turns, "done"), name=name))

        @agent.tool_plain
        async def step() -> str:
            return "stepped"


@pytest.mark.usefixtures("workers")
async def test_a_step_asks_one_question(engine: Engine) -> None:
    """Checkpoint, owner, tries, limits and intent come in one round trip; writing takes four."""
    cost = await cost_of_four_steps(engine)
    assert cost == {"statement": 4 * 3, "begin": 4, "end": 4}


@pytest.mark.usefixtures("workers")
async def test_the_question_costs_no_more_than_the_one_of_dbos(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DBOS asks less in more round trips: two statements of one transaction."""

    async def confirm_nothing(*arguments: Any) -> None:
        """Ask nobody, as DBOS does."""

    monkeypatch.setattr(SystemDatabase, "check_operation_execution", step_check._own_check)
    monkeypatch.setattr("agent_app.durability.runtime.install_step_check", lambda: None)
    monkeypatch.setattr(attempts, "confirm", confirm_nothing)
    own = await cost_of_four_steps(engine)
    assert own == {"statement": 4 * 4, "begin": 4 * 2, "end": 4 * 2}


@pytest.mark.usefixtures("workers")
async def test_a_replayed_step_costs_the_question_alone(engine: Engine) -> None:
    """A step that has its checkpoint is one round trip."""
    counts: Counter[str] = Counter()
    async with engine:
        first = await engine.record("many", "go")
        with counting(counts):
            assert await engine.replay() == first
    assert +counts == {"statement": 7}


def change_owner_after(engine: Engine, monkeypatch: pytest.MonkeyPatch, step_number: int) -> None:
    """Let another executor take the run over as soon as this step has its checkpoint."""
    inner = SystemDatabase.record_operation_result

    def record(self: SystemDatabase, result: Any, **options: Any) -> None:
        inner(self, result, **options)
        if result["function_id"] == step_number:
            change_owner(engine)

    monkeypatch.setattr(SystemDatabase, "record_operation_result", record)


def is_another(engine: Engine) -> bool:
    """Say whether the run belongs to somebody else by now."""
    return engine.sql("select owner_xid from dbos.workflow_status") == [("another",)]


@pytest.mark.parametrize("last", [1, 2])
async def test_a_process_that_lost_the_run_starts_no_further_step(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    """After a takeover between two steps, neither a tool nor a model is called any more."""
    bodies: list[str] = []
    turns = scripted(
        call("step", "a"), call("step", "b"), "done", seen=lambda messages: bodies.append("model")
    )
    agent = durable(Agent(turns, name="w"))

    @agent.tool_plain
    async def step() -> None:
        bodies.append("tool")

    change_owner_after(engine, monkeypatch, last)
    async with engine:
        await engine.start("w", "go")
        await eventually(lambda: len(engine.steps()) == last)
        await until_nobody_executes()
        assert len(engine.steps()) == last
        assert engine.status() == "PENDING"
    assert bodies == ["model", "tool"][:last]


@pytest.mark.parametrize("first", ["tool", "model"])
async def test_a_process_that_lost_the_run_makes_no_further_try(engine: Engine, first: str) -> None:
    """After a takeover in the wait between two tries, the second one is the new owner's."""
    bodies: Counter[str] = Counter()

    def ask(messages: Any) -> None:
        bodies["model"] += 1
        if first == "model":
            raise ConnectionError("engaged")

    agent = durable(Agent(scripted(call("step", "a"), "done", seen=ask), name="w"))

    @agent.tool_plain
    async def step() -> None:
        bodies["tool"] += 1
        raise ConnectionError("engaged")

    backoff = {"retry_backoff_s": 1.0, "retry_backoff_max_s": 1.0}
    engine.settings = engine.settings.model_copy(update=backoff)
    async with engine:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("random.random", lambda: 0.9)
            await engine.start("w", "go")
            await eventually(lambda: bodies[first])
            change_owner(engine)
            await until_nobody_executes()
        assert bodies[first] == 1
        assert engine.status() == "PENDING"


async def test_an_answer_that_has_become_old_is_asked_for_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that sleeps between the question and the body does not start the body."""
    bodies: Counter[str] = Counter()
    agent = durable(Agent(scripted(call("step", "a"), "done"), name="w"))

    @agent.tool_plain
    async def step() -> None:
        bodies["tool"] += 1

    inner = step_check._judge

    def judge(row: Any, run_id: str, step_number: int, step_name: str) -> Any:
        found = inner(row, run_id, step_number, step_name)
        if step_number == 2:  # what a stopped process finds when it wakes up
            change_owner(engine)
            clock = step_check.now()
            monkeypatch.setattr(step_check, "now", lambda: clock + 1)
        return found

    monkeypatch.setattr(step_check, "_judge", judge)
    async with engine:
        await engine.start("w", "go")
        await eventually(lambda: len(engine.steps()) == 1)
        await until_nobody_executes()
    assert bodies == {}


async def test_a_run_that_is_lost_under_parallel_calls_ends_here(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once one call's checkpoint was the last that counts, its sibling's is refused."""
    agent = durable(Agent(scripted([call("quick", "a"), call("slow", "b")], "done"), name="w"))
    is_lost = asyncio.Event()
    bodies: Counter[str] = Counter()

    @agent.tool_plain
    async def quick() -> None:
        bodies["quick"] += 1

    @agent.tool_plain
    async def slow() -> None:
        bodies["slow"] += 1
        await is_lost.wait()

    change_owner_after(engine, monkeypatch, 2)
    async with engine:
        await engine.start("w", "go")
        await eventually(lambda: is_another(engine) and bodies["slow"])
        is_lost.set()
        await until_nobody_executes()
        assert engine.numbered() == [(1, "w.model"), (2, "w.tool.quick")]
        assert engine.status() == "PENDING"
    assert bodies == {"quick": 1, "slow": 1}
