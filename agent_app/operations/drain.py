"""Drain this process: let its steps in flight finish, and hand its runs over to the others."""

import asyncio
from dataclasses import dataclass

from agent_app.database.connect import Database
from agent_app.durability.drain import steps_in_flight, stop_taking, wait_until_quiet
from agent_app.durability.runtime import stop_running
from agent_app.failover.orphans import hand_over_own
from agent_app.operations.control import Executor


@dataclass(frozen=True)
class Drained:
    """What a process leaves behind."""

    handed_over: tuple[str, ...]
    """Runs that wait to be taken by others, oldest first."""
    cut: tuple[str, ...]
    """Steps that had not ended; whoever takes their runs executes them again."""


def begin_drain() -> list[str]:
    """Take no run and begin no step in this process from now on; return the steps in flight."""
    stop_taking()
    return steps_in_flight()


async def drain_runs(database: Database, executor: Executor, *, limit_s: float) -> Drained:
    """Let steps in flight finish, then hand every unfinished run of this process over, durably.

    To be cancelled while steps finish means not to wait for them; the runs are handed over all the
    same. Nothing is executed here afterwards.
    Raises: DatabaseError; the runs are then found by the executor's free lock.
    """
    begin_drain()
    try:
        await wait_until_quiet(limit_s)
    except asyncio.CancelledError:
        asyncio.current_task().uncancel()  # type: ignore[union-attr]
    cut = tuple(steps_in_flight())
    await stop_running()
    runs = await asyncio.to_thread(
        hand_over_own, database, executor.executor_id, application_version=executor.version
    )
    return Drained(runs, cut)
