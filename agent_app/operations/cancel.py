"""Cancel a run with its children, and wait until nobody executes them any more."""

from collections.abc import Collection, Iterable

from agent_app.database.connect import Database
from agent_app.database.read import read_descendants, read_run
from agent_app.durability.joint_commit import joint_commit
from agent_app.errors import RunNotCancellable, RunNotFound
from agent_app.failover.liveness import BusyStep, wait_until_idle

UNFINISHED = ("PENDING", "ENQUEUED", "DELAYED")
STOP_TIMEOUT_S = 10.0
"""How long a cancelled run is waited for: code stops at its next step, a step within a second."""


def cancel_run(database: Database, run_id: str) -> list[str]:
    """Cancel a run with all its unfinished children and return their IDs, the run's own first.

    Durable at once; code that executes stops within about a second, at its next step at the latest.
    Raises: RunNotFound; RunNotCancellable (it has finished).
    """
    run = read_run(database, run_id)
    if run is None:
        raise RunNotFound(run_id)
    if run.status not in UNFINISHED:
        raise RunNotCancellable(run_id, run.status)
    cancelled = [run_id, *with_status(database, run_id, UNFINISHED)]
    _cancel(database, cancelled)
    return cancelled


def wait_until_stopped(
    database: Database, run_ids: Collection[str], *, timeout_s: float = STOP_TIMEOUT_S
) -> list[BusyStep]:
    """Wait until no living process executes a step of these runs; return those that go on.

    Children that began while their parent was being cancelled are cancelled too. Blocks.
    """
    run_ids = list(run_ids)
    busy = wait_until_idle(database, run_ids, timeout_s=timeout_s)
    late = [child for run in run_ids[:1] for child in with_status(database, run, UNFINISHED)]
    if late:
        _cancel(database, late)
        busy += wait_until_idle(database, late, timeout_s=timeout_s)
    return busy


def with_status(database: Database, run_id: str, statuses: Iterable[str]) -> list[str]:
    """Return the runs below this one that are in one of these statuses, nearest first."""
    rows = (read_run(database, child) for child in read_descendants(database, run_id))
    return [row.run_id for row in rows if row is not None and row.status in statuses]


def _cancel(database: Database, run_ids: list[str]) -> None:
    with joint_commit(database) as commit:
        commit.client.cancel_workflows(run_ids)
