"""Cancel, resume, delete, attributes, list, follow: what a door does to runs, without a door."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic_ai import Agent

from agent_app.database.connect import Database
from agent_app.database.history import drop_runs
from agent_app.durability.catalog import Catalog, durable
from agent_app.durability.delegation import delegate
from agent_app.durability.joint_commit import joint_commit
from agent_app.durability.runtime import launched
from agent_app.errors import (
    AttributeInvalid,
    DatabaseError,
    FilterInvalid,
    RunCancelled,
    RunFailed,
    RunNotDeletable,
    RunNotFound,
    RunNotResumable,
)
from agent_app.failover.lease import executor_lease
from agent_app.failover.liveness import BusyStep, busy_steps
from agent_app.operations import cancel, control
from agent_app.operations.attributes import change_attributes
from agent_app.operations.cancel import cancel_run, wait_until_stopped
from agent_app.operations.control import Executor, resume_run
from agent_app.operations.delete import delete_runs, list_to_delete
from agent_app.operations.follow import Happening, finished_record, follow_run
from agent_app.operations.read import RunFilter, get_run, list_runs
from agent_app.operations.start import start_run, wait_for_run
from agent_app.settings import Settings
from tests.durability.running import Engine, call, scripted
from tests.durability.takeover import eventually

EXECUTOR = Executor("me", "1")
EXECUTOR_ELSEWHERE = Executor("another", "1")


@pytest.fixture
def calls() -> Counter[str]:
    """Count executed bodies by name."""
    return Counter()


class Gate:
    """Lets a tool wait until the test says go."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()


@pytest.fixture
def gate() -> Gate:
    """Return a closed one."""
    return Gate()


@pytest.fixture
def family(catalog: Catalog, calls: Counter[str], gate: Gate) -> None:
    """Define `parent`, which delegates to `child`, whose tool waits at the gate."""
    parent = durable(Agent(scripted(call("ask", "a"), "end"), name="parent"))
    child = durable(Agent(scripted(call("wait", "w"), "waited"), name="child"))

    @parent.tool_plain
    async def ask() -> str:
        calls["ask"] += 1
        result: str = await delegate("child", "go")
        return result

    @child.tool_plain
    async def wait() -> str:
        calls["wait"] += 1
        gate.began.set()
        await gate.go.wait()
        return "open"


@asynccontextmanager
async def living(database: Database, catalog: Catalog) -> AsyncIterator[None]:
    """Launch an executor that gives signs of life, as a process of the command line does."""
    settings = Settings(_env_file=None, retry_backoff_s=0.001)
    with executor_lease(database, "me", lease_s=5):
        async with launched(database, settings, executor_id="me", catalog=catalog):
            yield


def statuses(database: Database) -> dict[str, str]:
    """Return every run's status by its ID."""
    with database.connect() as connection:
        rows = connection.execute("select workflow_uuid, status from dbos.workflow_status")
        return {row["workflow_uuid"]: row["status"] for row in rows}


def row_counts(database: Database) -> dict[str, int]:
    """Return how many rows every table of DBOS's and ours has."""
    with database.connect() as connection:
        tables = connection.execute(
            "select format('%I.%I', table_schema, table_name) as name"
            " from information_schema.tables"
            " where table_schema in ('dbos', 'agent_app') and table_type = 'BASE TABLE'"
        ).fetchall()
        counts = {}
        for table in tables:
            query = f"select count(*) as rows from {table['name']}"  # noqa: S608 - of the catalog
            found = connection.execute(query.encode()).fetchone()
            counts[table["name"]] = found["rows"] if found else 0
        return counts


# -- cancel and resume


@pytest.mark.usefixtures("family")
async def test_cancel_waits_until_children_have_stopped(
    database: Database, catalog: Catalog, calls: Counter[str], gate: Gate
) -> None:
    """Parent and child are cancelled at once; when the wait is over no body of them runs."""
    async with living(database, catalog):
        await start_run(catalog, "parent", "go", run_id="r", models={})
        await gate.began.wait()
        cancelled = await asyncio.to_thread(cancel_run, database, "r")
        assert cancelled == ["r", "r:a"]
        assert statuses(database) == {"r": "CANCELLED", "r:a": "CANCELLED"}
        assert await asyncio.to_thread(wait_until_stopped, database, cancelled) == []
        with database.connect() as connection:
            open_tries = "select 1 from agent_app.attempt where outcome is null"
            assert connection.execute(open_tries).fetchall() == []
        gate.go.set()
        await resume_run(database, "r", EXECUTOR)
        assert (await wait_for_run("r"))["output"] == "end"
        assert calls == {"ask": 2, "wait": 2}


async def test_body_that_does_not_stop_is_named(
    database: Database, catalog: Catalog, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that ignores its cancellation is named, and nobody may go on beside it."""
    agent = durable(Agent(scripted(call("insist", "a"), "end"), name="stubborn"))
    bodies: Counter[str] = Counter()

    @agent.tool_plain
    async def insist() -> str:
        bodies["insist"] += 1
        gate.began.set()
        while not gate.go.is_set():
            with suppress(asyncio.CancelledError):
                await gate.go.wait()
        return "late"

    monkeypatch.setattr(control, "STOP_TIMEOUT_S", 0.3)
    async with living(database, catalog):
        await start_run(catalog, "stubborn", "go", run_id="r", models={})
        await gate.began.wait()
        with pytest.raises(RunNotResumable, match="a living process executes it"):
            await resume_run(database, "r", EXECUTOR_ELSEWHERE)
        cancel_run(database, "r")
        (busy,) = await asyncio.to_thread(wait_until_stopped, database, ["r"], timeout_s=0.8)
        assert busy == BusyStep("r", 2, "stubborn.tool.insist", "me")
        with pytest.raises(RunNotResumable, match="still executes step 2 of 'r'"):
            await resume_run(database, "r", EXECUTOR)
        with pytest.raises(RunNotDeletable, match="a living process still executes its step 2"):
            await asyncio.to_thread(delete_runs, database, ["r"])
        assert statuses(database) == {"r": "CANCELLED"}
        gate.go.set()
        assert await asyncio.to_thread(wait_until_stopped, database, ["r"]) == []
        assert bodies["insist"] == 1
        await resume_run(database, "r", EXECUTOR)
        assert (await wait_for_run("r"))["output"] == "end"


async def test_open_try_of_a_dead_process_keeps_nobody_waiting(
    engine: Engine, family: None, gate: Gate
) -> None:
    """What a killed process has left open in the ledger is no body that runs."""
    gate.go.set()
    async with engine:
        await engine.run("child", "go")
        engine.sql("update agent_app.attempt set outcome = null, executor_id = 'dead'")
        assert busy_steps(engine.database, ["r"]) == []
        assert await asyncio.to_thread(delete_runs, engine.database, ["r"]) == ["r"]


@pytest.mark.usefixtures("family")
async def test_child_that_begins_while_its_parent_is_cancelled(
    database: Database, catalog: Catalog, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that the first look does not see is cancelled by the second one."""
    async with living(database, catalog):
        await start_run(catalog, "parent", "go", run_id="r", models={})
        await gate.began.wait()
        with monkeypatch.context() as patch:
            patch.setattr(cancel, "read_descendants", lambda database, run_id: [])
            assert await asyncio.to_thread(cancel_run, database, "r") == ["r"]
        assert await asyncio.to_thread(wait_until_stopped, database, ["r"]) == []
        assert statuses(database) == {"r": "CANCELLED", "r:a": "CANCELLED"}


# -- delete


@pytest.mark.usefixtures("family")
async def test_delete_leaves_no_row(engine: Engine, gate: Gate) -> None:
    """Run and child vanish from every table of DBOS's and ours; the other run keeps its rows."""
    gate.go.set()
    worker = durable(Agent(scripted([call("pay", "p"), call("write", "w")], "paid"), name="payer"))

    @worker.tool_plain(metadata={"step": {"effect": "external"}})
    async def pay() -> str:
        return "receipt"

    @worker.tool_plain(metadata={"step": {"effect": "transactional"}})
    async def write() -> str:
        return "written"

    async with engine:
        await engine.run("parent", "go", "kept")
        await engine.run("payer", "go", "kept-2")
        await asyncio.sleep(0.3)  # the ledger writes behind the step
        before = row_counts(engine.database)
        await engine.run("parent", "go", "r")
        await engine.run("payer", "go", "s")
        deleted = await asyncio.to_thread(delete_runs, engine.database, ["r", "s", "r:a", "r"])
        assert deleted == ["r", "r:a", "s"]
        await asyncio.sleep(0.3)
        assert row_counts(engine.database) == before
        assert statuses(engine.database) == dict.fromkeys(("kept", "kept:a", "kept-2"), "SUCCESS")


def test_every_table_of_ours_with_runs_is_known(database: Database) -> None:
    """A table that gets rows of a run is emptied of them, unless the rows are for all runs."""
    shared = {"rate_limit"}
    with database.connect() as connection:
        rows = connection.execute(
            "select table_name from information_schema.columns"
            " join information_schema.tables using (table_schema, table_name)"
            " where table_schema = 'agent_app' and column_name = 'run_id'"
            " and table_type = 'BASE TABLE'"
        ).fetchall()
    executed: list[str] = []

    class Noting:
        def execute(self, query: str, values: dict[str, object]) -> list[dict[str, Any]]:
            executed.append(query)
            return []

    drop_runs(Noting(), ["r"])
    for row in rows:
        name = row["table_name"]
        assert name in shared or any(f"agent_app.{name} " in query for query in executed), name


@pytest.mark.usefixtures("family")
async def test_what_is_unfinished_or_needed_is_not_deleted(
    database: Database, catalog: Catalog, gate: Gate
) -> None:
    """Neither a run that goes on, nor its child, nor an unknown one; and then nothing is."""
    async with living(database, catalog):
        await start_run(catalog, "child", "go", run_id="c", models={})
        await start_run(catalog, "parent", "go", run_id="r", models={})
        gate.go.set()
        await wait_for_run("r")
        await wait_for_run("c")
    with database.connect() as connection:
        connection.execute(
            "update dbos.workflow_status set status = 'PENDING' where workflow_uuid = 'r'"
        )
    counts = row_counts(database)
    for ids, error, message in (
        (["c", "nobody"], RunNotFound, "Run 'nobody' does not exist"),
        (["c", "r"], RunNotDeletable, "it is PENDING. `agent-app cancel r` stops it."),
        (["r:a"], RunNotDeletable, "run 'r', which started it, is PENDING."),
    ):
        with pytest.raises(error) as caught:
            delete_runs(database, ids)
        assert message in str(caught.value)
        assert row_counts(database) == counts
    assert [row.run_id for row in list_to_delete(database, ["c"])] == ["c"]


async def test_run_that_goes_on_at_the_last_moment_is_not_deleted(
    engine: Engine, family: None, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that somebody resumes between the look and the deletion stays."""
    gate.go.set()
    async with engine:
        await engine.run("child", "go")
    counts = row_counts(engine.database)

    def resumed_meanwhile(*arguments: Any) -> None:
        engine.sql("update dbos.workflow_status set status = 'ENQUEUED'")

    monkeypatch.setattr("agent_app.operations.delete._let_settle", resumed_meanwhile)
    with pytest.raises(RunNotDeletable, match="it is ENQUEUED"):
        delete_runs(engine.database, ["r"])
    assert row_counts(engine.database) == counts


# -- attributes


@pytest.mark.usefixtures("family")
async def test_attributes_are_set_merged_and_removed(engine: Engine, gate: Gate) -> None:
    """Labels are set at the start and later; each change leaves the others and the parent."""
    gate.go.set()
    async with engine:
        await start_run(
            engine.catalog, "parent", "go", run_id="r", models={}, attributes={"team": "red"}
        )
        await wait_for_run("r")
        database = engine.database
        assert get_run(database, "r:a").attributes is None
        row = change_attributes(database, "r", {"team": "blue", "n": "1"})
        assert row.attributes == {"team": "blue", "n": "1"}
        assert change_attributes(database, "r", {"x": ""}, ["n", "none"]).attributes == {
            "team": "blue",
            "x": "",
        }
        child = change_attributes(database, "r:a", {"a": "b"})
        assert (child.attributes, child.parent_run_id) == ({"a": "b"}, "r")
        child = change_attributes(database, "r:a", {}, ["a"])
        assert (child.attributes, child.parent_run_id) == (None, "r")
        with pytest.raises(RunNotFound):
            change_attributes(database, "nobody", {"a": "b"})


@pytest.mark.parametrize(
    ("attributes", "remove", "message"),
    [
        ({"parent_run_id": "x"}, [], "'parent_run_id' belongs to agent_app."),
        ({}, ["parent_run_id"], "'parent_run_id' belongs to agent_app."),
        ({}, [], "there is neither."),
        ({"": "x"}, [], "Attribute '' is no key"),
        ({"a b": "x"}, [], "Attribute 'a b' is no key"),
        ({"x" * 101: "x"}, [], "is no key"),
        ({"a": "x" * 1001}, [], "up to 1000 characters"),
        ({"a": "\0"}, [], "that Postgres can hold"),
        ({"a": "\udcff"}, [], "that Postgres can hold"),
        ({"a": "x"}, ["a"], "is to be set and removed."),
    ],
)
async def test_bad_attributes_are_refused(
    engine: Engine,
    family: None,
    gate: Gate,
    attributes: dict[str, str],
    remove: list[str],
    message: str,
) -> None:
    """Each bad label says what is wrong, and the run keeps the ones that it has."""
    gate.go.set()
    async with engine:
        await engine.run("parent", "go")
        change_attributes(engine.database, "r:a", {"kept": "yes"})
        with pytest.raises(AttributeInvalid) as caught:
            change_attributes(engine.database, "r:a", attributes, remove)
        assert message in str(caught.value)
        if attributes and not remove:
            with pytest.raises(AttributeInvalid):
                await start_run(
                    engine.catalog, "child", "go", run_id="n", models={}, attributes=attributes
                )
            assert engine.status("n") is None
        row = get_run(engine.database, "r:a")
        assert (row.attributes, row.parent_run_id) == ({"kept": "yes"}, "r")


# -- list


@pytest.mark.usefixtures("family")
async def test_pages_hold_every_run_once(engine: Engine, gate: Gate) -> None:
    """Pages of two follow each other without a gap, while newer runs come in; the last says so."""
    gate.go.set()
    async with engine:
        for number in range(5):
            await engine.run("child", f"go {number}", f"r{number}")
        first = list_runs(engine.database, RunFilter(limit=2))
        await engine.run("child", "late", "late")
        second = list_runs(engine.database, RunFilter(limit=2, after=first.next_after))
        third = list_runs(engine.database, RunFilter(limit=2, after=second.next_after))
    pages = (first, second, third)
    assert [[row.run_id for row in page.runs] for page in pages] == [
        ["r4", "r3"],
        ["r2", "r1"],
        ["r0"],
    ]
    assert [page.next_after for page in pages] == ["r3", "r1", None]
    exact = list_runs(engine.database, RunFilter(limit=6))
    assert (len(exact.runs), exact.next_after) == (6, None)


async def test_filters_that_could_find_nothing(database: Database) -> None:
    """A status that there is not, an inverted span, an empty page and an unknown run are told."""
    now = datetime.now(UTC)
    for wanted, message in (
        (RunFilter(status="FINE"), "Status 'FINE' does not exist; one of ENQUEUED,"),
        (RunFilter(created_after=now, created_before=now), "ends before it begins."),
        (RunFilter(limit=0), "A page of 0 runs holds none"),
    ):
        with pytest.raises(FilterInvalid) as caught:
            list_runs(database, wanted)
        assert message in str(caught.value)
    with pytest.raises(RunNotFound):
        list_runs(database, RunFilter(after="nobody"))
    span = RunFilter(status="success", created_after=now - timedelta(hours=1))
    assert list_runs(database, span).runs == []


# -- follow


def told(happenings: list[Happening]) -> list[tuple[str, str, int | None]]:
    """Return kind, run and step of each."""
    return [(one.kind, one.run_id, one.step_number) for one in happenings]


@pytest.mark.usefixtures("family")
async def test_follow_tells_what_another_process_does(
    database: Database, catalog: Catalog, gate: Gate
) -> None:
    """Steps of parent and child come as they get their checkpoints, and the end comes last."""
    seen: list[Happening] = []

    def watch() -> None:
        seen.extend(follow_run(database, "r", poll_s=0.01))

    async with living(database, catalog):
        await start_run(catalog, "parent", "go", run_id="r", models={})
        watching = asyncio.create_task(asyncio.to_thread(watch))
        await gate.began.wait()
        gate.go.set()
        await asyncio.wait_for(watching, 20)
    assert told(seen)[0] == ("run_seen", "r", None)
    assert told(seen)[-1] == ("run_ended", "r", None)
    assert sorted(told([one for one in seen if one.kind == "step_finished"])) == [
        ("step_finished", "r", 1),
        ("step_finished", "r", 2),
        ("step_finished", "r", 3),
        ("step_finished", "r:a", 1),
        ("step_finished", "r:a", 2),
        ("step_finished", "r:a", 3),
    ]
    assert {one.depth for one in seen if one.run_id == "r:a"} == {1}
    assert finished_record(database, "r")["output"] == "end"
    assert told(list(follow_run(database, "r")))[-1] == ("run_ended", "r", None)


async def test_follow_tells_failures_once(engine: Engine) -> None:
    """Failed tries and the failed step are told, once each, then why the run has ended."""
    agent = durable(Agent(scripted(call("break_", "a"), "end"), name="worker"))

    @agent.tool_plain(metadata={"step": {"max_attempts": 2}})
    async def break_() -> str:
        raise ConnectionError("down")

    async with engine:
        with suppress(ConnectionError):
            await engine.run("worker", "go")
        await eventually(
            lambda: (
                engine.sql("select count(*) from agent_app.attempt where outcome = 'error'")
                == [(2,)]
            )
        )
    seen = list(follow_run(engine.database, "r"))
    assert told(seen) == [
        ("run_seen", "r", None),
        ("step_finished", "r", 1),
        ("attempt_failed", "r", 2),
        ("attempt_failed", "r", 2),
        ("step_failed", "r", 2),
        ("run_ended", "r", None),
    ]
    assert [one.attempt_number for one in seen if one.attempt_number] == [1, 2]
    assert [one.retry_at is not None for one in seen if one.attempt_number] == [True, False]
    with pytest.raises(RunFailed, match="ConnectionError: down"):
        finished_record(engine.database, "r")


@pytest.mark.usefixtures("family")
async def test_follow_says_that_nobody_executes_it(engine: Engine, gate: Gate) -> None:
    """A run whose process died is told so, and followed on until somebody has ended it."""
    gate.go.set()
    async with engine:
        await engine.run("child", "go")
    engine.sql("update dbos.workflow_status set status = 'PENDING', executor_id = 'dead'")
    following = follow_run(engine.database, "r", poll_s=0.01)
    kinds = []
    for one in following:
        kinds.append(one.kind)
        if one.kind == "run_abandoned":
            engine.sql("update dbos.workflow_status set status = 'CANCELLED'")
    assert (kinds[0], kinds[-2:]) == ("run_seen", ["run_abandoned", "run_ended"])
    with pytest.raises(RunCancelled):
        finished_record(engine.database, "r")
    with pytest.raises(RunNotFound):
        next(follow_run(engine.database, "nobody"))


# -- one commit


async def test_joint_commit_is_undone_as_a_whole(engine: Engine, family: None, gate: Gate) -> None:
    """What DBOS and we have done in a block that raises is undone; Postgres's errors are ours."""
    gate.go.set()
    async with engine:
        await engine.run("child", "go")
    before = row_counts(engine.database)
    with pytest.raises(KeyError):
        delete_and(engine.database, KeyError())
    assert row_counts(engine.database) == before
    with pytest.raises(DatabaseError, match="nowhere"):
        delete_and(engine.database, None)
    assert row_counts(engine.database) == before


def delete_and(database: Database, error: Exception | None) -> None:
    """Delete the run in a joint commit that then fails, by itself or by a statement."""
    with joint_commit(database) as commit:
        commit.client.delete_workflows(["r"])
        commit.execute("delete from agent_app.attempt where run_id = %(r)s", {"r": "r"})
        if error is not None:
            raise error
        commit.execute("select * from nowhere", {})
