"""Where the running code stands: in which run, and in which step's body."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Protocol

from pydantic import TypeAdapter
from pydantic_ai.usage import RunUsage

from agent_app.database.step_state import StepState
from agent_app.durability.chaos import Chaos

_USAGE: TypeAdapter[RunUsage] = TypeAdapter(RunUsage)


class AttemptRecord(Protocol):
    """What a tool's signs of life are noted in."""

    def beat(self, at: datetime) -> None:
        """Note one."""


@dataclass
class RunScope:
    """One execution of a run's workflow code, made anew on recovery: all it counts is replayed."""

    run_id: str
    agent: str
    models: dict[str, str]
    """Model strings by agent name, as recorded with the run; `*` is for every shipped agent."""
    instructions: dict[str, str] = field(default_factory=dict)
    """What stands in the place of an agent's own instructions, by its name, in a fork that asks."""
    agent_run_numbers: Iterator[int] = field(default_factory=lambda: count(1))
    agent_runs: set[int] = field(default_factory=set)
    """Numbers of the agent runs under way; more than one only where each encloses the next."""
    tool_calls: Counter[str] = field(default_factory=Counter)
    """How often each tool call ID has come; some providers count from 0 in every answer."""
    usage: RunUsage = field(default_factory=RunUsage)
    """What the run's agents and delegates have spent so far."""
    behind: timedelta = timedelta()
    """How far the run's clock is behind the real one: the time that a replay must not count."""
    chaos: Chaos | None = None
    """Faults that the run was started with; its children get the same."""


@dataclass
class StepScope:
    """One execution of a step's body."""

    run: RunScope
    step_number: int
    name: str
    call_key: str | None = None
    """The tool call's ID, unique within the run; None for a step that is no tool call."""
    rate_limit: tuple[str, str] | None = None
    """Provider and model whose limit the step shares with others; None for what is no model."""
    state: StepState = field(default_factory=StepState)
    """What earlier lives left of the step, asked for together with its checkpoint."""
    attempt_number: int = 0
    """Number of the last try, counted over all lives of the run."""
    child_numbers: Iterator[int] = field(default_factory=lambda: count(1))
    limit: asyncio.Timeout | None = None
    """The running try's time limit; waiting for a delegate does not count against it."""
    waiting_count: int = 0
    """Delegates that the running try waits for at this moment."""
    stopped_at: tuple[float, float | None] | None = None
    """Since when the limit stands still and when it would have struck, while delegates execute."""
    deadline: float | None = None
    """When the running try is over its limit, by the loop's clock; None where it has none."""
    loop: asyncio.AbstractEventLoop | None = None
    """The loop of the running try; a synchronous tool is in another thread."""
    heartbeat_timeout_s: float | None = None
    """Seconds that the running try may be silent for."""
    record: AttemptRecord | None = None
    """The ledger's row of the running try."""
    beat_at: datetime | None = None
    """When the ledger was last told of a sign of life."""
    request_numbers: Iterator[int] = field(default_factory=lambda: count(1))
    """Numbers of the running try's HTTP requests that change something."""
    usage: RunUsage = field(default_factory=RunUsage)
    """What the body spent by itself, in all tries."""
    child_usage: dict[str, RunUsage] = field(default_factory=dict)
    """What each delegate spent, by run ID: a second try attaches to the same one."""

    def begin_try(
        self,
        limit: asyncio.Timeout,
        loop: asyncio.AbstractEventLoop,
        heartbeat_timeout_s: float | None,
    ) -> None:
        """Count children and requests from 1 again, so that each try asks for the same ones."""
        self.limit, self.loop, self.deadline = limit, loop, limit.when()
        self.heartbeat_timeout_s, self.beat_at = heartbeat_timeout_s, None
        self.child_numbers, self.request_numbers = count(1), count(1)
        self.waiting_count, self.stopped_at = 0, None

    def stop_limit(self, now: float) -> None:
        """Let no time count while a delegate executes, whose own steps have limits."""
        if self.limit is not None and self.waiting_count == 0:
            self.stopped_at = now, self.limit.when()
            self.limit.reschedule(None)
        self.waiting_count += 1

    def go_on_with_limit(self, now: float) -> None:
        """Let time count again once the last of several delegates has ended."""
        self.waiting_count -= 1
        if self.limit is None or self.stopped_at is None or self.waiting_count:
            return
        (stopped_at, strikes_at), self.stopped_at = self.stopped_at, None
        if self.deadline is not None:
            self.deadline += now - stopped_at
        if strikes_at is not None:
            with suppress(RuntimeError):  # the try has ended without waiting for this one
                self.limit.reschedule(strikes_at + (now - stopped_at))

    def spent(self) -> RunUsage:
        """Return what the step costs its caller; it is stored with the checkpoint."""
        return sum(self.child_usage.values(), self.usage)

    def spent_json(self) -> dict[str, Any] | None:
        """Return the same as JSON; None where nothing was spent."""
        spent = self.spent()
        return _USAGE.dump_python(spent, mode="json") if spent.has_values() else None

    def take_spent(self, spent: dict[str, Any] | None) -> None:
        """Count what an earlier life of the step has spent."""
        if spent is not None:
            self.usage.incr(_USAGE.validate_python(spent))


_run: ContextVar[RunScope | None] = ContextVar("agent_app_run", default=None)
_step: ContextVar[StepScope | None] = ContextVar("agent_app_step", default=None)


def current_run() -> RunScope | None:
    """Return the run that this code belongs to; None outside every run."""
    return _run.get()


def current_step() -> StepScope | None:
    """Return the step whose body this is; None in workflow code and outside every run."""
    return _step.get()


def in_run(context: Context | None) -> bool:
    """Say whether code in `context`, None for the current one, belongs to a run."""
    return (_run.get() if context is None else context.get(_run)) is not None


def in_workflow_code() -> bool:
    """Say whether this is a run's deterministic part: calls made here become steps."""
    return _run.get() is not None and _step.get() is None


@contextmanager
def run_scope(scope: RunScope) -> Iterator[RunScope]:
    """Mark the enclosed code as the run's workflow."""
    run_token, step_token = _run.set(scope), _step.set(None)
    try:
        yield scope
    finally:
        _step.reset(step_token)
        _run.reset(run_token)


@contextmanager
def step_scope(scope: StepScope) -> Iterator[StepScope]:
    """Mark the enclosed code as the body of a step."""
    token = _step.set(scope)
    try:
        yield scope
    finally:
        _step.reset(token)
