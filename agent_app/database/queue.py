"""Queues as rows: what waits in them, who holds a deduplication ID, and runs that change place."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from typing import LiteralString

from agent_app.database.connect import Database


@dataclass(frozen=True)
class QueueRow:
    """One row of the view `agent_app.queue`; times are aware UTC, a limit of None is none."""

    queue: str
    enqueued_count: int
    delayed_count: int
    running_count: int
    oldest_enqueued_at: datetime | None
    started_last_minute_count: int
    worker_count: int
    """Living processes that take runs from it."""
    max_running_per_worker: int | None
    max_running: int | None
    max_running_per_key: int | None
    max_starts: int | None
    max_starts_per_key: int | None
    period_s: float | None
    poll_s: float | None

    @property
    def takes_care_of_itself(self) -> bool:
        """Say whether whoever needs the queue serves it: a recovery, a research."""
        return self.queue in ("recovery", "search")


_HOLDER: LiteralString = """
select workflow_uuid as run_id from dbos.workflow_status
where queue_name = %(queue)s and deduplication_id = %(deduplication_id)s
"""
_QUEUES_OF: LiteralString = """
select workflow_uuid as run_id, queue_name from dbos.workflow_status
where workflow_uuid = any(%(run_ids)s) and queue_name is not null
    and (status in ('ENQUEUED', 'DELAYED') or not %(is_waiting)s)
"""
_WAITING: LiteralString = """
select workflow_uuid as run_id from dbos.workflow_status
where queue_name = %(queue)s and status = 'ENQUEUED' and application_version = %(version)s
"""
_PUT_BACK: LiteralString = """
update dbos.workflow_status set status = 'DELAYED', owner_xid = null, started_at_epoch_ms = null,
    recovery_attempts = greatest(recovery_attempts - 1, 0), rate_limited = false,
    delay_until_epoch_ms = (extract(epoch from clock_timestamp() + %(delay_s)s * interval '1 s')
        * 1000)::bigint
where workflow_uuid = %(run_id)s and status = 'PENDING' and owner_xid = %(owner_xid)s
"""
_MOVE: LiteralString = """
update dbos.workflow_status set status = 'ENQUEUED', queue_name = %(queue)s,
    deduplication_id = null
where workflow_uuid = any(%(run_ids)s) and status in ('ENQUEUED', 'DELAYED')
"""


def read_queues(database: Database) -> list[QueueRow]:
    """Return every queue of agent_app's that is registered or holds runs, by name."""
    with database.connect(read_only=True) as connection:
        rows = connection.execute("select * from agent_app.queue order by queue").fetchall()
    return [QueueRow(**{f.name: row[f.name] for f in fields(QueueRow)}) for row in rows]


def read_worker_count(database: Database, queue: str, application_version: str) -> int:
    """Return how many living processes of a version take runs from the queue."""
    query: LiteralString = """
        select count(*) as worker_count from agent_app.served_queue
        where queue = %(queue)s and application_version = %(version)s
    """
    with database.connect(read_only=True) as connection:
        row = connection.execute(query, {"queue": queue, "version": application_version}).fetchone()
    return int(row["worker_count"]) if row else 0


def read_holder(database: Database, stored_queue: str, deduplication_id: str) -> str | None:
    """Return the unfinished run of the queue that holds the deduplication ID; None for none."""
    values = {"queue": stored_queue, "deduplication_id": deduplication_id}
    with database.connect(read_only=True) as connection:
        row = connection.execute(_HOLDER, values).fetchone()
    return row["run_id"] if row else None


def read_queues_of(
    database: Database, run_ids: Collection[str], *, is_waiting: bool = False
) -> dict[str, str]:
    """Return the stored names of the queues that these runs came through last, by run ID.

    With `is_waiting`, only of those that wait there at this moment.
    """
    values = {"run_ids": list(run_ids), "is_waiting": is_waiting}
    with database.connect(read_only=True) as connection:
        rows = connection.execute(_QUEUES_OF, values).fetchall()
    return {row["run_id"]: row["queue_name"] for row in rows}


def read_waiting(database: Database, stored_queue: str, application_version: str) -> list[str]:
    """Return the runs of a version that wait in the queue."""
    values = {"queue": stored_queue, "version": application_version}
    with database.connect(read_only=True) as connection:
        return [row["run_id"] for row in connection.execute(_WAITING, values)]


def put_back(database: Database, run_id: str, owner_xid: str, delay_s: float) -> None:
    """Let a run that was just taken wait in its queue again; not if somebody else has it by now."""
    values = {"run_id": run_id, "owner_xid": owner_xid, "delay_s": delay_s}
    with database.connect() as connection:
        connection.execute(_PUT_BACK, values)


def move_waiting(database: Database, run_ids: Collection[str], stored_queue: str) -> None:
    """Let those of the runs that wait, for a delay or in a queue, wait in this queue instead.

    They give their deduplication IDs up, which belong to the queue that they leave.
    """
    with database.connect() as connection:
        connection.execute(_MOVE, {"run_ids": list(run_ids), "queue": stored_queue})
