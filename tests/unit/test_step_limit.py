"""A try's time limit while its delegates execute, and what it says when it has struck."""

import asyncio

import pytest

from agent_app.durability.heartbeat import limited
from agent_app.durability.scope import RunScope, StepScope
from agent_app.errors import HeartbeatMissed, StepTimedOut


@pytest.fixture
def step() -> StepScope:
    """Return a step that is about to make a try."""
    return StepScope(RunScope("run", "agent", {}), 3, "agent.tool.work")


async def test_the_time_of_delegates_side_by_side_counts_for_none(step: StepScope) -> None:
    """The limit stands still from the first one's start to the last one's end, in any order."""
    async with limited(step, 600.0, None):
        assert step.limit is not None
        began = step.deadline
        assert began is not None
        assert step.limit.when() == began
        step.stop_limit(10.0)
        step.stop_limit(14.0)
        step.go_on_with_limit(15.0)
        assert step.limit.when() is None
        step.go_on_with_limit(20.0)
        assert step.limit.when() == step.deadline == began + 10.0


async def test_a_delegate_after_another_stops_the_limit_again(step: StepScope) -> None:
    """Each wait is added to what is left."""
    async with limited(step, 600.0, None):
        began = step.deadline
        assert began is not None
        for started, ended in ((1.0, 3.0), (5.0, 9.0)):
            step.stop_limit(started)
            step.go_on_with_limit(ended)
        assert step.deadline == began + 6.0


async def test_a_try_without_a_limit_gets_none_by_waiting(step: StepScope) -> None:
    """There is nothing to go on with."""
    async with limited(step, None, None):
        step.stop_limit(1.0)
        step.go_on_with_limit(2.0)
        assert step.deadline is None
        assert step.limit is not None
        assert step.limit.when() is None


@pytest.mark.parametrize(
    ("timeout_s", "silence_s", "error"),
    [(0.01, None, StepTimedOut), (0.01, 600.0, StepTimedOut), (600.0, 0.01, HeartbeatMissed)],
)
async def test_what_struck_is_what_is_told(
    step: StepScope, timeout_s: float, silence_s: float | None, error: type[Exception]
) -> None:
    """The sooner of the two limits ends the try, and the error is its own."""
    with pytest.raises(error):
        async with limited(step, timeout_s, silence_s):
            await asyncio.Event().wait()
