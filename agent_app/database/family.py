"""What happens in a run and in the runs below it, as a reader sees it who looks again and again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent_app.database.connect import Database

StepKey = tuple[str, int]
TryKey = tuple[str, int, int]


@dataclass(frozen=True)
class Member:
    """One run of the family."""

    run_id: str
    agent: str
    status: str
    error: str | None
    executor_id: str | None
    is_executed: bool
    """Its executor gives signs of life."""


@dataclass(frozen=True)
class FinishedStep:
    """A step that has its checkpoint."""

    run_id: str
    step_number: int
    name: str
    duration_ms: int | None
    error: str | None
    finished_at: datetime | None


@dataclass(frozen=True)
class FailedTry:
    """A try that failed; another one follows where `retry_at` is set."""

    run_id: str
    step_number: int
    attempt_number: int
    step_name: str
    outcome: str
    error: str | None
    """`Class: message`."""
    finished_at: datetime | None
    retry_at: datetime | None


@dataclass(frozen=True)
class Question:
    """An external call of which nobody knows whether it was made."""

    run_id: str
    step_number: int
    step_name: str
    arguments: Any
    unknown_since: datetime


@dataclass(frozen=True)
class Family:
    """One look: all members and open questions, and the steps and tries that have a key."""

    members: list[Member]
    steps: list[StepKey]
    tries: list[TryKey]
    questions: list[Question]


def read_family(database: Database, run_ids: Sequence[str]) -> Family:
    """Return what there is of these runs; steps and failed tries as keys only.

    Members come in the order of `run_ids`.
    """
    values = {"run_ids": list(run_ids)}
    with database.connect(read_only=True) as connection:
        members = connection.execute(_MEMBERS, values).fetchall()
        steps = connection.execute(_STEPS, values).fetchall()
        tries = connection.execute(_TRIES, values).fetchall()
        questions = connection.execute(_QUESTIONS, values).fetchall()
    return Family(
        [Member(**row) for row in members],
        [(row["run_id"], row["step_number"]) for row in steps],
        [(row["run_id"], row["step_number"], row["attempt_number"]) for row in tries],
        [Question(**row) for row in questions],
    )


_MEMBERS = """
select run_id, agent, status, error, executor_id, coalesce(
    agent_app.executor_key(executor_id) in (select key from agent_app.executor_lock), false
) as is_executed
from agent_app.run where run_id = any(%(run_ids)s)
order by array_position(%(run_ids)s::text[], run_id)
"""
_STEPS = """
select workflow_uuid as run_id, function_id as step_number from dbos.operation_outputs
where workflow_uuid = any(%(run_ids)s)
"""
_TRIES = """
select run_id, step_number, attempt_number from agent_app.attempt
where run_id = any(%(run_ids)s) and outcome in ('error', 'lost', 'unknown')
"""
_QUESTIONS = """
select run_id, step_number, step_name, arguments, unknown_since from agent_app.undecided_call
where run_id = any(%(run_ids)s)
"""


def read_finished_steps(database: Database, keys: Collection[StepKey]) -> list[FinishedStep]:
    """Return these steps, the first that ended first."""
    query = """
        select run_id, step_number, name, duration_ms, error, finished_at
        from unnest(%(run_ids)s::text[], %(numbers)s::integer[]) as wanted(run_id, step_number)
        join agent_app.step using (run_id, step_number)
        order by finished_at, run_id, step_number
    """
    values = {"run_ids": [key[0] for key in keys], "numbers": [key[1] for key in keys]}
    with database.connect(read_only=True) as connection:
        return [FinishedStep(**row) for row in connection.execute(query, values).fetchall()]


def read_failed_tries(database: Database, keys: Collection[TryKey]) -> list[FailedTry]:
    """Return these tries, the first that ended first."""
    query = """
        select run_id, step_number, attempt_number, step_name, outcome,
            nullif(concat_ws(': ', error_type, error_message), '') as error, finished_at, retry_at
        from unnest(%(run_ids)s::text[], %(numbers)s::integer[], %(attempts)s::integer[])
            as wanted(run_id, step_number, attempt_number)
        join agent_app.attempt using (run_id, step_number, attempt_number)
        order by finished_at, run_id, step_number, attempt_number
    """
    values = {
        "run_ids": [key[0] for key in keys],
        "numbers": [key[1] for key in keys],
        "attempts": [key[2] for key in keys],
    }
    with database.connect(read_only=True) as connection:
        return [FailedTry(**row) for row in connection.execute(query, values).fetchall()]


def read_record(database: Database, run_id: str) -> dict[str, Any] | None:
    """Return what a run that succeeded has left: `output`, `usage`, `cost_usd`; else None."""
    query = """
        select agent_app.as_json(coalesce(output.output, status.output), status.serialization)
            as record
        from dbos.workflow_status as status
        left join dbos.workflow_output as output using (workflow_uuid)
        where status.workflow_uuid = %(run_id)s and status.status = 'SUCCESS'
    """
    with database.connect(read_only=True) as connection:
        row = connection.execute(query, {"run_id": run_id}).fetchone()
    record = row["record"] if row else None
    return record if isinstance(record, dict) else None
