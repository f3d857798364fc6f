"""Retry a failed run under its own ID: its failed step is executed again, and what follows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from dbos import error as dbos_error

from agent_app.database.connect import Database
from agent_app.database.history import drop_steps, has_open_intent, lock_status, read_children
from agent_app.database.read import RunRow
from agent_app.durability.history import (
    RecordedStep,
    failed_call,
    read_recorded_steps,
    steps_to_redo,
)
from agent_app.durability.joint_commit import JointCommit, joint_commit
from agent_app.durability.queues import RECOVERY_QUEUE
from agent_app.errors import RunNotRetryable
from agent_app.failover.liveness import wait_until_idle
from agent_app.failover.orphans import accept_recovered
from agent_app.operations.cancel import STOP_TIMEOUT_S
from agent_app.operations.control import Executor
from agent_app.operations.read import get_run, refuse_foreign_payloads

_FAILED = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
_STOPPED = ("CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


@dataclass(frozen=True)
class Retry:
    """What one run of the tree has to do again."""

    run_id: str
    status: str
    redone: tuple[int, ...]
    """Numbers of the steps that lose their checkpoints; may be empty."""
    last_step: int


def retry_run(database: Database, run_id: str, executor: Executor) -> tuple[Retry, ...]:
    """Let a failed run go on here from its failed step, and return what is done again, per run.

    Durable, all at once. Its own failed step first, then those of the child runs that it failed
    with. The step has all its tries again, and an external call that failed is made again.
    Raises: RunNotFound; PayloadRefused; RunNotRetryable (it has not failed, or is of another
    application version, or something of it still executes). Blocks the calling thread.
    """
    run = get_run(database, run_id)
    if run.status not in _FAILED:
        raise RunNotRetryable(run_id, _why_not(run))
    retries = tuple(_plan(database, run, executor))
    busy = wait_until_idle(database, [retry.run_id for retry in retries], timeout_s=STOP_TIMEOUT_S)
    for step in busy:
        raise RunNotRetryable(
            run_id, f"a living process still executes step {step.step_number} of {step.run_id!r}"
        )
    with joint_commit(database) as commit:
        for retry in retries:
            _apply(commit, run_id, retry)
    accept_recovered()
    return retries


def _why_not(run: RunRow) -> str:
    if run.status == "CANCELLED":
        return f"it is CANCELLED; `agent-app resume {run.run_id}` goes on"
    return f"it is {run.status}, and only a run that failed is"


def _plan(database: Database, run: RunRow, executor: Executor) -> list[Retry]:
    """Return the run's own part, then those of the children that it failed with."""
    if run.application_version != executor.version:
        raise RunNotRetryable(
            run.run_id, f"it belongs to application version {run.application_version!r}"
        )
    refuse_foreign_payloads([run])
    steps = read_recorded_steps(database, run.run_id)
    redone = _redone(database, run, steps)
    numbers = tuple(step.step_number for step in redone)
    last_step = max((step.step_number for step in steps), default=0)
    retries = [Retry(run.run_id, run.status, numbers, last_step)]
    for child_id in _failed_children(database, run, redone):
        retries += _plan(database, get_run(database, child_id), executor)
    return retries


def _redone(database: Database, run: RunRow, steps: Sequence[RecordedStep]) -> list[RecordedStep]:
    if run.status != "ERROR":
        return []  # it was stopped, and goes on where it stood
    call = failed_call(database, run.run_id)
    redone = steps_to_redo(steps, call)
    if not any(step.error is not None for step in redone) and (
        call is not None or has_open_intent(database, run.run_id)
    ):
        return []
    return redone


def _failed_children(database: Database, run: RunRow, redone: Sequence[RecordedStep]) -> list[str]:
    """Return the children of these steps that have failed or were stopped."""
    statuses = read_children(database, run.run_id)
    if run.status != "ERROR":  # the step that waited for them has no checkpoint
        return [child_id for child_id, status in statuses.items() if status == run.status]
    return [
        child_id
        for child_id, status in statuses.items()
        if status in ("ERROR", *_STOPPED)
        and any(step.has_child(run.run_id, child_id) for step in redone)
    ]


def _apply(commit: JointCommit, root_id: str, retry: Retry) -> None:
    if lock_status(commit, retry.run_id) != retry.status:
        raise RunNotRetryable(root_id, "somebody else goes on with it at this moment")
    if retry.status in _STOPPED:
        commit.client.resume_workflows([retry.run_id], queue_name=RECOVERY_QUEUE)
        return
    drop_steps(commit, retry.run_id, retry.redone)
    try:
        commit.client.rewind_workflow(
            retry.run_id, start_step=retry.last_step + 1, queue_name=RECOVERY_QUEUE
        )
    except dbos_error.DBOSException as error:
        raise RunNotRetryable(root_id, str(error).rstrip(".")) from error
