"""Typed rows out of the views, for the operations that all doors share."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString, TypeVar

from psycopg.rows import DictRow

from agent_app.database.connect import Database
from agent_app.database.query import QueryResult, run_query
from agent_app.errors import RunNotFound

__all__ = [
    "MessageRow",
    "QueryResult",
    "RunRow",
    "StepRow",
    "as_text",
    "read_descendants",
    "read_messages",
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
    waiting_for: str | None
    """What an unfinished run waits for, in words; None while it works."""
    created_at: datetime
    started_at: datetime | None
    """None while the run waits in a queue."""
    finished_at: datetime | None
    """None while the run is unfinished."""
    duration_ms: int | None
    step_count: int
    """Finished steps."""
    attempt_count: int
    """Tries of its steps, failed and running ones included."""
    input_tokens: int
    """Of its own tries; child runs have theirs."""
    output_tokens: int
    cost_usd: Decimal | None
    """Of its own tries with a known price; None if there is none."""
    model: str | None
    """What its first model answer names; None before it."""
    parent_run_id: str | None
    forked_from: str | None
    executor_id: str | None
    application_version: str | None
    updated_at: datetime
    attributes: dict[str, Any] | None
    """Labels that it was started with; None for none."""
    input: Json
    output: Json
    """None unless the run succeeded."""
    error: str | None
    """`Class: message`."""


@dataclass(frozen=True)
class StepRow:
    """One row of the view `agent_app.step`; times are aware UTC."""

    run_id: str
    step_number: int
    name: str
    kind: str
    """`model`, `tool`, `mcp`, `dynamic`, `delegate`, `capability`, `event`, `dbos` or `other`."""
    status: str
    """`SUCCESS` or `ERROR`."""
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    attempt_count: int
    output: Json
    error: str | None
    """`Class: message`."""
    checkpoint_of: str | None
    """The call that this is the checkpoint of; None for DBOS's own steps."""
    child_run_id: str | None


@dataclass(frozen=True)
class MessageRow:
    """One row of the view `agent_app.message`: a part of a run's conversation."""

    run_id: str
    position: int
    """Counted from 1, in the order of the steps."""
    step_number: int
    """The step whose checkpoint holds it; 0 for the input."""
    role: str
    """`user`, `assistant` or `tool`."""
    kind: str
    """`input`; `text`, `thinking`, `tool-call` …; `tool-return`, `model-retry`, `error` …"""
    tool: str | None
    tool_call_id: str | None
    text: str | None
    arguments: Json
    """Of a tool call."""
    tokens: int | None
    """Output tokens of an answer, at its first part."""


def read_run(database: Database, run_id: str) -> RunRow | None:
    """Return the run, or None where there is none of this ID."""
    rows = _read(database, "select * from agent_app.run where run_id = %(run_id)s", run_id=run_id)
    return _row(RunRow, rows[0]) if rows else None


_FILTERS: dict[str, LiteralString] = {
    "agent": "status.name = %(agent)s",
    "status": "status.status = %(status)s",
    "created_after": "to_timestamp(status.created_at / 1000.0) >= %(created_after)s",
    "created_before": "to_timestamp(status.created_at / 1000.0) < %(created_before)s",
    "attributes": "status.attributes @> %(attributes)s::jsonb",
    # The stored text first: an index with trigrams can serve it. Then the values themselves.
    "text": """input.inputs ilike %(stored_text)s and exists (
        select from jsonb_path_query(
            agent_app.as_json(input.inputs, status.serialization) #> '{args,0,input}', '$.**')
            as part
        where jsonb_typeof(part) in ('string', 'number') and part #>> '{}' ilike %(text)s)""",
    "after": """(to_timestamp(status.created_at / 1000.0), status.workflow_uuid) < (
        select to_timestamp(created_at / 1000.0), workflow_uuid
        from dbos.workflow_status where workflow_uuid = %(after)s)""",
}
_PAGE: tuple[LiteralString, LiteralString, LiteralString] = (
    """
    with page as materialized (
        select status.workflow_uuid, status.created_at from dbos.workflow_status as status
    """,
    """
        where agent_app.is_run(status.name) and
    """,
    """
        order by to_timestamp(status.created_at / 1000.0) desc, status.workflow_uuid desc
        limit %(limit)s
    )
    select run.* from page join agent_app.run on run.run_id = page.workflow_uuid
    order by page.created_at desc, page.workflow_uuid desc
    """,
)


def read_runs(
    database: Database,
    *,
    agent: str | None = None,
    status: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    attributes: Mapping[str, Any] | None = None,
    text: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> list[RunRow]:
    """Return the newest runs first, at most `limit`; only their payloads are parsed.

    `created_after` is within, `created_before` is not. `attributes` are all to be there. `text`
    occurs in a text or number of the input, in upper or lower case. `after` is the last run of the
    page before: what was started meanwhile moves nothing.

    Raises: RunNotFound (there is no run `after`).
    """
    values: dict[str, Any] = {
        "agent": agent,
        "status": status,
        "created_after": created_after,
        "created_before": created_before,
        "attributes": None if attributes is None else json.dumps(attributes, ensure_ascii=False),
        "text": _like(text) if text else None,
        "after": after,
    }
    wanted = {name: value for name, value in values.items() if value is not None}
    if text:
        wanted["stored_text"] = _like(json.dumps(text, ensure_ascii=False)[1:-1])
    conditions = [_FILTERS[name] for name in wanted if name in _FILTERS]
    join = "join dbos.workflow_input as input using (workflow_uuid)" if text else ""
    head, where, tail = _PAGE
    query = head + join + where + " and ".join(conditions or ["true"]) + tail
    rows = _read(database, query, **wanted, limit=limit)
    if not rows and after is not None and read_run(database, after) is None:
        raise RunNotFound(after)
    return [_row(RunRow, row) for row in rows]


def _like(text: str) -> str:
    """Return a pattern of SQL's `like` for texts that hold this one."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"


def read_steps(database: Database, run_id: str) -> list[StepRow]:
    """Return the run's finished steps in the order of their numbers; empty without a run."""
    query = "select * from agent_app.step where run_id = %(run_id)s order by step_number"
    return [_row(StepRow, row) for row in _read(database, query, run_id=run_id)]


def read_messages(database: Database, run_id: str) -> list[MessageRow]:
    """Return the run's conversation in order, as far as it is recorded; empty without a run."""
    query = "select * from agent_app.message where run_id = %(run_id)s order by position"
    return [_row(MessageRow, row) for row in _read(database, query, run_id=run_id)]


def read_descendants(database: Database, run_id: str) -> list[str]:
    """Return the IDs of the runs below this one, nearest first; itself excluded."""
    # `union` drops what it has met, so a planted circle ends.
    query = """
        with recursive descendant as (
            select %(run_id)s::text as run_id
            union
            select child.run_id
            from descendant cross join lateral agent_app.children(descendant.run_id) as child
        )
        select run_id from descendant where run_id <> %(run_id)s
    """
    return [row["run_id"] for row in _read(database, query, run_id=run_id)]


def _read(database: Database, query: LiteralString, **values: object) -> list[DictRow]:
    texts = {name: as_text(value) for name, value in values.items()}
    with database.connect(read_only=True) as connection:
        return connection.execute(query, texts).fetchall()


def as_text(value: object) -> object:
    """Return what Postgres takes; a command line can hold a name that is no text and names none."""
    if not isinstance(value, str):
        return value
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()


_Row = TypeVar("_Row", RunRow, StepRow, MessageRow)


def _row(row_type: type[_Row], row: DictRow) -> _Row:
    """Take the columns that the class has: a newer view may have more."""
    return row_type(**{column.name: row[column.name] for column in fields(row_type)})
