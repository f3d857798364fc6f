"""Delete finished runs with everything that is stored of them."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from agent_app.database.connect import Database
from agent_app.database.history import drop_runs, lock_status
from agent_app.database.read import RunRow, read_descendants, read_run
from agent_app.durability.joint_commit import JointCommit, joint_commit
from agent_app.errors import RunNotDeletable, RunNotFound
from agent_app.failover.liveness import busy_steps
from agent_app.operations.cancel import UNFINISHED

SETTLED_S = 0.5
"""Seconds after a run's end within which its process may still write to the attempts ledger."""
_AT_ONCE = 1000
"""Runs that one statement names; Postgres takes 65,535 parameters."""


def delete_runs(database: Database, run_ids: Sequence[str]) -> list[str]:
    """Delete finished runs and their children, all or none, and return their IDs.

    Durable; no row is left in DBOS's tables or ours. A run that was forked from one of them stays.
    Raises: RunNotFound; RunNotDeletable (one of them, or a child, is not finished).
    """
    found = list_to_delete(database, run_ids)
    _let_settle(found)
    deleted = [row.run_id for row in found]
    for step in busy_steps(database, deleted):
        raise RunNotDeletable(
            step.run_id, f"a living process still executes its step {step.step_number}"
        )
    with joint_commit(database) as commit:
        for run_id in deleted:
            _refuse_unfinished(run_id, lock_status(commit, run_id))
        drop_whole(commit, deleted)
    return deleted


def drop_whole(commit: JointCommit, run_ids: Sequence[str]) -> None:
    """Delete every row of these runs, in DBOS's tables and ours, as a part of the transaction."""
    for first in range(0, len(run_ids), _AT_ONCE):
        part = run_ids[first : first + _AT_ONCE]
        commit.client.delete_workflows(list(part))
        drop_runs(commit, part)


def list_to_delete(database: Database, run_ids: Sequence[str]) -> list[RunRow]:
    """Return what `delete_runs` would delete, each run once, parents before their children.

    Raises: as `delete_runs`.
    """
    rows: dict[str, RunRow] = {}
    for run_id in run_ids:
        root = read_run(database, run_id)
        if root is None:
            raise RunNotFound(run_id)
        _refuse_needed(database, root)
        below = (read_run(database, child) for child in read_descendants(database, run_id))
        rows |= {row.run_id: row for row in (root, *below) if row is not None}
    for row in rows.values():
        _refuse_unfinished(row.run_id, row.status)
    return list(rows.values())


def _refuse_needed(database: Database, run: RunRow) -> None:
    """Refuse a child whose parent is unfinished: its recovery would start the child anew."""
    parent = read_run(database, run.parent_run_id) if run.parent_run_id else None
    if parent is not None and parent.status in UNFINISHED:
        reason = f"run {parent.run_id!r}, which started it, is {parent.status}"
        raise RunNotDeletable(run.run_id, reason)


def _refuse_unfinished(run_id: str, status: str | None) -> None:
    if status in UNFINISHED:
        reason = f"it is {status}. `agent-app cancel {run_id}` stops it"
        raise RunNotDeletable(run_id, reason)


def _let_settle(rows: Sequence[RunRow]) -> None:
    ended_at = max((row.finished_at for row in rows if row.finished_at), default=None)
    if ended_at is not None:
        age_s = (datetime.now(UTC) - ended_at).total_seconds()
        time.sleep(min(max(SETTLED_S - age_s, 0.0), SETTLED_S))
