"""The schema: numbered files once, views whenever they changed, all under one lock."""

import hashlib
import importlib.metadata
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from agent_app.database.connect import Database, explained
from agent_app.errors import DatabaseError, PrivilegeMissing, SchemaAhead

MIGRATION_LOCK_ID = 0x6167656E745F6D67
"""Session advisory lock, "agent_mg" in ASCII: one process at a time migrates, DBOS's part too."""
LOCK_TIMEOUT_S = 600.0
_LOCK_POLL_S = 0.05
_HERE = Path(__file__).parent


def migrate(database: Database, prepare: Callable[[], None]) -> None:
    """Bring the schema to this build's; many processes may call it at once.

    `prepare` makes DBOS's tables, which our views read; it is called with the lock held.
    Raises: SchemaAhead, PrivilegeMissing, DatabaseError.
    """
    with database.connect() as connection, _locked(connection, database.address):
        _refuse_newer(connection)
        _check_privilege(connection)
        with explained(database):
            prepare()
        _apply_migrations(connection)
        _apply_views(connection)


def schema_is_current(database: Database) -> bool:
    """Say whether nothing is left to apply, in one query; False where nothing is applied yet.

    Raises: SchemaAhead.
    """
    with database.connect() as connection:
        applied = _read_applied(connection)
    if applied is None:
        return False
    number, digest = applied
    _refuse_number(number)
    return number == _newest_number() and digest == _digest_views()


def _newest_number() -> int:
    return max(number for number, _, _ in _read_migrations())


def _read_migrations() -> Iterator[tuple[int, str, str]]:
    """Yield number, name and text of each file, in order."""
    for path in sorted((_HERE / "migrations").glob("[0-9]*.sql")):
        yield int(path.stem.split("_")[0]), path.stem, _read(path)


def _read_views() -> list[str]:
    """Return the files' texts, functions before the views that use them: the names are numbered."""
    return [_read(path) for path in sorted((_HERE / "views").glob("*.sql"))]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _digest_views() -> str:
    """Return what changes with any view and with DBOS's release, whose tables the views read."""
    texts = [*_read_views(), importlib.metadata.version("dbos")]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _read_applied(connection: psycopg.Connection[DictRow]) -> tuple[int, str | None] | None:
    """Return the newest number and the views' digest; None before the first migration."""
    try:
        row = connection.execute(
            "select (select max(number) from agent_app.migration) as number,"
            " (select digest from agent_app.view_set) as digest"
        ).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    return (row["number"], row["digest"]) if row and row["number"] is not None else None


def _refuse_newer(connection: psycopg.Connection[DictRow]) -> None:
    if applied := _read_applied(connection):
        _refuse_number(applied[0])


def _refuse_number(number: int) -> None:
    """Refuse what a newer build has migrated: our older views would replace its newer ones."""
    if number > _newest_number():
        raise SchemaAhead(f"{number:04d}", f"{_newest_number():04d}")


@contextmanager
def _locked(connection: psycopg.Connection[DictRow], address: str) -> Iterator[None]:
    """Hold the lock; it goes with the connection, however that ends.

    It is polled for: a blocked `pg_advisory_lock()` is a running statement with a snapshot, which
    DBOS's `create index concurrently` would wait for, and it for the index: a deadlock.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while not _try_lock(connection):
        if time.monotonic() > deadline:
            raise DatabaseError(
                f"Another process has been migrating the schema at {address!r} for "
                f"{LOCK_TIMEOUT_S:.0f} s. End it, or wait for it, and run this again."
            )
        time.sleep(_LOCK_POLL_S)
    try:
        yield
    finally:
        with suppress(psycopg.Error):  # of a lost connection, which has freed it
            connection.execute("select pg_advisory_unlock(%s)", (MIGRATION_LOCK_ID,))


def _try_lock(connection: psycopg.Connection[DictRow]) -> bool:
    query = "select pg_try_advisory_lock(%s) as is_ours"
    row = connection.execute(query, (MIGRATION_LOCK_ID,)).fetchone()
    return row is not None and bool(row["is_ours"])


def _check_privilege(connection: psycopg.Connection[DictRow]) -> None:
    """Refuse early and with a remedy, where a schema is missing that the role may not create."""
    row = connection.execute(
        "select current_user as role, current_database() as name,"
        " has_database_privilege(current_database(), 'create')"
        " or (to_regnamespace('dbos') is not null and to_regnamespace('agent_app') is not null)"
        " as is_enough"
    ).fetchone()
    if row and not row["is_enough"]:
        remedy = f'grant create on database "{row["name"]}" to "{row["role"]}";'
        raise PrivilegeMissing(row["role"], f"create a schema in {row['name']!r}", remedy)


def _apply_migrations(connection: psycopg.Connection[DictRow]) -> None:
    applied = _read_applied(connection)
    newest = applied[0] if applied else 0
    for number, name, text in _read_migrations():
        if number <= newest:
            continue
        with connection.transaction():
            connection.execute(text)
            connection.execute(
                "insert into agent_app.migration (number, name) values (%s, %s)", (number, name)
            )


def _apply_views(connection: psycopg.Connection[DictRow]) -> None:
    digest = _digest_views()
    applied = _read_applied(connection)
    if applied and applied[1] == digest:
        return
    try:
        _create_views(connection, digest)
    except (
        psycopg.errors.InvalidTableDefinition,
        psycopg.errors.InvalidFunctionDefinition,
        psycopg.errors.AmbiguousFunction,
    ):
        # Another shape than `create or replace` takes. Views of the user's over ours go with them.
        _create_views(connection, digest, drop_first=True)


def _create_views(
    connection: psycopg.Connection[DictRow], digest: str, *, drop_first: bool = False
) -> None:
    with connection.transaction():
        if drop_first:
            _drop_views(connection)
        for text in _read_views():
            connection.execute(text)
        connection.execute(
            "insert into agent_app.view_set (digest) values (%s) on conflict (only_row)"
            " do update set digest = excluded.digest, applied_at = now()",
            (digest,),
        )


def _drop_views(connection: psycopg.Connection[DictRow]) -> None:
    """Drop what the files of views/ create; functions of migrations, such as triggers', stay."""
    made = re.compile(r"^create or replace (view|function) agent_app\.(\w+)", re.MULTILINE)
    for text in reversed(_read_views()):
        for kind, name in reversed(made.findall(text)):
            drop = sql.SQL("drop {} if exists agent_app.{} cascade")
            connection.execute(drop.format(sql.SQL(kind), sql.Identifier(name)))
