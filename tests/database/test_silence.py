"""When a dead process's statements are over: told apart from what others do on the same server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent_app.database.connect import Database
from agent_app.database.evidence import read_sessions
from agent_app.operations.chaos.silence import wait_for_silence


@contextmanager
def working(database: Database, statement: str, *, times: int) -> Iterator[None]:
    """Execute a statement again and again on one connection, while the block runs."""
    begun = threading.Event()

    def work() -> None:
        with database.connect() as connection:
            begun.set()
            for _ in range(times):
                connection.execute(statement.encode())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        begun.wait(10)
        yield
    finally:
        thread.join()


def waited_s(database: Database, others: frozenset[int] = frozenset()) -> float:
    """Return how long it took until there was silence."""
    began_at = time.monotonic()
    wait_for_silence(database, others, timeout_s=5)
    return time.monotonic() - began_at


def test_without_sessions_there_is_silence(database: Database) -> None:
    """Nobody connected, nothing to wait for."""
    assert waited_s(database) < 0.5


def test_a_statement_that_goes_on_is_waited_for(database: Database) -> None:
    """The server ends a dead process's statement before it notices the death."""
    with working(database, "select pg_sleep(1)", times=1):
        assert 0.8 < waited_s(database) < 4


def test_what_was_there_before_is_not_waited_for(database: Database) -> None:
    """The statement of a process that was there before the dead one may go on."""
    with working(database, "select pg_sleep(1)", times=1):
        assert waited_s(database, frozenset(read_sessions(database))) < 0.7


def test_a_session_that_rests_is_somebody_else_s(database: Database) -> None:
    """A connection that came later, and stays open, is noticed as a living one's."""
    with database.connect():
        assert 0.4 < waited_s(database) < 2


def test_a_session_that_goes_on_to_work_is_somebody_else_s(database: Database) -> None:
    """The dead begin no further statements: who does is alive, however busy."""
    with working(database, "select pg_sleep(0.1)", times=30):
        assert waited_s(database) < 2


def test_an_open_transaction_is_waited_for_up_to_the_limit(database: Database) -> None:
    """What never ends holds nobody up for longer than was said."""
    with database.connect() as connection, connection.transaction():
        connection.execute("select 1")
        began_at = time.monotonic()
        wait_for_silence(database, frozenset(), timeout_s=0.3)
        assert time.monotonic() - began_at == pytest.approx(0.3, abs=0.25)
