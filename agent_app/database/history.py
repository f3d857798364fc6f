"""What a run has behind it, as DBOS stores it, and statements that change it for a fork or a retry.

The payloads come as text with the name of the serializer that wrote them: nothing is decoded here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, Protocol

from agent_app.database.connect import Database


class Statements(Protocol):
    """An open transaction."""

    def execute(self, query: LiteralString, values: dict[str, object]) -> list[dict[str, Any]]:
        """Execute one statement and return its rows."""


@dataclass(frozen=True)
class StoredStep:
    """One row of `dbos.operation_outputs` (DBOS 3.4); moments are epoch milliseconds."""

    step_number: int
    name: str
    output: str | None
    error: str | None
    serialization: str | None
    started_ms: int | None
    finished_ms: int | None


@dataclass(frozen=True)
class StoredRun:
    """The payloads of one run."""

    inputs: str | None
    error: str | None


def read_stored_run(database: Database, run_id: str) -> StoredRun:
    """Return the payloads of a run that exists."""
    query = """
        select coalesce(input.inputs, status.inputs) as inputs,
            coalesce(output.error, status.error) as error
        from dbos.workflow_status as status
        left join dbos.workflow_input as input using (workflow_uuid)
        left join dbos.workflow_output as output using (workflow_uuid)
        where status.workflow_uuid = %(run_id)s
    """
    with database.connect(read_only=True) as connection:
        rows = connection.execute(query, {"run_id": run_id}).fetchall()
    return StoredRun(**rows[0])


def read_stored_steps(database: Database, run_id: str) -> list[StoredStep]:
    """Return the steps that have a checkpoint, in the order of their numbers."""
    query = """
        select function_id as step_number, function_name as name, output, error, serialization,
            started_at_epoch_ms as started_ms, completed_at_epoch_ms as finished_ms
        from dbos.operation_outputs where workflow_uuid = %(run_id)s order by function_id
    """
    with database.connect(read_only=True) as connection:
        rows = connection.execute(query, {"run_id": run_id}).fetchall()
    return [StoredStep(**row) for row in rows]


def read_children(database: Database, run_id: str) -> dict[str, str]:
    """Return the statuses of the runs that this one delegated to, by ID."""
    query = """
        select run_id, status from agent_app.children(%(run_id)s::text) order by created_at, run_id
    """
    with database.connect(read_only=True) as connection:
        rows = connection.execute(query, {"run_id": run_id}).fetchall()
    return {row["run_id"]: row["status"] for row in rows}


def has_open_intent(database: Database, run_id: str) -> bool:
    """Say whether an external call of the run has an intent and no checkpoint."""
    query = """
        select from agent_app.intent
        where run_id = %(run_id)s and not exists (
            select from dbos.operation_outputs
            where workflow_uuid = intent.run_id and function_id = intent.step_number)
        limit 1
    """
    with database.connect(read_only=True) as connection:
        return connection.execute(query, {"run_id": run_id}).fetchone() is not None


def lock_status(commit: Statements, run_id: str) -> str | None:
    """Return the run's status, which cannot change until the end of the transaction."""
    query: LiteralString = """
        select status from dbos.workflow_status where workflow_uuid = %(run_id)s for update
    """
    rows = commit.execute(query, {"run_id": run_id})
    return rows[0]["status"] if rows else None


def write_request(commit: Statements, run_id: str, inputs: str) -> None:
    """Replace what the run was started with."""
    query: LiteralString = """
        update dbos.workflow_input set inputs = %(inputs)s where workflow_uuid = %(run_id)s
    """
    commit.execute(query, {"run_id": run_id, "inputs": inputs})


def write_result(commit: Statements, run_id: str, step_number: int, output: str) -> None:
    """Replace what a step's checkpoint holds."""
    query: LiteralString = """
        update dbos.operation_outputs set output = %(output)s, error = null
        where workflow_uuid = %(run_id)s and function_id = %(step_number)s
    """
    commit.execute(query, {"run_id": run_id, "step_number": step_number, "output": output})


def drop_steps(commit: Statements, run_id: str, step_numbers: Sequence[int]) -> None:
    """Forget checkpoints and intents of these steps; their tries so far count no longer.

    What a transactional tool has committed stays: it is the result of its next try.
    """
    values: dict[str, object] = {"run_id": run_id, "numbers": list(step_numbers)}
    checkpoints: LiteralString = """
        delete from dbos.operation_outputs
        where workflow_uuid = %(run_id)s and function_id = any(%(numbers)s)
    """
    intents: LiteralString = """
        delete from agent_app.intent
        where run_id = %(run_id)s and step_number = any(%(numbers)s)
    """
    attempts: LiteralString = """
        update agent_app.attempt set retried_at = clock_timestamp()
        where run_id = %(run_id)s and step_number = any(%(numbers)s) and retried_at is null
    """
    for query in (checkpoints, intents, attempts):
        commit.execute(query, values)


def drop_runs(commit: Statements, run_ids: Sequence[str]) -> None:
    """Delete our own rows of these runs."""
    for query in _DROP_RUNS:
        commit.execute(query, {"run_ids": list(run_ids)})


_DROP_RUNS: tuple[LiteralString, ...] = (
    "delete from agent_app.attempt where run_id = any(%(run_ids)s)",
    "delete from agent_app.intent where run_id = any(%(run_ids)s)",
    "delete from agent_app.committed_call where run_id = any(%(run_ids)s)",
    "delete from agent_app.run_source where run_id = any(%(run_ids)s)",
)


def copy_sources(commit: Statements, run_id: str, new_run_id: str) -> None:
    """Let a copy of a run have the sources that the run has."""
    query: LiteralString = """
        insert into agent_app.run_source (run_id, source_id)
        select %(new_run_id)s, source_id from agent_app.run_source where run_id = %(run_id)s
        on conflict do nothing
    """
    commit.execute(query, {"run_id": run_id, "new_run_id": new_run_id})


def drop_attributes(commit: Statements, run_id: str, keys: Sequence[str]) -> None:
    """Remove labels from a run."""
    query: LiteralString = """
        update dbos.workflow_status set attributes = attributes - %(keys)s::text[]
        where workflow_uuid = %(run_id)s and jsonb_typeof(attributes) = 'object'
    """
    commit.execute(query, {"run_id": run_id, "keys": list(keys)})
