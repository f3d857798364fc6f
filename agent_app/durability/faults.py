"""Faults on purpose: a try fails, dawdles or hangs, as its run's chaos says."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agent_app.durability.chaos import Fault
from agent_app.durability.events import emit
from agent_app.durability.policy import StepPolicy
from agent_app.durability.scope import StepScope
from agent_app.errors import InjectedFault

Body = Callable[[], Awaitable[Any]]
HUNG_LIMIT_S = 0.5
"""Time limit of a try that is made to hang: its policy's own may be ten minutes."""


@dataclass(frozen=True)
class Try:
    """What one try executes, and for how long it may."""

    body: Body
    timeout_s: float | None


def with_faults(body: Body, scope: StepScope, policy: StepPolicy, attempt: int) -> Try:
    """Return one try of `body`, with a fault in it if its run asks for that.

    The last try that the policy allows never fails on purpose: the run ends as it would without.
    """
    fault = _fault(scope, policy, attempt)
    if fault is None:
        return Try(body, policy.timeout_s)
    match fault.place:
        case "slow":
            made, timeout_s = _slow(body, fault.delay_s), _sum(policy.timeout_s, fault.delay_s)
        case "hung":
            made, timeout_s = _hang, min(policy.timeout_s or HUNG_LIMIT_S, HUNG_LIMIT_S)
        case place:
            made, timeout_s = _failing(body, scope.name, place, attempt), policy.timeout_s
    return Try(_told(made, scope, fault, attempt), timeout_s)


def _fault(scope: StepScope, policy: StepPolicy, attempt: int) -> Fault | None:
    chaos = scope.run.chaos
    if chaos is None or policy.effect == "external":
        return None
    fault = chaos.fault(scope.run.run_id, scope.step_number, attempt)
    is_last = attempt >= policy.max_attempts
    return None if fault is not None and is_last and fault.place != "slow" else fault


def _told(body: Body, scope: StepScope, fault: Fault, attempt: int) -> Body:
    """Return the body, which tells of its fault as it begins."""

    async def tell_and_execute() -> Any:
        emit(
            "fault_injected",
            run_id=scope.run.run_id,
            agent=scope.run.agent,
            step_number=scope.step_number,
            name=scope.name,
            attempt=attempt,
            value=fault.place,
        )
        return await body()

    return tell_and_execute


def _failing(body: Body, step_name: str, place: str, attempt: int) -> Body:
    async def fail() -> Any:
        if place == "after":
            await body()
        raise InjectedFault(step_name, place, attempt)

    return fail


def _slow(body: Body, delay_s: float) -> Body:
    async def dawdle() -> Any:
        await asyncio.sleep(delay_s)
        return await body()

    return dawdle


def _sum(timeout_s: float | None, delay_s: float) -> float | None:
    """Return the limit of a slow try: its body has as long as in any other one."""
    return None if timeout_s is None else timeout_s + delay_s


async def _hang() -> Any:
    await asyncio.Event().wait()
