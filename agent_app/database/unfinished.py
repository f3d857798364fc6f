"""Runs that do not go on by themselves, counted, and the processes that could execute them."""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from agent_app.database.connect import Database
from agent_app.database.health import ask

SHOWN_COUNT = 3
"""IDs that a group of runs is shown with: enough to look at, few enough to read."""


@dataclass(frozen=True)
class RunGroup:
    """Runs of one application version that are in the same trouble."""

    application_version: str | None
    run_count: int
    run_ids: list[str]
    """The oldest few."""
    is_served: bool
    """Whether a living executor has their version."""


@dataclass(frozen=True)
class LivingExecutor:
    """A process that executes runs at this moment."""

    executor_id: str
    application_version: str
    host: str
    process_id: int
    started_at: datetime


@dataclass(frozen=True)
class UndecidedCall:
    """An external call that waits for a person."""

    run_id: str
    step_number: int
    step_name: str
    unknown_since: datetime


_GROUPED: tuple[LiteralString, LiteralString] = (
    """
    select application_version, count(*) as run_count,
        (array_agg(run_id order by created_at, run_id))[1:%(shown_count)s] as run_ids,
        coalesce(application_version in (
            select application_version from agent_app.living_executor), false) as is_served
    from (
    """,
    """
    ) as run group by application_version order by application_version
    """,
)
_TROUBLES: dict[str, LiteralString] = {
    "orphaned": "select run_id, application_version, created_at from agent_app.orphaned_run",
    "stranded": "select run_id, application_version, created_at from agent_app.stranded_run",
    "stuck": """
        select stuck.run_id, status.application_version, stuck.last_progress_at as created_at
        from agent_app.stuck_run as stuck
        join dbos.workflow_status as status on status.workflow_uuid = stuck.run_id
        where stuck.run_id not in (select run_id from agent_app.orphaned_run)
    """,
    "given_up": """
        select workflow_uuid as run_id, application_version,
            to_timestamp(created_at / 1000.0) as created_at
        from dbos.workflow_status
        where status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED' and agent_app.is_run(name)
    """,
}


def read_orphaned(database: Database) -> list[RunGroup]:
    """Return PENDING runs of dead executors, by application version."""
    return _groups(database, "orphaned")


def read_stranded(database: Database) -> list[RunGroup]:
    """Return unfinished runs whose application version nobody serves, by that version."""
    return _groups(database, "stranded")


def read_unserved_queues(database: Database, application_version: str) -> dict[str, RunGroup]:
    """Return runs of a version that wait in queues which no worker of it serves, by queue."""
    rows = ask(
        database,
        """
        select queue, count(*) as run_count,
            (array_agg(run_id order by created_at, run_id))[1:%(shown_count)s] as run_ids
        from agent_app.stranded_run
        where application_version = %(version)s and queue is not null and status <> 'PENDING'
        group by queue order by queue
        """,
        version=application_version,
        shown_count=SHOWN_COUNT,
    )
    return {
        row["queue"]: RunGroup(application_version, row["run_count"], row["run_ids"], False)
        for row in rows
    }


def read_stuck(database: Database) -> list[RunGroup]:
    """Return runs without progress whose executor lives, by application version."""
    return _groups(database, "stuck")


def read_given_up(database: Database) -> list[RunGroup]:
    """Return runs that were recovered too often, by application version."""
    return _groups(database, "given_up")


def _groups(database: Database, trouble: str) -> list[RunGroup]:
    head, tail = _GROUPED
    rows = ask(database, head + _TROUBLES[trouble] + tail, shown_count=SHOWN_COUNT)
    return [RunGroup(**row) for row in rows]


def read_undecided(database: Database) -> tuple[int, list[UndecidedCall]]:
    """Return how many external calls wait for a person, and the oldest few."""
    rows = ask(
        database,
        """
        select run_id, step_number, step_name, unknown_since, count(*) over () as call_count
        from agent_app.undecided_call order by unknown_since, run_id limit %(shown_count)s
        """,
        shown_count=SHOWN_COUNT,
    )
    count = rows[0]["call_count"] if rows else 0
    return count, [
        UndecidedCall(row["run_id"], row["step_number"], row["step_name"], row["unknown_since"])
        for row in rows
    ]


def read_waits(database: Database) -> dict[str, int]:
    """Return how many runs wait, by what for: child, decision, delay, queue, retry, sleep."""
    rows = ask(
        database,
        """
        select split_part(waiting_for, ' ', 1) as kind, count(*) as run_count
        from agent_app.waiting_run group by kind order by kind
        """,
    )
    return {row["kind"]: row["run_count"] for row in rows}


def read_living(database: Database) -> list[LivingExecutor]:
    """Return the processes that execute runs, the oldest first; empty on a standby."""
    rows = ask(database, "select * from agent_app.living_executor order by started_at, executor_id")
    return [LivingExecutor(**row) for row in rows]


def count_unfinished(database: Database) -> dict[str, int]:
    """Return how many unfinished runs each agent has, by its name."""
    rows = ask(
        database,
        """
        select name as agent, count(*) as run_count from dbos.workflow_status
        where status in ('PENDING', 'ENQUEUED', 'DELAYED') and agent_app.is_run(name)
        group by name order by name
        """,
    )
    return {row["agent"]: row["run_count"] for row in rows}
