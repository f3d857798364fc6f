"""Runs that are handed to workers: limits, order, delay, deduplication, and what SQL enqueues."""

import asyncio
import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel

from agent_app.database.connect import Database
from agent_app.database.queue import QueueRow, read_queues
from agent_app.durability.catalog import Catalog, workflow
from agent_app.durability.runtime import launched
from agent_app.errors import PlacementInvalid, QueueNotFound, RunDuplicated, RunInputConflict
from agent_app.operations.cancel import cancel_run
from agent_app.operations.enqueue import Enqueued, Placement, enqueue_run
from agent_app.operations.start import order_run
from agent_app.settings import Settings
from tests.durability.running import Engine
from tests.durability.takeover import eventually


class Task(BaseModel):
    """What `work` is asked to do."""

    name: str
    key: str = ""


class Office:
    """Workers of one process: who began, who is busy, and a gate that holds them."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.busy: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.gate = asyncio.Event()

    async def work(self, task: Task) -> str:
        """Take a place until the gate opens."""
        self.begun.append(task.name)
        self.busy.update(["", task.key])
        self.most |= self.busy
        await self.gate.wait()
        self.busy.subtract(["", task.key])
        return f"did {task.name}"


@pytest.fixture
def office(catalog: Catalog) -> Office:
    """Define the workflow `work`, whose runs hold a place in the office."""
    office = Office()

    @workflow("work", input=Task, output=str)
    async def work(task: Task) -> str:
        return await office.work(task)

    return office


def with_limits(engine: Engine, **limits: Any) -> Settings:
    """Give the queue `runs` these limits, and let there be a queue `slow` too."""
    queues = {"runs": limits, "slow": {}}
    engine.settings = Settings(_env_file=None, queues=queues, agent_queues={"lazy": "slow"})
    return engine.settings


def enqueue(
    engine: Engine, run_id: str, *, agent: str = "work", key: str = "default", **place: Any
) -> Enqueued:
    """Enqueue a run of this name."""
    task = {"name": run_id, "key": key}
    order = order_run(engine.catalog, agent, task, run_id=run_id, models={})
    return enqueue_run(engine.database, engine.settings, order, Placement(key=key, **place))


def worker(engine: Engine, *queues: str) -> Any:
    """Launch a worker of these queues, or of `runs`."""
    return launched(
        engine.database,
        engine.settings,
        executor_id="worker",
        catalog=engine.catalog,
        queues=queues or ["runs"],
    )


def queue(database: Database, name: str = "runs") -> QueueRow:
    """Return one queue's row."""
    return {row.queue: row for row in read_queues(database)}[name]


def statuses(engine: Engine) -> dict[str, str]:
    """Return the status of each run."""
    return dict(engine.sql("select workflow_uuid, status from dbos.workflow_status"))


def all_done(engine: Engine) -> bool:
    """Say whether every run has succeeded."""
    return set(statuses(engine).values()) == {"SUCCESS"}


def starts_ms(engine: Engine) -> list[int]:
    """Return when the runs were taken, in order."""
    query = "select started_at_epoch_ms from dbos.workflow_status order by 1"
    return [row[0] for row in engine.sql(query)]


async def test_a_worker_executes_no_more_than_its_limit(engine: Engine, office: Office) -> None:
    """Five runs and two places: two run and three wait, and in the end each ran once."""
    with_limits(engine, max_running_per_worker=2)
    for number in range(5):
        enqueued = enqueue(engine, f"r{number}")
    assert (enqueued.status, enqueued.queue, enqueued.is_new) == ("ENQUEUED", "runs", True)
    assert queue(engine.database).enqueued_count == 5
    async with worker(engine):
        await eventually(lambda: len(office.begun) == 2)
        row = queue(engine.database)
        assert (row.running_count, row.enqueued_count, row.max_running_per_worker) == (2, 3, 2)
        office.gate.set()
        await eventually(lambda: all_done(engine))
    assert office.most[""] == 2
    assert sorted(office.begun) == [f"r{number}" for number in range(5)]
    assert queue(engine.database).started_last_minute_count == 5


async def test_keys_have_limits_of_their_own(engine: Engine, office: Office) -> None:
    """With one place per key, no key waits for another; runs without one share the default key."""
    with_limits(engine, max_running_per_key=1)
    for run_id in ("ann-1", "ann-2", "bob-1", "bob-2", "default-1", "default-2"):
        enqueue(engine, run_id, key=run_id.split("-")[0])
    async with worker(engine):
        await eventually(lambda: len(office.begun) == 3)
        assert {name.split("-")[0] for name in office.begun} == {"ann", "bob", "default"}
        office.gate.set()
        await eventually(lambda: all_done(engine))
    assert {office.most[key] for key in ("ann", "bob", "default")} == {1}


async def test_a_rate_limit_spreads_starts(engine: Engine, office: Office) -> None:
    """Two starts per period: the third run begins a period after the first."""
    with_limits(engine, max_starts=2, period_s=1.5)
    office.gate.set()
    for number in range(4):
        enqueue(engine, f"r{number}")
    async with worker(engine):
        await eventually(lambda: all_done(engine))
    first, second, third, fourth = starts_ms(engine)
    assert third - first >= 1500
    assert fourth - second >= 1500


async def test_a_rate_limit_per_key_leaves_other_keys_alone(engine: Engine, office: Office) -> None:
    """One start per key and hour: of each key one run begins, and the rest waits."""
    with_limits(engine, max_starts_per_key=1, period_s=3600)
    office.gate.set()
    for run_id in ("ann-1", "ann-2", "bob-1"):
        enqueue(engine, run_id, key=run_id.split("-")[0])
    async with worker(engine):
        await eventually(lambda: sorted(office.begun) == ["ann-1", "bob-1"])
        enqueue_again = asyncio.to_thread(enqueue, engine, "cat-1", key="cat")
        await enqueue_again
        await eventually(lambda: "cat-1" in office.begun)  # by now ann-2 was looked at again
    assert statuses(engine)["ann-2"] == "ENQUEUED"


async def test_the_most_urgent_goes_first(engine: Engine, office: Office) -> None:
    """Runs start by priority, 1 first; one without is 100, and of equals the oldest goes first."""
    with_limits(engine, max_running_per_worker=1)
    office.gate.set()
    places: list[tuple[str, dict[str, Any]]] = [
        ("late", {"priority": 101}),
        ("plain-1", {}),
        ("first", {"priority": 1}),
        ("plain-2", {}),
        ("hundred", {"priority": 100}),
    ]
    for run_id, place in places:
        enqueue(engine, run_id, **place)
    async with worker(engine):
        await eventually(lambda: all_done(engine))
    assert office.begun == ["first", "plain-1", "plain-2", "hundred", "late"]


async def test_a_delayed_run_waits_for_its_time(engine: Engine, office: Office) -> None:
    """It is DELAYED until then, and starts no sooner; one without delay does not wait for it."""
    with_limits(engine)
    office.gate.set()
    assert enqueue(engine, "later", delay_s=1.5).status == "DELAYED"
    enqueue(engine, "now")
    row = queue(engine.database)
    assert (row.delayed_count, row.enqueued_count) == (1, 1)
    async with worker(engine):
        await eventually(lambda: all_done(engine))
    assert office.begun == ["now", "later"]
    ((created_ms, started_ms),) = engine.sql(
        "select created_at, started_at_epoch_ms from dbos.workflow_status"
        " where workflow_uuid = 'later'"
    )
    assert started_ms - created_ms >= 1400  # the moment is counted from before its row is written


@pytest.mark.parametrize("limits", [{}, {"max_running_per_key": 1}], ids=["plain", "keyed"])
async def test_a_deduplication_id_is_held_until_the_end(
    engine: Engine, office: Office, limits: dict[str, int]
) -> None:
    """While its run is unfinished no second one gets it, whatever its key; afterwards one does."""
    with_limits(engine, **limits)
    enqueue(engine, "one", deduplication_id="d")
    with pytest.raises(RunDuplicated, match="'one' of queue 'runs' is unfinished"):
        enqueue(engine, "two", deduplication_id="d", key="ann")
    assert enqueue(engine, "three", deduplication_id="d", queue="slow").is_new
    assert enqueue(engine, "one", deduplication_id="d").is_new is False
    async with worker(engine, "runs", "slow"):
        await eventually(lambda: len(office.begun) == 2)
        with pytest.raises(RunDuplicated):
            await asyncio.to_thread(enqueue, engine, "two", deduplication_id="d")
        office.gate.set()
        await eventually(lambda: all_done(engine))
        assert (await asyncio.to_thread(enqueue, engine, "two", deduplication_id="d")).is_new
        await eventually(lambda: all_done(engine))
    assert sorted(office.begun) == ["one", "three", "two"]


async def test_the_same_run_again_attaches(engine: Engine, office: Office) -> None:
    """Waiting or finished, it is there already; another input under its ID is refused."""
    with_limits(engine)
    office.gate.set()
    enqueue(engine, "r", key="ann")
    before = engine.sql("select * from dbos.workflow_status")
    again = enqueue(engine, "r", key="ann", queue="slow", priority=1)
    assert (again.status, again.is_new) == ("ENQUEUED", False)
    with pytest.raises(RunInputConflict):
        enqueue(engine, "r", key="bob")
    assert engine.sql("select * from dbos.workflow_status") == before
    async with worker(engine):
        await eventually(lambda: all_done(engine))
        assert (await asyncio.to_thread(enqueue, engine, "r", key="ann")).status == "SUCCESS"
    assert office.begun == ["r"]


async def test_a_cancelled_run_never_starts(engine: Engine, office: Office) -> None:
    """What is cancelled in its queue, delayed or not, is taken by nobody."""
    with_limits(engine, max_running_per_worker=1)
    office.gate.set()
    enqueue(engine, "gone")
    enqueue(engine, "late", delay_s=0.1)
    enqueue(engine, "kept")
    assert cancel_run(engine.database, "gone") == ["gone"]
    assert cancel_run(engine.database, "late") == ["late"]
    async with worker(engine):
        await eventually(lambda: statuses(engine)["kept"] == "SUCCESS")
    assert statuses(engine) == {"gone": "CANCELLED", "late": "CANCELLED", "kept": "SUCCESS"}
    assert office.begun == ["kept"]


async def test_a_process_takes_from_its_own_queues_alone(engine: Engine, office: Office) -> None:
    """An agent's queue comes from the settings; a worker of one queue leaves the other's runs."""
    settings = with_limits(engine)
    office.gate.set()

    @workflow("lazy", input=Task, output=str)
    async def lazy(task: Task) -> str:
        return await office.work(task)

    enqueue(engine, "quick")
    assert enqueue(engine, "lazy-1", agent="lazy").queue == "slow"
    assert settings.agent_queues == {"lazy": "slow"}
    async with worker(engine, "slow"):
        await eventually(lambda: statuses(engine)["lazy-1"] == "SUCCESS")
        assert statuses(engine)["quick"] == "ENQUEUED"
    assert office.begun == ["lazy-1"]


async def test_limits_are_those_of_the_last_worker(engine: Engine, office: Office) -> None:
    """A worker's start changes them for all; who serves a queue not changes nothing of it."""
    with_limits(engine, max_running_per_worker=3, max_starts=7, period_s=30)
    async with worker(engine):
        pass
    row = queue(engine.database)
    assert (row.max_running_per_worker, row.max_starts, row.period_s) == (3, 7, 30)
    with_limits(engine, max_running_per_worker=9, max_running=5, max_running_per_key=6, poll_s=0.5)
    async with worker(engine, "slow"):
        pass
    assert queue(engine.database) == row
    async with worker(engine):
        pass
    row = queue(engine.database)
    # None is wider than the one for all, which would be no limit of its own.
    assert (row.max_running_per_worker, row.max_running, row.max_running_per_key) == (5, 5, 5)
    assert (row.max_starts, row.period_s, row.poll_s) == (None, None, 0.5)


@pytest.mark.parametrize("limits", [{}, {"max_running_per_key": 1}], ids=["plain", "keyed"])
async def test_a_run_of_an_unknown_agent_goes_back(
    engine: Engine, office: Office, caplog: pytest.LogCaptureFixture, limits: dict[str, int]
) -> None:
    """The worker says so and lets it wait for another one; its place is free for the next run."""
    with_limits(engine, max_running_per_worker=1, **limits)
    office.gate.set()
    engine.sql("select agent_app.enqueue_run('stranger', '1', 'unknown', priority => 1)")
    enqueue(engine, "known")
    caplog.set_level(logging.WARNING)
    async with worker(engine):
        await eventually(lambda: statuses(engine)["known"] == "SUCCESS")
        await eventually(lambda: statuses(engine)["unknown"] == "DELAYED")
    assert "this process knows no agent 'stranger'" in caplog.text
    query = (
        "select recovery_attempts, queue_name, delay_until_epoch_ms - updated_at > 25000"
        " from dbos.workflow_status where workflow_uuid = 'unknown'"
    )
    assert engine.sql(query) == [(0, "agent_app_runs", True)]


async def test_sql_enqueues_together_with_its_own_rows(engine: Engine, office: Office) -> None:
    """A run that SQL enqueues starts if the transaction commits, and is not there if not."""
    with_limits(engine)
    office.gate.set()
    engine.sql("create table invoice (run_id text)")
    statement = (
        "with run as (select agent_app.enqueue_run("
        "'work', '{\"name\": \"bill\"}', run_id => %s) as run_id)"
        " insert into invoice select run_id from run"
    )
    with psycopg.connect(engine.database.url) as connection:
        connection.execute(statement, ["undone"])
        connection.rollback()
        connection.execute(statement, ["done"])
        connection.commit()
    async with worker(engine):
        await eventually(lambda: statuses(engine) == {"done": "SUCCESS"})
    assert engine.sql("select run_id from invoice") == [("done",)]
    query = "select input, output, application_version from agent_app.run"
    assert engine.sql(query) == [({"name": "bill"}, "did bill", "1")]


def test_the_documented_statements_enqueue(engine: Engine, office: Office) -> None:
    """What queues.md shows as SQL works as it stands, together with a table of the user's."""
    text = (Path(__file__).parents[2] / "docs" / "queues.md").read_text()
    (block,) = re.findall(r"```sql\n([^`]+)```", text)
    engine.sql("create table invoice (invoice_id text, customer text)")
    engine.sql(block)
    query = "select run_id, input from agent_app.run"
    assert engine.sql(query) == [("invoice-i-7", {"invoice_id": "i-7"})]
    assert engine.sql("select * from invoice") == [("i-7", "acme")]


async def test_an_input_that_the_agent_refuses_ends_the_run(engine: Engine, office: Office) -> None:
    """SQL cannot ask the agent: its run fails with InputInvalid, and nothing of it was executed."""
    with_limits(engine)
    engine.sql("select agent_app.enqueue_run('work', '{\"nam\": 1}', run_id => 'bad')")
    async with worker(engine):
        await eventually(lambda: statuses(engine) == {"bad": "ERROR"})
    ((error,),) = engine.sql("select error from agent_app.run")
    assert error.endswith("InputInvalid: The input does not fit 'work': name: Field required.")
    assert office.begun == []


def test_a_run_that_sql_enqueued_is_attached_to(engine: Engine, office: Office) -> None:
    """The same agent and input under its ID is the same run, from SQL and from here."""
    with_limits(engine)
    enqueue_sql = (
        'select agent_app.enqueue_run(\'work\', \'{"name": "r", "key": "default"}\', \'r\')'
    )
    assert engine.sql(enqueue_sql) == [("r",)]
    assert engine.sql(enqueue_sql) == [("r",)]
    assert enqueue(engine, "r").is_new is False
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="'r' exists"):
        engine.sql("select agent_app.enqueue_run('work', '{\"name\": \"q\"}', 'r')")


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ({"queue": "nope"}, QueueNotFound, "known are 'runs', 'slow'"),
        ({"priority": 0}, PlacementInvalid, "Priority 0 is none"),
        ({"priority": 2**31}, PlacementInvalid, "Priority 2147483648 is none"),
        ({"delay_s": -1}, PlacementInvalid, "A delay of -1 s"),
        ({"deduplication_id": ""}, PlacementInvalid, "Deduplication ID ''"),
        ({"deduplication_id": "a\0b"}, PlacementInvalid, "Deduplication ID"),
    ],
)
def test_a_place_that_there_is_not_is_refused(
    engine: Engine, office: Office, place: dict[str, Any], error: type[Exception], message: str
) -> None:
    """It is an error that says what was expected, and nothing is stored."""
    with_limits(engine)
    with pytest.raises(error, match=message):
        enqueue(engine, "r", **place)
    assert statuses(engine) == {}
