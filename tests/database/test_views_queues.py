"""Views of queues against rows that they must and must not show; the function that enqueues."""

import time
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from agent_app.database.connect import Database
from tests.database.rows import (
    column,
    input_json,
    living,
    plant_executor,
    plant_queue,
    plant_run,
    serving,
)

RUNS, SLOW = "agent_app_runs", "agent_app_slow"


def rows(database: Database, query: str) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    with database.connect(read_only=True) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def planted(database: Database) -> Database:
    """Return a database with runs in queues, in others' queues, in none, and ended ones."""
    now_ms = int(time.time() * 1000)
    waiting = {"status": "ENQUEUED", "queue_name": RUNS, "application_version": "1"}
    plant_queue(database, RUNS, worker_concurrency=20, concurrency=50, rate_limit_max=9,
                rate_limit_period_sec=60.0, partition_concurrency=2)  # fmt: skip
    plant_queue(database, "somebody_elses")
    plant_run(database, "w1", created_at=now_ms - 90_000, **waiting)
    plant_run(database, "w2", created_at=now_ms - 30_000, priority=1,
              queue_partition_key="ann", deduplication_id="d", **waiting)  # fmt: skip
    # It waits since its delay is over, not since it was asked for.
    plant_run(database, "was-late", created_at=now_ms - 900_000,
              delay_until_epoch_ms=now_ms - 10_000, **waiting)  # fmt: skip
    plant_run(database, "late", created_at=now_ms, delay_until_epoch_ms=now_ms + 60_000,
              **waiting | {"status": "DELAYED"})  # fmt: skip
    plant_run(database, "runs", started_at_epoch_ms=now_ms - 1_000, executor_id="e",
              **waiting | {"status": "PENDING"})  # fmt: skip
    plant_run(database, "ended", started_at_epoch_ms=now_ms - 2_000,
              **waiting | {"status": "SUCCESS"})  # fmt: skip
    plant_run(database, "ended-long-ago", started_at_epoch_ms=now_ms - 61_000,
              **waiting | {"status": "ERROR"})  # fmt: skip
    plant_run(database, "direct", status="PENDING", started_at_epoch_ms=now_ms)
    plant_run(database, "unregistered", **waiting | {"queue_name": SLOW})
    plant_run(database, "theirs", **waiting | {"queue_name": "somebody_elses"})
    plant_run(database, "internal", **waiting | {"queue_name": "_dbos_internal_queue"})
    return database


def test_queue_counts_what_is_in_it(planted: Database) -> None:
    """Waiting, delayed, running and recently begun runs are counted, of our queues alone."""
    plant_executor(planted, "e")
    with serving(planted, "e", RUNS):
        found = rows(planted, "select * from agent_app.queue order by queue")
    recovery, runs, slow = found
    assert (recovery["queue"], recovery["enqueued_count"]) == ("recovery", 0)
    oldest = runs.pop("oldest_enqueued_at")
    assert 89 <= (datetime.now(UTC) - oldest).total_seconds() < 600
    assert runs == {
        "queue": "runs",
        "enqueued_count": 3,
        "delayed_count": 1,
        "running_count": 1,
        "started_last_minute_count": 2,
        "worker_count": 1,
        "max_running_per_worker": 20,
        "max_running": 50,
        "max_running_per_key": 2,
        "max_starts": 9,
        "max_starts_per_key": None,
        "period_s": 60.0,
        "poll_s": 0.1,
    }
    assert (slow["queue"], slow["enqueued_count"], slow["worker_count"]) == ("slow", 1, 0)
    assert slow["max_running_per_worker"] is None


def test_queued_run_shows_places(planted: Database) -> None:
    """Every unfinished run of our queues has a row with its place; ended and direct ones not."""
    found = {r["run_id"]: r for r in rows(planted, "select * from agent_app.queued_run")}
    assert set(found) == {"w1", "w2", "was-late", "late", "runs", "unregistered"}
    second = found["w2"]
    assert (second["queue"], second["key"], second["priority"]) == ("runs", "ann", 1)
    assert second["deduplication_id"] == "d"
    assert found["late"]["delayed_until"] is not None
    assert found["was-late"]["delayed_until"] is None
    assert (found["runs"]["executor_id"], found["w1"]["started_at"]) == ("e", None)


def test_served_queue_shows_living_servers(planted: Database) -> None:
    """A process serves the queues whose locks its session holds, while it lives."""
    for executor_id in ("e", "f", "dead"):
        plant_executor(planted, executor_id)
    query = "select queue || ' ' || executor_id from agent_app.served_queue order by 1"
    with serving(planted, "e", RUNS), serving(planted, "f", RUNS, SLOW), living(planted, "g"):
        assert column(planted, query) == ["runs e", "runs f"]  # nobody has registered `slow`
        plant_queue(planted, SLOW)
        assert column(planted, query) == ["runs e", "runs f", "slow f"]
    assert column(planted, query) == []


def test_run_is_stranded_where_nobody_serves_its_queue(planted: Database) -> None:
    """A living executor is not enough: it must take from the run's queue, and have its version."""
    plant_executor(planted, "e")
    plant_executor(planted, "direct-only")
    plant_executor(planted, "other-version", "2")
    for number, queue in enumerate(("agent_app_recovery", "agent_app_search")):
        plant_run(planted, f"shared-{number}", status="ENQUEUED", queue_name=queue,
                  application_version="1")  # fmt: skip
    plant_run(planted, "any-version", status="ENQUEUED", queue_name=SLOW)
    query = "select run_id from agent_app.stranded_run order by 1"
    in_runs = ["late", "runs", "w1", "w2", "was-late"]
    elsewhere = ["any-version", "unregistered"]
    assert set(column(planted, query)) >= {*in_runs, *elsewhere, "shared-0", "shared-1"}
    with living(planted, "direct-only"), serving(planted, "other-version", RUNS):
        assert column(planted, query) == sorted([*in_runs, *elsewhere])
        with serving(planted, "e", RUNS):
            assert column(planted, query) == sorted(elsewhere)
    found = rows(planted, "select run_id, queue from agent_app.stranded_run where run_id = 'w1'")
    assert found == [{"run_id": "w1", "queue": "runs"}]


def call(database: Database, arguments: str) -> str:
    """Enqueue a run with these arguments of SQL."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        found = connection.execute(f"select agent_app.enqueue_run({arguments})".encode()).fetchone()
    assert found is not None
    return str(found[0])


def test_enqueue_run_stores_what_it_is_told(database: Database) -> None:
    """Every argument finds its column, and what is left out its default."""
    plain = call(database, "'player', '\"x\"'")
    call(
        database,
        "'player', '{\"a\": [1]}', 'r', models => '{\"*\": \"m\"}', queue => 'slow', priority => 7,"
        " key => 'ann', delay => interval '1 hour', deduplication_id => 'd',"
        " attributes => '{\"customer\": \"acme\"}', application_version => '9'",
    )
    query = "select * from agent_app.queued_run order by priority"
    told, default = rows(database, query)
    assert default["run_id"] == plain
    assert len(plain) == 16
    names = (
        "queue",
        "agent",
        "status",
        "key",
        "priority",
        "deduplication_id",
        "application_version",
    )
    assert [default[n] for n in names] == ["runs", "player", "ENQUEUED", "default", 100, None, "1"]
    assert [told[n] for n in names] == ["slow", "player", "DELAYED", "ann", 7, "d", "9"]
    assert 3590 < (told["delayed_until"] - told["created_at"]).total_seconds() < 3610
    (run,) = rows(database, "select input, attributes from agent_app.run where run_id = 'r'")
    assert run == {"input": {"a": [1]}, "attributes": {"customer": "acme"}}


def test_enqueue_run_takes_the_version_that_is_served(database: Database) -> None:
    """Without a version it is the worker's; without a worker, the one of the agent's newest run."""
    newest = "select application_version from agent_app.queued_run order by created_at desc limit 1"
    plant_run(database, "old", application_version="6", inputs=input_json(1))
    call(database, "'player', '1'")
    assert column(database, newest) == ["6"]
    plant_queue(database, RUNS)
    plant_executor(database, "e", "7")
    with serving(database, "e", RUNS):
        call(database, "'player', '1'")
    assert column(database, newest) == ["7"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("null, '1'", "agent has no name"),
        ("'<temp>.x', '1'", "agent has no name"),
        ("'a', '1', 'a/b'", "run_id has signs"),
        ("'a', '1', ''", "run_id has signs"),
        ("'a', '1', models => '[]'", "models is no object"),
        ("'a', '1', models => '{\"a\": 1}'", "models is no object"),
        ("'a', '1', models => null", "models is no object"),
        ("'a', '{\"b\": [{\"$text\": 1}]}'", "belongs to agent_app"),
        ("'a', '1', queue => 'recovery'", "queue has no name"),
        ("'a', '1', queue => 'A b'", "queue has no name"),
        ("'a', '1', priority => 0", "priority is below 1"),
        ("'a', '1', key => ''", "key has not"),
        ("'a', '1', key => null", "key has not"),
        ("'a', '1', delay => interval '-1 s'", "delay is below 0"),
        ("'a', '1', attributes => '{\"parent_run_id\": \"x\"}'", "attributes is no object"),
        ("'a', '1', attributes => '{\"n\": 1}'", "attributes is no object"),
    ],
)
def test_enqueue_run_refuses(database: Database, arguments: str, message: str) -> None:
    """What no run can have is an error that says what is wrong, and stores nothing."""
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
        call(database, arguments)
    assert column(database, "select count(*) from dbos.workflow_status") == [0]


def test_enqueue_run_keeps_text_that_looks_like_a_tag(database: Database) -> None:
    """Only a key is one: a text that mentions it goes through."""
    call(database, """'a', '{"q": "what is \\"$text\\": here? $error"}', 'r'""")
    assert column(database, "select input ->> 'q' from agent_app.run") == [
        'what is "$text": here? $error'
    ]


def test_enqueue_run_holds_its_deduplication_id(database: Database) -> None:
    """A second unfinished run of the queue is refused, and the first one is named."""
    call(database, "'a', '1', 'first', deduplication_id => 'd'")
    assert call(database, "'a', '1', 'first', deduplication_id => 'd'") == "first"
    with pytest.raises(psycopg.errors.UniqueViolation, match="'first' of queue 'runs'"):
        call(database, "'a', '1', deduplication_id => 'd'")
    call(database, "'a', '1', queue => 'slow', deduplication_id => 'd'")
