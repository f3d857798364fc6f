"""Runs of a durable agent: they become durable in workflow code and are refused in a step."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from copy import copy
from functools import wraps
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.run import AgentRun
from pydantic_ai.usage import RunUsage

from agent_app.durability.capability import StepDurability
from agent_app.durability.scope import RunScope, StepScope, current_run, current_step
from agent_app.errors import DelegateMisused

Options = Callable[[RunScope], tuple[StepDurability, str | None]]

_enclosing: ContextVar[frozenset[int]] = ContextVar("agent_app_enclosing", default=frozenset())
"""Numbers of the agent runs that the running code is inside of."""


def guard_runs(agent: Agent[Any, Any], name: str, options_in: Options) -> None:
    """Put ourselves before `agent.iter`, through which all of the agent's asynchronous runs go.

    In workflow code the run becomes durable; in a step's body, where its own steps would be lost,
    it is refused; elsewhere it stays what it was. A second registration changes nothing.
    """
    if hasattr(agent.iter, "__agent_app__"):
        return
    inner = agent.iter

    @asynccontextmanager
    async def guarded(*args: Any, **options: Any) -> AsyncIterator[AgentRun[Any, Any]]:
        step, run = current_step(), current_run()
        if step is not None:
            raise _misused_in(step, name)
        if run is None:
            async with inner(*args, **options) as agent_run:
                yield agent_run
            return
        capability, model = options_in(run)
        options["capabilities"] = [*(options.get("capabilities") or ()), capability]
        options["model"] = options.get("model") or model
        before = copy(options.get("usage")) or RunUsage()
        with _alone(run, name), _instructed(agent, run.instructions.get(name)):
            async with inner(*args, **options) as agent_run:
                try:
                    yield agent_run
                finally:
                    run.usage.incr(agent_run.usage - before)

    guarded.__agent_app__ = True  # type: ignore[attr-defined]
    agent.iter = guarded  # type: ignore[method-assign]
    for method in ("run_sync", "run_stream_sync"):
        setattr(agent, method, _refused_in_steps(getattr(agent, method), name))


def _refused_in_steps(run: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Say what to call instead, before Pydantic AI says that a synchronous run could deadlock."""

    @wraps(run)
    def guarded(*args: Any, **options: Any) -> Any:
        if (step := current_step()) is not None:
            raise _misused_in(step, name)
        return run(*args, **options)

    return guarded


def _misused_in(step: StepScope, name: str) -> DelegateMisused:
    return DelegateMisused(
        f"Agent {name!r} was run inside step {step.name!r}, where its own steps would not be "
        "recorded. Call `await delegate(agent, input)` instead."
    )


@contextmanager
def _instructed(agent: Agent[Any, Any], instructions: str | None) -> Iterator[None]:
    """Put the run's instructions in the place of the agent's own, where it has any."""
    if instructions is None:
        yield
        return
    with agent.override(instructions=instructions):
        yield


@contextmanager
def _alone(run: RunScope, name: str) -> Iterator[None]:
    """Refuse an agent run beside another: both draw step numbers, in an order that timing sets."""
    enclosing = _enclosing.get()
    if not run.agent_runs <= enclosing:
        raise DelegateMisused(
            f"Agent {name!r} was run at the same time as another agent of run {run.run_id!r}; a "
            "recovery would mix up their steps. Call `await delegate(agent, input)` for each."
        )
    number = max(run.agent_runs, default=0) + 1
    run.agent_runs.add(number)
    _enclosing.set(enclosing | {number})
    try:
        yield
    finally:
        run.agent_runs.discard(number)
        _enclosing.set(enclosing)
