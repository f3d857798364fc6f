"""A run with its child runs and all their rows, read in one snapshot and written in one commit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from agent_app.database.archive_rows import SECTIONS, SINGLE, ArchivedRun
from agent_app.database.archive_sources import ArchivedSource, read_archived_sources
from agent_app.database.connect import Database
from agent_app.database.row_format import ArchivedRow
from agent_app.errors import ArchiveInvalid

_FAMILY: LiteralString = """
with recursive member as (
    select workflow_uuid as run_id from dbos.workflow_status where workflow_uuid = %(run_id)s
    union
    select child.run_id
    from member cross join lateral agent_app.children(member.run_id) as child
)
select run_id from member join dbos.workflow_status on workflow_uuid = run_id
order by run_id <> %(run_id)s, created_at, run_id
"""
_SCHEMA: LiteralString = """
select (select max(number) from agent_app.migration) as agent_app,
    (select max(version)::integer from dbos.dbos_migrations) as dbos
"""
_WAITED_FOR: LiteralString = """
select workflow_uuid from dbos.workflow_status as status
where status in ('ENQUEUED', 'DELAYED', 'PENDING') and workflow_uuid <> all(%(run_ids)s::text[])
    and exists (
        select from unnest(%(run_ids)s::text[]) as run_id
        where starts_with(run_id, status.workflow_uuid || ':'))
order by workflow_uuid limit 1
"""


@dataclass(frozen=True)
class StoredFamily:
    """What a database holds of a run and of the runs below it, at one moment."""

    runs: list[ArchivedRun]
    """The run itself first, then by the time of creation; empty where there is none of this ID."""
    schema: dict[str, int]
    """Newest migration of each schema."""
    sources: list[ArchivedSource]
    """Texts that the runs have, by their IDs."""


def read_stored_family(database: Database, run_id: str) -> StoredFamily:
    """Return a run with all below it, as of one snapshot: who executes it is not held up.

    Raises: ValidationError (a row is none that can be archived).
    """
    with database.connect(read_only=True) as connection:
        connection.execute("begin transaction isolation level repeatable read read only")
        schema = connection.execute(_SCHEMA).fetchone()
        members = connection.execute(_FAMILY, {"run_id": run_id}).fetchall()
        run_ids = [member["run_id"] for member in members]
        sections = {
            name: _read_rows(connection, row_type, run_ids) for name, row_type in SECTIONS.items()
        }
        sources = read_archived_sources(connection, run_ids)
    runs = [_assemble(sections, member) for member in run_ids]
    return StoredFamily(runs, dict(schema or {}), sources)


def _read_rows(
    connection: psycopg.Connection[DictRow], row_type: type[ArchivedRow], run_ids: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows by run, in the order of their key; JSON as its text."""
    run_column = sql.Identifier(row_type.run_column)
    query = sql.SQL("select {} as member, {} from {} where {} = any(%s) order by {}").format(
        run_column,
        sql.SQL(", ").join(_selected(row_type, field) for field in row_type.model_fields),
        _table(row_type),
        run_column,
        sql.SQL(", ").join([run_column, *(_column(row_type, field) for field in row_type.key)]),
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(query, (list(run_ids),)):
        found.setdefault(row.pop("member"), []).append(row)
    return found


def _selected(row_type: type[ArchivedRow], field: str) -> sql.Composable:
    column = _column(row_type, field)
    if field in row_type.jsonb:
        return sql.SQL("{}::text as {}").format(column, sql.Identifier(f"{field}_text"))
    name = f"{field}_text" if field in row_type.payloads else field
    return sql.SQL("{} as {}").format(column, sql.Identifier(name))


def _assemble(sections: dict[str, dict[str, list[dict[str, Any]]]], run_id: str) -> ArchivedRun:
    run: dict[str, Any] = {}
    for name, by_run in sections.items():
        rows = by_run.get(run_id, [])
        run[name] = next(iter(rows), None) if name in SINGLE else rows
    return ArchivedRun.model_validate(run)


def read_schema(database: Database) -> dict[str, int]:
    """Return the newest migration of each schema."""
    with database.connect(read_only=True) as connection:
        return dict(connection.execute(_SCHEMA).fetchone() or {})


def write_runs(database: Database, runs: Sequence[ArchivedRun]) -> bool:
    """Write all rows of these runs, or none; say no where a run of one of the IDs is there.

    Raises: ArchiveInvalid (Postgres does not take a row, or rows of such a run are left).
    """
    with database.connect() as connection:
        try:
            with connection.transaction():
                return _write(connection, runs)
        except _Taken:
            return False
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            reason = (error.diag.message_primary or "no reason given").rstrip(".")
            where = f" in {error.diag.table_name!r}" if error.diag.table_name else ""
            raise ArchiveInvalid(f"Postgres does not take a row{where}: {reason}") from error


def find_waiting_parent(database: Database, run_ids: Sequence[str]) -> str | None:
    """Return another run that is unfinished and could take one of these for its own child."""
    with database.connect(read_only=True) as connection:
        row = connection.execute(_WAITED_FOR, {"run_ids": list(run_ids)}).fetchone()
    return None if row is None else str(row["workflow_uuid"])


class _Taken(Exception):
    """A run of one of the IDs is there."""


def _write(connection: psycopg.Connection[DictRow], runs: Sequence[ArchivedRun]) -> bool:
    for run in runs:
        # The run's own row waits for whoever writes the same one, and decides which of us is first.
        if not _insert(connection, run.run_id, [run.status], or_nothing=True):
            raise _Taken
    for run in runs:
        _insert(connection, run.run_id, [row for row in run.rows() if row is not run.status])
    return True


def _insert(
    connection: psycopg.Connection[DictRow],
    run_id: str,
    rows: Iterable[ArchivedRow],
    *,
    or_nothing: bool = False,
) -> int:
    count = 0
    for row in rows:
        values = {row.run_column: run_id} | {row.column(field): value for field, value in row}
        statement = sql.SQL("insert into {} ({}) values ({})").format(
            _table(type(row)),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join([sql.Placeholder()] * len(values)),
        )
        if or_nothing:
            statement += sql.SQL(" on conflict do nothing")
        count += connection.execute(statement, list(values.values())).rowcount
    return count


def _table(row_type: type[ArchivedRow]) -> sql.Identifier:
    return sql.Identifier(*row_type.table.split("."))


def _column(row_type: type[ArchivedRow], field: str) -> sql.Identifier:
    return sql.Identifier(row_type.column(field))
