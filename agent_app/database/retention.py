"""What has ended long ago: families of runs that may go, and executors that nobody refers to."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import LiteralString

import psycopg
from psycopg.rows import DictRow

from agent_app.database.connect import Database
from agent_app.database.history import Statements

ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
"""DBOS's statuses of a run that nobody goes on with by himself."""
_LOCK_IDLE_S = 60
"""Seconds of silence after which the server frees the lock of a pruner that was stopped."""

_FAMILIES: LiteralString = """
with page as (
    select root.created_at, root.workflow_uuid as root_run_id, family.run_ids
    from dbos.workflow_status as root
    cross join lateral (
        with recursive member as (
            select root.workflow_uuid as run_id
            union
            select child.run_id
            from member cross join lateral agent_app.children(member.run_id) as child
        )
        select array_agg(member.run_id) as run_ids, bool_and(ended.is_old) as may_go
        from member cross join lateral (
            select run.status = any(%(ended)s)
                and coalesce(run.completed_at, run.updated_at) < %(ended_before_ms)s as is_old
            from dbos.workflow_status as run where run.workflow_uuid = member.run_id
            offset 0 -- by the key: a join is planned for a thousand children, and reads all runs
        ) as ended
    ) as family
    where agent_app.is_run(root.name) and root.status = any(%(statuses)s)
        and root.created_at < %(ended_before_ms)s
        and (root.created_at, root.workflow_uuid) > (%(after_ms)s, %(after)s)
        and not exists (
            select from dbos.workflow_status as parent
            where agent_app.is_run(parent.name) and parent.workflow_uuid
                = coalesce(root.parent_workflow_id, root.attributes ->> 'parent_run_id'))
        and family.may_go
    order by root.created_at, root.workflow_uuid
    limit %(limit)s
)
select page.created_at, page.root_run_id, run.workflow_uuid as run_id, run.name as agent,
    run.status, run.executor_id,
    to_timestamp(coalesce(run.completed_at, run.updated_at) / 1000.0) as ended_at
from page join dbos.workflow_status as run on run.workflow_uuid = any(page.run_ids)
order by page.created_at, page.root_run_id, run.created_at, run.workflow_uuid
"""
_LOCK_ENDED: LiteralString = """
select run.workflow_uuid as run_id,
    set_config('idle_in_transaction_session_timeout', '5000', true)
from dbos.workflow_status as run
where run.workflow_uuid = any(%(run_ids)s) and run.status = any(%(ended)s)
    and coalesce(run.completed_at, run.updated_at) < %(ended_before_ms)s
for update skip locked
"""
_DEAD_EXECUTORS: LiteralString = """
select executor_id, (
    select count(*) from dbos.workflow_status as run
    where run.executor_id = executor.executor_id) as run_count
from agent_app.executor
where agent_app.executor_key(executor_id) not in (select key from agent_app.executor_lock)
"""
_DROP_EXECUTORS: LiteralString = """
delete from agent_app.executor
where agent_app.executor_key(executor_id) not in (select key from agent_app.executor_lock)
    and not exists (
        select from dbos.workflow_status as run where run.executor_id = executor.executor_id)
"""
_LOCK: LiteralString = """
select set_config('idle_session_timeout', %s, false),
    pg_try_advisory_lock(hashtextextended('agent_app.prune', 0)) as is_ours
"""


_FORGET_GONE: LiteralString = """
delete from agent_app.run_source where not exists (
    select from dbos.workflow_status as run where run.workflow_uuid = run_source.run_id)
"""
_COUNT_UNCITED: LiteralString = """
select count(*) as source_count from agent_app.source where not in_corpus and not exists (
    select from agent_app.run_source
    join dbos.workflow_status as run on run.workflow_uuid = run_source.run_id
    where run_source.source_id = source.source_id and run_source.run_id <> all(%(run_ids)s))
"""
_DROP_UNCITED: LiteralString = """
delete from agent_app.source where source_id in (
    select source_id from agent_app.source where not in_corpus and not exists (
        select from agent_app.run_source where run_source.source_id = source.source_id)
    order by source_id for update skip locked)
returning source_id
"""


@dataclass(frozen=True)
class EndedRun:
    """A run that may go."""

    run_id: str
    agent: str
    status: str
    executor_id: str | None
    ended_at: datetime


@dataclass(frozen=True)
class EndedFamily:
    """A run that nobody delegated to, or whose parent is gone, and all runs below it."""

    key: tuple[int, str]
    """Where it stands in the order of the pages."""
    runs: tuple[EndedRun, ...]

    @property
    def run_ids(self) -> frozenset[str]:
        """Return the IDs of all its runs."""
        return frozenset(run.run_id for run in self.runs)


def read_ended_families(
    database: Database,
    *,
    ended_before: datetime,
    statuses: Collection[str],
    after: EndedFamily | None,
    limit: int,
) -> list[EndedFamily]:
    """Return a page of the families that ended whole before the moment, the oldest first.

    `statuses` are those of its first run; the others may have ended in any way.
    """
    values = {
        "ended": list(ENDED),
        "ended_before_ms": _milliseconds(ended_before),
        "statuses": list(statuses),
        "after_ms": after.key[0] if after else -1,
        "after": after.key[1] if after else "",
        "limit": limit,
    }
    with database.connect(read_only=True) as connection:
        connection.execute("set jit = off")  # compiled at each page, for what it takes itself
        rows = connection.execute(_FAMILIES, values).fetchall()
    by_family = groupby(rows, key=lambda row: (row["created_at"], row["root_run_id"]))
    return [EndedFamily(key, tuple(map(_ended_run, members))) for key, members in by_family]


def _ended_run(row: DictRow) -> EndedRun:
    return EndedRun(row["run_id"], row["agent"], row["status"], row["executor_id"], row["ended_at"])


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def lock_ended(
    commit: Statements, run_ids: Sequence[str], *, ended_before: datetime
) -> frozenset[str]:
    """Return those of the runs that still may go; nobody can go on with them until the commit.

    One that somebody else holds at this moment is left out, instead of being waited for.
    """
    values: dict[str, object] = {
        "run_ids": list(run_ids),
        "ended": list(ENDED),
        "ended_before_ms": _milliseconds(ended_before),
    }
    return frozenset(row["run_id"] for row in commit.execute(_LOCK_ENDED, values))


def read_dead_executors(database: Database) -> dict[str, int]:
    """Return the executors whose processes are dead, and how many runs refer to each."""
    with database.connect() as connection:
        rows = connection.execute(_DEAD_EXECUTORS).fetchall()
    return {row["executor_id"]: row["run_count"] for row in rows}


def drop_dead_executors(database: Database) -> int:
    """Delete the rows of dead processes that no run refers to, and return how many they were."""
    with database.connect() as connection:
        return connection.execute(_DROP_EXECUTORS).rowcount


def count_uncited_sources(database: Database, without_runs: Sequence[str]) -> int:
    """Return how many texts neither the corpus nor a run will have once these runs are gone."""
    with database.connect() as connection:
        row = connection.execute(_COUNT_UNCITED, {"run_ids": list(without_runs)}).fetchone()
    return int(row["source_count"]) if row else 0


def drop_uncited_sources(database: Database) -> int:
    """Delete the texts that neither the corpus nor a stored run has; return how many that was."""
    with database.connect() as connection:
        connection.execute(_FORGET_GONE)
        return connection.execute(_DROP_UNCITED).rowcount


class PruneTurn:
    """The turn to prune by schedule, which one process at a time has."""

    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._connection = connection
        row = connection.execute(_LOCK, (f"{_LOCK_IDLE_S}s",)).fetchone()
        self.is_ours = row is not None and bool(row["is_ours"])

    def keep(self) -> None:
        """Give a sign of life, more often than once a minute.

        Raises: psycopg.Error (the turn was lost).
        """
        self._connection.execute("select 1")


@contextmanager
def prune_turn(database: Database) -> Iterator[PruneTurn]:
    """Yield the turn, or word that another process has it; it ends with the block or the process.

    Raises: DatabaseError.
    """
    with database.connect() as connection:
        yield PruneTurn(connection)
