"""What doors show of runs: one run, many, their steps, and answers to queries of the user's."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from agent_app.database.connect import Database
from agent_app.database.psql import find_psql, psql_variables
from agent_app.database.read import (
    MessageRow,
    QueryResult,
    RunRow,
    StepRow,
    read_messages,
    read_run,
    read_runs,
    read_steps,
    run_query,
)
from agent_app.errors import FilterInvalid, PayloadRefused, RunNotFound

STATUSES = (
    "ENQUEUED",
    "DELAYED",
    "PENDING",
    "SUCCESS",
    "ERROR",
    "CANCELLED",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED",
)
"""DBOS's; there are no others."""

_REFUSED = re.compile(r"PayloadRefused: (?:tagged '(?P<tag>.*)'|.*), not decoded")
"""What the views say of a row whose payloads are not ours."""


@dataclass(frozen=True)
class RunFilter:
    """Which runs a list shows; what is None or empty excludes nothing."""

    agent: str | None = None
    status: str | None = None
    """One of DBOS's seven; case does not matter."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Labels that a run must have, all of them."""
    text: str | None = None
    """What the input must contain."""
    after: str | None = None
    """The run after which the page begins: the last one of the page before."""
    limit: int = 50


@dataclass(frozen=True)
class RunPage:
    """Some runs, the newest first."""

    runs: list[RunRow]
    next_after: str | None
    """`after` of the next page; None where this is the last one."""


def list_runs(database: Database, wanted: RunFilter) -> RunPage:
    """Return a page of runs, the newest first; without runs where none fits.

    Raises: FilterInvalid (a status that there is not, a span that ends before it begins, a limit
    below 1); RunNotFound (the run that the page is to begin after).
    """
    status = check_filter(wanted)
    if wanted.after is not None:
        get_run(database, wanted.after)
    rows = read_runs(
        database,
        agent=wanted.agent,
        status=status,
        created_after=wanted.created_after,
        created_before=wanted.created_before,
        attributes=dict(wanted.attributes) or None,
        text=wanted.text,
        after=wanted.after,
        limit=wanted.limit + 1,  # one more tells whether there is a next page
    )
    runs = rows[: wanted.limit]
    return RunPage(runs, runs[-1].run_id if len(rows) > len(runs) else None)


def check_filter(wanted: RunFilter) -> str | None:
    """Return the status as it is stored.

    Raises: FilterInvalid.
    """
    status = wanted.status.upper() if wanted.status is not None else None
    if status is not None and status not in STATUSES:
        raise FilterInvalid(
            f"Status {wanted.status!r} does not exist; one of {', '.join(STATUSES)} was expected."
        )
    since, until = wanted.created_after, wanted.created_before
    if since is not None and until is not None and since >= until:
        raise FilterInvalid(
            f"The span from {since.isoformat()} to {until.isoformat()} ends before it begins."
        )
    if wanted.limit < 1:
        raise FilterInvalid(f"A page of {wanted.limit} runs holds none; 1 or more was expected.")
    return status


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


def get_messages(database: Database, run_id: str) -> list[MessageRow]:
    """Return the run's conversation in its order: what was asked, said, called and returned.

    Raises: RunNotFound.
    """
    get_run(database, run_id)
    return read_messages(database, run_id)


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
