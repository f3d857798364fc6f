"""What a database says of its own health, against databases that are made unwell on purpose."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import conninfo

from agent_app.database import health
from agent_app.database.connect import Database
from agent_app.database.health import (
    changes_session,
    is_pooled,
    measure_clock_skew,
    measure_commits,
    read_connections,
    read_idle_transactions,
    read_oldest_transaction,
    read_privileges,
    read_schema,
    read_server,
    read_server_settings,
    read_tables,
)
from agent_app.database.remedies import (
    allow_connections,
    end_session,
    grant_creation,
    grant_use,
    locate_server,
    psql_command,
    rebuild,
    set_again,
    vacuum,
)
from agent_app.errors import DatabaseError
from tests.database.pooler import pooled
from tests.database.rows import column
from tests.helpers import wait_until


def execute(database: Database, *statements: str) -> None:
    """Execute statements, each in a transaction of its own."""
    with database.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())


def own_name(database: Database) -> str:
    """Return the name of the test's database."""
    return str(column(database, "select current_database()")[0])


def test_a_question_cannot_write(database: Database) -> None:
    """Whoever asks is in a read-only session, so that no check can change a table."""
    with pytest.raises(DatabaseError, match="read-only"):
        health.ask(database, "delete from agent_app.attempt")


def test_a_question_ends(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query beyond its limit is ended by the server and is a TimeoutError."""
    monkeypatch.setattr(health, "STATEMENT_TIMEOUT_S", 0.05)
    with pytest.raises(TimeoutError, match=r"did not end within 0\.05 s"):
        health.ask(database, "select pg_sleep(60)")


def test_a_question_waits_for_no_lock(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that somebody has locked does not hold the examination up."""
    monkeypatch.setattr(health, "STATEMENT_TIMEOUT_S", 0.2)
    with database.connect() as connection, connection.transaction():
        connection.execute("lock table agent_app.migration in access exclusive mode")
        with pytest.raises(TimeoutError):
            read_schema(database)


def test_server_that_takes_writes(database: Database) -> None:
    """An ordinary server is neither a standby nor read-only."""
    state = read_server(database)
    assert (state.is_standby, state.is_read_only) == (False, False)
    assert int(state.version.split(".")[0]) >= 14


@pytest.mark.parametrize("source", ["database", "database user"])
def test_setting_is_read_and_undone_where_it_was_made(database: Database, source: str) -> None:
    """A setting of one database, or of a role in it, shows its source; the remedy takes it away."""
    name, role = own_name(database), database.role
    where = f'database "{name}"' if source == "database" else f'role {role} in database "{name}"'
    execute(database, f"alter {where} set default_transaction_read_only = on")
    assert read_server(database).is_read_only
    found = read_server_settings(database, "default_transaction_read_only")
    setting = found["default_transaction_read_only"]
    assert (setting.value, setting.source) == ("on", source)
    with database.connect() as connection:
        for statement in set_again(setting, "off"):
            connection.execute(statement.encode())
    assert not read_server(database).is_read_only


def test_setting_of_the_server_is_changed_for_the_server(database: Database) -> None:
    """One that stands in a file is changed for all; one of a command line has no statement."""
    setting = replace(read_server_settings(database, "fsync")["fsync"], source="configuration file")
    assert set_again(setting, "on") == [
        'alter system set "fsync" = on',
        "select pg_reload_conf()",
    ]
    assert set_again(replace(setting, source="command line"), "on") == []


def test_schema_is_read(database: Database, empty_database: Database) -> None:
    """What is applied has numbers; in an empty database there is nothing, which is no error."""
    state = read_schema(database)
    assert state.number is not None
    assert state.number >= 4
    assert state.dbos_number is not None
    assert (state.has_views, state.invalid_indexes) == (True, [])
    empty = read_schema(empty_database)
    assert (empty.number, empty.dbos_number, empty.has_views) == (None, None, False)


def test_invalid_index_is_found_and_rebuilt(database: Database) -> None:
    """An index that a failed concurrent build left is named, until the remedy builds it again."""
    execute(
        database,
        "insert into agent_app.rate_limit"
        " select name, 'm', now(), 'r', 1 from unnest(array['a', 'b']) as name",
    )
    with pytest.raises(DatabaseError):
        execute(database, "create unique index concurrently broken on agent_app.rate_limit (model)")
    state = read_schema(database)
    assert state.invalid_indexes == ["agent_app.broken"]
    execute(database, "delete from agent_app.rate_limit", *rebuild(state.invalid_indexes))
    assert read_schema(database).invalid_indexes == []


def test_dead_rows_are_counted_and_vacuumed(database: Database) -> None:
    """Rows that an update left behind are counted beside the live ones; vacuum frees them."""
    execute(
        database,
        "alter table agent_app.rate_limit set (autovacuum_enabled = off)",
        "insert into agent_app.rate_limit select 'p', number, now(), 'r', 1"
        " from generate_series(1, 500) as number",
        "update agent_app.rate_limit set step_number = 2",
    )

    def table() -> health.TableState:
        (found,) = (t for t in read_tables(database)[1] if t.name == "agent_app.rate_limit")
        return found

    wait_until(lambda: table().dead_count == 500)
    assert (table().live_count, table().vacuumed_at) == (500, None)
    execute(database, *vacuum([table().name]))
    wait_until(lambda: table().dead_count == 0)
    assert table().vacuumed_at is not None


def test_tables_come_largest_first(database: Database) -> None:
    """Tables of both schemas are listed by size, long values included, and none of the user's."""
    execute(
        database,
        "create table public.large as select repeat('x', 100000) as text",
        "insert into agent_app.committed_call select 'r', number, 'c', (select"
        " string_agg(md5(random()::text), '') from generate_series(1, 4000) where number > 0)"
        " from generate_series(1, 20) as number",
    )
    size_bytes, tables = read_tables(database)
    assert tables[0].name == "agent_app.committed_call"
    assert tables[0].size_bytes > 1_000_000
    assert size_bytes > tables[0].size_bytes
    assert {table.name.partition(".")[0] for table in tables} == {"dbos", "agent_app"}


@pytest.mark.parametrize("limited_by", ["database", "role"])
def test_connections_that_are_used_up(
    database: Database, limited_by: str, login: Callable[[str], Database]
) -> None:
    """A limit of the database or of the role counts, and so does each connection that is open."""
    ann = login("ann")
    name = own_name(database)
    execute(database, f'grant connect on database "{name}" to {ann.role}')
    place = f'database "{name}"' if limited_by == "database" else f"role {ann.role}"
    before = read_connections(ann)
    assert before.limited_by == "max_connections"
    execute(database, f"alter {place} connection limit 5")
    with psycopg.connect(ann.url), psycopg.connect(ann.url):
        state = read_connections(ann)
        assert (state.left_count, state.limited_by) == (3, limited_by)
    remedy = allow_connections(state.database, state.role, state.limited_by, 7)
    execute(database, remedy)
    wait_until(lambda: read_connections(ann).left_count == 7)


@pytest.fixture
def login(database: Database) -> Iterator[Callable[[str], Database]]:
    """Yield a function that makes a role without privileges and returns its database."""
    made: list[str] = []

    def make(name: str) -> Database:
        role = f"{name}_{uuid.uuid4().hex[:8]}"
        execute(database, f"create role {role} login password 'x'")
        made.append(role)
        url = conninfo.make_conninfo(database.url, user=role, password="x")
        return replace(database, url=url, reader=None)

    yield make
    for role in made:
        execute(database, f"drop owned by {role} cascade", f"drop role {role}")


def test_privileges_that_are_missing_and_granted(
    database: Database, empty_database: Database, login: Callable[[str], Database]
) -> None:
    """A role without grants may use nothing; after the remedy it may do all that runs need."""
    ben = login("ben")
    state = read_privileges(ben)
    assert not state.may_create
    assert {"dbos", "agent_app", "dbos.workflow_status", "agent_app.run"} <= set(state.closed)
    execute(database, *grant_use(ben.role))
    assert read_privileges(ben).closed == []
    execute(database, f"revoke update on dbos.workflow_status from {ben.role}")
    assert read_privileges(ben).closed == ["dbos.workflow_status"]
    execute(database, *grant_creation(state.database, ben.role))
    assert read_privileges(ben).may_create


def test_forgotten_transaction_is_found_and_ended(database: Database) -> None:
    """A session that sleeps inside a transaction is found by how long it does so."""
    assert read_idle_transactions(database, 0) == []
    connection = psycopg.connect(database.url, application_name="forgetful")
    with closing(connection):
        connection.execute("select 1")
        (found,) = read_idle_transactions(database, 0)
        assert (found["program"], found["pid"]) == ("forgetful", connection.info.backend_pid)
        assert read_idle_transactions(database, 3600) == []
        execute(database, end_session(found["pid"]))
        wait_until(lambda: read_idle_transactions(database, 0) == [])


def test_age_of_transactions_is_that_of_the_oldest_database(database: Database) -> None:
    """The database that is nearest to wraparound is named, whichever of the server's it is."""
    name, age = read_oldest_transaction(database)
    ages = column(database, "select age(datfrozenxid) from pg_database order by 1 desc")
    assert age >= ages[-1]
    assert name in column(database, "select datname from pg_database")


@pytest.mark.parametrize("ahead_s", [-40.0, 0.0, 40.0])
def test_clock_that_goes_wrong(database: Database, ahead_s: float) -> None:
    """The skew is how far the server is ahead, whatever the moment of our own clock."""
    skew_s = measure_clock_skew(
        database, now=lambda: datetime.now(UTC) - timedelta(seconds=ahead_s)
    )
    assert skew_s == pytest.approx(ahead_s, abs=10)


def test_slow_commits_are_measured_and_leave_no_row(database: Database) -> None:
    """A server that takes 50 ms for a commit shows it; the question writes to no table."""
    name = own_name(database)
    execute(
        database,
        f'alter database "{name}" set commit_delay = 50000',
        f'alter database "{name}" set commit_siblings = 0',
    )
    written = "select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_user_tables"
    before = column(database, "select pg_current_wal_insert_lsn()")
    times = measure_commits(database)
    assert times.commit_ms >= 50
    assert 0 < times.round_trip_ms < times.commit_ms
    assert column(database, "select pg_current_wal_insert_lsn()") > before
    assert column(database, written) in ([0], [None])


def test_no_pooler_stands_before_the_server(database: Database) -> None:
    """A connection to the server itself is one session, whatever happens beside it."""
    assert not is_pooled(database)
    assert not changes_session(database)


@pytest.mark.parametrize("by_transaction", [True, False])
def test_pooler_is_noticed(database: Database, by_transaction: bool) -> None:
    """A pooler shows by its process ID; one in transaction mode by sessions that change."""
    with pooled(database, by_transaction=by_transaction) as behind:
        assert is_pooled(behind)
        assert changes_session(behind) is by_transaction


def test_commands_hold_no_password() -> None:
    """The psql command has all but the password; host and port are those of the URL."""
    database = Database("postgresql://ann:s3cret@db.example:6543/agents?sslmode=require", "db")
    words = psql_command(database, ["select 1", "select 2"])
    assert words[0] == "psql"
    assert words[2:] == ["-c", "select 1", "-c", "select 2"]
    assert "s3cret" not in words[1]
    assert all(part in words[1] for part in ("ann", "db.example", "6543", "agents", "require"))
    assert locate_server(database) == ("db.example", "6543")
