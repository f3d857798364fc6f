"""A connection pooler as it is between programs and Postgres, in its two modes; for tests only."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from queue import LifoQueue

import psycopg
from psycopg import conninfo

from agent_app.database.connect import Database

INVENTED_PID = 4242
"""What a pooler's clients get for cancelling; no session of the server has it."""
_SESSION_COUNT = 4


@contextmanager
def pooled(database: Database, *, by_transaction: bool) -> Iterator[Database]:
    """Yield the same database behind a pooler, which gives a session away after each transaction.

    Without `by_transaction` a client keeps its session until it goes.
    """
    sessions: LifoQueue[socket.socket] = LifoQueue()
    with ExitStack() as stack:
        for _ in range(_SESSION_COUNT):
            connection = stack.enter_context(psycopg.connect(database.url, autocommit=True))
            # Logged in by psycopg, spoken to by us: both have the same socket.
            sessions.put(stack.enter_context(socket.socket(fileno=_duplicate(connection))))
        door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threads: list[threading.Thread] = []
        threading.Thread(target=_accept, args=(door, sessions, by_transaction, threads)).start()
        stack.callback(door.shutdown, socket.SHUT_RDWR)
        stack.callback(_join, threads)
        options = {"host": "127.0.0.1", "port": door.getsockname()[1]}
        options |= {"sslmode": "disable", "gssencmode": "disable"}
        yield replace(database, url=conninfo.make_conninfo(database.url, **options), reader=None)


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


def _duplicate(connection: "psycopg.Connection[tuple[object, ...]]") -> int:
    with socket.socket(fileno=connection.fileno()) as borrowed:
        copy = borrowed.dup()
        borrowed.detach()
    copy.setblocking(True)
    return copy.detach()


def _accept(
    door: socket.socket,
    sessions: "LifoQueue[socket.socket]",
    by_transaction: bool,
    threads: list[threading.Thread],
) -> None:
    with suppress(OSError):  # the door is shut
        while True:
            client, _ = door.accept()
            thread = threading.Thread(target=_serve, args=(client, sessions, by_transaction))
            threads.append(thread)
            thread.start()


def _serve(
    client: socket.socket, sessions: "LifoQueue[socket.socket]", by_transaction: bool
) -> None:
    """Pass on what a client says to a session, and what that answers."""
    session: socket.socket | None = None
    with client, suppress(ConnectionError):
        _greet(client)
        while (message := _read(client))[:1] != b"X":
            session = session or sessions.get()
            session.sendall(message)
            if message[:1] not in (b"Q", b"S"):
                continue
            while (answer := _read(session))[:1] != b"Z":
                client.sendall(answer)
            if by_transaction and answer[-1:] == b"I":
                sessions.put(session)
                session = None
            client.sendall(answer)
    if session is not None:
        sessions.put(session)


def _greet(client: socket.socket) -> None:
    (length,) = struct.unpack("!i", _exactly(client, 4))
    _exactly(client, length - 4)
    said = _message(b"R", struct.pack("!i", 0))
    for name, value in (("server_version", "18.4"), ("client_encoding", "UTF8")):
        said += _message(b"S", f"{name}\0{value}\0".encode())
    said += _message(b"K", struct.pack("!ii", INVENTED_PID, 1))
    client.sendall(said + _message(b"Z", b"I"))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _read(end: socket.socket) -> bytes:
    head = _exactly(end, 5)
    return head + _exactly(end, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(end: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = end.recv(count - len(found))
        if not part:
            raise ConnectionResetError
        found += part
    return found
