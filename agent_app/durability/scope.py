"""Where the running code stands: in which run, and in which step's body."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from pydantic_ai.usage import RunUsage

from agent_app.durability.chaos import Chaos


@dataclass
class RunScope:
    """One execution of a run's workflow code, made anew on recovery: all it counts is replayed."""

    run_id: str
    agent: str
    models: dict[str, str]
    """Model strings by agent name, as recorded with the run; `*` is for every shipped agent."""
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
    child_numbers: Iterator[int] = field(default_factory=lambda: count(1))
    limit: asyncio.Timeout | None = None
    """The running try's time limit; waiting for a delegate does not count against it."""
    waiting_count: int = 0
    """Delegates that the running try waits for at this moment."""
    left_s: float = 0.0
    """What is left of the limit while it stands still."""
    usage: RunUsage = field(default_factory=RunUsage)
    """What the body spent by itself, in all tries."""
    child_usage: dict[str, RunUsage] = field(default_factory=dict)
    """What each delegate spent, by run ID: a second try attaches to the same one."""

    def begin_try(self, limit: asyncio.Timeout) -> None:
        """Count children from 1 again, so that each try asks for the same ones."""
        self.limit = limit
        self.child_numbers = count(1)
        self.waiting_count, self.left_s = 0, 0.0

    def spent(self) -> RunUsage:
        """Return what the step costs its caller; it is stored with the checkpoint."""
        return sum(self.child_usage.values(), self.usage)


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
