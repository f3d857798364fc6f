"""Say whether this process lives, and whether it takes runs: what probes ask."""

import asyncio
from collections.abc import Callable, Mapping

from agent_app.database.connect import Database
from agent_app.database.health import holds_lock
from agent_app.durability.drain import is_draining
from agent_app.errors import DatabaseError
from agent_app.operations.control import Executor

Check = Callable[[], list[str]]
"""Returns why not; empty where all is well. May block for some seconds."""
_ANSWER_S = 2.0
"""Seconds that the event loop has to answer."""


def executor_checks(
    database: Database, executor: Executor, loop: asyncio.AbstractEventLoop
) -> Mapping[str, Check]:
    """Return the checks by the path under which they are asked for, from any thread but the loop's.

    `/healthz` asks nothing of the database: a restart of the process would not bring it back.
    """
    return {
        "/healthz": lambda: _reasons_not_alive(loop),
        "/readyz": lambda: [
            *_reasons_not_alive(loop),
            *_reasons_not_ready(database, executor.executor_id),
        ],
    }


def _reasons_not_alive(loop: asyncio.AbstractEventLoop) -> list[str]:
    answer = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop)
    try:
        answer.result(_ANSWER_S)
    except TimeoutError:
        answer.cancel()
        return [f"the event loop did not answer within {_ANSWER_S:g} s"]
    return []


def _reasons_not_ready(database: Database, executor_id: str) -> list[str]:
    if is_draining():
        return ["it drains, and takes no runs any more"]
    try:
        if not holds_lock(database, executor_id):
            return ["it has lost its executor's lock, and takes it again"]
    except (DatabaseError, TimeoutError) as error:
        return [str(error)]
    return []
