"""Follow a run that any process executes: what is stored of it, told as it gets there."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from agent_app.database.connect import Database
from agent_app.database.family import (
    FailedTry,
    Family,
    FinishedStep,
    Member,
    Question,
    StepKey,
    TryKey,
    read_failed_tries,
    read_family,
    read_finished_steps,
    read_record,
)
from agent_app.database.read import read_descendants
from agent_app.errors import PayloadRefused, RunCancelled, RunFailed
from agent_app.failover.liveness import LEDGER_S
from agent_app.operations.cancel import UNFINISHED
from agent_app.operations.read import get_run, refuse_foreign_payloads

POLL_S = 0.3
Kind = Literal[
    "run_seen",
    "run_status",
    "run_abandoned",
    "step_finished",
    "step_failed",
    "attempt_failed",
    "step_undecided",
    "run_ended",
]
"""`run_abandoned`: nobody executes it any more, and nobody has taken it over yet."""


@dataclass(frozen=True)
class Happening:
    """One thing that has happened in a run or in a run below it."""

    kind: Kind
    run_id: str
    depth: int
    """0 for the run that is followed, 1 for its children, and so on."""
    agent: str | None = None
    status: str | None = None
    step_number: int | None = None
    name: str | None = None
    attempt_number: int | None = None
    duration_ms: int | None = None
    error: str | None = None
    retry_at: datetime | None = None
    """When the next try begins; None if none follows."""
    subject: Any = None
    """Arguments of a call that waits for a decision."""


def follow_run(database: Database, run_id: str, *, poll_s: float = POLL_S) -> Iterator[Happening]:
    """Yield what has happened, then what happens, until the run has ended; blocks in between.

    Children come with their parent. What a try or a step had before it was dropped by a retry is
    told again when it comes again.
    Raises: RunNotFound.
    """
    get_run(database, run_id)
    told = _Told(run_id)
    while True:
        family = _look(database, run_id)
        is_over = all(member.status not in UNFINISHED for member in family.members[:1])
        if is_over and told.statuses:  # its last tries reach the ledger a moment later
            time.sleep(LEDGER_S)
            family = _look(database, run_id)
        yield from told.news(database, family)
        if is_over:
            return
        time.sleep(poll_s)


def _look(database: Database, run_id: str) -> Family:
    return read_family(database, [run_id, *read_descendants(database, run_id)])


def finished_record(database: Database, run_id: str) -> dict[str, Any]:
    """Return what a run has left that ended well: `output`, `usage`, `cost_usd`.

    Raises: RunNotFound; RunCancelled; RunFailed; PayloadRefused.
    """
    run = get_run(database, run_id)
    if run.status == "CANCELLED":
        raise RunCancelled(run_id)
    if run.status != "SUCCESS":
        raise RunFailed(run_id, run.error or f"it is {run.status}")
    refuse_foreign_payloads([run])
    record = read_record(database, run_id)
    if record is None:
        raise PayloadRefused("no record of agent_app")
    return record


@dataclass
class _Told:
    """What has been told already."""

    root_id: str
    statuses: dict[str, str] = field(default_factory=dict)
    """Of every run that was seen; `abandoned` stands for PENDING where nobody executes it."""
    steps: set[StepKey] = field(default_factory=set)
    tries: set[TryKey] = field(default_factory=set)
    questions: set[tuple[str, int, datetime]] = field(default_factory=set)

    def news(self, database: Database, family: Family) -> Iterator[Happening]:
        """Yield what is new since the last look: beginnings first, ends last."""
        for member in family.members:
            if member.run_id not in self.statuses:
                yield self._run("run_seen", member)
                if member.status in UNFINISHED:
                    self.statuses[member.run_id] = member.status
        yield from self._middle(database, family)
        for member in reversed(family.members):
            status = _status(member)
            if self.statuses.get(member.run_id) != status:
                self.statuses[member.run_id] = status
                yield self._run(_kind(status), member)

    def _middle(self, database: Database, family: Family) -> Iterator[Happening]:
        """Yield tries, questions and steps; what a retry has dropped counts as untold again."""
        tries, steps = set(family.tries), set(family.steps)
        news: list[FailedTry | FinishedStep] = [
            *read_failed_tries(database, tries - self.tries),
            *read_finished_steps(database, steps - self.steps),
        ]
        self.tries, self.steps = tries, steps
        for question in family.questions:
            key = (question.run_id, question.step_number, question.unknown_since)
            if key not in self.questions:
                self.questions.add(key)
                yield self._question(question)
        news.sort(key=lambda row: _millisecond(row.finished_at))  # a try before its step
        for row in news:
            yield self._try(row) if isinstance(row, FailedTry) else self._step(row)

    def _run(self, kind: Kind, member: Member) -> Happening:
        return Happening(
            kind,
            member.run_id,
            self._depth(member.run_id),
            agent=member.agent,
            status=member.status,
            error=member.error,
        )

    def _question(self, question: Question) -> Happening:
        return Happening(
            "step_undecided",
            question.run_id,
            self._depth(question.run_id),
            step_number=question.step_number,
            name=question.step_name,
            subject=question.arguments,
        )

    def _try(self, row: FailedTry) -> Happening:
        return Happening(
            "attempt_failed",
            row.run_id,
            self._depth(row.run_id),
            step_number=row.step_number,
            name=row.step_name,
            attempt_number=row.attempt_number,
            error=row.error or row.outcome,
            retry_at=row.retry_at,
        )

    def _step(self, row: FinishedStep) -> Happening:
        return Happening(
            "step_failed" if row.error is not None else "step_finished",
            row.run_id,
            self._depth(row.run_id),
            step_number=row.step_number,
            name=row.name,
            duration_ms=row.duration_ms,
            error=row.error,
        )

    def _depth(self, run_id: str) -> int:
        """Return how far below the followed run this one is: each level adds to the parent's ID."""
        return run_id.removeprefix(self.root_id).count(":") if run_id != self.root_id else 0


def _millisecond(moment: datetime | None) -> int:
    """Return what DBOS would store of it: a step's moments have no more."""
    return int(moment.timestamp() * 1000) if moment else 0


def _status(member: Member) -> str:
    if member.status == "PENDING" and not member.is_executed:
        return "abandoned"
    return member.status


def _kind(status: str) -> Kind:
    if status == "abandoned":
        return "run_abandoned"
    return "run_status" if status in UNFINISHED else "run_ended"
