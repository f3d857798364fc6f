"""A run's checkpoints, decoded: what a fork keeps, and where a retry begins."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent_app.database.connect import Database
from agent_app.database.history import StoredStep, read_stored_run, read_stored_steps
from agent_app.durability.identity import tool_call_key
from agent_app.durability.serializer import OF, Checkpoint, JsonSerializer
from agent_app.errors import PayloadRefused

_JSON = JsonSerializer()
_CALL = re.compile(r"\S+ (?P<tool_call_id>.*) [0-9a-f]{12}", re.DOTALL)
"""What the checkpoint of a tool call is of; see `identity`."""


@dataclass(frozen=True)
class RecordedStep:
    """One checkpoint."""

    step_number: int
    name: str
    call: str | None
    """What it is of; None for DBOS's own steps."""
    checkpoint: Checkpoint | None
    """None for an error and for DBOS's own steps."""
    error: BaseException | None
    started_ms: int
    finished_ms: int

    @property
    def is_model_request(self) -> bool:
        """Say whether a model was asked."""
        return self.name.split(".")[1:] == ["model"]

    @property
    def tool_call_id(self) -> str | None:
        """Return the ID of the tool call that this is; None for every other step."""
        found = _CALL.fullmatch(self.call or "")
        is_tool = self.name.split(".")[1:2] in (["tool"], ["mcp"], ["dynamic"])
        return found["tool_call_id"] if found and is_tool else None

    @property
    def is_refusal(self) -> bool:
        """Say whether this is a tool call that returned nothing but a request to do it better."""
        value = self.checkpoint.value if self.checkpoint else None
        return (
            self.tool_call_id is not None
            and isinstance(value, dict)
            and value.get("kind", "tool_return") != "tool_return"
        )

    def has_child(self, run_id: str, child_id: str) -> bool:
        """Say whether this step of `run_id` delegated to that child."""
        keys = [str(self.step_number)]
        if (tool_call_id := self.tool_call_id) is not None:
            keys.append(tool_call_key(tool_call_id, 1))
        places = (re.escape(f"{run_id}:{key}") for key in keys)
        return any(re.fullmatch(rf"{place}([.:]\d+)*", child_id) for place in places)


def read_recorded_steps(database: Database, run_id: str) -> list[RecordedStep]:
    """Return the run's checkpoints in the order of their numbers.

    Raises: PayloadRefused (somebody else wrote one).
    """
    return [decode_step(stored) for stored in read_stored_steps(database, run_id)]


def decode_step(stored: StoredStep) -> RecordedStep:
    """Return a checkpoint with its values.

    Raises: PayloadRefused (somebody else wrote it).
    """
    tag = stored.serialization
    is_dbos_own = stored.name.startswith("DBOS.") and tag in (None, "portable_json")
    if not is_dbos_own and tag != _JSON.name():
        raise PayloadRefused(str(tag))
    output: Any = None
    error: Any = None
    if not is_dbos_own:
        output = None if stored.output is None else _JSON.deserialize(stored.output)
        error = None if stored.error is None else _JSON.deserialize(stored.error)
    checkpoint = output if isinstance(output, Checkpoint) else None
    failure = error if isinstance(error, BaseException) else None
    return RecordedStep(
        stored.step_number,
        stored.name,
        checkpoint.of if checkpoint else getattr(failure, OF, None),
        checkpoint,
        failure,
        stored.started_ms or 0,
        stored.finished_ms or 0,
    )


def failed_call(database: Database, run_id: str) -> str | None:
    """Return what the step is of whose error ended the run; None where no step's did."""
    stored = read_stored_run(database, run_id).error
    error = None if stored is None else _JSON.deserialize(stored)
    call: str | None = getattr(error, OF, None)
    return call


def steps_to_redo(steps: Sequence[RecordedStep], call: str | None) -> list[RecordedStep]:
    """Return the steps that a retry executes again; `call` is what the fatal one is of.

    Those that failed and that nothing came after, and all that began after the fatal one had
    failed. A finished sibling of a failed step is kept. Where no step failed, the last model
    request, unless a tool has done something on its answer; then none.
    """
    open_ends = [step for step in steps if step.error is not None and not _after(step, steps)]
    fatal = [step for step in steps if step.error is not None and step.call == call is not None]
    if not fatal:
        fatal = open_ends
    if not fatal:
        return _last_exchange(steps)
    redone = {step.step_number for step in (*open_ends, fatal[-1], *_after(fatal[-1], steps))}
    return [step for step in steps if step.step_number in redone]


def _after(step: RecordedStep, steps: Sequence[RecordedStep]) -> list[RecordedStep]:
    return [
        later
        for later in steps
        if later.step_number > step.step_number and later.started_ms > step.finished_ms
    ]


def _last_exchange(steps: Sequence[RecordedStep]) -> list[RecordedStep]:
    """Return the last model request and the tool calls that refused its answer."""
    redone: list[RecordedStep] = []
    for step in reversed(steps):
        redone.insert(0, step)
        if step.is_model_request:
            return redone
        if not step.is_refusal:
            return []
    return []
