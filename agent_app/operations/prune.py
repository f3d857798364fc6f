"""Prune: delete what ended long ago, family by family, and what nothing refers to after that."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agent_app.database.connect import Database
from agent_app.database.retention import (
    ENDED,
    EndedFamily,
    EndedRun,
    count_uncited_sources,
    drop_dead_executors,
    drop_uncited_sources,
    lock_ended,
    read_dead_executors,
    read_ended_families,
)
from agent_app.durability.joint_commit import joint_commit
from agent_app.errors import FilterInvalid
from agent_app.failover.liveness import busy_steps
from agent_app.operations.delete import SETTLED_S, drop_whole

_BATCH = 200
"""Families that go in one transaction: a crash undoes the one that is under way."""


@dataclass(frozen=True)
class Retention:
    """Which runs are to go."""

    ended_before: datetime
    statuses: tuple[str, ...] = ENDED
    """How the run of a family that nobody delegated to must have ended."""


@dataclass
class PrunedGroup:
    """Runs of one agent that ended in the same way."""

    agent: str
    status: str
    oldest_ended_at: datetime
    newest_ended_at: datetime
    run_count: int = 0


@dataclass
class Pruned:
    """What is gone, or would go."""

    ended_before: datetime
    groups: dict[tuple[str, str], PrunedGroup] = field(default_factory=dict)
    """By agent and status."""
    executors: Counter[str] = field(default_factory=Counter)
    """How many of the runs each executor had."""
    run_ids: list[str] = field(default_factory=list)
    executor_count: int = 0
    """Rows of dead processes."""
    source_count: int = 0
    """Texts that neither the corpus nor a run has any more."""

    @property
    def run_count(self) -> int:
        """Return how many runs they are, children included."""
        return len(self.run_ids)

    def add(self, family: EndedFamily) -> None:
        """Count a family's runs."""
        for run in family.runs:
            self._add_run(run)

    def _add_run(self, run: EndedRun) -> None:
        self.run_ids.append(run.run_id)
        key = run.agent, run.status
        group = self.groups.setdefault(key, PrunedGroup(*key, run.ended_at, run.ended_at))
        group.run_count += 1
        group.oldest_ended_at = min(group.oldest_ended_at, run.ended_at)
        group.newest_ended_at = max(group.newest_ended_at, run.ended_at)
        self.executors[run.executor_id or ""] += 1


def choose_retention(age: timedelta, statuses: Sequence[str], now: datetime) -> Retention:
    """Return what is to go: what ended longer than `age` ago, in one of the statuses if there are.

    What has only just ended stays at any age: its process may still write to the attempts ledger.
    Raises: FilterInvalid (a status that there is not, or of a run that has not ended).
    """
    for status in statuses:
        if status.upper() not in ENDED:
            raise FilterInvalid(
                f"Status {status!r} is none that a run ends with; one of {', '.join(ENDED)} was "
                "expected."
            )
    ended_before = now - max(age, timedelta(seconds=SETTLED_S))
    return Retention(ended_before, tuple(status.upper() for status in statuses) or ENDED)


def plan_prune(database: Database, retention: Retention) -> Pruned:
    """Return what `prune_runs` would delete at this moment; nothing is deleted."""
    plan = Pruned(retention.ended_before)
    for families in _pages(database, retention):
        for family in families:
            plan.add(family)
    plan.executor_count = sum(
        run_count <= plan.executors[executor_id]
        for executor_id, run_count in read_dead_executors(database).items()
    )
    plan.source_count = count_uncited_sources(database, plan.run_ids)
    return plan


def prune_runs(
    database: Database, retention: Retention, *, goes_on: Callable[[], bool] = lambda: True
) -> Pruned:
    """Delete what has ended before the moment, and return what went.

    Durable, some families at a time: each goes whole, with every row that is stored of its runs,
    or stays whole; it stays where one of its runs has not ended, or has later. What interrupts it
    undoes one transaction, and repeating it finishes. `goes_on` is asked between two of them.
    Raises: DatabaseError.
    """
    pruned = Pruned(retention.ended_before)
    for families in _pages(database, retention):
        for family in _drop(database, retention, families):
            pruned.add(family)
        if not goes_on():
            return pruned
    pruned.executor_count = drop_dead_executors(database)
    pruned.source_count = drop_uncited_sources(database)
    return pruned


def _pages(database: Database, retention: Retention) -> Iterator[list[EndedFamily]]:
    """Yield families by the age of their first runs: what must stay is passed over once."""
    after: EndedFamily | None = None
    while page := read_ended_families(
        database,
        ended_before=retention.ended_before,
        statuses=retention.statuses,
        after=after,
        limit=_BATCH,
    ):
        yield page
        after = page[-1]


def _drop(
    database: Database, retention: Retention, families: Sequence[EndedFamily]
) -> list[EndedFamily]:
    """Delete those of the families that still may go, in one transaction, and return them."""
    run_ids = [run_id for family in families for run_id in family.run_ids]
    busy = frozenset(step.run_id for step in busy_steps(database, run_ids))
    with joint_commit(database) as commit:
        ended = lock_ended(commit, run_ids, ended_before=retention.ended_before) - busy
        gone = [family for family in families if family.run_ids <= ended]
        drop_whole(commit, [run_id for family in gone for run_id in family.run_ids])
    return gone
