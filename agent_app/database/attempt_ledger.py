"""The attempts ledger: rows go in without waiting and reach Postgres in batches, later."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.rows import DictRow

from agent_app.database.connect import Database
from agent_app.errors import DatabaseError

Outcome = Literal["success", "error", "cancelled", "lost", "unknown"]

Key = tuple[str, int, int]
_Waiting = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]
_logger = logging.getLogger(__name__)
_GATHER_S = 0.05
"""Seconds between a row and the batch that carries it."""
_RETRY_S = 1.0
_STATEMENT_TIMEOUT_S = 10.0
_TELL_EVERY_S = 10.0
_CLOSE_S = 2.0
_MAX_ROWS = 10_000
"""Rows that wait for a database that does not take them; about 10 MB. Further ones are dropped."""
_BATCH_ROWS = 500
_MAX_TEXT = 1_000
_WRITE: LiteralString = """
-- A row that is closed stays so: a process that was taken over may still have a late word.
insert into agent_app.attempt as old
select * from jsonb_populate_recordset(null::agent_app.attempt, %s::jsonb)
on conflict (run_id, step_number, attempt_number) do update set
    heartbeat_at = coalesce(excluded.heartbeat_at, old.heartbeat_at),
    finished_at = excluded.finished_at, outcome = excluded.outcome,
    error_type = excluded.error_type, error_message = excluded.error_message,
    http_status = excluded.http_status, retry_after_s = excluded.retry_after_s,
    retry_at = excluded.retry_at, input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens, cost_usd = excluded.cost_usd,
    model = excluded.model
where old.outcome is null
"""


@dataclass
class AttemptRow:
    """One row of `agent_app.attempt`, as far as it is known."""

    run_id: str
    step_number: int
    attempt_number: int
    step_name: str
    executor_id: str
    started_at: datetime
    heartbeat_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    error_type: str | None = None
    error_message: str | None = None
    http_status: int | None = None
    retry_after_s: float | None = None
    retry_at: datetime | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    model: str | None = None

    @property
    def key(self) -> Key:
        """Return what no two rows share."""
        return self.run_id, self.step_number, self.attempt_number


class AttemptLedger:
    """A thread that writes rows in batches; what it cannot write costs the step nothing.

    Not durable at once: a crash loses the rows of about the last 0.1 s, except those that `settle`
    was awaited after.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: dict[Key, AttemptRow] = {}
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_closing = False
        self._dropped_count = 0
        self._told_at = float("-inf")
        self._thread = threading.Thread(target=self._work, name="attempt-ledger", daemon=True)

    def put(self, row: AttemptRow) -> None:
        """Take a row, or what has become of one: the same object may change and be put again."""
        with self._lock:
            if len(self._rows) >= _MAX_ROWS and row.key not in self._rows:
                self._dropped_count += 1
                return
            self._rows[row.key] = row
        self._wake.set()

    async def settle(self, timeout_s: float) -> None:
        """Wait until what was put is written or could not be, for `timeout_s` at most."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((loop, written))
        self._wake.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(written, timeout_s)

    def start(self) -> None:
        """Begin to write; the connection is opened with the first row."""
        self._thread.start()

    def close(self) -> None:
        """Write what is left, within about two seconds."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(_CLOSE_S)

    def _work(self) -> None:
        while self._has_rows():
            try:
                with self._database.connect(statement_timeout_s=_STATEMENT_TIMEOUT_S) as connection:
                    while self._has_rows():
                        self._write_all(connection)
            except (psycopg.Error, DatabaseError) as error:
                self._tell(error)
                if self._is_closing:
                    break
                time.sleep(_RETRY_S)

    def _has_rows(self) -> bool:
        """Wait for rows; False once the ledger is closed and nothing is left."""
        while not self._rows and not self._waiting and not self._is_closing:
            self._wake.wait()
            self._wake.clear()
        if not self._waiting and not self._is_closing:
            time.sleep(_GATHER_S)
        return bool(self._rows or self._waiting)

    def _write_all(self, connection: psycopg.Connection[DictRow]) -> None:
        """Write all rows; those that could not be written wait for the next time."""
        with self._lock:
            rows, self._rows = self._rows, {}
            waiting, self._waiting = self._waiting, []
        try:
            left = list(rows.values())
            while left:
                batch, left = left[:_BATCH_ROWS], left[_BATCH_ROWS:]
                _write(connection, batch)
        except BaseException:
            self._take_back(rows)
            raise
        finally:
            for loop, written in waiting:
                _resolve(loop, written)

    def _take_back(self, rows: dict[Key, AttemptRow]) -> None:
        with self._lock:
            kept = list({**rows, **self._rows}.items())
            self._dropped_count += max(len(kept) - _MAX_ROWS, 0)
            self._rows = dict(kept[-_MAX_ROWS:])

    def _tell(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            counts = len(self._rows), self._dropped_count
            text = "The attempts ledger cannot be written; %d rows wait, %d were dropped: %s"
            _logger.warning(text, *counts, error)


def _write(connection: psycopg.Connection[DictRow], batch: list[AttemptRow]) -> None:
    """Write the rows in one statement; one that Postgres does not take must not hold up others."""
    try:
        connection.execute(_WRITE, (json.dumps([_plain(row) for row in batch]),))
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        if len(batch) == 1:
            _logger.warning("A row of the attempts ledger was dropped: %s", error)
            return
        for row in batch:
            _write(connection, [row])


def _resolve(loop: asyncio.AbstractEventLoop, written: "asyncio.Future[None]") -> None:
    def resolve() -> None:
        if not written.done():
            written.set_result(None)

    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(resolve)


def _plain(row: AttemptRow) -> dict[str, Any]:
    return {name: _as_json(value) for name, value in asdict(row).items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, str):  # neither NUL nor half a surrogate pair fits into jsonb
        return value[:_MAX_TEXT].replace("\0", "\ufffd").encode(errors="replace").decode()
    return value


@contextmanager
def attempt_ledger(database: Database) -> Iterator[AttemptLedger]:
    """Yield a ledger that writes while the block runs."""
    ledger = AttemptLedger(database)
    ledger.start()
    try:
        yield ledger
    finally:
        ledger.close()
