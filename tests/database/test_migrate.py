"""The schema's way to this build's: once, in order, whoever else tries at the same time."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from dbos import DBOS

from agent_app.database import migrate as migrate_module
from agent_app.database.connect import Database
from agent_app.database.migrate import MIGRATION_LOCK_ID, migrate, schema_is_current
from agent_app.errors import DatabaseError, DatabaseUnreachable, PrivilegeMissing, SchemaAhead
from tests.database.rows import output_json, plant_run


def run_dbos_migrations(database: Database) -> None:
    """Make DBOS's tables, as the application does."""
    DBOS.migrate(database.sqlalchemy_url)


def skip() -> None:
    """Prepare nothing: DBOS's tables are there."""


def read_column(database: Database, query: str) -> list[object]:
    """Return the first column of a query."""
    with database.connect() as connection:
        return [next(iter(row.values())) for row in connection.execute(query)]


def test_empty_database_becomes_current(empty_database: Database) -> None:
    """An empty database is not current; migrated it is, and records what was applied."""
    assert not schema_is_current(empty_database)
    migrate(empty_database, lambda: run_dbos_migrations(empty_database))
    assert schema_is_current(empty_database)
    names = read_column(empty_database, "select name from agent_app.migration order by number")
    files = sorted(Path(migrate_module.__file__).parent.glob("migrations/*.sql"))
    assert names == [path.stem for path in files]


def test_migration_numbers_have_no_gap() -> None:
    """Files are numbered 0001, 0002, … without a gap, and named in snake case."""
    numbers = [number for number, _, _ in migrate_module._read_migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_migrating_again_changes_nothing(database: Database) -> None:
    """A second migration applies nothing, not even the views."""
    query = "select applied_at from agent_app.view_set"
    before = read_column(database, query)
    migrate(database, skip)
    assert read_column(database, query) == before


def test_twenty_threads_migrate_at_once(empty_database: Database) -> None:
    """Of twenty at once one migrates, one at a time prepares, and all of them succeed."""
    inside, most = threading.Semaphore(1), []

    def prepare() -> None:
        most.append(inside.acquire(blocking=False))
        run_dbos_migrations(empty_database)
        inside.release()

    with ThreadPoolExecutor(20) as pool:
        for done in [pool.submit(migrate, empty_database, prepare) for _ in range(20)]:
            done.result()
    assert most == [True] * 20
    assert schema_is_current(empty_database)


def test_processes_migrate_at_once(empty_database: Database) -> None:
    """Processes that start at once on an empty database do not lock each other up."""
    script = (
        "import sys; from dbos import DBOS\n"
        "from agent_app.database.connect import Database\n"
        "from agent_app.database.migrate import migrate\n"
        "database = Database(sys.argv[1], 'test')\n"
        "migrate(database, lambda: DBOS.migrate(database.sqlalchemy_url))\n"
    )
    command = [sys.executable, "-c", script, empty_database.url]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint.decode()
    assert schema_is_current(empty_database)


def test_waiting_does_not_hold_a_snapshot(database: Database) -> None:
    """A process that waits for the lock does not stop `create index concurrently` of the holder."""
    with database.connect() as holder:
        holder.execute("select pg_advisory_lock(%s)", (MIGRATION_LOCK_ID,))
        waiter = threading.Thread(target=migrate, args=(database, skip))
        waiter.start()
        holder.execute("set statement_timeout = '20s'")
        holder.execute("create index concurrently on dbos.workflow_status (application_id)")
    waiter.join(timeout=60)
    assert not waiter.is_alive()


def test_lock_held_for_ever_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that never lets go of the lock is an error in the end, not a silent wait."""
    monkeypatch.setattr(migrate_module, "LOCK_TIMEOUT_S", 0.2)
    with database.connect() as holder:
        holder.execute("select pg_advisory_lock(%s)", (MIGRATION_LOCK_ID,))
        with pytest.raises(DatabaseError, match="Another process has been migrating"):
            migrate(database, skip)


def test_newer_schema_is_refused(database: Database) -> None:
    """A database that a newer build has migrated is left alone."""
    with database.connect() as connection:
        connection.execute("insert into agent_app.migration values (9999, '9999_later')")
    with pytest.raises(SchemaAhead, match="is at 9999"):
        schema_is_current(database)
    with pytest.raises(SchemaAhead):
        migrate(database, skip)


def test_changed_views_are_applied_again(database: Database) -> None:
    """Views with another digest are replaced, another shape included; rows stay."""
    plant_run(database, "r1", output=output_json(1))
    with database.connect() as connection:
        connection.execute("update agent_app.view_set set digest = 'other'")
        connection.execute("drop view agent_app.run cascade")
        connection.execute("create view agent_app.run as select 1 as another_shape")
        connection.execute(
            "create function agent_app.kept() returns int language sql as 'select 1'"
        )
    assert not schema_is_current(database)
    migrate(database, skip)
    assert schema_is_current(database)
    assert read_column(database, "select run_id from agent_app.run") == ["r1"]
    assert read_column(database, "select agent_app.kept()") == [1]


def test_broken_migration_leaves_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that fails half-way is rolled back whole, is not recorded, and frees the lock."""
    newest = migrate_module._newest_number()
    broken = [(newest + 1, "9_broken", "create table agent_app.half (x int); select 1 / 0")]
    monkeypatch.setattr(migrate_module, "_read_migrations", lambda: iter(broken))
    with pytest.raises(DatabaseError, match="division by zero"):
        migrate(database, skip)
    assert read_column(database, "select to_regclass('agent_app.half')") == [None]
    assert read_column(database, "select max(number) from agent_app.migration") == [newest]
    monkeypatch.undo()
    migrate(database, skip)


def test_role_without_privileges_is_told_the_remedy(empty_database: Database) -> None:
    """A role that may not create a schema gets the statement that a superuser would run."""
    weak = Database(empty_database.url, "test", empty_database.reader)
    if weak.reader is None:
        pytest.skip("the server of the tests has no weak role")
    url = empty_database.url.replace("agent_app@", f"{weak.reader}@")
    with pytest.raises(PrivilegeMissing, match='grant create on database "empty_'):
        migrate(Database(url, "test"), skip)


def test_errors_of_the_preparation_are_ours(database: Database) -> None:
    """What SQLAlchemy wraps is translated like any error of Postgres's; a bug stays what it is."""

    class Wrapped(Exception):
        orig = psycopg.OperationalError("connection refused")

    def fail() -> None:
        raise Wrapped

    def stumble() -> None:
        raise ZeroDivisionError

    with pytest.raises(DatabaseUnreachable):
        migrate(database, fail)
    with pytest.raises(ZeroDivisionError):
        migrate(database, stumble)
