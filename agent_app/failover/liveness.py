"""Which steps living processes execute at this moment, whatever their runs' status says."""

import time
from collections.abc import Collection
from dataclasses import dataclass

from agent_app.database.connect import Database

_POLL_S = 0.1
LEDGER_S = 0.25
"""Seconds within which the attempts ledger has the row of a try that has begun or ended."""
_BUSY = """
select attempt.run_id, attempt.step_number, attempt.step_name, attempt.executor_id
from agent_app.attempt
where attempt.run_id = any(%(run_ids)s) and attempt.outcome is null
    and agent_app.executor_key(attempt.executor_id) in (select key from agent_app.executor_lock)
order by attempt.run_id, attempt.step_number
"""


@dataclass(frozen=True)
class BusyStep:
    """A try that a living process makes."""

    run_id: str
    step_number: int
    step_name: str
    executor_id: str


def busy_steps(database: Database, run_ids: Collection[str]) -> list[BusyStep]:
    """Return the tries of these runs that living processes make, whatever the runs' status."""
    with database.connect(read_only=True) as connection:
        rows = connection.execute(_BUSY, {"run_ids": list(run_ids)}).fetchall()
    return [BusyStep(**row) for row in rows]


def wait_until_idle(
    database: Database, run_ids: Collection[str], *, timeout_s: float
) -> list[BusyStep]:
    """Wait until no living process makes a try of these runs; return those that still are made.

    At once where nothing has been executed lately. Blocks the calling thread.
    """
    deadline = time.monotonic() + timeout_s
    time.sleep(LEDGER_S)
    while (busy := busy_steps(database, run_ids)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return busy
