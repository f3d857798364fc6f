"""Fork a run: a copy under a new ID that keeps the steps before N and executes the rest anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dbos import SetWorkflowID
from sqlalchemy.exc import IntegrityError

from agent_app.database.connect import Database
from agent_app.database.history import (
    copy_sources,
    drop_attributes,
    read_stored_run,
    write_request,
    write_result,
)
from agent_app.database.read import RunRow, read_run
from agent_app.durability.catalog import Catalog
from agent_app.durability.history import RecordedStep, read_recorded_steps
from agent_app.durability.joint_commit import JointCommit, joint_commit
from agent_app.durability.queues import RECOVERY_QUEUE
from agent_app.durability.runtime import Request
from agent_app.durability.serializer import Checkpoint, JsonSerializer
from agent_app.errors import PayloadRefused, RunNotForkable
from agent_app.failover.orphans import accept_recovered
from agent_app.operations.attributes import OURS
from agent_app.operations.cancel import UNFINISHED
from agent_app.operations.control import Executor
from agent_app.operations.read import get_run, refuse_foreign_payloads
from agent_app.operations.start import check_models, check_run_id

_JSON = JsonSerializer()


@dataclass(frozen=True)
class Fork:
    """What a person wants of a copy."""

    run_id: str
    """The run that is copied; it stays what it is."""
    new_run_id: str
    from_step: int | None = None
    """The first step that is executed anew; None for the one after the last changed result."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Model strings that change, by agent, `*` for all shipped ones; steps before N keep theirs."""
    instructions: Mapping[str, str] = field(default_factory=dict)
    """What replaces an agent's instructions, by its name."""
    results: Mapping[int, Any] = field(default_factory=dict)
    """Results of tool calls that change, as JSON, by step number; all before N."""


def fork_run(database: Database, catalog: Catalog, fork: Fork, executor: Executor) -> int:
    """Make the copy, hand it to this process's queue, and return the step that it begins at.

    Durable: it is there with all its changes, or not at all. Checkpoints before N are copied, so
    that nothing before N is executed or started again, children included.
    Raises: RunNotFound; RunNotForkable; RunIdInvalid; AgentNotFound; ConfigurationInvalid (of a
    model); InputInvalid (the new model does not take it); PayloadRefused; ValueNotStorable.
    """
    run = _find_source(database, fork, executor)
    steps = read_recorded_steps(database, run.run_id)
    start = choose_start(fork, steps)
    inputs = _change_request(database, catalog, run, fork)
    outputs = {
        step.step_number: _change_result(step, fork.results[step.step_number])
        for step in steps
        if step.step_number in fork.results
    }
    with joint_commit(database) as commit:
        _copy(commit, fork, start, executor)
        drop_attributes(commit, fork.new_run_id, list(OURS))
        copy_sources(commit, fork.run_id, fork.new_run_id)
        write_request(commit, fork.new_run_id, inputs)
        for step_number, output in outputs.items():
            write_result(commit, fork.new_run_id, step_number, output)
    accept_recovered()
    return start


def _find_source(database: Database, fork: Fork, executor: Executor) -> RunRow:
    run = get_run(database, fork.run_id)
    if run.status in UNFINISHED:
        raise RunNotForkable(
            run.run_id,
            f"is {run.status} and cannot be forked before it has ended; "
            f"`agent-app cancel {run.run_id}` stops it",
        )
    if run.application_version != executor.version:
        raise RunNotForkable(
            run.run_id,
            f"belongs to application version {run.application_version!r} and cannot be forked by "
            f"{executor.version!r}",
        )
    refuse_foreign_payloads([run])
    check_run_id(fork.new_run_id)
    if read_run(database, fork.new_run_id) is not None:
        raise _taken(fork)
    return run


def _taken(fork: Fork) -> RunNotForkable:
    return RunNotForkable(
        fork.run_id, f"cannot be forked as {fork.new_run_id!r}: that ID is taken; choose another"
    )


def choose_start(fork: Fork, steps: Sequence[RecordedStep]) -> int:
    """Return the step that the copy begins at, after checking it and the changed results.

    Raises: RunNotForkable.
    """
    if fork.from_step is None and not fork.results:
        raise RunNotForkable(
            fork.run_id, "can fork from any of its steps; --from N or --set step.K=JSON is missing"
        )
    by_number = {step.step_number: step for step in steps}
    for changed in sorted(fork.results):
        _refuse_change(fork.run_id, changed, by_number)
    start = max(fork.results, default=0) + 1 if fork.from_step is None else fork.from_step
    last = max(by_number, default=0)
    if not 1 <= start <= last + 1:
        count = "1 step" if last == 1 else f"{last} steps"
        raise RunNotForkable(fork.run_id, f"has {count}; it cannot fork from step {start}")
    for changed in sorted(fork.results):
        _refuse_late_change(fork.run_id, changed, start, steps)
    return start


def _refuse_change(run_id: str, changed: int, by_number: Mapping[int, RecordedStep]) -> None:
    step = by_number.get(changed)
    if step is None:
        raise RunNotForkable(run_id, f"has no step {changed} whose result could be set")
    if step.tool_call_id is None:
        raise RunNotForkable(
            run_id,
            f"has {step.name!r} as its step {changed}; only the result of a tool call can be set",
        )


def _refuse_late_change(
    run_id: str, changed: int, start: int, steps: Sequence[RecordedStep]
) -> None:
    if changed >= start:
        raise RunNotForkable(
            run_id,
            f"would execute step {changed} again, whose result is to be set; fork from step "
            f"{changed + 1} at least",
        )
    for step in steps:
        if changed < step.step_number < start and step.is_model_request:
            raise RunNotForkable(
                run_id,
                f"has a model request at step {step.step_number} that has seen the old result of "
                f"step {changed}; fork from step {step.step_number} at most",
            )


def _change_request(database: Database, catalog: Catalog, run: RunRow, fork: Fork) -> str:
    """Return what the copy is started with, as it is stored."""
    stored = _JSON.deserialize(read_stored_run(database, run.run_id).inputs or "null")
    try:
        request: Request = stored["args"][0]
        models = check_models(catalog, {**request["models"], **fork.models})
    except (TypeError, LookupError) as error:
        raise PayloadRefused("no request of agent_app") from error
    catalog.find(run.agent).parse(request["input"], models)
    changed = {**request, "models": models}
    if instructions := {**(request.get("instructions") or {}), **fork.instructions}:
        _check_instructed(catalog, fork)
        changed["instructions"] = instructions
    return _JSON.serialize({**stored, "args": [changed]})


def _check_instructed(catalog: Catalog, fork: Fork) -> None:
    for agent in fork.instructions:
        if catalog.find(agent).agent is None:
            raise RunNotForkable(
                fork.run_id,
                f"cannot change the instructions of {agent!r}, which is a workflow; name one of "
                "its agents",
            )


def _change_result(step: RecordedStep, result: Any) -> str:
    """Return the step's checkpoint with another result; what the call has spent stays."""
    assert step.call is not None
    usage = step.checkpoint.usage if step.checkpoint else None
    value = {"result": result, "kind": "tool_return"}
    return _JSON.serialize(Checkpoint(step.call, value, usage))


def _copy(commit: JointCommit, fork: Fork, start: int, executor: Executor) -> None:
    try:
        with SetWorkflowID(fork.new_run_id):
            commit.client.fork_workflow(
                fork.run_id,
                start,
                application_version=executor.version,
                queue_name=RECOVERY_QUEUE,
            )
    except IntegrityError as error:
        raise _taken(fork) from error
