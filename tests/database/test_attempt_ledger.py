"""The ledger's writer: batches behind the step, bounded, and harmless when it cannot write."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from agent_app.database import attempt_ledger as module
from agent_app.database.attempt_ledger import AttemptLedger, AttemptRow, attempt_ledger
from agent_app.database.connect import Database
from tests.helpers import wait_until

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def ledger(database: Database) -> Iterator[AttemptLedger]:
    """Yield a ledger that writes to a fresh database."""
    with attempt_ledger(database) as ledger:
        yield ledger


def row(number: int = 1, **parts: Any) -> AttemptRow:
    """Return a try of step 1 of run r."""
    return AttemptRow("r", 1, number, "a.model", "e", NOON, **parts)


def read(database: Database) -> list[dict[str, Any]]:
    """Return the ledger's rows by attempt."""
    with database.connect() as connection:
        return connection.execute(
            "select * from agent_app.attempt order by run_id, step_number, attempt_number"
        ).fetchall()


def execute(database: Database, statement: str) -> None:
    """Execute a statement of the test's own."""
    with database.connect() as connection:
        connection.execute(statement.encode())


def test_a_try_is_one_row_from_its_start_to_its_end(
    database: Database, ledger: AttemptLedger
) -> None:
    """What is put at the end completes the row that was written at the start."""
    ledger.put(row())
    wait_until(lambda: read(database))
    assert read(database)[0]["outcome"] is None
    ledger.put(row(outcome="success", input_tokens=7, cost_usd=Decimal("0.000012")))
    wait_until(lambda: read(database)[0]["outcome"])
    found = read(database)
    assert [r["attempt_number"] for r in found] == [1]
    assert found[0]["started_at"] == NOON
    assert (found[0]["input_tokens"], found[0]["cost_usd"]) == (7, Decimal("0.000012"))


def test_a_late_word_does_not_take_back_what_is_known(
    database: Database, ledger: AttemptLedger
) -> None:
    """A try that counts as lost stays so, whatever its process says when it wakes up."""
    ledger.put(row(heartbeat_at=NOON))
    wait_until(lambda: read(database))
    ledger.put(row(outcome="lost"))
    wait_until(lambda: read(database)[0]["outcome"])
    ledger.put(row(outcome="success", finished_at=NOON))
    ledger.put(row(2))
    wait_until(lambda: len(read(database)) == 2)
    found = read(database)[0]
    assert (found["outcome"], found["finished_at"], found["heartbeat_at"]) == ("lost", None, NOON)


async def test_what_was_settled_is_in_the_database(database: Database) -> None:
    """After `settle` a reader sees the rows, in whatever order the batches went."""
    with attempt_ledger(database) as ledger:
        for number in range(1, 1201):
            ledger.put(row(number))
        await ledger.settle(20)
        assert len(read(database)) == 1200


def test_rows_that_are_left_are_written_at_the_end(database: Database) -> None:
    """Closing the ledger writes what was put a moment before."""
    with attempt_ledger(database) as ledger:
        ledger.put(row())
    assert len(read(database)) == 1


def test_what_text_cannot_hold_is_replaced(database: Database) -> None:
    """A zero byte and half a surrogate pair reach the ledger as signs that Postgres takes."""
    with attempt_ledger(database) as ledger:
        ledger.put(row(error_message="a\0b\ud800c" + "x" * 2000))
    message = read(database)[0]["error_message"]
    assert message.startswith("a\ufffdb?c")
    assert len(message) == 1000


def test_a_row_that_cannot_be_stored_holds_up_no_other(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The bad one is dropped with a warning, those around it are written."""
    with attempt_ledger(database) as ledger:
        ledger.put(row(1))
        ledger.put(row(2, http_status=10**12))
        ledger.put(row(3))
    assert [r["attempt_number"] for r in read(database)] == [1, 3]
    assert "was dropped" in caplog.text


def test_rows_wait_for_a_database_that_does_not_take_them(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are written once it does; one warning tells meanwhile."""
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    execute(database, "alter table agent_app.attempt rename to away")
    with attempt_ledger(database) as ledger:
        ledger.put(row(1))
        wait_until(lambda: "cannot be written" in caplog.text)
        ledger.put(row(2))
        execute(database, "alter table agent_app.away rename to attempt")
        wait_until(lambda: len(read(database)) == 2)
    assert caplog.text.count("cannot be written") == 1


def test_memory_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond the limit rows are dropped and counted; `put` goes on returning at once."""
    monkeypatch.setattr(module, "_MAX_ROWS", 10)
    monkeypatch.setattr(module, "_TELL_EVERY_S", 0.0)
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    execute(database, "drop table agent_app.attempt cascade")
    with caplog.at_level(logging.WARNING), attempt_ledger(database) as ledger:
        for number in range(1, 101):
            ledger.put(row(number))
        assert len(ledger._rows) <= 10
        wait_until(lambda: "90 were dropped" in caplog.text)


async def test_waiting_for_a_broken_ledger_ends(database: Database) -> None:
    """`settle` returns within its limit though nothing can be written; the row waits on."""
    execute(database, "alter table agent_app.attempt rename to gone")
    with attempt_ledger(database) as ledger:
        ledger.put(row())
        async with asyncio.timeout(10):
            await ledger.settle(0.2)
        execute(database, "alter table agent_app.gone rename to attempt")
        await asyncio.to_thread(wait_until, lambda: read(database))
    assert [r["attempt_number"] for r in read(database)] == [1]
