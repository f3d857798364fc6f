"""Queries of the user's: they read, one at a time, and every way around that is closed."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent_app.database.connect import Database
from agent_app.database.query import run_query
from agent_app.errors import AgentAppError, QueryInvalid, QueryRefused
from tests.database.rows import plant_run

embedded_only = pytest.mark.skipif(
    "AGENT_APP_TEST_SERVER_URL" in os.environ, reason="that server has no reader's role"
)


@pytest.mark.parametrize(
    "query",
    [
        "select 1 as a, 'x' as b",
        "values (1, 'x')",
        "/* a /* nested */ comment */ -- and another\n ( select 1, 'x' );",
        "with t as (select 1 as a, 'x' as b) table t",
    ],
)
def test_query_returns_its_rows(database: Database, query: str) -> None:
    """Whatever reads is run, comments and a last semicolon included."""
    result = run_query(database, query, timeout_s=5)
    assert result.rows == [(1, "x")]
    assert len(result.columns) == 2
    assert not result.is_truncated


def test_query_reads_the_views(database: Database) -> None:
    """The views are what it is for; a percent sign is one; no row has columns too."""
    plant_run(database, "r1")
    query = "select run_id, created_at from agent_app.run where run_id like 'r%'"
    result = run_query(database, query, timeout_s=5)
    assert result.columns == ("run_id", "created_at")
    assert result.rows == [("r1", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))]
    none = run_query(database, "select run_id from agent_app.run where false", timeout_s=5)
    assert (none.columns, none.rows) == (("run_id",), [])


def test_show_and_explain_are_queries(database: Database) -> None:
    """What a person types at a prompt to understand the server is let through."""
    assert run_query(database, "show server_encoding", timeout_s=5).rows == [("UTF8",)]
    assert run_query(database, "explain select 1", timeout_s=5).columns == ("QUERY PLAN",)


def test_rows_beyond_the_limit_are_not_read(database: Database) -> None:
    """A result of a billion rows ends at the limit, at once, and says so."""
    began_at = time.monotonic()
    query = "select generate_series(1, 1000000000)"
    result = run_query(database, query, timeout_s=60, max_rows=3)
    assert (result.rows, result.is_truncated) == ([(1,), (2,), (3,)], True)
    assert time.monotonic() - began_at < 30


WRITES = [
    "insert into agent_app.migration values (7, 'planted')",
    "update dbos.workflow_status set status = 'PLANTED'",
    "delete from agent_app.migration",
    "truncate agent_app.migration",
    "drop schema agent_app cascade",
    "create table planted (x int)",
    "create temporary table planted (x int)",
    "select 1 into planted",
    "with gone as (delete from agent_app.migration returning 1) select * from gone",
    "explain analyze delete from agent_app.migration",
    "explain analyze create table planted as select 1",
    "select * from agent_app.migration for update",
    "select nextval('agent_app.counter')",
    "select setval('agent_app.counter', 99)",
    "select agent_app.plant()",
    "select set_config('transaction_read_only', 'off', false), agent_app.plant()",
    "select set_config('default_transaction_read_only', 'off', false), agent_app.plant()",
    "select set_config('role', 'agent_app', false), agent_app.plant()",
    "select query_to_xml('delete from agent_app.migration', true, true, '')",
    "select lo_from_bytea(0, 'planted')",
    "select lo_import('/etc/passwd')",
    "commit",
    "commit; drop schema agent_app cascade",
    "rollback; delete from agent_app.migration; begin",
    "select 1; delete from agent_app.migration",
    "end; begin; delete from agent_app.migration; commit",
    "set transaction read write",
    "set session characteristics as transaction read write",
    "reset default_transaction_read_only",
    "reset role",
    "do $$ begin delete from agent_app.migration; end $$",
    "call agent_app.plant_all()",
    "copy agent_app.migration from '/etc/passwd'",
    "copy (select 1) to '/tmp/planted-by-query'",
    "copy (select 1) to program 'touch /tmp/planted-by-query'",
    "copy (select 1) to stdout",
    "prepare p as delete from agent_app.migration",
    "execute p",
    "declare c cursor for select 1",
    "listen channel",
    "notify channel",
    "lock table agent_app.migration",
    "vacuum",
    "alter system set fsync = off",
    "load 'plpgsql'",
    "savepoint s",
    "discard all",
    "/* select */ delete from agent_app.migration",
    "(delete from agent_app.migration)",
    "",
    ";",
    "-- nothing",
]


UNDONE_BEFORE_16 = (
    "explain analyze create table planted as select 1",
    "select lo_from_bytea(0, 'planted')",
    "select lo_import('/etc/passwd')",
)
"""What an older server, to a superuser, does not refuse in a read-only transaction."""


@pytest.mark.parametrize("query", WRITES)
def test_writing_query_is_refused_and_changes_nothing(database: Database, query: str) -> None:
    """No disguise of a write gets through: an error of ours, and the database as it was."""
    plant_run(database, "r1")
    with database.connect() as connection:
        connection.execute("create sequence agent_app.counter")
        body = "begin delete from agent_app.migration; {} end"
        for kind, tail in (
            ("function plant() returns int", "return 1;"),
            ("procedure plant_all()", ""),
        ):
            kind = kind.replace(" ", " agent_app.", 1)
            statement = f"create {kind} language plpgsql as $$ {body.format(tail)} $$"
            connection.execute(statement)
    before = read_state(database)
    if query in UNDONE_BEFORE_16 and read_version(database) < 16:
        run_query(database, query, timeout_s=5)
    else:
        with pytest.raises((QueryRefused, QueryInvalid)):
            run_query(database, query, timeout_s=5)
    assert read_state(database) == before
    assert not Path("/tmp/planted-by-query").exists()


def read_version(database: Database) -> int:
    """Return the server's major version."""
    with database.connect() as connection:
        return connection.info.server_version // 10_000


def read_state(database: Database) -> list[dict[str, object]]:
    """Return what a write could have changed."""
    query = """
        select (select count(*) from agent_app.migration) as migrations,
            (select string_agg(status, ',') from dbos.workflow_status) as statuses,
            (select count(*) from pg_class) as relations,
            (select count(*) from pg_largeobject_metadata) as objects,
            (select row(last_value, is_called)::text from agent_app.counter) as counter
    """
    with database.connect() as connection:
        return connection.execute(query).fetchall()


@embedded_only
@pytest.mark.parametrize(
    "query",
    [
        "select pg_read_file('/etc/passwd')",
        "select pg_ls_dir('/')",
        "select pg_reload_conf()",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'agent_app'",
        "select pg_promote()",
        "select set_config('session_authorization', 'agent_app', false), pg_ls_dir('/')",
        "select query_to_xml('select pg_read_file(''/etc/passwd'')', true, true, '')",
        "select set_config('role', 'agent_app', false)",
    ],
)
def test_reader_has_no_power_over_the_server(database: Database, query: str) -> None:
    """Files, other sessions and the server itself are out of reach: the login role is weak."""
    with database.connect() as other:
        with pytest.raises(QueryRefused, match="it needs a privilege"):
            run_query(database, query, timeout_s=5)
        assert other.execute("select 1 as alive").fetchone() == {"alive": 1}


def test_endless_query_is_refused(database: Database) -> None:
    """A query ends with its timeout, and cannot lift it."""
    for query in (
        "select pg_sleep(60)",
        "select set_config('statement_timeout', '0', false), pg_sleep(60)",
        "select count(*) from generate_series(1, 100000000000)",
    ):
        began_at = time.monotonic()
        with pytest.raises(QueryRefused, match=r"did not end within 0\.3 s"):
            run_query(database, query, timeout_s=0.3)
        assert time.monotonic() - began_at < 10


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("selec 1", 'syntax error at or near "selec", at line 1, column 1: selec 1'),
        (
            "select 1\nfrom nowhere",
            'relation "nowhere" does not exist, at line 2, column 6: from nowhere',
        ),
        ("select run_ids from agent_app.run", 'column "run_ids" does not exist'),
        ("select 1 / 0", "division by zero"),
        ("select 'x'::int", 'invalid input syntax for type integer: "x"'),
        ("select $1", "bind message supplies 0 parameters"),
        ("select 1 \0", "it holds a zero character"),
        ("select '\ud800'", "it holds a character that is not in utf-8"),
    ],
)
def test_mistake_is_told_in_postgres_words(database: Database, query: str, words: str) -> None:
    """A query that Postgres does not take is quoted with its sentence and the place."""
    with pytest.raises(QueryInvalid) as caught:
        run_query(database, query, timeout_s=5)
    assert words in str(caught.value)


def test_hint_is_passed_on(database: Database) -> None:
    """Postgres's hint helps: it comes along."""
    with pytest.raises(QueryInvalid, match="Perhaps you meant"):
        run_query(database, "select run_ids from agent_app.run", timeout_s=5)


def test_value_that_python_cannot_hold_is_told(database: Database) -> None:
    """A date beyond Python's is an error of ours, not a traceback."""
    with pytest.raises(AgentAppError):
        run_query(database, "select timestamptz '294276-01-01'", timeout_s=5)
