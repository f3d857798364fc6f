"""The tries of one step's body: time limit, classification, waiting; the last error comes out."""

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from agent_app.durability.events import describe_error, emit
from agent_app.durability.exits import raise_unless_ended
from agent_app.durability.faults import Body, with_faults
from agent_app.durability.policy import StepPolicy, is_retryable
from agent_app.durability.scope import StepScope
from agent_app.errors import StepTimedOut


async def attempt_body(body: Body, *, policy: StepPolicy, scope: StepScope, subject: Any) -> Any:
    """Execute `body` until it succeeds, its error is final, or the tries are spent.

    At least once: a try that a crash cut short is made again by the recovery.
    Raises: the last try's own error, never a wrapper; StepTimedOut; StepExited.
    """
    tell = _teller(scope)
    tell("step_started", subject=subject)
    started = time.perf_counter()
    attempt = 0
    while True:
        attempt += 1
        try:
            tried = with_faults(body, scope, policy, attempt)
            value = await _attempt_once(tried, scope, policy.timeout_s)
        except Exception as error:
            text, took_ms = describe_error(error), _since_ms(started)
            if not _goes_on(error, attempt, policy):
                tell("step_failed", attempt=attempt, duration_ms=took_ms, error=text)
                raise
            wait_s = policy.wait_s(attempt, error, random.random())
            tell("attempt_failed", attempt=attempt, wait_s=wait_s, error=text)
            await asyncio.sleep(wait_s)
        else:
            took_ms = _since_ms(started)
            tell(
                "step_finished", attempt=attempt, duration_ms=took_ms, subject=subject, value=value
            )
            return value


def _teller(scope: StepScope) -> Callable[..., None]:
    run = scope.run
    return partial(
        emit, run_id=run.run_id, agent=run.agent, step_number=scope.step_number, name=scope.name
    )


def _since_ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _goes_on(error: Exception, attempt: int, policy: StepPolicy) -> bool:
    return policy.effect != "external" and attempt < policy.max_attempts and is_retryable(error)


async def _attempt_once(body: Body, scope: StepScope, timeout_s: float | None) -> Any:
    task = asyncio.current_task()
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            scope.begin_try(limit)
            return await body()
    except TimeoutError as error:
        if limit.expired():
            raise StepTimedOut(scope.name, timeout_s or 0.0) from error
        raise
    except Exception:
        raise
    except BaseException as error:
        raise_unless_ended(error, scope.name, task)
