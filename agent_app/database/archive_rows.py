"""The rows of a run that a file holds: what each table has, and what it may have."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from agent_app.database.row_format import (
    ArchivedRow,
    Count,
    Milliseconds,
    Moment,
    RunId,
    StepNumber,
    Text,
    Usd,
)

_PARENT = "parent_run_id"


class ArchivedStatus(ArchivedRow):
    """The run itself; DBOS 3.4 keeps payloads of older rows here too."""

    table = "dbos.workflow_status"
    renamed: ClassVar[Mapping[str, str]] = {"run_id": "workflow_uuid", "agent": "name"}
    payloads = ("inputs", "output", "error")
    jsonb = ("attributes",)
    texts = ("authenticated_user", "assumed_role", "authenticated_roles", "request")

    run_id: RunId
    agent: Text
    status: Literal[
        "ENQUEUED",
        "DELAYED",
        "PENDING",
        "SUCCESS",
        "ERROR",
        "CANCELLED",
        "MAX_RECOVERY_ATTEMPTS_EXCEEDED",
    ]
    created_at: Milliseconds
    updated_at: Milliseconds
    completed_at: Milliseconds | None = None
    started_at_epoch_ms: Milliseconds | None = None
    application_version: Text | None = None
    executor_id: Text | None = None
    attributes: Text | None = None
    parent_workflow_id: RunId | None = None
    forked_from: RunId | None = None
    was_forked_from: bool
    serialization: Text | None = None
    inputs: Text | None = None
    output: Text | None = None
    error: Text | None = None
    recovery_attempts: Count | None = None
    queue_name: Text | None = None
    queue_partition_key: Text | None = None
    deduplication_id: Text | None = None
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    workflow_timeout_ms: Milliseconds | None = None
    workflow_deadline_epoch_ms: Milliseconds | None = None
    delay_until_epoch_ms: Milliseconds | None = None
    debounce_deadline_epoch_ms: Milliseconds | None = None
    is_debounced: bool
    rate_limited: bool
    schedule_name: Text | None = None
    application_name: Text | None = None
    application_id: Text | None = None
    class_name: Annotated[Text, Field(max_length=255)] | None = None
    config_name: Annotated[Text, Field(max_length=255)] | None = None
    owner_xid: Text | None = None
    creator_xid: Text | None = None
    authenticated_user: Text | None = None
    assumed_role: Text | None = None
    authenticated_roles: Text | None = None
    request: Text | None = None

    @property
    def labels(self) -> dict[str, Any]:
        """Return the run's attributes."""
        return json.loads(self.attributes or "null") or {}

    @property
    def parent_run_id(self) -> str | None:
        """Return who delegated to the run: DBOS's own link, or ours."""
        label: str | None = self.labels.get(_PARENT)
        return self.parent_workflow_id or label

    @model_validator(mode="after")
    def _refuse_odd_labels(self) -> Self:
        if not isinstance(self.labels, dict):
            raise ValueError("its attributes are no object")
        if not isinstance(self.labels.get(_PARENT, ""), str):
            raise ValueError(f"its attribute {_PARENT} is no run's ID")
        return self


class ArchivedInput(ArchivedRow):
    """What the run was started with."""

    table = "dbos.workflow_input"
    payloads = ("inputs",)

    inputs: Text | None = None
    retention_timestamp: Milliseconds


class ArchivedOutput(ArchivedRow):
    """How the run ended."""

    table = "dbos.workflow_output"
    payloads = ("output", "error")

    output: Text | None = None
    error: Text | None = None
    retention_timestamp: Milliseconds


class ArchivedStep(ArchivedRow):
    """A checkpoint."""

    table = "dbos.operation_outputs"
    renamed: ClassVar[Mapping[str, str]] = {
        "step_number": "function_id",
        "name": "function_name",
        "child_run_id": "child_workflow_id",
    }
    key = ("step_number",)
    payloads = ("output", "error")

    step_number: StepNumber
    name: Text
    started_at_epoch_ms: Milliseconds | None = None
    completed_at_epoch_ms: Milliseconds | None = None
    child_run_id: RunId | None = None
    serialization: Text | None = None
    output: Text | None = None
    error: Text | None = None
    application_name: Text | None = None
    retention_timestamp: Milliseconds


class ArchivedEvent(ArchivedRow):
    """A value that the run's code has set, as it is now."""

    table = "dbos.workflow_events"
    key = ("name",)
    renamed: ClassVar[Mapping[str, str]] = {"name": "key"}
    payloads = ("value",)

    name: Text
    serialization: Text | None = None
    value: Text


class ArchivedEventChange(ArchivedRow):
    """A value that the run's code has set in one of its steps."""

    table = "dbos.workflow_events_history"
    renamed: ClassVar[Mapping[str, str]] = {"name": "key", "step_number": "function_id"}
    key = ("name", "step_number")
    payloads = ("value",)

    name: Text
    step_number: StepNumber
    serialization: Text | None = None
    value: Text


class ArchivedStreamEntry(ArchivedRow):
    """An entry of one of the run's streams."""

    table = "dbos.streams"
    renamed: ClassVar[Mapping[str, str]] = {"name": "key", "step_number": "function_id"}
    key = ("name", "offset")
    payloads = ("value",)

    name: Text
    offset: StepNumber
    step_number: StepNumber
    serialization: Text | None = None
    value: Text


class ArchivedMessage(ArchivedRow):
    """A message that was sent to the run."""

    table = "dbos.notifications"
    run_column = "destination_uuid"
    key = ("message_uuid",)
    payloads = ("message",)

    message_uuid: Text
    topic: Text | None = None
    created_at_epoch_ms: Milliseconds
    consumed: bool
    consumed_by_function_id: StepNumber | None = None
    serialization: Text | None = None
    message: Text


class ArchivedAttempt(ArchivedRow):
    """A try of a step."""

    table = "agent_app.attempt"
    run_column = "run_id"
    key = ("step_number", "attempt_number")
    texts = ("error_message",)

    step_number: StepNumber
    attempt_number: Annotated[int, Field(ge=1, lt=2**31)]
    step_name: Text
    executor_id: Text
    started_at: Moment
    heartbeat_at: Moment | None = None
    finished_at: Moment | None = None
    outcome: Literal["success", "error", "cancelled", "lost", "unknown"] | None = None
    error_type: Text | None = None
    error_message: Text | None = None
    http_status: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    retry_after_s: FiniteFloat | None = None
    retry_at: Moment | None = None
    retried_at: Moment | None = None
    model: Text | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cost_usd: Usd | None = None


class ArchivedIntent(ArchivedRow):
    """An external call."""

    table = "agent_app.intent"
    run_column = "run_id"
    key = ("step_number",)
    jsonb = ("arguments",)
    texts = ("decided_value",)

    step_number: StepNumber
    step_name: Text
    call: Text
    arguments: Text | None = None
    idempotency_key: Text
    executor_id: Text
    intended_at: Moment
    unknown_since: Moment | None = None
    decision: Literal["done", "retry", "fail"] | None = None
    decided_value: Text | None = None
    decided_at: Moment | None = None


class ArchivedCommit(ArchivedRow):
    """The result of a transactional tool call."""

    table = "agent_app.committed_call"
    run_column = "run_id"
    key = ("step_number",)
    payloads = ("result",)

    step_number: StepNumber
    call: Text
    result: Text
    committed_at: Moment


class ArchivedLink(ArchivedRow):
    """A source that the run has; its text stands once in the file."""

    table = "agent_app.run_source"
    run_column = "run_id"
    key = ("source_id",)

    source_id: Text
    added_at: Moment


class ArchivedRun(BaseModel):
    """One run with every row that belongs to it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    status: ArchivedStatus
    input: ArchivedInput | None = None
    output: ArchivedOutput | None = None
    steps: list[ArchivedStep] = []
    events: list[ArchivedEvent] = []
    event_changes: list[ArchivedEventChange] = []
    stream_entries: list[ArchivedStreamEntry] = []
    messages: list[ArchivedMessage] = []
    attempts: list[ArchivedAttempt] = []
    intents: list[ArchivedIntent] = []
    committed_calls: list[ArchivedCommit] = []
    sources: list[ArchivedLink] = []

    @property
    def run_id(self) -> str:
        """Return the run's ID."""
        return self.status.run_id

    def rows(self) -> Iterator[ArchivedRow]:
        """Yield every row, the run's own first."""
        for section in SECTIONS:
            found = getattr(self, section)
            yield from found if isinstance(found, list) else [found] if found else []

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        seen: set[tuple[object, ...]] = set()
        for row in self.rows():
            place = (row.table, *(getattr(row, field) for field in row.key))
            if place in seen:
                raise ValueError(f"run {self.run_id!r} has two rows {place[1:]} of {row.table}")
            seen.add(place)
            if getattr(row, "output", None) is not None and getattr(row, "error", None) is not None:
                raise ValueError(f"run {self.run_id!r} has an output and an error in one row")
        return self

    def folded(self) -> dict[str, Any]:
        """Return the run as JSON; what is empty is left out."""
        run: dict[str, Any] = {}
        for section in SECTIONS:
            found = getattr(self, section)
            if isinstance(found, list) and found:
                run[section] = [row.folded() for row in found]
            elif found:
                run[section] = found.folded()
        return run


SECTIONS: dict[str, type[ArchivedRow]] = {
    "status": ArchivedStatus,
    "input": ArchivedInput,
    "output": ArchivedOutput,
    "steps": ArchivedStep,
    "events": ArchivedEvent,
    "event_changes": ArchivedEventChange,
    "stream_entries": ArchivedStreamEntry,
    "messages": ArchivedMessage,
    "attempts": ArchivedAttempt,
    "intents": ArchivedIntent,
    "committed_calls": ArchivedCommit,
    "sources": ArchivedLink,
}
"""Parts of a run by their names in a file, in the order in which their rows are written."""
SINGLE = ("status", "input", "output")
"""Those of which a run has one row at most."""
