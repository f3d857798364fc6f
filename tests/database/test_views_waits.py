"""Runs that do not go on: what they wait for, who hangs, whose process died, whom nobody serves."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from agent_app.database.connect import Database
from tests.database.rows import (
    NOON,
    checkpoint_json,
    column,
    living,
    plant_attempt,
    plant_executor,
    plant_intent,
    plant_run,
    plant_step,
)

LATER = datetime(2100, 1, 1, 12, 30, tzinfo=UTC)


def waits(database: Database) -> dict[str, str | None]:
    """Return what each run waits for, as `run` says; `waiting_run` must have the same."""
    query = "select jsonb_object_agg(run_id, waiting_for) from agent_app.run"
    (found,) = column(database, query)
    query = (
        "select coalesce(jsonb_object_agg(run_id, waiting_for), '{}') from agent_app.waiting_run"
    )
    (waiting,) = column(database, query)
    assert waiting == {run_id: words for run_id, words in found.items() if words}
    return dict(found)


def test_waiting_for_a_decision(database: Database) -> None:
    """A call that a person must decide on goes before all else; a decided one is not waited for."""
    plant_run(database, "r1", status="PENDING")
    plant_intent(database, "r1", 3, unknown_since=NOON)
    plant_attempt(database, "r1", 4, outcome="error", retry_at=LATER)
    plant_run(database, "decided", status="PENDING")
    plant_intent(database, "decided", 3, unknown_since=NOON, decision="retry")
    assert waits(database) == {"r1": "decision on step 3", "decided": None}
    assert column(database, "select waiting_since from agent_app.waiting_run") == [NOON]


def test_waiting_for_a_retry(database: Database) -> None:
    """The next try of a step is waited for until its time, by unfinished runs only."""
    for run_id, status, at in (
        ("later", "PENDING", LATER),
        ("over", "PENDING", NOON),
        ("ended", "ERROR", LATER),
    ):
        plant_run(database, run_id, status=status)
        plant_attempt(database, run_id, 3, outcome="error", retry_at=at, finished_at=NOON)
    words = "retry of step 3 at 2100-01-01T12:30:00Z"
    assert waits(database) == {"later": words, "over": None, "ended": None}


def test_waiting_in_a_queue(database: Database) -> None:
    """An enqueued run waits for its queue, a delayed one for its time."""
    plant_run(database, "queued", status="ENQUEUED", queue_name="q")
    at = LATER.timestamp() * 1000
    plant_run(database, "delayed", status="DELAYED", delay_until_epoch_ms=at)
    plant_run(database, "ended", status="SUCCESS", queue_name="q")
    words = "delay until 2100-01-01T12:30:00Z"
    assert waits(database) == {"queued": "queue", "delayed": words, "ended": None}


@pytest.mark.parametrize("link", ["parent_workflow_id", "attributes"])
def test_waiting_for_a_child(database: Database, link: str) -> None:
    """A run waits for the child that is unfinished; one whose children ended works."""
    for parent, status in (("waits", "PENDING"), ("works", "SUCCESS")):
        plant_run(database, parent, status="PENDING")
        value = parent if link != "attributes" else json.dumps({"parent_run_id": parent})
        plant_run(database, f"{parent}:c1", status=status, **{link: value})
    assert waits(database) == {
        "waits": "child waits:c1",
        "waits:c1": None,
        "works": None,
        "works:c1": None,
    }


def test_waiting_for_a_sleep_to_end(database: Database) -> None:
    """The last step says when a sleep ends; an ended one, or a step after it, is no sleep."""
    ends = {"long": LATER.timestamp(), "short": NOON.timestamp(), "woken": LATER.timestamp()}
    for run_id, at in ends.items():
        plant_run(database, run_id, status="PENDING")
        row = {"function_name": "DBOS.sleep", "serialization": "portable_json"}
        plant_step(database, run_id, 1, output=str(at), **row)
    plant_step(database, "woken", 2, output=checkpoint_json(1))
    words = "sleep until 2100-01-01T12:30:00Z"
    assert waits(database) == {"long": words, "short": None, "woken": None}


def stuck(database: Database) -> list[str]:
    """Return the runs that are stuck, in order."""
    return column(database, "select run_id from agent_app.stuck_run order by run_id")


def test_stuck_run_made_no_progress_for_its_limit(database: Database) -> None:
    """An old open try, or old checkpoints and none open; not a recent try, beat or checkpoint."""
    now = datetime.now(UTC)
    old, recent = now - timedelta(minutes=11), now - timedelta(minutes=9)
    runs = ("old-try", "recent-try", "beats", "old-step", "recent-step", "between", "ended")
    for run_id in runs:
        status = "SUCCESS" if run_id == "ended" else "PENDING"
        plant_run(database, run_id, status=status, executor_id="e1")
    plant_attempt(database, "old-try", 2, started_at=old)
    plant_attempt(database, "old-try", 3, started_at=recent)
    plant_attempt(database, "recent-try", started_at=recent)
    plant_attempt(database, "beats", started_at=old, heartbeat_at=recent)
    plant_attempt(database, "between", started_at=old, finished_at=recent, outcome="success")
    milliseconds = recent.timestamp() * 1000
    plant_step(database, "recent-step", 1, completed_at_epoch_ms=milliseconds)
    plant_step(database, "old-step", 1)
    assert stuck(database) == ["old-step", "old-try"]
    query = "select step_number from agent_app.stuck_run order by run_id"
    assert column(database, query) == [None, 2]
    (idle_s,) = column(database, "select idle_s from agent_app.stuck_run where run_id = 'old-try'")
    assert 650 < idle_s < 700


def test_waiting_run_is_not_stuck(database: Database) -> None:
    """Who waits for a person, a child or a retry has a reason; so has who has just begun."""
    now = datetime.now(UTC).timestamp() * 1000
    for run_id in ("decision", "retry", "child"):
        plant_run(database, run_id, status="PENDING")
    plant_run(database, "begun", status="PENDING", updated_at=now)
    plant_intent(database, "decision", 1, unknown_since=NOON)
    plant_attempt(database, "retry", outcome="error", retry_at=LATER)
    plant_run(database, "child:1", status="PENDING", parent_workflow_id="child", updated_at=now)
    assert stuck(database) == []


def test_orphaned_run_is_one_whose_executor_died(database: Database) -> None:
    """PENDING and its executor's lock is free: not a living one's, not what nobody executes."""
    plant_run(database, "orphan", status="PENDING", executor_id="dead")
    plant_run(database, "nobody's", status="PENDING")
    plant_run(database, "alive", status="PENDING", executor_id="alive")
    plant_run(database, "queued", status="ENQUEUED", executor_id="dead")
    plant_run(database, "ended", status="SUCCESS", executor_id="dead")
    plant_run(database, "internal", status="PENDING", executor_id="dead", name="_dbos_x")
    query = "select run_id from agent_app.orphaned_run order by run_id"
    with living(database, "alive"):
        assert column(database, query) == ["nobody's", "orphan"]
    assert "alive" in column(database, query)


def test_living_executor_is_one_that_holds_its_lock(database: Database) -> None:
    """A row whose lock is free is a process that was killed; both halves of the key count."""
    for executor_id in ("one", "two", "dead"):
        plant_executor(database, executor_id)
    query = "select executor_id from agent_app.living_executor order by 1"
    with living(database, "one", "two", "no row"):
        assert column(database, query) == ["one", "two"]
        keys = column(database, "select key from agent_app.executor_lock order by 1")
        names = "unnest(array['one', 'two', 'no row']) as id"
        expected = f"select agent_app.executor_key(id) from {names} order by 1"  # noqa: S608
        assert keys == column(database, expected)
    assert column(database, query) == []


def test_locks_of_other_databases_and_kinds_do_not_count(
    database: Database, empty_database: Database
) -> None:
    """The key held in another database, shared by two halves, or as two integers is not ours."""
    (key,) = column(database, "select agent_app.executor_key('dead')")
    with empty_database.connect() as other, database.connect() as own:
        other.execute("select pg_advisory_lock(%s)", (key,))
        own.execute("select pg_advisory_lock(%s, %s)", (key >> 32, key % 2**31))
        assert column(database, "select count(*) from agent_app.executor_lock") == [0]


def test_stranded_run_is_one_of_a_version_nobody_serves(database: Database) -> None:
    """Unfinished, of another version; not of a served one, not without one, not executed still."""
    plant_executor(database, "new", version="2")
    plant_executor(database, "dead", version="1")
    plant_run(database, "queued", status="ENQUEUED", application_version="1")
    plant_run(database, "orphan", status="PENDING", application_version="1", executor_id="dead")
    plant_run(database, "older", status="PENDING", application_version="0", executor_id="still")
    plant_run(database, "served", status="ENQUEUED", application_version="2")
    plant_run(database, "any", status="ENQUEUED")
    plant_run(database, "ended", status="ERROR", application_version="1")
    query = "select run_id from agent_app.stranded_run order by run_id"
    with living(database, "new", "still"):
        assert column(database, query) == ["orphan", "queued"]
    assert column(database, query) == ["any", "older", "orphan", "queued", "served"]
