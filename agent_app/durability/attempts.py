"""The tries of one step's body: time limit, classification, waiting; the last error comes out."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from dbos import error as dbos_error

from agent_app.durability.attempt_record import AttemptRecord, close_open
from agent_app.durability.drain import resting, stay_if_draining
from agent_app.durability.events import ATTEMPTS, describe_error, emit
from agent_app.durability.exits import raise_unless_ended
from agent_app.durability.faults import Body, Try, with_faults
from agent_app.durability.heartbeat import limited
from agent_app.durability.policy import StepPolicy, is_ambiguous, is_rate_limit, is_retryable
from agent_app.durability.rate_limits import close_limit, wait_until_open
from agent_app.durability.scope import StepScope
from agent_app.durability.step_check import confirm
from agent_app.durability.storage import storage


async def attempt_body(body: Body, *, policy: StepPolicy, scope: StepScope, subject: Any) -> Any:
    """Execute `body` until it succeeds, its error is final, or the tries are spent.

    At least once: a try that a crash cut short is made again by the recovery. Tries that failed
    count over all lives, and what is left of the wait between two of them is waited for; one that a
    crash cut short does not count, and a recovery makes one try at least.
    Raises: the last try's own error, never a wrapper, with `step_attempts`; StepTimedOut;
    HeartbeatMissed; StepExited.
    """
    tries = _Tries(body, policy, scope)
    tries.tell("step_started", subject=subject)
    started = time.perf_counter()
    await tries.wait_for_rest()
    while True:
        try:
            value = await tries.make_one()
        except Exception as error:
            if not tries.goes_on(error):
                await tries.give_up(error)
                took_ms = _since_ms(started)
                tries.tell("step_failed", duration_ms=took_ms, error=describe_error(error))
                raise
            await tries.wait_after(error)
        else:
            took_ms = _since_ms(started)
            tries.tell("step_finished", duration_ms=took_ms, subject=subject, value=value)
            return value


def _since_ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000


class _Tries:
    """The tries that are behind the step, in this life and in earlier ones."""

    def __init__(self, body: Body, policy: StepPolicy, scope: StepScope) -> None:
        earlier = scope.state.attempts
        self._body = body
        self._policy = policy
        self._scope = scope
        scope.attempt_number = max([scope.attempt_number, *(r["attempt_number"] for r in earlier)])
        # What failed before a person had the step retried counts no longer.
        failed = (r for r in earlier if r["outcome"] == "error" and not r.get("retried_at"))
        self._texts = [_describe_earlier(row) for row in failed]
        # A failure that ended the step, and whose checkpoint a crash lost, leaves one more try.
        self._left = max(policy.max_attempts - len(self._texts), 1)
        self._record: AttemptRecord | None = None
        close_open(earlier, "lost")

    @property
    def tell(self) -> Callable[..., None]:
        """Return what emits an event of this step."""
        run = self._scope.run
        return partial(
            emit,
            run_id=run.run_id,
            agent=run.agent,
            step_number=self._scope.step_number,
            name=self._scope.name,
            attempt=self._scope.attempt_number or None,
        )

    async def wait_for_rest(self) -> None:
        """Go on with a wait that a crash cut short."""
        earlier = self._scope.state.attempts
        left_s = earlier[-1]["retry_in_s"] if earlier else None
        if left_s is not None and left_s > 0:
            text = self._texts[-1] if self._texts else None
            self.tell("attempt_failed", wait_s=left_s, error=text)
            with resting(self._scope):
                await asyncio.sleep(min(left_s, self._policy.longest_wait_s))

    async def make_one(self) -> Any:
        """Make one try, while the run is ours and its model may be asked; note how it ended."""
        scope, policy = self._scope, self._policy
        await confirm(scope.run.run_id, scope.step_number, scope.name, scope.state)
        await wait_until_open(scope, self.tell)
        if policy.effect != "external":  # whose intent says that the call may have been made
            await stay_if_draining(scope)
        scope.attempt_number += 1
        self._left -= 1
        scope.record = self._record = record = AttemptRecord(scope, scope.attempt_number)
        tried = with_faults(self._spending(record), scope, policy, scope.attempt_number)
        self.tell("attempt_started")
        try:
            value = await _attempt_once(tried, scope, policy.heartbeat_timeout_s)
        except Exception:
            raise
        except dbos_error.DBOSWorkflowConflictIDError as error:
            record.fail(error, "lost")
            raise
        except BaseException as error:
            record.fail(error, "cancelled")
            raise
        record.succeed()
        return value

    def _spending(self, record: AttemptRecord) -> Body:
        async def spend() -> Any:
            value = await self._body()
            record.spend(value)
            return value

        return spend

    def goes_on(self, error: Exception) -> bool:
        """Say whether another try follows."""
        return self._policy.effect != "external" and self._left > 0 and is_retryable(error)

    async def give_up(self, error: Exception) -> None:
        """Note the last failure, and put what all tries met into its error."""
        assert self._record is not None
        is_unknown = self._policy.effect == "external" and is_ambiguous(error)
        self._record.fail(error, "unknown" if is_unknown else "error")
        if is_rate_limit(error):
            await close_limit(self._scope, self._wait_s(error))
        self._texts.append(f"attempt {self._scope.attempt_number}: {describe_error(error)}")
        if len(self._texts) > 1:
            with suppress(Exception):  # a class can refuse to be written to
                setattr(error, ATTEMPTS, self._texts)

    async def wait_after(self, error: Exception) -> None:
        """Wait until the next try: as long as the other side asks, else the backoff."""
        assert self._record is not None
        wait_s, text = self._wait_s(error), describe_error(error)
        self._texts.append(f"attempt {self._scope.attempt_number}: {text}; waited {wait_s:.1f} s")
        self._record.fail(error, "error", wait_s)
        self.tell("attempt_failed", wait_s=wait_s, error=text)
        # A wait that is worth it outlives a crash; a short one is not made longer for that.
        meanwhile = [asyncio.sleep(wait_s), storage().ledger.settle(wait_s)]
        if is_rate_limit(error):
            meanwhile.append(close_limit(self._scope, wait_s))
        with resting(self._scope):
            await asyncio.gather(*meanwhile)

    def _wait_s(self, error: Exception) -> float:
        return self._policy.wait_s(len(self._texts) + 1, error, random.random())


def _describe_earlier(row: dict[str, Any]) -> str:
    return f"attempt {row['attempt_number']}: {row['error_type']}: {row['error_message']}"


async def _attempt_once(tried: Try, scope: StepScope, heartbeat_timeout_s: float | None) -> Any:
    task = asyncio.current_task()
    try:
        async with limited(scope, tried.timeout_s, heartbeat_timeout_s):
            return await tried.body()
    except Exception:
        raise
    except BaseException as error:
        raise_unless_ended(error, scope.name, task)
