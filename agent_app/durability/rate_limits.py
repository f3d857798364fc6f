"""Rate limits that runs of all processes share: one refused request parks every other one."""

import asyncio
import logging
import random
from collections.abc import Callable

from agent_app.database.rate_limit import close_rate_limit
from agent_app.durability.drain import resting
from agent_app.durability.scope import StepScope
from agent_app.durability.step_check import confirm, now
from agent_app.durability.storage import storage
from agent_app.errors import DatabaseError

_logger = logging.getLogger(__name__)
_SPREAD = 0.25
"""Share of the wait, one second at most, over which the parked requests are spread."""
_SOON_S = 0.05


async def close_limit(scope: StepScope, for_s: float) -> None:
    """Tell every process that the step's model is not to be asked for `for_s` seconds.

    Without a database the others find out by themselves.
    """
    if scope.rate_limit is None or for_s <= 0:
        return
    scope.state.asked_at = float("-inf")  # another run may have met a longer one
    provider, model = scope.rate_limit
    run_id, step_number = scope.run.run_id, scope.step_number
    try:
        await close_rate_limit(
            storage().pool, provider, model, for_s=for_s, run_id=run_id, step_number=step_number
        )
    except DatabaseError as error:
        _logger.warning("The rate limit of %s %s was not shared: %s", provider, model, error)


async def wait_until_open(scope: StepScope, tell: Callable[..., None]) -> None:
    """Wait while the step's model is not to be asked; no try is spent.

    Raises: what `confirm` raises, since the run may change hands meanwhile.
    """
    while (closed_s := _closed_s(scope)) > 0:
        tell("step_parked", wait_s=closed_s)
        spread_s = min(closed_s, 1 / _SPREAD) * _SPREAD * random.random()
        with resting(scope):
            await asyncio.sleep(closed_s + (spread_s if closed_s > _SOON_S else 0))
        await confirm(scope.run.run_id, scope.step_number, scope.name, scope.state)


def _closed_s(scope: StepScope) -> float:
    if scope.rate_limit is None:
        return 0.0
    closed_s = scope.state.closed_s.get(" ".join(scope.rate_limit), 0.0)
    return float(closed_s) - (now() - scope.state.asked_at)
