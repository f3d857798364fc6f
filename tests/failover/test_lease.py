"""The executor's lock: who holds it, and when the server takes it away."""

import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from agent_app.database.connect import Database
from agent_app.errors import DatabaseUnreachable
from agent_app.failover.lease import LOCK_SQL, UNLOCK_SQL, executor_lease
from tests.helpers import wait_until


def is_free(database: Database, executor_id: str) -> bool:
    """Say whether a survivor could take the executor's lock."""
    with database.connect() as connection:
        row = connection.execute(LOCK_SQL, (executor_id,)).fetchone()
        held = row is not None and bool(row["held"])
        if held:
            connection.execute(UNLOCK_SQL, (executor_id,))
        return held


def keepers(database: Database) -> list[int]:
    """Return the backends that hold advisory locks in this database."""
    with database.connect() as connection:
        rows = connection.execute(
            "select l.pid from pg_locks l join pg_database d on d.oid = l.database"
            " where l.locktype = 'advisory' and d.datname = current_database() and l.granted"
        ).fetchall()
    return [row["pid"] for row in rows]


def test_lock_is_held_inside_and_free_outside(database: Database) -> None:
    """The lock is held as long as the block runs, longer than the lease, and free afterwards."""
    with executor_lease(database, "one", lease_s=0.5):
        assert not is_free(database, "one")
        assert is_free(database, "two")
        (keeper,) = keepers(database)
        with database.connect() as connection:
            connection.execute("select pg_sleep(1.2)")
        assert keepers(database) == [keeper]
    wait_until(lambda: is_free(database, "one"))


def test_lost_connection_is_opened_anew(database: Database) -> None:
    """A backend that is ended under a living executor costs it the lock for a moment only."""
    with executor_lease(database, "one", lease_s=0.5):
        (keeper,) = keepers(database)
        with database.connect() as connection:
            connection.execute("select pg_terminate_backend(%s)", (keeper,))
        wait_until(lambda: keepers(database) not in ([], [keeper]))
        assert not is_free(database, "one")


def test_unreachable_server_is_an_error_at_the_start() -> None:
    """Without a server there is no lock and no executor."""
    database = Database("postgresql://nobody@127.0.0.1:1/none", "127.0.0.1:1/none")
    with pytest.raises(DatabaseUnreachable), executor_lease(database, "one", lease_s=1):
        pass


def test_executor_has_a_row_while_it_lives(database: Database) -> None:
    """The row says version, host and process, and goes at a clean end; a lost lock costs none."""

    def rows() -> list[dict[str, object]]:
        with database.connect() as connection:
            return connection.execute("select * from agent_app.living_executor").fetchall()

    with executor_lease(database, "one", lease_s=0.5, application_version="7"):
        (row,) = rows()
        assert (row["executor_id"], row["application_version"]) == ("one", "7")
        assert (row["host"], row["process_id"]) == (socket.gethostname(), os.getpid())
        (keeper,) = keepers(database)
        with database.connect() as connection:
            connection.execute("select pg_terminate_backend(%s)", (keeper,))
        wait_until(lambda: keepers(database) not in ([], [keeper]))
        wait_until(lambda: rows() == [row])
    with database.connect() as connection:
        assert connection.execute("select * from agent_app.executor").fetchall() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_dead_or_stopped_process_loses_its_lock(database: Database, number: signal.Signals) -> None:
    """SIGKILL frees the lock at once, SIGSTOP after the lease."""
    code = textwrap.dedent(
        """
        import sys
        from agent_app.database.connect import Database
        from agent_app.failover.lease import executor_lease
        with executor_lease(Database(sys.argv[1], "test"), "child", lease_s=1.0):
            print("held", flush=True)
            sys.stdin.read()
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, database.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert not is_free(database, "child")
        os.kill(child.pid, number)
        wait_until(lambda: is_free(database, "child"))
        child.kill()
