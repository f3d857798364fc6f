"""What doors show of runs: one run, many, their steps, and answers to queries of the user's."""

import re
from collections.abc import Iterable

from agent_app.database.connect import Database
from agent_app.database.psql import find_psql, psql_variables
from agent_app.database.read import (
    QueryResult,
    RunRow,
    StepRow,
    read_run,
    read_runs,
    read_steps,
    run_query,
)
from agent_app.errors import PayloadRefused, RunNotFound

_REFUSED = re.compile(r"PayloadRefused: (?:tagged '(?P<tag>.*)'|.*), not decoded")
"""What the views say of a row whose payloads are not ours."""


def list_runs(
    database: Database, *, agent: str | None, status: str | None, limit: int
) -> list[RunRow]:
    """Return runs, the newest first; empty where none fits."""
    return read_runs(database, agent=agent, status=status and status.upper(), limit=limit)


def get_run(database: Database, run_id: str) -> RunRow:
    """Return the run.

    Raises: RunNotFound.
    """
    row = read_run(database, run_id)
    if row is None:
        raise RunNotFound(run_id)
    return row


def get_steps(database: Database, run_id: str) -> list[StepRow]:
    """Return the run's checkpoints in the order of their numbers.

    Raises: RunNotFound.
    """
    get_run(database, run_id)
    return read_steps(database, run_id)


def query_database(database: Database, query: str, *, timeout_s: float) -> QueryResult:
    """Return the rows of one query that reads.

    Raises: QueryRefused; QueryInvalid.
    """
    return run_query(database, query, timeout_s=timeout_s)


def psql_of(database: Database) -> tuple[str | None, dict[str, str]]:
    """Return the path of psql, None where there is none, and the environment that it needs."""
    return find_psql(), psql_variables(database)


def refuse_foreign_payloads(rows: Iterable[RunRow | StepRow]) -> None:
    """Refuse rows with values that somebody else wrote; the rows themselves can still be shown.

    Raises: PayloadRefused.
    """
    for row in rows:
        if row.error is not None and (found := _REFUSED.fullmatch(row.error)):
            raise PayloadRefused(found["tag"] or "agent_app_json, but damaged")
