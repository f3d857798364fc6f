"""Typed rows out of the views, for the operations that all doors share."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, LiteralString, TypeVar

from psycopg.rows import DictRow

from agent_app.database.connect import Database
from agent_app.database.query import QueryResult, run_query

__all__ = [
    "QueryResult",
    "RunRow",
    "StepRow",
    "read_descendants",
    "read_run",
    "read_runs",
    "read_steps",
    "run_query",
]

Json = Any
"""What a jsonb column holds: None, bool, number, str, list or dict."""


@dataclass(frozen=True)
class RunRow:
    """One row of the view `agent_app.run`; times are aware UTC."""

    run_id: str
    agent: str
    status: str
    created_at: datetime
    finished_at: datetime | None
    """None while the run is unfinished."""
    parent_run_id: str | None
    input: Json
    output: Json
    """None unless the run succeeded."""
    error: str | None
    """`Class: message`."""
    executor_id: str | None
    application_version: str | None
    updated_at: datetime


@dataclass(frozen=True)
class StepRow:
    """One row of the view `agent_app.step`; times are aware UTC."""

    run_id: str
    step_number: int
    name: str
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    output: Json
    error: str | None
    """`Class: message`."""
    checkpoint_of: str | None
    """The call that this is the checkpoint of; None for DBOS's own steps."""
    child_run_id: str | None


def read_run(database: Database, run_id: str) -> RunRow | None:
    """Return the run, or None where there is none of this ID."""
    rows = _read(database, "select * from agent_app.run where run_id = %(run_id)s", run_id=run_id)
    return _row(RunRow, rows[0]) if rows else None


def read_runs(
    database: Database, *, agent: str | None = None, status: str | None = None, limit: int = 50
) -> list[RunRow]:
    """Return the newest runs first, at most `limit`; only their payloads are parsed."""
    # The view's created_at is computed; the page is cut off by the index on the stored one.
    query = """
        with page as materialized (
            select workflow_uuid, created_at from dbos.workflow_status
            where agent_app.is_run(name)
                and (%(agent)s::text is null or name = %(agent)s)
                and (%(status)s::text is null or status = %(status)s)
            order by created_at desc, workflow_uuid desc limit %(limit)s
        )
        select run.* from page join agent_app.run on run.run_id = page.workflow_uuid
        order by page.created_at desc, page.workflow_uuid desc
    """
    rows = _read(database, query, agent=agent, status=status, limit=limit)
    return [_row(RunRow, row) for row in rows]


def read_steps(database: Database, run_id: str) -> list[StepRow]:
    """Return the run's finished steps in the order of their numbers; empty without a run."""
    query = "select * from agent_app.step where run_id = %(run_id)s order by step_number"
    return [_row(StepRow, row) for row in _read(database, query, run_id=run_id)]


def read_descendants(database: Database, run_id: str) -> list[str]:
    """Return the IDs of the runs below this one, nearest first; itself excluded."""
    # Two indexed look-ups for each level: the view's parent_run_id is computed from both columns.
    # `union` drops what it has met, so a planted circle ends.
    query = """
        with recursive descendant as (
            select %(run_id)s::text as run_id
            union
            select child.workflow_uuid
            from descendant
            cross join lateral (
                select workflow_uuid from dbos.workflow_status
                where parent_workflow_id = descendant.run_id and agent_app.is_run(name)
                union all
                select workflow_uuid from dbos.workflow_status
                where attributes @> jsonb_build_object('parent_run_id', descendant.run_id)
                    and parent_workflow_id is null and agent_app.is_run(name)
            ) as child
        )
        select run_id from descendant where run_id <> %(run_id)s
    """
    return [row["run_id"] for row in _read(database, query, run_id=run_id)]


def _read(database: Database, query: LiteralString, **values: object) -> list[DictRow]:
    # A name that is no text, which a command line can hold, names nothing.
    texts = {name: _as_text(value) for name, value in values.items()}
    with database.connect(read_only=True) as connection:
        return connection.execute(query, texts).fetchall()


def _as_text(value: object) -> object:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


_Row = TypeVar("_Row", RunRow, StepRow)


def _row(row_type: type[_Row], row: DictRow) -> _Row:
    """Take the columns that the class has: a newer view may have more."""
    return row_type(**{column.name: row[column.name] for column in fields(row_type)})
