"""One try with a fault in it: what its body does, how long it may take, and what is told."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from agent_app.durability.chaos import Chaos, Fault, Place
from agent_app.durability.events import RunEvent, observed_by
from agent_app.durability.faults import HUNG_LIMIT_S, Try, with_faults
from agent_app.durability.policy import Effect, StepPolicy
from agent_app.durability.scope import RunScope, StepScope
from agent_app.errors import InjectedFault


@dataclass(frozen=True)
class Always(Chaos):
    """Chaos of one place."""

    place: Place = "before"

    def fault(self, run_id: str, step_number: int, attempt: int) -> Fault:
        return Fault(self.place, 0.05)


class Body:
    """A body that counts how often it was executed."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        return "done"


def made(
    body: Any, place: Place | None, *, attempt: int = 1, policy: StepPolicy | None = None
) -> Try:
    """Return a try of the body that meets this fault, or none."""
    run = RunScope("run", "agent", {})
    run.chaos = Always(1.0, 1, "run", place) if place else None
    return with_faults(body, StepScope(run, 3, "agent.model"), policy or StepPolicy(), attempt)


def told(execution: Any) -> list[RunEvent]:
    """Return the events of an execution, which may fail."""
    events: list[RunEvent] = []
    with observed_by(events.append):
        asyncio.run(asyncio.wait_for(execution, 5))
    return events


def test_a_run_without_chaos_executes_its_bodies_as_they_are() -> None:
    """No chaos, no fault: the body itself, and the policy's limit."""
    body = Body()
    assert made(body, None) == Try(body, 600.0)


@pytest.mark.parametrize(("place", "count"), [("before", 0), ("after", 1)])
def test_a_try_fails_before_its_body_or_after_it(place: Place, count: int) -> None:
    """The error says where it struck, and a body that was to run before it did run."""
    body = Body()
    tried = made(body, place)
    with pytest.raises(InjectedFault, match=f"{place} attempt 1 of 'agent.model' ran"):
        asyncio.run(tried.body())  # type: ignore[arg-type]
    assert (body.count, tried.timeout_s) == (count, 600.0)


def test_a_slow_try_goes_on_and_its_body_has_its_whole_time() -> None:
    """A slow try's result is the body's, and its limit is later by the delay."""
    body = Body()
    tried = made(body, "slow", policy=StepPolicy(timeout_s=2.0))
    assert asyncio.run(tried.body()) == "done"  # type: ignore[arg-type]
    assert tried.timeout_s == 2.05
    assert made(body, "slow", policy=StepPolicy(timeout_s=None)).timeout_s is None


@pytest.mark.parametrize(
    ("timeout_s", "limit_s"), [(600.0, HUNG_LIMIT_S), (0.1, 0.1), (None, HUNG_LIMIT_S)]
)
def test_a_hung_try_never_answers_and_has_a_short_limit(
    timeout_s: float | None, limit_s: float
) -> None:
    """A hung try does not execute its body, and is over its limit within half a second."""
    body = Body()
    tried = made(body, "hung", policy=StepPolicy(timeout_s=timeout_s))
    assert tried.timeout_s == limit_s
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(tried.body(), 0.02))
    assert body.count == 0


@pytest.mark.parametrize("place", ["before", "after", "hung"])
def test_the_last_try_never_fails_on_purpose(place: Place) -> None:
    """The last try that the policy allows, and any after it, is the body as it is."""
    body = Body()
    for attempt in (3, 4):
        assert made(body, place, attempt=attempt).body is body


def test_the_last_try_may_be_slow() -> None:
    """A slow try does not fail, so the last one can be slow."""
    body = Body()
    tried = made(body, "slow", attempt=3)
    assert tried.body is not body
    assert asyncio.run(tried.body()) == "done"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("effect", "is_left_alone"), [("external", True), ("transactional", False)]
)
def test_tools_whose_second_execution_does_harm_are_left_alone(
    effect: Effect, is_left_alone: bool
) -> None:
    """`external` tools meet no faults, not even slow tries; transactional ones do."""
    body = Body()
    policy = StepPolicy(effect=effect)
    assert (made(body, "slow", policy=policy).body is body) == is_left_alone


def test_a_fault_is_told_as_its_try_begins() -> None:
    """One event names run, step, attempt and place; it comes when the body is executed."""
    events = told(made(Body(), "slow", attempt=2).body())
    assert [(e.kind, e.run_id, e.agent, e.step_number, e.name) for e in events] == [
        ("fault_injected", "run", "agent", 3, "agent.model")
    ]
    assert (events[0].attempt, events[0].value) == (2, "slow")
