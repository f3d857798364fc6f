"""An executor's sign of life: an advisory lock that the server frees when nobody pings it."""

import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import LiteralString

import psycopg
from psycopg.rows import DictRow

from agent_app.database.connect import Database
from agent_app.errors import DatabaseError

_logger = logging.getLogger(__name__)
_PINGS_PER_LEASE = 5
_SHORTEST_WAIT_S = 2.0
"""A loaded machine may take that long to answer; by then the server has freed a shorter lease."""

LOCK_SQL = "select pg_try_advisory_lock(hashtextextended('agent_app.executor:' || %s, 0)) as held"
UNLOCK_SQL = "select pg_advisory_unlock(hashtextextended('agent_app.executor:' || %s, 0))"
_APPEAR = """
insert into agent_app.executor (executor_id, application_version, host, process_id)
values (%s, %s, %s, %s) on conflict (executor_id) do nothing
"""
_SERVE = "select pg_advisory_lock_shared(agent_app.queue_key(%s))"
_DISAPPEAR = "delete from agent_app.executor where executor_id = %s"


@contextmanager
def executor_lease(
    database: Database,
    executor_id: str,
    *,
    lease_s: float,
    application_version: str | None = None,
    serves: Sequence[str] = (),
) -> Iterator[None]:
    """Hold the executor's lock while the block runs; to be taken before the first run starts.

    The lock dies with this process at once, and after `lease_s` if the process stops without dying
    (`idle_session_timeout`, PostgreSQL 14). A lost connection is opened anew, and so is one that
    gives no answer for a lease, 2 s at least: half-open, it would be waited for without end. What
    was taken over meanwhile is fenced by DBOS at its next checkpoint. With its version the executor
    has a row in `agent_app.executor` too, until it ends: the row of one that is killed stays.
    `serves` are the stored names of queues that it takes runs from; a shared lock of each says so
    to the views.
    """
    keeper = _Keeper(database, executor_id, lease_s, application_version)
    keeper.serves = serves
    keeper.start()
    try:
        yield
    finally:
        keeper.stop()


class _Keeper:
    """A connection of its own with a thread that pings it."""

    def __init__(
        self, database: Database, executor_id: str, lease_s: float, application_version: str | None
    ) -> None:
        self._database = database
        self._executor_id = executor_id
        self._lease_s = lease_s
        self._application_version = application_version
        self.serves: Sequence[str] = ()
        self._taken = threading.Event()
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._keep, name="executor-lease", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._taken.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def _keep(self) -> None:
        while not self._ended.is_set():
            try:
                self._hold()
            except (psycopg.Error, DatabaseError) as error:
                if not self._taken.is_set():
                    self._failure = error
                    self._taken.set()
                    return
                _logger.warning("The executor's lock was lost and is taken again: %s", error)
                self._ended.wait(min(1.0, self._lease_s / _PINGS_PER_LEASE))

    def _hold(self) -> None:
        with self._database.connect() as connection:
            self._execute(
                connection,
                "select set_config('idle_session_timeout', %s, false)",
                str(int(self._lease_s * 1000)),
            )
            while not self._ended.is_set():
                row = self._execute(connection, LOCK_SQL, self._executor_id).fetchone()
                if row is not None and row["held"]:
                    break
                self._ended.wait(0.05)  # a survivor that recovers our runs lets go in a moment
            self._appear(connection)
            for queue in self.serves:
                self._execute(connection, _SERVE, queue)
            self._taken.set()
            while not self._ended.wait(self._lease_s / _PINGS_PER_LEASE):
                self._execute(connection, "select 1")
            with suppress(psycopg.Error):
                self._execute(connection, _DISAPPEAR, self._executor_id)

    def _appear(self, connection: psycopg.Connection[DictRow]) -> None:
        if self._application_version is not None:
            place = socket.gethostname(), os.getpid()
            self._execute(connection, _APPEAR, self._executor_id, self._application_version, *place)

    def _execute(
        self, connection: psycopg.Connection[DictRow], statement: LiteralString, *values: object
    ) -> psycopg.Cursor[DictRow]:
        """Execute a statement; a connection on which no answer comes in time is shut down."""
        timer = threading.Timer(max(self._lease_s, _SHORTEST_WAIT_S), _shut_down, [connection])
        timer.daemon = True
        timer.start()
        try:
            return connection.execute(statement, values)
        finally:
            timer.cancel()


def _shut_down(connection: psycopg.Connection[DictRow]) -> None:
    """Let whoever waits on the connection fail at once: closing it would wait for them."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)
