"""A prune that is killed, interrupted or held up: whole families, and the next one finishes."""

import json
import signal
from itertools import count

import pytest

from agent_app.operations.prune import _BATCH
from tests.crash.conftest import Tell
from tests.crash.laboratory import Laboratory
from tests.helpers import wait_until

OLD = 2 * _BATCH + 50
"""Families that go, in three transactions."""
STAYING = 20
PRUNE = ("prune", "--older-than", "1h", "--json")


@pytest.fixture
def aged(laboratory: Laboratory) -> Laboratory:
    """Return a laboratory with many families, of three runs each, that ended at different times.

    Each run has rows in every table that a run can have rows in.
    """
    laboratory.query(
        """
        with run as (
            insert into dbos.workflow_status (workflow_uuid, name, status, created_at, updated_at,
                completed_at, executor_id, serialization, priority, attributes)
            select family || member, 'planted', 'SUCCESS', n, ended, ended, 'dead',
                'agent_app_json', 0,
                case when member <> '' then jsonb_build_object('parent_run_id', family) end
            from (
                select n, 'r' || n as family,
                    case when n > %(old)s then 9000000000000 else n end as ended
                from generate_series(1, %(all)s) as n) as family
            cross join unnest(array['', ':a', ':b']) as member
            returning workflow_uuid as run_id),
        input as (insert into dbos.workflow_input select run_id, '{}', 0 from run),
        output as (insert into dbos.workflow_output select run_id, '{}', null, 0 from run),
        step as (
            insert into dbos.operation_outputs
                (workflow_uuid, function_id, function_name, output, serialization)
            select run_id, number, 'planted.model', '{}', 'agent_app_json'
            from run cross join generate_series(1, 2) as number),
        event as (
            insert into dbos.workflow_events (workflow_uuid, key, value) select run_id, 'k', 'v'
            from run),
        attempt as (
            insert into agent_app.attempt (run_id, step_number, attempt_number, step_name,
                executor_id, started_at, outcome)
            select run_id, 1, 1, 'planted.model', 'dead', now(), 'success' from run),
        intent as (
            insert into agent_app.intent
                (run_id, step_number, step_name, call, idempotency_key, executor_id)
            select run_id, 2, 'planted.tool.pay', 'c', 'k', 'dead' from run)
        insert into agent_app.committed_call (run_id, step_number, call, result)
        select run_id, 2, 'c', '{}' from run returning 1
        """,
        old=OLD,
        all=OLD + STAYING,
    )
    with laboratory.database.connect() as connection:
        connection.execute("vacuum (analyze) dbos.workflow_status")  # as the server does by itself
    return laboratory


def families(laboratory: Laboratory) -> int:
    """Return how many families are left, once it is sure that each is left with all its rows."""
    ids = {
        table: {row.get("workflow_uuid", row.get("run_id")) for row in map(json.loads, rows)}
        for table, rows in laboratory.tables().items()
    }
    runs = ids["dbos.workflow_status"]
    roots = {str(run_id).partition(":")[0] for run_id in runs}
    assert runs == {root + member for root in roots for member in ("", ":a", ":b")}
    for table in (
        "dbos.workflow_input",
        "dbos.workflow_output",
        "dbos.operation_outputs",
        "dbos.workflow_events",
        "agent_app.attempt",
        "agent_app.intent",
        "agent_app.committed_call",
    ):
        assert ids[table] == runs, table
    return len(roots)


@pytest.mark.slow
def test_killed_prune_leaves_whole_families(aged: Laboratory, tell: Tell) -> None:
    """At whatever statement it is killed, no family is left in part; repeated, it finishes."""
    left = [families(aged)]
    for number in count(1):
        life = aged.command(*PRUNE, kill=("joint", number))
        if life.wait() != -signal.SIGKILL:
            break
        aged.wait_for_silence()
        left.append(families(aged))
    assert life.wait() == 0, life.stderr
    assert families(aged) == STAYING
    assert set(left) == {OLD + STAYING, OLD + STAYING - _BATCH, OLD + STAYING - 2 * _BATCH}
    tell("agent-app prune", len(left) - 1, 0, 0)


def test_prune_that_is_killed_between_two_transactions(aged: Laboratory) -> None:
    """What was committed before the kill is gone, the rest is whole, and goes the next time."""
    assert aged.command(*PRUNE, kill=("joined", 2)).wait() == -signal.SIGKILL
    aged.wait_for_silence()
    assert families(aged) == OLD + STAYING - 2 * _BATCH
    assert aged.command(*PRUNE).json()["run_count"] == 3 * (OLD - 2 * _BATCH)
    assert families(aged) == STAYING


def test_interrupted_prune_leaves_whole_families(aged: Laboratory) -> None:
    """Ctrl-C in the midst of a transaction ends the command with 1 and undoes that one alone."""
    life = aged.command(*PRUNE, stop=("joint", 12))
    wait_until(lambda: life.is_stopped, 30)
    life.send(signal.SIGINT)
    life.send(signal.SIGCONT)
    assert life.wait() == 1
    assert life.stderr == "Stopped.\n"
    aged.wait_for_silence()
    assert families(aged) == OLD + STAYING - _BATCH
    assert aged.command(*PRUNE).wait() == 0
    assert families(aged) == STAYING


def test_worker_that_is_killed_while_it_prunes(aged: Laboratory) -> None:
    """The next worker prunes on, says what it deleted, and ends well when it is asked to."""
    aged.environment |= {"AGENT_APP_PRUNE_OLDER_THAN": "1h", "AGENT_APP_PRUNE_INTERVAL_S": "0.1"}
    assert aged.command("worker", kill=("joint", 12)).wait() == -signal.SIGKILL
    aged.wait_for_silence()
    assert families(aged) == OLD + STAYING - _BATCH
    worker = aged.command("worker")
    wait_until(lambda: f"{3 * (OLD - _BATCH)} runs that ended before " in worker.stderr, 60)
    assert families(aged) == STAYING
    assert worker.kill(signal.SIGTERM) == 0, worker.stderr
    assert worker.stderr.endswith("Stopped; what was under way goes on in the next worker.\n")


def test_worker_ends_while_its_prune_hangs(aged: Laboratory) -> None:
    """A table that another session holds keeps no worker from ending: it ends before that one."""
    aged.environment["AGENT_APP_PRUNE_OLDER_THAN"] = "1h"
    with aged.database.connect() as connection, connection.transaction():
        connection.execute("lock table dbos.workflow_events in access exclusive mode")
        worker = aged.command("worker")
        waiting = "select from pg_stat_activity where wait_event_type = 'Lock'"
        wait_until(lambda: aged.query(waiting), 60)
        assert worker.kill(signal.SIGTERM) == 0, worker.stderr
    aged.wait_for_silence()
    assert families(aged) == OLD + STAYING
