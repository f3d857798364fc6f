"""Runs whose executor died: found by its free lock, handed to whoever lives."""

import logging
import time
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from dbos._dbos import _get_dbos_instance

from agent_app.database.connect import Database
from agent_app.durability.queues import RECOVERY_QUEUE, listen_to
from agent_app.durability.runtime import running_ids
from agent_app.durability.serializer import JsonSerializer
from agent_app.failover.lease import LOCK_SQL, UNLOCK_SQL

_logger = logging.getLogger(__name__)
_STOPPED_S = 2.0
"""Seconds that a run of ours must have been seen without anybody executing it."""
_stopped_since: dict[tuple[str, int], float] = {}
"""When a run of ours was first seen so, by its ID and the time of its last change of status."""
_PENDING: LiteralString = """
select workflow_uuid as run_id, executor_id, updated_at,
    coalesce(serialization, '') as serialization
from dbos.workflow_status
where status = 'PENDING' and application_version = %(version)s
  and (%(run_ids)s::text[] is null or workflow_uuid = any(%(run_ids)s))
order by created_at
"""
_QUEUED: LiteralString = """
select 1 from dbos.workflow_status
where status = 'ENQUEUED' and application_version = %(version)s and queue_name = %(queue)s limit 1
"""
_FORGIVE: LiteralString = """
with recursive family as (
    select %(run_id)s::text as run_id
    union
    select child.run_id from family cross join lateral agent_app.children(family.run_id) as child
), step_of_its_life as (
    select from family
    join agent_app.attempt using (run_id)
    join dbos.operation_outputs as step
        on step.workflow_uuid = attempt.run_id and step.function_id = attempt.step_number
    where attempt.executor_id = %(executor_id)s limit 1
)
update dbos.workflow_status
set recovery_attempts = case when exists (select from step_of_its_life)
    then 0 else greatest(recovery_attempts - 1, 0) end
where workflow_uuid = %(run_id)s and status = 'PENDING' and executor_id = %(executor_id)s
  and (exists (select from step_of_its_life) or not exists (
    select from agent_app.executor where executor_id = %(executor_id)s))
"""
_LEAVE: LiteralString = """
update dbos.workflow_status set recovery_attempts = greatest(recovery_attempts - 1, 0)
where workflow_uuid = any(%(run_ids)s) and status = 'PENDING' and executor_id = %(executor_id)s
"""


@dataclass(frozen=True)
class Recovery:
    """What one look for orphaned runs brought."""

    recovered: tuple[str, ...]
    """Runs that wait to be taken again, oldest first."""
    held: tuple[str, ...]
    """Runs that a living executor executes."""
    refused: tuple[tuple[str, str], ...]
    """Runs whose stored values we do not decode, each with its tag."""


def recover_orphans(
    database: Database,
    *,
    own_executor_id: str,
    application_version: str,
    run_ids: Collection[str] | None = None,
) -> Recovery:
    """Hand the unfinished runs of dead executors, all or the given ones, to the recovery queue.

    Harmless when two survivors do it at once: a run moves only while its row still names the dead
    executor, and the queue gives it to exactly one.
    """
    recovered: list[str] = []
    held: list[str] = []
    refused: list[tuple[str, str]] = []
    with database.connect() as connection:
        rows = connection.execute(
            _PENDING,
            {
                "version": application_version,
                "run_ids": None if run_ids is None else list(run_ids),
            },
        ).fetchall()
        _hand_over_stopped([row for row in rows if row["executor_id"] == own_executor_id])
        others = [row for row in rows if row["executor_id"] != own_executor_id]
        for executor_id, runs in _by_executor(others, refused).items():
            if _is_alive(connection, executor_id):
                held += runs
                continue
            try:
                recovered += [run for run in runs if _take_from(connection, run, executor_id)]
            finally:
                connection.execute(UNLOCK_SQL, (executor_id,))
        queued = {"version": application_version, "queue": RECOVERY_QUEUE}
        if connection.execute(_QUEUED, queued).fetchone():
            accept_recovered()
    return Recovery(tuple(recovered), tuple(held), tuple(refused))


def _by_executor(
    rows: list[dict[str, Any]], refused: list[tuple[str, str]]
) -> dict[str, list[str]]:
    runs: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if _is_ours(row):
            runs[row["executor_id"]].append(row["run_id"])
        else:
            refused.append((row["run_id"], row["serialization"]))
    return runs


def _is_ours(row: dict[str, Any]) -> bool:
    """Say whether the run's stored values are in the one format that we decode."""
    return bool(row["serialization"] == JsonSerializer().name())


def _is_alive(connection: psycopg.Connection[dict[str, Any]], executor_id: str) -> bool:
    """Say whether the executor holds its lock; if not, we hold it now."""
    row = connection.execute(LOCK_SQL, (executor_id,)).fetchone()
    return row is None or not row["held"]


def _hand_over_stopped(own: list[dict[str, Any]]) -> None:
    """Hand over runs of ours that nobody executes: their checkpoints could not be written.

    One that has only begun, or whose outcome is being written, is neither: they get some time.
    """
    now, executed = time.monotonic(), running_ids()
    for row in own:
        run_id, life = row["run_id"], (row["run_id"], row["updated_at"])
        if run_id in executed or not _is_ours(row):
            _stopped_since.pop(life, None)
        elif now - _stopped_since.setdefault(life, now) >= _STOPPED_S:
            del _stopped_since[life]
            if _hand_over(run_id, row["executor_id"]):
                _logger.warning("Run %s had stopped here; it goes on.", run_id)


def hand_over_own(
    database: Database, executor_id: str, *, application_version: str
) -> tuple[str, ...]:
    """Move the unfinished runs of this process, which executes them no more, to their queues.

    Returns them oldest first. To be taken again then counts as no recovery: nothing has died.
    Raises: DatabaseError.
    """
    values = {"version": application_version, "run_ids": None}
    with database.connect() as connection:
        run_ids = [
            row["run_id"]
            for row in connection.execute(_PENDING, values).fetchall()
            if row["executor_id"] == executor_id and _is_ours(row)
        ]
        connection.execute(_LEAVE, {"run_ids": run_ids, "executor_id": executor_id})
    return tuple(run_id for run_id in run_ids if _hand_over(run_id, executor_id))


def accept_recovered() -> None:
    """Execute what lies in the recovery queue from now on, within about a second; idempotent."""
    listen_to(RECOVERY_QUEUE)


def _take_from(
    connection: psycopg.Connection[dict[str, Any]], run_id: str, dead_executor_id: str
) -> bool:
    """Hand one run over; its count of recoveries goes on only where it may have killed its process.

    DBOS counts when the run is taken again. A process that ended by itself, and has no row any
    more, is not counted; and one in which the run, or a run below it, finished a step begins the
    count anew: a long run may outlive more processes than one that kills them. Read from the
    ledger, so that nobody's clock has a say; a step of its last moments may be missing there.
    """
    connection.execute(_FORGIVE, {"run_id": run_id, "executor_id": dead_executor_id})
    return _hand_over(run_id, dead_executor_id)


def _hand_over(run_id: str, dead_executor_id: str) -> bool:
    """Move one PENDING run to the recovery queue; False if somebody else was faster.

    A private name of DBOS 3.4, used here alone: open-source DBOS recovers only its own executor's.
    """
    system_database = _get_dbos_instance()._sys_db
    return system_database.reenqueue_for_recovery(run_id, [dead_executor_id], RECOVERY_QUEUE)
