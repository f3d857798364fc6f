"""How long a try may take, in all and without a sign of life."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

from agent_app.durability.scope import StepScope, current_step
from agent_app.errors import HeartbeatMissed, StepTimedOut

_TELL_EVERY = timedelta(seconds=1)
"""A tool may give signs of life in a tight loop; the ledger gets one a second."""

_limit: ContextVar[asyncio.Timeout | None] = ContextVar("agent_app_limit", default=None)
"""The limit of the try that the code belongs to: an abandoned thread keeps that of its own."""


def heartbeat() -> None:
    """Say that the tool is alive: the step's `heartbeat_timeout_s` begins anew.

    To be called inside a tool, a synchronous one too; elsewhere it does nothing. The attempts
    ledger shows the last one.
    """
    step = current_step()
    if step is None or step.loop is None:
        return
    with suppress(RuntimeError):  # an abandoned thread may outlive its loop
        step.loop.call_soon_threadsafe(_prolong, step, _limit.get())


def _prolong(step: StepScope, limit: asyncio.Timeout | None) -> None:
    if limit is None or limit is not step.limit:
        return  # of a try that is over
    at = datetime.now(UTC)
    if step.record is not None and (step.beat_at is None or at - step.beat_at >= _TELL_EVERY):
        step.beat_at = at
        step.record.beat(at)
    if step.heartbeat_timeout_s is not None and not step.waiting_count:
        _limit_silence(step, limit)


def _limit_silence(step: StepScope, limit: asyncio.Timeout) -> None:
    assert step.heartbeat_timeout_s is not None
    silent_until = asyncio.get_running_loop().time() + step.heartbeat_timeout_s
    until = silent_until if step.deadline is None else min(silent_until, step.deadline)
    with suppress(RuntimeError):  # the limit has struck
        limit.reschedule(until)


def _struck_at_deadline(step: StepScope, limit: asyncio.Timeout) -> bool:
    struck_at = limit.when()
    return step.deadline is not None and struck_at is not None and struck_at >= step.deadline


@asynccontextmanager
async def limited(
    step: StepScope, timeout_s: float | None, heartbeat_timeout_s: float | None
) -> AsyncIterator[None]:
    """Cancel the block when it takes longer than the one, or is silent for longer than the other.

    Raises: StepTimedOut; HeartbeatMissed.
    """
    loop = asyncio.get_running_loop()
    limit = asyncio.timeout(timeout_s)
    token = _limit.set(limit)
    try:
        async with limit:
            step.begin_try(limit, loop, heartbeat_timeout_s)
            if heartbeat_timeout_s is not None:
                _limit_silence(step, limit)
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        if heartbeat_timeout_s is None or _struck_at_deadline(step, limit):
            raise StepTimedOut(step.name, timeout_s or 0.0) from error
        raise HeartbeatMissed(step.name, heartbeat_timeout_s) from error
    finally:
        _limit.reset(token)
        if step.limit is limit:
            step.limit = None  # what an abandoned thread says from now on is of no try
