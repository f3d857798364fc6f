"""Runs with all of their checkpoints, each as one statement sees it: it may go on meanwhile.

Only DBOS's tables and functions of ours that never change are asked, so that a build that is to be
deployed can read a database which it has not migrated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg import errors
from psycopg.rows import DictRow

from agent_app.database.connect import Database
from agent_app.database.history import StoredStep
from agent_app.database.read import as_text


@dataclass(frozen=True)
class Recording:
    """What DBOS 3.4 has stored of one run; the payloads are text and are not decoded."""

    run_id: str
    agent: str
    status: str
    application_version: str | None
    serialization: str | None
    inputs: str | None
    output: str | None
    error: str | None
    steps: tuple[StoredStep, ...]
    """In the order of their numbers."""

    @property
    def is_finished(self) -> bool:
        """Say whether the run has ended by itself, with an outcome."""
        return self.status in ("SUCCESS", "ERROR")


def read_recording(database: Database, run_id: str) -> Recording | None:
    """Return the run as it stands at this moment, None where there is none of this ID."""
    query: LiteralString = """
        select status.workflow_uuid as run_id, status.name as agent, status.status,
            status.application_version, status.serialization,
            coalesce(input.inputs, status.inputs) as inputs,
            coalesce(output.output, status.output) as output,
            coalesce(output.error, status.error) as error,
            (
                select coalesce(json_agg(step order by step.step_number), '[]')
                from (
                    select function_id as step_number, function_name as name, output, error,
                        serialization, started_at_epoch_ms as started_ms,
                        completed_at_epoch_ms as finished_ms
                    from dbos.operation_outputs
                    where workflow_uuid = status.workflow_uuid
                ) as step
            ) as steps
        from dbos.workflow_status as status
        left join dbos.workflow_input as input using (workflow_uuid)
        left join dbos.workflow_output as output using (workflow_uuid)
        where status.workflow_uuid = %(run_id)s and agent_app.is_run(status.name)
    """
    for row in _ask(database, query, run_id=run_id):
        steps = tuple(StoredStep(**step) for step in row.pop("steps"))
        return Recording(**row, steps=steps)
    return None


def find_recorded(
    database: Database,
    *,
    agent: str | None = None,
    status: str | None = None,
    created_after: datetime | None = None,
    limit: int,
) -> list[str]:
    """Return the IDs of the newest runs first; what is None excludes nothing."""
    query: LiteralString = """
        select workflow_uuid as run_id from dbos.workflow_status
        where agent_app.is_run(name)
            and (%(agent)s::text is null or name = %(agent)s)
            and (%(status)s::text is null or status = %(status)s)
            and (%(created_after)s::timestamptz is null
                or to_timestamp(created_at / 1000.0) >= %(created_after)s)
        order by created_at desc, workflow_uuid desc
        limit %(limit)s
    """
    values = {"agent": agent, "status": status, "created_after": created_after, "limit": limit}
    return [row["run_id"] for row in _ask(database, query, **values)]


def _ask(database: Database, query: LiteralString, **values: object) -> Sequence[DictRow]:
    """Return the rows; none where the database has no schema yet."""
    texts = {name: as_text(value) for name, value in values.items()}
    with database.connect(read_only=True) as connection:
        try:
            return connection.execute(query, texts).fetchall()
        except (errors.UndefinedTable, errors.UndefinedFunction, errors.InvalidSchemaName):
            return ()
