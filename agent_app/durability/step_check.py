"""What comes before a step's body: its checkpoint if there is one, and whether the run is ours.

DBOS 3.4 asks for status and checkpoint in two statements of one transaction, and does not ask who
owns the run: a process that was stopped and taken over would start one more body. Ours asks for all
of it, and for what an earlier life left of the step, in one statement and one round trip.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from dbos import _core as dbos_core
from dbos import error as dbos_error
from dbos._context import current_owner_xid
from dbos._dbos import _get_dbos_instance
from dbos._sys_db import RecordedResult, SystemDatabase, db_retry
from sqlalchemy.exc import ProgrammingError

from agent_app.database.step_state import STEP_STATE, StepState

_logger = logging.getLogger(__name__)
_VALID_S = 0.5
"""Seconds that an answer is good for: a lock that a lost connection frees is found as fast."""
_CANCELLATION_POLL_S = 0.5
"""DBOS looks once a second for runs that were cancelled, and we promise to stop within one."""
_asking: ContextVar[StepState | None] = ContextVar("agent_app_asking", default=None)
_own_check = SystemDatabase.check_operation_execution


def install_step_check() -> None:
    """Put our check in the place of DBOS's, for every launch of this process; idempotent."""

    def check(
        self: SystemDatabase,
        workflow_id: str,
        function_id: int,
        function_name: str,
        *,
        owner_key: str | None = None,
    ) -> RecordedResult | None:
        return look_up(self, workflow_id, function_id, function_name, owner_key=owner_key)

    setattr(SystemDatabase, "check_operation_execution", check)  # noqa: B010 - it is private
    setattr(dbos_core, "_PREEMPTIBLE_POLL_INTERVAL_SEC", _CANCELLATION_POLL_S)  # noqa: B010


@contextmanager
def asking_into(state: StepState) -> Iterator[None]:
    """Make the checks of the block fill `state`."""
    token = _asking.set(state)
    try:
        yield
    finally:
        _asking.reset(token)


def look_up(
    system_database: SystemDatabase,
    run_id: str,
    step_number: int,
    step_name: str,
    *,
    owner_key: str | None = None,
) -> RecordedResult | None:
    """Return the step's checkpoint, None where its body is to be executed here.

    Raises: DBOSWorkflowConflictIDError (another executor owns the run); DBOSWorkflowCancelledError;
    DBOSUnexpectedStepError (the checkpoint has another name).
    """
    state = _asking.get()
    if state is None:
        return _own_check(system_database, run_id, step_number, step_name, owner_key=owner_key)
    try:
        row, asked_at = _ask(system_database, run_id, step_number)
    except ProgrammingError as error:
        # Without our tables a step is checked as DBOS does it: theirs are what durability needs.
        _logger.warning("Attempts and limits cannot be read: %s", error.orig)
        return _own_check(system_database, run_id, step_number, step_name, owner_key=owner_key)
    if not row["is_complete"]:
        state.take(row, asked_at)
    return _judge(row, run_id, step_number, step_name)


async def confirm(run_id: str, step_number: int, step_name: str, state: StepState) -> None:
    """Ask again where the answer has become old, since a run may change hands in a moment.

    Raises: what `look_up` raises.
    """
    if now() - state.asked_at < _VALID_S:
        return
    system_database = _get_dbos_instance()._sys_db
    with asking_into(state):
        await asyncio.to_thread(look_up, system_database, run_id, step_number, step_name)


def now() -> float:
    """Return seconds of a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@db_retry()
def _ask(
    system_database: SystemDatabase, run_id: str, step_number: int
) -> tuple[dict[str, Any], float]:
    """Return one row and when it was asked for; wait for a lost database as DBOS does."""
    parameters = {"run_id": run_id, "step_number": step_number}
    engine = system_database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        asked_at = now()
        found = connection.exec_driver_sql(STEP_STATE, parameters).mappings().first()
    assert found is not None, f"run {run_id!r} is executed and has no row"
    return dict(found), asked_at


def _judge(
    row: dict[str, Any], run_id: str, step_number: int, step_name: str
) -> RecordedResult | None:
    if row["status"] == "CANCELLED":
        raise dbos_error.DBOSWorkflowCancelledError(f"Run {run_id} is cancelled.")
    owner = current_owner_xid(run_id)
    if owner is not None and row["owner_xid"] != owner:
        raise dbos_error.DBOSWorkflowConflictIDError(run_id)
    if not row["is_complete"]:
        return None
    if row["function_name"] != step_name:
        raise dbos_error.DBOSUnexpectedStepError(
            run_id, step_number, step_name, row["function_name"]
        )
    return {
        "output": row["output"],
        "error": row["error"],
        "serialization": row["serialization"],
        "child_workflow_id": row["child_workflow_id"],
        "child_shard_key": None,
    }
