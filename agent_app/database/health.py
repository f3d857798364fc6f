"""What a database says of its own health: read only, each statement within a time limit."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import DictRow

from agent_app.database.connect import Database

STATEMENT_TIMEOUT_S = 5.0
"""A server that takes longer for one of these questions is part of the trouble."""
_PROBE_COUNT = 15
"""An odd number of commits: enough for a median, few enough to take no time."""


@dataclass(frozen=True)
class ServerState:
    """What the server is, and whether it lets anybody write."""

    version: str
    is_standby: bool
    is_read_only: bool
    """Whether new transactions of this role are read-only."""


@dataclass(frozen=True)
class ServerSetting:
    """One setting as this role's sessions get it."""

    name: str
    value: str
    source: str
    """Where it was set, in the words of `pg_settings`: `configuration file`, `database` …"""
    role: str
    database: str


@dataclass(frozen=True)
class SchemaState:
    """What is applied, None for what is not there."""

    number: int | None
    """The newest migration of ours."""
    dbos_number: int | None
    has_views: bool
    invalid_indexes: list[str]


@dataclass(frozen=True)
class TableState:
    """One table of ours or of DBOS's, its indexes and long values included."""

    name: str
    size_bytes: int
    live_count: int
    dead_count: int
    vacuumed_at: datetime | None


@dataclass(frozen=True)
class ConnectionState:
    """How many connections there are for clients like us, and how many they have taken."""

    max_count: int
    used_count: int
    left_count: int
    """After what is reserved, and what limits this database and this role."""
    limited_by: str
    """`max_connections`, `database` or `role`."""
    role: str
    database: str


@dataclass(frozen=True)
class PrivilegeState:
    """What this role lacks."""

    role: str
    database: str
    may_create: bool
    is_complete: bool
    """Whether both schemas are there."""
    closed: list[str]
    """Schemas, tables and sequences that it cannot use as it must."""


@dataclass(frozen=True)
class CommitTimes:
    """Medians over a few round trips and commits."""

    round_trip_ms: float
    commit_ms: float
    """A commit that is on disk, its own round trip included."""


@contextmanager
def _looking(
    database: Database, *, is_guarded: bool = True
) -> Iterator[psycopg.Connection[DictRow]]:
    """Yield a connection of the role that executes runs; a guarded one can write to no table.

    Raises: TimeoutError; DatabaseError.
    """
    own = replace(database, reader=None)  # a reader sees less of other sessions
    with own.connect(read_only=is_guarded, statement_timeout_s=STATEMENT_TIMEOUT_S) as connection:
        try:
            yield connection
        except psycopg.errors.QueryCanceled as error:
            raise TimeoutError(f"a query did not end within {STATEMENT_TIMEOUT_S:g} s") from error


def ask(database: Database, query: LiteralString, **values: object) -> list[DictRow]:
    """Return the rows of one query that reads.

    Raises: TimeoutError; DatabaseError.
    """
    with _looking(database) as connection:
        return connection.execute(query, values).fetchall()


def holds_lock(database: Database, executor_id: str) -> bool:
    """Say whether a living session holds the executor's lock.

    Raises: TimeoutError; DatabaseError.
    """
    query: LiteralString = """
        select from agent_app.executor_lock where key = agent_app.executor_key(%(executor_id)s)
    """
    return bool(ask(database, query, executor_id=executor_id))


def read_server(database: Database) -> ServerState:
    """Return what the server is."""
    (row,) = ask(
        database,
        """
        select current_setting('server_version') as version, pg_is_in_recovery() as is_standby,
            (select reset_val from pg_settings where name = 'default_transaction_read_only') = 'on'
                as is_read_only
        """,
    )
    return ServerState(**row)


def is_superuser(database: Database) -> bool:
    """Say whether the role may do everything."""
    (row,) = ask(database, "select rolsuper from pg_roles where rolname = current_user")
    return bool(row["rolsuper"])


def read_server_settings(database: Database, *names: str) -> dict[str, ServerSetting]:
    """Return these settings by name, as a new session of this role gets them."""
    query: LiteralString = """
        select name, reset_val as value, source, current_user as role,
            current_database() as database
        from pg_settings where name = any(%s)
    """
    with _looking(database, is_guarded=False) as connection:  # the guard is one of the settings
        rows = connection.execute(query, (list(names),)).fetchall()
    return {row["name"]: ServerSetting(**row) for row in rows}


def read_schema(database: Database) -> SchemaState:
    """Return what is applied of both schemas."""
    with _looking(database) as connection:
        found = connection.execute(
            """
            select to_regclass('agent_app.migration') is not null as has_ours,
                to_regclass('dbos.dbos_migrations') is not null as has_dbos,
                to_regclass('agent_app.stranded_run') is not null as has_views,
                array(
                    select format('%I.%I', place.nspname, class.relname)
                    from pg_index as index
                    join pg_class as class on class.oid = index.indexrelid
                    join pg_namespace as place on place.oid = class.relnamespace
                    where not index.indisvalid and place.nspname in ('dbos', 'agent_app')
                        and index.indexrelid not in (
                            select index_relid from pg_stat_progress_create_index)
                    order by 1) as invalid_indexes
            """
        ).fetchone()
        assert found is not None
        ours = _newest(connection, "select max(number) as newest from agent_app.migration")
        dbos = _newest(connection, "select max(version) as newest from dbos.dbos_migrations")
    return SchemaState(ours, dbos, found["has_views"], found["invalid_indexes"])


def _newest(connection: psycopg.Connection[DictRow], query: LiteralString) -> int | None:
    try:
        row = connection.execute(query).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    return row["newest"] if row else None


def read_tables(database: Database) -> tuple[int, list[TableState]]:
    """Return the size of the database in bytes, and the tables of both schemas, largest first."""
    with _looking(database) as connection:
        size = connection.execute(
            "select pg_database_size(current_database()) as size_bytes"
        ).fetchone()
        rows = connection.execute(
            """
            select format('%I.%I', schemaname, relname) as name,
                pg_total_relation_size(relid) as size_bytes,
                n_live_tup as live_count, n_dead_tup as dead_count,
                greatest(last_vacuum, last_autovacuum) as vacuumed_at
            from pg_stat_user_tables where schemaname in ('dbos', 'agent_app')
            order by size_bytes desc, name
            """
        ).fetchall()
    assert size is not None
    return size["size_bytes"], [TableState(**row) for row in rows]


def read_connections(database: Database) -> ConnectionState:
    """Return what is left for clients; this question's own connection is not counted."""
    # Sessions of other roles hide their kind from a role without pg_read_all_stats.
    (row,) = ask(
        database,
        """
        with session as (
            select datname, usename from pg_stat_activity
            where datid is not null and pid <> pg_backend_pid()
                and coalesce(backend_type, 'client backend') = 'client backend'
        )
        select current_user as role, current_database() as database,
            current_setting('max_connections')::int as max_count,
            (select count(*) from session) as used_count,
            current_setting('superuser_reserved_connections')::int
                + coalesce(current_setting('reserved_connections', true)::int, 0) as reserved_count,
            (select datconnlimit - (select count(*) from session where datname = current_database())
             from pg_database where datname = current_database() and datconnlimit >= 0)
                as left_in_database,
            (select rolconnlimit - (select count(*) from session where usename = current_user)
             from pg_roles where rolname = current_user and rolconnlimit >= 0) as left_to_role
        """,
    )
    left = {
        "max_connections": row["max_count"] - row["reserved_count"] - row["used_count"],
        "database": row["left_in_database"],
        "role": row["left_to_role"],
    }
    limited_by, left_count = min(
        ((name, count) for name, count in left.items() if count is not None),
        key=lambda pair: pair[1],
    )
    return ConnectionState(
        row["max_count"],
        row["used_count"],
        max(0, left_count),
        limited_by,
        row["role"],
        row["database"],
    )


def read_privileges(database: Database) -> PrivilegeState:
    """Return what the role may not do with the tables of both schemas."""
    (row,) = ask(
        database,
        """
        with place as (
            select oid, nspname from pg_namespace where nspname in ('dbos', 'agent_app')
        ), closed as (
            select format('%%I', nspname) as name from place
            where not has_schema_privilege(oid, 'usage')
            union all
            select format('%%I.%%I', place.nspname, class.relname)
            from pg_class as class join place on place.oid = class.relnamespace
            where case
                when class.relkind = 'S' then not has_sequence_privilege(class.oid, 'usage')
                when class.relkind = 'v' then not has_table_privilege(class.oid, 'select')
                when class.relkind in ('r', 'p') then not (
                    has_table_privilege(class.oid, 'select')
                    and has_table_privilege(class.oid, 'insert')
                    and has_table_privilege(class.oid, 'update')
                    and has_table_privilege(class.oid, 'delete'))
                else false end
        )
        select current_user as role, current_database() as database,
            has_database_privilege(current_database(), 'create') as may_create,
            (select count(*) from place) = 2 as is_complete,
            array(select name from closed order by name) as closed
        """,
    )
    return PrivilegeState(**row)


def read_idle_transactions(database: Database, min_idle_s: float) -> list[dict[str, Any]]:
    """Return sessions that do nothing inside a transaction for so long, the longest first.

    Each has `pid`, `role`, `program` and `idle_s`; other roles' need pg_read_all_stats.
    """
    return ask(
        database,
        """
        select pid, usename as role, application_name as program,
            extract(epoch from now() - state_change)::double precision as idle_s
        from pg_stat_activity
        where datname = current_database() and state like 'idle in transaction%%'
            and state_change <= now() - make_interval(secs => %(min_idle_s)s)
        order by state_change
        """,
        min_idle_s=min_idle_s,
    )


def read_oldest_transaction(database: Database) -> tuple[str, int]:
    """Return the database of this server that is nearest to wraparound, and its age."""
    (row,) = ask(
        database,
        """
        select datname, greatest(age(datfrozenxid), mxid_age(datminmxid)) as age
        from pg_database order by age desc limit 1
        """,
    )
    return row["datname"], row["age"]


def measure_clock_skew(
    database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float:
    """Return by how many seconds the server's clock is ahead of ours; half a round trip is off."""
    with _looking(database) as connection:
        before = now()
        row = connection.execute("select clock_timestamp() as told_at").fetchone()
        after = now()
    assert row is not None
    told_at: datetime = row["told_at"]
    return (told_at - before - (after - before) / 2).total_seconds()


def measure_commits(database: Database) -> CommitTimes:
    """Return how long a commit takes; it writes to the log of transactions, and to no table.

    Source: `pg_logical_emit_message(true, …)`, which logical decoding alone would ever read.
    """
    with _looking(database) as connection:
        trips = [_time_ms(connection, "select 1") for _ in range(_PROBE_COUNT)]
        commits = [
            _time_ms(connection, "select pg_logical_emit_message(true, 'agent_app.doctor', '')")
            for _ in range(_PROBE_COUNT)
        ]
    return CommitTimes(statistics.median(trips), statistics.median(commits))


def _time_ms(connection: psycopg.Connection[DictRow], query: LiteralString) -> float:
    began_at = time.perf_counter()
    connection.execute(query)
    return (time.perf_counter() - began_at) * 1000


def is_pooled(database: Database) -> bool:
    """Say whether another process answers than the one that we have connected to.

    A pooler invents the number by which its client could cancel; Postgres gives its own.
    """
    with _looking(database) as connection:
        row = connection.execute("select pg_backend_pid() as pid").fetchone()
        return row is not None and row["pid"] != connection.info.backend_pid


def changes_session(database: Database) -> bool:
    """Say whether two transactions of one connection met different sessions of the server.

    While another transaction is open, a pooler in transaction mode has to give the next one another
    session. True is certain; False may be luck.
    """
    with _looking(database) as first, _looking(database) as second:
        before = _session(first)
        with second.transaction():
            _session(second)
            return _session(first) != before


def _session(connection: psycopg.Connection[DictRow]) -> int:
    row = connection.execute("select pg_backend_pid() as pid").fetchone()
    assert row is not None
    return int(row["pid"])
