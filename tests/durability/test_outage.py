"""A database that refuses writes for a while stops a run; it does not end it."""

import asyncio
from collections import Counter

import pytest
from pydantic_ai import Agent

from agent_app.database.connect import Database
from agent_app.durability.catalog import Catalog, durable
from agent_app.durability.runtime import launched, running_ids
from agent_app.failover import orphans
from agent_app.operations.control import cancel_run, executed_roots
from agent_app.operations.start import start_run, wait_for_run
from agent_app.settings import Settings
from tests.durability.running import Engine, call, scripted

REFUSE = """
create function public.refuse() returns trigger language plpgsql as $$
begin raise exception 'no writes now' using errcode = %s; end $$;
create trigger refuse before insert or update on {table} execute function public.refuse();
"""


def refuse_writes(database: Database, table: str, state: str) -> None:
    """Make every write to a table of DBOS's fail; a full disk is waited for by DBOS itself."""
    text = REFUSE.format(table=table) % f"'{state}'"
    with database.connect() as connection:
        connection.execute(text.encode())


def allow_writes(database: Database) -> None:
    """Make them work again."""
    with database.connect() as connection:
        connection.execute("drop function public.refuse cascade")


async def until_nobody_executes() -> None:
    """Wait until this process executes no run."""
    async with asyncio.timeout(20):
        while running_ids():  # noqa: ASYNC110 - nothing tells when it becomes empty
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("state", ["25006", "42501"], ids=["read only", "privilege gone"])
@pytest.mark.parametrize("table", ["dbos.operation_outputs", "dbos.workflow_output"])
async def test_run_goes_on_once_its_database_can_be_written(
    database: Database,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    table: str,
    state: str,
) -> None:
    """It stays PENDING meanwhile, then the same process goes on; no finished step runs again."""
    monkeypatch.setattr(orphans, "_STOPPED_S", 0.0)
    calls: Counter[str] = Counter()
    refused = asyncio.Event()
    agent = durable(Agent(scripted(call("first", "a"), call("second", "b"), "end"), name="a"))

    @agent.tool_plain
    async def first() -> None:
        calls["first"] += 1

    @agent.tool_plain
    async def second() -> None:
        calls["second"] += 1
        if calls["second"] == 1:
            refuse_writes(database, table, state)
            refused.set()

    async with launched(database, Settings(), executor_id="me", catalog=catalog):
        await start_run(catalog, "a", "go", run_id="r", models={})
        await refused.wait()
        await until_nobody_executes()
        allow_writes(database)
        for _ in range(2):  # the first look only notes that it stands still
            orphans.recover_orphans(database, own_executor_id="me", application_version="1")
        record = await asyncio.wait_for(wait_for_run("r"), 20)
    assert record["output"] == "end"
    assert calls["first"] == 1
    assert "had stopped here; it goes on" in caplog.text


async def test_person_is_told_what_is_waited_for(
    database: Database, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """While the disk is full the run waits, and a warning says so without the stored values."""
    agent = durable(Agent(scripted(call("fill", "a"), "end"), name="a"))

    @agent.tool_plain
    async def fill() -> str:
        refuse_writes(database, "dbos.operation_outputs", "53100")
        return "private"

    async with engine:
        handle = await engine.start("a", "go")
        async with asyncio.timeout(20):
            while "The database is waited for: " not in caplog.text:  # noqa: ASYNC110 - a log
                await asyncio.sleep(0.01)
        allow_writes(database)
        assert (await handle.get_result())["output"] == "end"
    assert "no writes now" in caplog.text
    assert "private" not in caplog.text


async def test_cancelled_run_is_not_waited_for(database: Database, engine: Engine) -> None:
    """A run that has been cancelled is no longer one that a process waits for at its end."""
    agent = durable(Agent(scripted(call("rest", "a"), "rested"), name="sleeper"))
    began = asyncio.Event()

    @agent.tool_plain
    async def rest() -> None:
        began.set()
        await asyncio.sleep(30)

    async with engine:
        await engine.start("sleeper", "go")
        await began.wait()
        assert [row.run_id for row in executed_roots(database)] == ["r"]
        cancel_run(database, "r")
        assert running_ids() == {"r"}
        assert executed_roots(database) == []
