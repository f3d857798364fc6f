"""Work of a research's workflow code that touches the world: each piece is a step."""

from collections.abc import Awaitable, Callable
from typing import Any

from agent_app.durability.identity import digest
from agent_app.durability.policy import StepPolicy
from agent_app.durability.step import StepCall, execute_step

_POLICY = StepPolicy(max_attempts=3, timeout_s=600.0)


async def recorded(name: str, subject: Any, body: Callable[[], Awaitable[Any]]) -> Any:
    """Return what `body` returns, as JSON; executed at least once, never after its checkpoint."""
    call = StepCall(name, f"{name} {digest(subject)}", _POLICY, subject=subject)
    value, _ = await execute_step(call, body)
    return value


async def noted(name: str, value: Any) -> None:
    """Record a decision of the workflow, for those who watch it and for SQL."""

    async def body() -> Any:
        return value

    await recorded(name, value, body)
