"""Faults on purpose: a share of the tries fails, before or after the body, as a seed says."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from agent_app.durability.policy import StepPolicy
from agent_app.durability.scope import StepScope
from agent_app.errors import InjectedFault

Place = Literal["before", "after"]
Body = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Chaos:
    """How often tries fail; it is recorded with the run, and its children have the same."""

    share: float
    """Share of the tries that fail, 0 to 1."""
    seed: int
    root: str
    """ID of the run that it was asked for: faults do not depend on what that run is called."""

    def as_json(self) -> dict[str, Any]:
        """Return what is stored."""
        return asdict(self)

    def fault(self, run_id: str, step_number: int, attempt: int) -> Place | None:
        """Return where this try fails, None where it may succeed; time plays no part in it."""
        path = run_id.removeprefix(self.root)
        text = f"{self.seed} {path} {step_number} {attempt}"
        drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        if drawn / 2**64 >= self.share:
            return None
        return "before" if drawn % 2 else "after"


def read_chaos(stored: dict[str, Any] | None) -> Chaos | None:
    """Return what was recorded with a run; most have none."""
    return None if stored is None else Chaos(**stored)


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
