"""Faults on purpose: a try fails before its body or after it, as the run's chaos says."""

from collections.abc import Awaitable, Callable
from typing import Any

from agent_app.durability.chaos import Place
from agent_app.durability.policy import StepPolicy
from agent_app.durability.scope import StepScope
from agent_app.errors import InjectedFault

Body = Callable[[], Awaitable[Any]]


def with_faults(body: Body, scope: StepScope, policy: StepPolicy, attempt: int) -> Body:
    """Return the body of one try, made to fail if its run asks for that.

    The last try that the policy allows never fails on purpose: the run ends as it would without.
    """
    chaos = scope.run.chaos
    if chaos is None or attempt >= policy.max_attempts or policy.effect == "external":
        return body
    place = chaos.fault(scope.run.run_id, scope.step_number, attempt)
    return body if place is None else _failing(body, scope.name, place, attempt)


def _failing(body: Body, step_name: str, place: Place, attempt: int) -> Body:
    async def fail() -> Any:
        if place == "after":
            await body()
        raise InjectedFault(step_name, place, attempt)

    return fail
