"""Queries of the user's own: one statement that reads, for as long as it may."""

import itertools
import re
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import DictRow, tuple_row

from agent_app.database.connect import Database
from agent_app.errors import DatabaseError, QueryInvalid, QueryRefused

MAX_ROWS = 10_000
_READING_WORDS = ("SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN")
_BLANK = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$))+")
_WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True)
class QueryResult:
    """What a query returned."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    is_truncated: bool
    """Whether there were more rows than were asked for."""


def run_query(
    database: Database, sql: str, *, timeout_s: float, max_rows: int = MAX_ROWS
) -> QueryResult:
    """Return the rows of one statement that reads, at most `max_rows`.

    Prevented: every write to the database, in any disguise (the transaction is read-only, can not
    be made otherwise once it has a snapshot, and is rolled back); a second statement (the extended
    protocol takes one); COPY, DO, CALL, SET and all else that is not a query; a statement beyond
    `timeout_s`.

    On the embedded server the session's own role may only read: files, programs and other
    sessions are out of its reach. On a server of the user's the query has the privileges of the
    role in AGENT_APP_DATABASE_URL: functions with effects outside of tables (`pg_read_file`,
    `pg_terminate_backend`, `pg_advisory_lock`) are stopped by that role's privileges alone, so it
    should not be a superuser. Not prevented anywhere: load on the server for `timeout_s`.

    Raises: QueryRefused, QueryInvalid, DatabaseError.
    """
    with database.connect(read_only=True, statement_timeout_s=timeout_s) as connection:
        try:
            connection.execute("begin transaction isolation level repeatable read read only")
            # Takes the snapshot: from here on `transaction_read_only` cannot be switched off.
            connection.execute("select 1 from pg_class limit 1")
            columns = _parse(connection, sql)
            rows = _fetch(connection, sql, max_rows + 1)
            # Before 16, large objects and `explain analyze create table` slip through: undone.
            connection.execute("rollback")
            return QueryResult(columns, rows[:max_rows], is_truncated=len(rows) > max_rows)
        except psycopg.Error as error:
            raise _explain(error, sql, timeout_s) from error


def _parse(connection: psycopg.Connection[DictRow], sql: str) -> tuple[str, ...]:
    """Let Postgres parse it, without executing anything; return the names of its columns.

    Raises: QueryRefused, for a statement of another kind than a query.
    """
    encoding = connection.info.encoding
    if "\0" in sql:  # libpq would take what stands before it
        raise QueryInvalid("it holds a zero character")
    try:
        text = sql.encode(encoding)
    except UnicodeEncodeError as error:
        raise QueryInvalid(f"it holds a character that is not in {encoding}") from error
    parsed = connection.pgconn.prepare(b"", text)
    if parsed.status == psycopg.pq.ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(parsed, encoding)
    word = _first_word(sql)
    if word not in _READING_WORDS:
        raise QueryRefused(f"it begins with {word!r}, and only {', '.join(_READING_WORDS)} read")
    described = connection.pgconn.describe_prepared(b"")
    names = [described.fname(number) or b"" for number in range(described.nfields)]
    return tuple(name.decode(encoding, errors="replace") for name in names)


def _first_word(sql: str) -> str:
    """Return the first keyword in upper case; comments and parentheses may stand before it."""
    position = 0
    while True:
        if blank := _BLANK.match(sql, position):
            position = blank.end()
        elif sql.startswith("/*", position):
            position = _skip_comment(sql, position)
        else:
            word = _WORD.match(sql, position)
            return word.group().upper() if word else ""


def _skip_comment(sql: str, start: int) -> int:
    """Return where a comment ends; they nest in Postgres."""
    depth, position = 0, start
    for sign in re.finditer(r"/\*|\*/", sql[start:]):
        depth += 1 if sign.group() == "/*" else -1
        position = start + sign.end()
        if depth == 0:
            break
    return position


def _fetch(connection: psycopg.Connection[DictRow], sql: str, count: int) -> list[tuple[Any, ...]]:
    """Read row by row, so that what is beyond `count` never reaches our memory."""
    # `stream` uses the extended protocol, which refuses several statements.
    stream = connection.cursor(row_factory=tuple_row).stream(sql)
    rows = list(itertools.islice(stream, count))
    stream.close()  # type: ignore[attr-defined]  # a generator: this cancels the rest
    return rows


def _explain(error: psycopg.Error, sql: str, timeout_s: float) -> DatabaseError:
    state = error.sqlstate or ""
    if state == "25006":
        return QueryRefused(f"it writes, Postgres says: {_sentence(error)}")
    if state == "57014":
        return QueryRefused(f"it did not end within {timeout_s:g} s")
    if state == "42501":
        return QueryRefused(f"it needs a privilege, Postgres says: {_sentence(error)}")
    if state.startswith("53"):
        return QueryRefused(f"it takes too much, Postgres says: {_sentence(error)}")
    if state == "42601" and "multiple commands" in _sentence(error):
        return QueryRefused("it holds several statements, and one was expected")
    return QueryInvalid(_sentence(error) + _position(error, sql) + _hint(error))


def _sentence(error: psycopg.Error) -> str:
    text = error.diag.message_primary or (str(error).strip().splitlines() or ["no reason given"])[0]
    return text.rstrip(".")


def _position(error: psycopg.Error, sql: str) -> str:
    """Return the place as `, at line 1, column 15: select …`; empty where Postgres names none."""
    if not (error.diag.statement_position or "").isdigit():
        return ""
    before = sql[: int(error.diag.statement_position or 1) - 1]
    number = before.count("\n") + 1
    line = sql.splitlines()[number - 1].strip() if sql.splitlines()[number - 1 :] else ""
    column = len(before) - (before.rfind("\n") + 1) + 1
    return f", at line {number}, column {column}: {line[:200]}"


def _hint(error: psycopg.Error) -> str:
    return f" ({error.diag.message_hint.rstrip('.')})" if error.diag.message_hint else ""
