"""All that is known of a step before its body begins, in one statement."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

STEP_STATE: LiteralString = """
select status.status, status.owner_xid,
    step.function_id is not null as is_complete,
    step.function_name, step.output, step.error, step.serialization, step.child_workflow_id,
    case when step.function_id is null then (
        select jsonb_agg(
            to_jsonb(attempt) || jsonb_build_object(
                'retry_in_s', extract(epoch from attempt.retry_at - clock_timestamp()))
            order by attempt_number)
        from agent_app.attempt
        where run_id = %(run_id)s and step_number = %(step_number)s) end as attempts,
    case when step.function_id is null then (
        select jsonb_object_agg(
            provider || ' ' || model, extract(epoch from closed_until - clock_timestamp()))
        from agent_app.rate_limit where closed_until > clock_timestamp()) end as closed_s,
    case when step.function_id is null then (
        select to_jsonb(intent) from agent_app.intent
        where run_id = %(run_id)s and step_number = %(step_number)s) end as intent
from dbos.workflow_status as status
left join dbos.operation_outputs as step
    on step.workflow_uuid = status.workflow_uuid and step.function_id = %(step_number)s
where status.workflow_uuid = %(run_id)s
"""
"""What DBOS 3.4 asks in two statements and a transaction, and what we ask besides."""


@dataclass
class StepState:
    """What an unfinished step has behind it; asked anew before a try that comes late."""

    attempts: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the ledger, oldest first, each with `retry_in_s`: seconds to its `retry_at`."""
    closed_s: dict[str, float] = field(default_factory=dict)
    """Seconds for which a model's rate limit is closed, by `provider model`."""
    intent: dict[str, Any] | None = None
    """Row of an external call that an earlier life may have made."""
    asked_at: float = float("-inf")
    """When it was asked, in seconds of a clock that goes on while the machine sleeps."""

    def take(self, row: Mapping[str, Any], asked_at: float) -> None:
        """Take what the statement returned."""
        self.attempts = row["attempts"] or []
        self.closed_s = row["closed_s"] or {}
        self.intent = row["intent"]
        self.asked_at = asked_at
