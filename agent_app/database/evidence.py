"""What a killed run leaves in the database: checkpoints, prices, open questions, sessions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from agent_app.database.connect import Database


@dataclass(frozen=True)
class FinishedStep:
    """One step that has its checkpoint, and what its model request is known to have cost."""

    run_id: str
    step_number: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    """None where no price is known, and for what is no model request."""


@dataclass(frozen=True)
class OpenQuestion:
    """A call of which nobody knows whether it was made; the run waits for a person's answer."""

    run_id: str
    step_number: int
    step_name: str


@dataclass(frozen=True)
class Session:
    """What one client of the server did last."""

    is_at_rest: bool
    """Neither a statement nor a transaction is open; so it counts too where nobody tracks it."""
    changed_at: datetime | None


def read_finished_steps(database: Database, run_ids: Sequence[str]) -> list[FinishedStep]:
    """Return the checkpoints of these runs, by run and number.

    Tokens come from the responses in the checkpoints, prices from the attempts ledger, which a
    crash may have kept from being written.
    """
    query = """
        select step.run_id, step.step_number,
            case when step.name like '%%.model' then step.output -> 'usage' end as usage,
            (select sum(attempt.cost_usd) from agent_app.attempt
             where attempt.run_id = step.run_id and attempt.step_number = step.step_number)
                as cost_usd
        from agent_app.step where step.run_id = any(%(run_ids)s) order by 1, 2
    """
    with database.connect() as connection:
        rows = connection.execute(query, {"run_ids": list(run_ids)}).fetchall()
    return [
        FinishedStep(
            row["run_id"],
            row["step_number"],
            _tokens(row["usage"], "input_tokens"),
            _tokens(row["usage"], "output_tokens"),
            row["cost_usd"],
        )
        for row in rows
    ]


def _tokens(usage: Any, name: str) -> int:
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if isinstance(found, int) else 0


def read_open_questions(database: Database, run_ids: Sequence[str]) -> list[OpenQuestion]:
    """Return the calls of these runs that wait for a person, the oldest first."""
    query = """
        select run_id, step_number, step_name from agent_app.undecided_call
        where run_id = any(%(run_ids)s) order by unknown_since
    """
    with database.connect() as connection:
        rows = connection.execute(query, {"run_ids": list(run_ids)}).fetchall()
    return [OpenQuestion(**row) for row in rows]


def read_sessions(database: Database) -> dict[int, Session]:
    """Return our role's other sessions on this database, by the server's process IDs."""
    query = """
        select pid, coalesce(state, 'idle') = 'idle' as is_at_rest, state_change as changed_at
        from pg_stat_activity
        where datname = current_database() and usename = current_user
            and pid <> pg_backend_pid() and backend_type = 'client backend'
    """
    with database.connect() as connection:
        rows = connection.execute(query).fetchall()
    return {row["pid"]: Session(row["is_at_rest"], row["changed_at"]) for row in rows}


def rename_version(
    database: Database, run_ids: Sequence[str], *, version: str, new_version: str
) -> None:
    """Hand runs of one application version to another, and forget that the first one existed.

    To be called when no process of `version` is left. DBOS 3.4 would take it for the newest one.
    """
    parts = {"run_ids": list(run_ids), "version": version, "new_version": new_version}
    with database.connect() as connection, connection.transaction():
        connection.execute(
            "update dbos.workflow_status set application_version = %(new_version)s"
            " where workflow_uuid = any(%(run_ids)s) and application_version = %(version)s",
            parts,
        )
        connection.execute(
            "delete from dbos.application_versions where version_name = %(version)s", parts
        )
