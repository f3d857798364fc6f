"""One step: a body goes in, a checkpoint comes out; a replay takes the checkpoint and no body."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from dbos import DBOS, StepReservation
from dbos import error as dbos_error
from pydantic import TypeAdapter
from pydantic_ai.usage import RunUsage

from agent_app.durability.attempts import attempt_body
from agent_app.durability.drain import begin_body, end_body
from agent_app.durability.effects import execute_external
from agent_app.durability.events import ATTEMPTS, emit
from agent_app.durability.outage import stopped_without_database
from agent_app.durability.policy import StepPolicy
from agent_app.durability.scope import RunScope, StepScope, current_run, step_scope
from agent_app.durability.serializer import OF, Checkpoint, JsonSerializer, as_recorded
from agent_app.durability.step_check import asking_into
from agent_app.durability.threads import daemon_threads
from agent_app.durability.transaction import unless_committed, with_transaction
from agent_app.errors import PayloadRefused, ReplayDiverged, ValueNotStorable

_USAGE: TypeAdapter[RunUsage] = TypeAdapter(RunUsage)
_JSON = JsonSerializer()


@dataclass(frozen=True)
class StepCall:
    """What is to be recorded."""

    name: str
    of: str
    """Identity of the call; compared on replay."""
    policy: StepPolicy
    call_key: str | None = None
    """A tool call's ID, unique within the run."""
    subject: Any = None
    """For people who watch: a tool's arguments."""
    rate_limit: tuple[str, str] | None = None
    """Provider and model, for a model request."""
    reservation: StepReservation | None = None
    """A number drawn earlier, where several steps start at once."""


async def execute_step(
    call: StepCall, body: Callable[[], Awaitable[Any]]
) -> tuple[Any, RunUsage | None]:
    """Return the step's JSON value and what its body spent, from the checkpoint if there is one.

    The body is executed at least once and, once its checkpoint is written, never again. An error is
    a result too: it is recorded, and raised here in the form that a replay will raise.
    Raises: ReplayDiverged (the checkpoint belongs to another call); whatever the body raised.
    """
    run = current_run()
    if run is None:
        return await body(), None
    reservation = call.reservation or DBOS.reserve_step()
    execution = _Execution(call, run, reservation.step_id, body)
    try:
        # Preemptible: a cancelled run stops a call in flight instead of waiting for it.
        with asking_into(execution.state), stopped_without_database(run):
            checkpoint = await reservation.run_async(
                {"name": call.name, "preemptible": True}, execution.record
            )
    except dbos_error.DBOSUnexpectedStepError as error:
        _, _, asked, recorded = error.inputs
        raise ReplayDiverged(call.name, recorded, asked) from error
    except Exception as error:
        if not execution.has_run:
            _compare(call, getattr(error, OF, call.of))
        raise
    finally:
        end_body(execution.scope)
    return execution.open(checkpoint)


class _Execution:
    """One pass over a step in one life of its run."""

    def __init__(
        self,
        call: StepCall,
        run: RunScope,
        step_number: int,
        body: Callable[[], Awaitable[Any]],
    ) -> None:
        self._call = call
        self._body = body
        self.scope = StepScope(run, step_number, call.name, call.call_key, call.rate_limit)
        self.state = self.scope.state
        self.has_run = False

    async def record(self) -> Checkpoint:
        """Execute the body; DBOS writes what this returns or raises."""
        await begin_body(self.scope)
        self.has_run = True
        try:
            with step_scope(self.scope), daemon_threads():
                value = await self._execute()
            return self._checkpoint(value)
        except ValueNotStorable as error:
            raise self._recorded(ValueNotStorable(self._call.name, error.reason)) from error
        except Exception as error:
            raise self._recorded(error) from error

    async def _execute(self) -> Any:
        """Return the body's payload, with what its policy's effect asks for around it."""
        call, scope = self._call, self.scope
        body = with_transaction(self._body, policy=call.policy, scope=scope, of=call.of)

        async def attempt() -> Any:
            return await attempt_body(body, policy=call.policy, scope=scope, subject=call.subject)

        match call.policy.effect:
            case "external":
                return await execute_external(
                    attempt, policy=call.policy, scope=scope, of=call.of, subject=call.subject
                )
            case "transactional":
                return await unless_committed(attempt, scope=scope, of=call.of)
            case _:
                return await attempt()

    def _checkpoint(self, value: Any) -> Checkpoint:
        """Write the JSON here, so that a value that is none ends the step with a recorded error."""
        checkpoint = Checkpoint(self._call.of, value, self.scope.spent_json())
        checkpoint.text = _JSON.serialize(checkpoint)
        return checkpoint

    def open(self, checkpoint: Any) -> tuple[Any, RunUsage | None]:
        """Take the value out, after comparing what the checkpoint is of."""
        if not isinstance(checkpoint, Checkpoint):
            raise PayloadRefused("no checkpoint of agent_app")
        if not self.has_run:
            _compare(self._call, checkpoint.of)
            emit(
                "step_replayed",
                run_id=self.scope.run.run_id,
                agent=self.scope.run.agent,
                step_number=self.scope.step_number,
                name=self._call.name,
                subject=self._call.subject,
                value=checkpoint.value,
            )
        usage = None if checkpoint.usage is None else _USAGE.validate_python(checkpoint.usage)
        return checkpoint.value, usage

    def _recorded(self, error: Exception) -> BaseException:
        recorded = as_recorded(error)
        setattr(recorded, OF, self._call.of)
        if attempts := getattr(error, ATTEMPTS, None):
            setattr(recorded, ATTEMPTS, attempts)
        return recorded


def _compare(call: StepCall, recorded: str) -> None:
    if recorded != call.of:
        raise ReplayDiverged(call.name, recorded, call.of)
