"""A Postgres that nobody has to install: started by the first process, stopped by the last.

    in-use.lock   shared by every process that uses the server; who gets it alone at the end is
                  the last one and stops the server
    start.lock    held alone by the one that starts it
    server.lock   inherited by all of the server's processes: free means that none is left

The kernel frees all three however a process ends, so none can be left behind by SIGKILL. A process
that is killed leaves the server running, and the next one finds it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import LiteralString
from urllib.parse import quote

import psycopg
from psycopg import sql

from agent_app.database import data_directory as directory
from agent_app.database.binaries import find_installation, find_programs
from agent_app.database.cluster import ROLE, Cluster, Postmaster
from agent_app.database.file_lock import FileLock
from agent_app.database.patience import Notify, Patience
from agent_app.database.server_log import explain, measure_log, read_log
from agent_app.database.server_user import find_server_user
from agent_app.errors import DiskFull, EmbeddedServerFailed

DATABASE = "agent_app"
READER_ROLE = "agent_app_reader"
"""Reads everything and does nothing else: users' queries run as it, not as the superuser."""
STOP_TIMEOUT_S = 60.0
"""Beyond it the server goes on with its shutdown alone."""
_PROBE_TIMEOUT_S = 5


@contextmanager
def embedded_server(
    data_directory: Path | None, *, start_timeout_s: float, notify: Notify
) -> Iterator[str]:
    """Yield the URL of the database `agent_app` on the embedded server, starting it if needed.

    Attaching to a server that runs takes a few milliseconds, starting one about 0.2 s, making a
    new one about 1 s; `notify` is told about anything that takes longer than 2 s.
    Raises: EmbeddedServerMissing, EmbeddedServerFailed, DataDirectoryUnusable, DiskFull.
    """
    find_installation()  # before anything is made for a server that is not there
    patience = Patience(start_timeout_s, notify)
    server = _EmbeddedServer(directory.locate(data_directory), patience)
    owner_pid = os.getpid()
    try:
        yield server.enter()
    finally:
        # A forked child that unwinds our stack does not use the server and may not stop it.
        if os.getpid() == owner_pid:
            server.leave()


class _EmbeddedServer:
    """One process's share in the server of one data directory."""

    def __init__(self, home: Path, patience: Patience) -> None:
        self.home = home
        self.patience = patience
        self.user = find_server_user()
        self.cluster = Cluster(home, self.user)
        self.is_left_to_start = False
        directory.prepare(home, self.user)
        with directory.explained(home):
            self.in_use = FileLock(home / "in-use.lock")

    def enter(self) -> str:
        """Return the URL of a server that answers, and keep it from being stopped."""
        reason = "Another process is stopping the embedded Postgres; waiting for it to end."
        if not self.in_use.wait(shared=True, patience=self.patience, reason=reason):
            raise EmbeddedServerFailed(
                str(self.home), "another process has not finished stopping it"
            )
        with directory.explained(self.home):
            has_cluster = self.cluster.check()
        postmaster = self.cluster.read_postmaster() if has_cluster else None
        if postmaster is None or not self._is_usable(postmaster, DATABASE):
            postmaster = self._start_serialised()
        return _url(postmaster)

    def leave(self) -> None:
        """Stop the server if nobody else uses it.

        Whoever arrives while it stops waits for `in-use.lock`; whoever came before has a share in
        it, and then we are not the last. A start that took too long is left to go on: the
        next process finds the recovery further than we did.
        """
        try:
            if not self.is_left_to_start and self.in_use.try_exclusive():
                self._stop()
        finally:
            self.in_use.close()

    def _start_serialised(self) -> Postmaster:
        start = FileLock(self.home / "start.lock")
        reason = "Another process is starting the embedded Postgres; waiting for it."
        try:
            if not start.wait(shared=False, patience=self.patience, reason=reason):
                raise self._give_up("another process has not finished starting it")
            with directory.explained(self.home):
                since_bytes = measure_log(self.home)
                postmaster = self._start()
            _prepare_database(postmaster, self.home, since_bytes)
            return postmaster
        finally:
            start.close()

    def _start(self) -> Postmaster:
        """Launch the server once none of its processes is left, and wait until it answers."""
        launched_at_bytes: int | None = None
        reason = "The embedded Postgres is still starting or stopping; waiting for it."
        while True:
            postmaster = self.cluster.read_postmaster()
            if postmaster and self._is_usable(postmaster, "postgres"):
                return postmaster
            if self.patience.is_over:
                raise self._give_up(f"it was not ready within {self.patience.timeout_s:g} s")
            lock = FileLock(self.home / "server.lock")
            try:
                is_alive = not lock.try_exclusive() or self._runs_without_lock()
                if not is_alive and launched_at_bytes is not None:
                    raise explain(self.home, read_log(self.home, launched_at_bytes))
                if not is_alive:
                    launched_at_bytes = measure_log(self.home)
                    reason = self._launch(lock)
            finally:
                lock.close()
            self.patience.pause(reason)

    def _is_usable(self, postmaster: Postmaster, database: str) -> bool:
        """Say whether it answers and will stay; one that was left half stopped is stopped."""
        if self.cluster.is_stopping(postmaster):
            self.cluster.request_stop()
            return False
        return postmaster.is_ready and _answers(postmaster, database)

    def _runs_without_lock(self) -> bool:
        """Say whether somebody started a server of this cluster by hand."""
        postmaster = self.cluster.read_postmaster()
        return postmaster is not None and self.cluster.is_running(postmaster)

    def _launch(self, lock: FileLock) -> str:
        """Start the server, made first where there is none; return what a long start means."""
        directory.check_way_in(self.home, self.user)
        programs = find_programs(self.home, self.user)
        if not self.cluster.check():
            self.cluster.create(programs, self.patience.left_s, lock.handle)
        socket_directory = directory.prepare_socket_directory(self.home, self.user)
        is_after_crash = self.cluster.read_postmaster() is not None
        self.cluster.launch(programs, socket_directory, lock.handle)
        limit = f"it has {self.patience.timeout_s:g} s"
        if is_after_crash:
            return f"The embedded Postgres is recovering from a crash; {limit}."
        return f"The embedded Postgres takes long to start; {limit}."

    def _give_up(self, reason: str) -> EmbeddedServerFailed:
        self.is_left_to_start = True
        return EmbeddedServerFailed(str(self.home), reason)

    def _stop(self) -> None:
        """Ask for a shutdown and wait until no process of the server is left."""
        patience = Patience(STOP_TIMEOUT_S, self.patience.notify)
        self.cluster.request_stop()
        lock = FileLock(self.home / "server.lock")
        try:
            lock.wait(
                shared=False,
                patience=patience,
                reason="The embedded Postgres is writing everything to disk before it stops.",
            )
        finally:
            lock.close()


def _answers(postmaster: Postmaster, database: str) -> bool:
    try:
        _connect(postmaster, database).close()
    except psycopg.OperationalError:
        return False
    return True


def _connect(postmaster: Postmaster, database: str) -> psycopg.Connection:
    return psycopg.connect(
        host=postmaster.socket_directory,
        port=postmaster.port,
        user=ROLE,
        dbname=database,
        autocommit=True,
        connect_timeout=_PROBE_TIMEOUT_S,
        application_name="agent_app",
    )


def _prepare_database(postmaster: Postmaster, home: Path, since_bytes: int) -> None:
    """Create the reader and then the database: once it exists, everything does."""
    database, reader = sql.Identifier(DATABASE), sql.Identifier(READER_ROLE)
    try:
        with _connect(postmaster, "postgres") as connection:
            if not _exists(connection, "select 1 from pg_roles where rolname = %s", READER_ROLE):
                create_reader = "create role {} login in role pg_read_all_data"
                connection.execute(sql.SQL(create_reader).format(reader))
            if not _exists(connection, "select 1 from pg_database where datname = %s", DATABASE):
                # A starter that was killed in the middle of it may have come to its end meanwhile.
                with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(sql.SQL("create database {}").format(database))
    except psycopg.errors.DiskFull as error:
        raise DiskFull(str(home)) from error
    except psycopg.Error as error:
        raise explain(home, read_log(home, since_bytes)) from error


def _exists(connection: psycopg.Connection, query: LiteralString, name: str) -> bool:
    return connection.execute(query, (name,)).fetchone() is not None


def _url(postmaster: Postmaster) -> str:
    socket_directory = quote(postmaster.socket_directory, safe="/")
    # The port is named, or PGPORT in the environment would name another.
    return f"postgresql://{ROLE}@/{DATABASE}?host={socket_directory}&port={postmaster.port}"
