"""Calls whose second execution does harm: an intent is committed before each of them.

A life that finds an intent without a checkpoint makes no call. It asks the tool's own `reconcile`
whether the call was made, and where there is none, or it does not know, it waits for a person.
"""

import asyncio
import inspect
import json
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from dbos import error as dbos_error
from dbos._context import current_owner_xid
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from agent_app.database.intent import Intent, commit_intent, mark_unknown, read_decision
from agent_app.durability.attempt_record import close_open
from agent_app.durability.drain import resting
from agent_app.durability.events import Kind, describe_error, emit
from agent_app.durability.idempotency import key_of
from agent_app.durability.outage import stopped_without_database
from agent_app.durability.policy import StepPolicy, is_ambiguous
from agent_app.durability.scope import StepScope
from agent_app.durability.storage import storage
from agent_app.errors import CallFailed, DatabaseError, ReplayDiverged, ValueNotStorable

Make = Callable[[], Awaitable[Any]]

_logger = logging.getLogger(__name__)
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
_LOOK_S = 0.5
"""Seconds between two looks for a person's decision."""


class CallOutcome(Enum):
    """What a `reconcile` function returns when it has no result to return."""

    NOT_MADE = "not_made"
    """The call was not made: it is made now."""
    UNKNOWN = "unknown"
    """It cannot tell: a person decides."""


@dataclass(frozen=True)
class ExternalCall:
    """A call that may have been made; what a `reconcile` function gets."""

    step_name: str
    arguments: Any
    """The tool's arguments, by name."""
    idempotency_key: str
    """The key that the tool had."""
    intended_at: datetime | None
    """When it was about to be made; None where it failed in this life of the run."""


async def execute_external(
    make: Make, *, policy: StepPolicy, scope: StepScope, of: str, subject: Any
) -> Any:
    """Return the payload of a call that is made once, whatever becomes of the process.

    Durable: the intent is committed first. At most once, unless `reconcile` or a person says that
    it was not made.
    Raises: what the call raised, if that says that it was not made; CallFailed; ReplayDiverged.
    """
    return await _External(make, policy, scope, of, subject).execute()


class _External:
    def __init__(
        self, make: Make, policy: StepPolicy, scope: StepScope, of: str, subject: Any
    ) -> None:
        self._make = make
        self._policy = policy
        self._scope = scope
        self._of = of
        self._subject = subject
        self._failed_count = 0

    async def execute(self) -> Any:
        intent = self._scope.state.intent
        if intent is None:
            return await self._call()
        if intent["call"] != self._of:
            raise ReplayDiverged(self._scope.name, intent["call"], self._of)
        close_open(self._scope.state.attempts, "unknown")
        return await self._settle(datetime.fromisoformat(intent["intended_at"]))

    async def _call(self, *, is_again: bool = False) -> Any:
        """Commit the intent, make the call; what its failure leaves open is settled."""
        while await self._intend(is_again=is_again):
            try:
                return await self._make()
            except Exception as error:
                if not is_ambiguous(error):
                    raise
                self._failed_count += 1
                found = await self._find_out(None, error)
            if found is not CallOutcome.NOT_MADE:
                return self._finish(found)
            is_again = True
        # Another process owns the run, or an earlier life has an intent that could not be read.
        return await self._settle(None)

    async def _intend(self, *, is_again: bool) -> bool:
        """Commit the intent; say whether the call may be made."""
        intent, owner = self._intent(), self._owner
        with self._database_needed():
            return await commit_intent(storage().pool, intent, owner=owner, is_again=is_again)

    def _intent(self) -> Intent:
        scope = self._scope
        return Intent(
            run_id=scope.run.run_id,
            step_number=scope.step_number,
            step_name=scope.name,
            call=self._of,
            arguments=_as_json(self._subject),
            idempotency_key=key_of(scope),
            executor_id=storage().executor_id,
        )

    async def _settle(self, intended_at: datetime | None) -> Any:
        """Find out what became of a call, and make it if it was not made."""
        found = await self._find_out(intended_at, None)
        if found is CallOutcome.NOT_MADE:
            return await self._call(is_again=True)
        return self._finish(found)

    async def _find_out(self, intended_at: datetime | None, error: Exception | None) -> Any:
        """Return the payload of a call, or that it was not made; `error` is how it failed here.

        Raises: `error`, where the call is known not to be made and has had its tries.
        """
        found = await self._find_decision()
        if found is CallOutcome.UNKNOWN and self._policy.reconcile is not None:
            found = await self._reconcile(intended_at)
            if found is CallOutcome.NOT_MADE and error is not None:
                await self._wait_after(error)
        if found is CallOutcome.UNKNOWN:
            found = await self._wait_for_person()
        return found

    async def _wait_after(self, error: Exception) -> None:
        if self._failed_count >= self._policy.max_attempts:
            raise error
        await asyncio.sleep(self._policy.wait_s(self._failed_count, error, random.random()))

    def _finish(self, payload: Any) -> Any:
        self._tell("step_finished", value=payload)
        return payload

    @property
    def _owner(self) -> str | None:
        return current_owner_xid(self._scope.run.run_id)

    async def _reconcile(self, intended_at: datetime | None) -> Any:
        """Ask the tool's own function; one that fails does not know."""
        reconcile, scope = self._policy.reconcile, self._scope
        assert reconcile is not None
        call = ExternalCall(scope.name, self._subject, key_of(scope), intended_at)
        for attempt in range(1, self._policy.max_attempts + 1):
            try:
                async with asyncio.timeout(self._policy.timeout_s):
                    found = await _call_either(reconcile, call)
                if found is None:  # what a search that finds nothing returns, not a result
                    return CallOutcome.UNKNOWN
                return found if isinstance(found, CallOutcome) else self._payload(found)
            except Exception as error:
                _logger.warning("`reconcile` of step %s: %s", scope.name, describe_error(error))
                await asyncio.sleep(self._policy.wait_s(attempt, error, 1.0))
        return CallOutcome.UNKNOWN

    async def _wait_for_person(self) -> Any:
        run_id, number = self._scope.run.run_id, self._scope.step_number
        with self._database_needed():
            await mark_unknown(storage().pool, run_id, number, owner=self._owner)
        self._tell("step_undecided")
        while True:
            found = await self._find_decision()
            if found is not CallOutcome.UNKNOWN:
                return found
            with resting(self._scope):
                await asyncio.sleep(_LOOK_S)

    async def _find_decision(self) -> Any:
        """Return the payload or the outcome that a person decided on; UNKNOWN without one.

        Raises: CallFailed; DBOSWorkflowConflictIDError (another process owns the run).
        """
        run_id, number = self._scope.run.run_id, self._scope.step_number
        with self._database_needed():
            owner, decision, value = await read_decision(storage().pool, run_id, number)
        if owner != self._owner:
            raise dbos_error.DBOSWorkflowConflictIDError(run_id)
        match decision:
            case None:
                return CallOutcome.UNKNOWN
            case "done":
                return self._payload(json.loads(value or "null"))
            case "retry":
                return CallOutcome.NOT_MADE
            case "fail":
                raise CallFailed(self._scope.name, value or "no reason was given")

    def _payload(self, value: Any) -> Any:
        """Return what the tool's body would have returned."""
        try:
            plain = _ANYTHING.dump_python(value, mode="json")
        except PydanticSerializationError as error:
            raise ValueNotStorable(self._scope.name, str(error).rstrip(".")) from error
        return {"result": plain, "kind": "tool_return"}

    def _tell(self, kind: Kind, value: Any = None) -> None:
        scope = self._scope
        emit(
            kind,
            run_id=scope.run.run_id,
            agent=scope.run.agent,
            step_number=scope.step_number,
            name=scope.name,
            subject=self._subject,
            value=value,
        )

    def _database_needed(self) -> Any:
        return stopped_without_database(self._scope.run, DatabaseError)


async def _call_either(function: Callable[..., Any], argument: Any) -> Any:
    """Call an asynchronous function here and a synchronous one in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(argument)
    return await asyncio.to_thread(function, argument)


def _as_json(value: Any) -> str | None:
    try:
        text = _ANYTHING.dump_json(value).decode()
    except (PydanticSerializationError, ValueError):
        return None
    return None if "\\u0000" in text else text
