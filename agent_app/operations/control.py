"""Go on with runs that were left behind, and decide what such a run waits for."""

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass

from dbos import DBOS

from agent_app.database.connect import Database
from agent_app.database.intent import Decision, decide_intent
from agent_app.database.queue import move_waiting, read_queues_of, read_waiting
from agent_app.database.read import RunRow, read_descendants, read_run
from agent_app.durability.queues import RECOVERY_QUEUE, workers_queue
from agent_app.durability.runtime import running_ids
from agent_app.errors import (
    DecisionInvalid,
    PayloadRefused,
    RunNotFound,
    RunNotResumable,
    StepNotUndecided,
)
from agent_app.failover.liveness import wait_until_idle
from agent_app.failover.orphans import Recovery, accept_recovered, recover_orphans
from agent_app.operations.cancel import STOP_TIMEOUT_S, UNFINISHED, cancel_run, with_status
from agent_app.operations.read import refuse_foreign_payloads

__all__ = [
    "Executor",
    "cancel_run",
    "choose_decision",
    "executed_roots",
    "queues_waited_in",
    "recover_all",
    "recover_run",
    "resolve_call",
    "resume_run",
    "waiting_roots",
]


@dataclass(frozen=True)
class Executor:
    """Who goes on: this process."""

    executor_id: str
    """New at every boot: two processes under one ID would recover each other's living runs."""
    version: str
    """The application version; recovery stays within it."""


def resolve_call(
    database: Database, run_id: str, step_number: int, decision: Decision, value: str | None
) -> str:
    """Decide what became of an external call that nobody knows of, and return its step's name.

    Durable; whoever executes the run goes on within a second. `value` is the call's result as JSON
    for `done`, a reason or None for `fail`.
    Raises: RunNotFound; StepNotUndecided; DecisionInvalid (no JSON).
    """
    if decision == "done":
        value = _valid_json(value or "")
    if read_run(database, run_id) is None:
        raise RunNotFound(run_id)
    step_name = None
    if 0 < step_number < 2**31:  # a larger one fits into no column
        step_name = decide_intent(database, run_id, step_number, decision, value)
    if step_name is None:
        raise StepNotUndecided(run_id, step_number)
    return step_name


def choose_decision(
    done: str | None, *, is_retry: bool, is_failure: bool, reason: str | None
) -> tuple[Decision, str | None]:
    """Return the one thing that a person decided, and its value.

    Raises: DecisionInvalid (none, several, or a reason for what is no failure).
    """
    chosen: list[tuple[Decision, str | None]] = []
    if done is not None:
        chosen.append(("done", done))
    if is_retry:
        chosen.append(("retry", None))
    if is_failure:
        chosen.append(("fail", reason))
    if len(chosen) != 1:
        raise DecisionInvalid("One of --done JSON, --retry and --fail was expected.")
    if reason is not None and not is_failure:
        raise DecisionInvalid("--reason says why a call counts as failed; --fail is missing.")
    return chosen[0]


def _valid_json(text: str) -> str:
    """Return the text in the form that is stored; NaN, which JSON has no word for, is refused."""
    try:
        return json.dumps(json.loads(text), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise DecisionInvalid(
            f"--done {text[:80]!r} is not JSON: {error}. Text needs quotation marks: "
            "--done '\"sent\"'."
        ) from error


def recover_all(database: Database, executor: Executor) -> Recovery:
    """Hand every run of a dead executor to this process's queue; at once, harmless to repeat."""
    return recover_orphans(
        database,
        own_executor_id=executor.executor_id,
        application_version=executor.version,
    )


async def resume_run(database: Database, run_id: str, executor: Executor) -> None:
    """Go on with one run and the children that it waits for, from their last checkpoints.

    Raises: RunNotFound; PayloadRefused; RunNotResumable (finished, or executed by somebody else).
    """
    run = read_run(database, run_id)
    if run is None:
        raise RunNotFound(run_id)
    if run.status in ("SUCCESS", "ERROR"):
        raise RunNotResumable(run_id, f"it has ended with {run.status}")
    if run.application_version != executor.version:
        raise RunNotResumable(
            run_id, f"it belongs to application version {run.application_version!r}"
        )
    refuse_foreign_payloads([run])
    if run.status in UNFINISHED:  # an enqueued run may wait for children whose executor died
        _refuse_held(run_id, recover_run(database, run_id, executor))
        # Its own queue may be served by nobody, and its place there is not for us to wait for.
        move_waiting(database, [run_id], RECOVERY_QUEUE)
        accept_recovered()
    else:
        stopped = [run_id, *with_status(database, run_id, (run.status,))]
        await _refuse_busy(database, stopped)
        await DBOS.resume_workflows_async(stopped, queue_name=RECOVERY_QUEUE)
        accept_recovered()


def recover_run(database: Database, run_id: str, executor: Executor) -> Recovery:
    """Hand the run and its children to the queue where their executors died; idempotent."""
    return recover_orphans(
        database,
        own_executor_id=executor.executor_id,
        application_version=executor.version,
        run_ids=[run_id, *read_descendants(database, run_id)],
    )


def _refuse_held(run_id: str, recovery: Recovery) -> None:
    for refused_id, tag in recovery.refused:
        if refused_id == run_id:
            raise PayloadRefused(tag)
    if run_id in recovery.held:
        raise RunNotResumable(run_id, "a living process executes it")


async def _refuse_busy(database: Database, stopped: list[str]) -> None:
    """Wait for bodies that a cancelled run still executes: going on would start them once more."""
    for step in await asyncio.to_thread(
        wait_until_idle, database, stopped, timeout_s=STOP_TIMEOUT_S
    ):
        raise RunNotResumable(
            stopped[0],
            f"a living process still executes step {step.step_number} of {step.run_id!r}",
        )


def waiting_roots(database: Database, recovery: Recovery, executor: Executor) -> list[RunRow]:
    """Return the runs that this process executes next, oldest first, without their children.

    These are the recovered ones, some of which may have ended by now, and those that an earlier
    recovery queued before it died itself; not those that have gone back to a queue of their own.
    """
    run_ids = [*recovery.recovered, *read_waiting(database, RECOVERY_QUEUE, executor.version)]
    queues = read_queues_of(database, run_ids)
    rows = {
        run_id: row
        for run_id in run_ids
        if queues.get(run_id) in (RECOVERY_QUEUE, None)
        and (row := read_run(database, run_id)) is not None
        # An error of a run that has not ended is the view's word for values that are not ours.
        and (row.error is None or row.status not in UNFINISHED)
    }
    roots = (row for row in rows.values() if not _is_below(database, row, rows))
    return sorted(roots, key=lambda row: row.created_at)


def _is_below(database: Database, row: RunRow, run_ids: Collection[str]) -> bool:
    """Say whether one of the runs waits for this one; those in between may be taken already."""
    parent_id = row.parent_run_id
    while parent_id is not None and parent_id not in run_ids:
        parent = read_run(database, parent_id)
        parent_id = parent.parent_run_id if parent else None
    return parent_id is not None


def queues_waited_in(database: Database, run_ids: Collection[str]) -> dict[str, str]:
    """Return the queues in which these runs wait for a worker, by run ID; no others have a key."""
    if not run_ids:
        return {}
    return {
        run_id: queue
        for run_id, stored in read_queues_of(database, run_ids, is_waiting=True).items()
        if (queue := workers_queue(stored)) is not None
    }


def executed_roots(database: Database) -> list[RunRow]:
    """Return the unfinished runs that this process executes, without the children of such runs.

    A body goes on for a moment when its run has been cancelled, or was finished by somebody else.
    """
    rows = {
        row.run_id: row
        for run_id in running_ids()
        if (row := read_run(database, run_id)) is not None and row.status in UNFINISHED
    }
    return [row for row in rows.values() if row.parent_run_id not in rows]
