"""One agent calls another: the call is one step, the other's work is a child run of its own."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from dbos import DBOS, SetWorkflowAttributes, SetWorkflowID, WorkflowHandleAsync
from dbos import error as dbos_error
from dbos._core import WorkflowHandleAsyncPolling
from pydantic import TypeAdapter
from pydantic_ai import Agent
from pydantic_ai.usage import RunUsage

from agent_app.durability.catalog import Runnable, catalog
from agent_app.durability.identity import digest
from agent_app.durability.outage import stopped_without_database
from agent_app.durability.policy import StepPolicy
from agent_app.durability.queues import listen_to
from agent_app.durability.runtime import workflow_of
from agent_app.durability.scope import RunScope, StepScope, current_run, current_step
from agent_app.durability.step import StepCall, execute_step
from agent_app.errors import DelegateMisused, ReplayDiverged, RunCancelled, RunFailed

PARENT = "parent_run_id"
"""Attribute of a child run; DBOS records no parent for a run that a step starts."""

_USAGE: TypeAdapter[RunUsage] = TypeAdapter(RunUsage)
_ONE_LONG_TRY = StepPolicy(max_attempts=1, timeout_s=None)
_POLL_S = 0.1
"""Seconds between two looks for the outcome of a child that another process may execute."""


@dataclass(frozen=True)
class _Child:
    """A run that is to be started for another one."""

    runnable: Runnable
    request: dict[str, Any]
    queue: str | None = None


async def delegate(agent: Agent[Any, Any] | str, input: Any, *, queue: str | None = None) -> Any:
    """Run another durable agent or workflow as a child run and return its validated output.

    Durable: the child's ID comes from this run's and the tool call's, so a recovery attaches to the
    child that is there instead of starting a second one. What it spends counts for the caller,
    cancelling the caller cancels it, and its error arrives here as what it is. With `queue`,
    the stored name of one without keys, it waits there for a free place, and any process that
    listens executes it; else it starts at once.
    Raises: DelegateMisused (called outside a run); InputInvalid; RunCancelled; the child's error.
    """
    run, step = current_run(), current_step()
    if run is None:
        raise DelegateMisused(
            "`delegate` was called outside a run; start one with `agent-app run`."
        )
    runnable = catalog().find(agent if isinstance(agent, str) else agent.name or "")
    request = {"input": runnable.parse(_plain(input), run.models), "models": run.models}
    if run.instructions:
        request["instructions"] = run.instructions
    if run.chaos is not None:
        request["chaos"] = run.chaos.as_json()
    if step is not None:
        output = await _run_child(_Child(runnable, request, queue), run, step)
        return runnable.output_type.validate_python(output)
    return await _delegate_from_workflow(_Child(runnable, request, queue), run)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _child_id(run: RunScope, step: StepScope) -> str:
    """Return `{run}:{tool call}`; a second child of one tool call gets `:2`."""
    number = next(step.child_numbers)
    base = f"{run.run_id}:{step.call_key or step.step_number}"
    return base if number == 1 else f"{base}:{number}"


async def _delegate_from_workflow(child: _Child, run: RunScope) -> Any:
    """Make the call a step; its number is drawn before any await, so `gather` keeps order."""
    runnable, request = child.runnable, child.request
    call = StepCall(
        name=f"{run.agent}.delegate.{runnable.name}",
        of=f"delegate {runnable.name} {digest(request['input'])}",
        policy=_ONE_LONG_TRY,
        subject=request["input"],
        reservation=DBOS.reserve_step(),
    )

    async def body() -> Any:
        step = current_step()
        assert step is not None
        return await _run_child(child, run, step)

    output, usage = await execute_step(call, body)
    if usage is not None:
        run.usage.incr(usage)
    return runnable.output_type.validate_python(output)


async def _run_child(child: _Child, run: RunScope, step: StepScope) -> Any:
    """Start the child, or attach to it, and return its output; what it spent is the step's."""
    child_id = _child_id(run, step)
    # DBOS starts no workflow inside a step; in a context of its own the step is not seen.
    work = _start_and_wait(child, child_id, run, step)
    task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
    try:
        with _unlimited(step):
            async with _cancelled_with(run.run_id, child_id):
                with stopped_without_database(run):
                    record = await task
    except dbos_error.DBOSAwaitedWorkflowCancelledError as error:
        raise RunCancelled(child_id) from error
    except dbos_error.DBOSAwaitedWorkflowMaxRecoveryAttemptsExceeded as error:
        raise RunFailed(child_id, "it was recovered too often and given up.") from error
    step.child_usage[child_id] = _USAGE.validate_python(record["usage"])
    return record["output"]


async def _start_and_wait(child: _Child, child_id: str, run: RunScope, step: StepScope) -> Any:
    with SetWorkflowID(child_id), SetWorkflowAttributes({PARENT: run.run_id}):
        handle = await _start(child)
    if isinstance(handle, WorkflowHandleAsyncPolling):
        await _compare(child, handle, step)
    return await handle.get_result(polling_interval_sec=_POLL_S)


async def _start(child: _Child) -> WorkflowHandleAsync[Any]:
    workflow = workflow_of(child.runnable)
    if child.queue is None:
        return await DBOS.start_workflow_async(workflow, child.request)
    listen_to(child.queue)
    return await DBOS.enqueue_workflow_async(child.queue, workflow, child.request)


async def _compare(child: _Child, handle: WorkflowHandleAsyncPolling[Any], step: StepScope) -> None:
    """Refuse a child that was there and is another one: delegates of one call changed places."""
    there = await handle.get_status()
    recorded = there.input["args"][0] if there.input else None
    if there.name != child.runnable.name or recorded != child.request:
        raise ReplayDiverged(
            step.name,
            f"delegate {there.name} {digest(recorded)}",
            f"delegate {child.runnable.name} {digest(child.request)}",
        )


@contextmanager
def _unlimited(step: StepScope) -> Iterator[None]:
    """Stop the clock of the step's time limit: the child's own steps have limits of their own."""
    limit, now = step.limit, asyncio.get_running_loop().time
    step.stop_limit(now())
    try:
        yield
    finally:
        if limit is step.limit:  # else of a try that is over
            step.go_on_with_limit(now())


@asynccontextmanager
async def _cancelled_with(run_id: str, child_id: str) -> AsyncIterator[None]:
    """Cancel the child when its parent was cancelled; where a process merely ends, leave it."""
    try:
        yield
    except asyncio.CancelledError:
        own = contextvars.Context()
        status = await asyncio.to_thread(own.run, DBOS.get_workflow_status, run_id)
        if status is not None and status.status == "CANCELLED":
            await asyncio.to_thread(own.run, DBOS.cancel_workflow, child_id)
        raise
