"""One try as the ledger gets it: when it began, how it ended, what it spent."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_ai.messages import ModelResponse
from pydantic_ai.usage import RunUsage

from agent_app.database.attempt_ledger import AttemptRow, Outcome
from agent_app.durability.policy import http_status, retry_after_s
from agent_app.durability.scope import StepScope
from agent_app.durability.storage import storage
from agent_app.errors import RecordedError

_RESPONSE: TypeAdapter[ModelResponse] = TypeAdapter(ModelResponse)
_unpriced: set[tuple[str | None, str | None]] = set()
"""Providers and models without a known price: to look one up in vain takes longer than a step."""


class AttemptRecord:
    """The ledger's row of the running try; every method returns at once."""

    def __init__(self, scope: StepScope, number: int) -> None:
        self._scope = scope
        self._usage_before = RunUsage() + scope.usage
        self._row = AttemptRow(
            run_id=scope.run.run_id,
            step_number=scope.step_number,
            attempt_number=number,
            step_name=scope.name,
            executor_id=storage().executor_id,
            started_at=datetime.now(UTC),
        )
        self._put()

    def spend(self, value: Any) -> None:
        """Note what a model's answer has cost: the try may still count as failed."""
        if self._scope.rate_limit is None or not isinstance(value, dict):
            return
        usage = value.get("usage") or {}
        self._row.input_tokens = usage.get("input_tokens", 0)
        self._row.output_tokens = usage.get("output_tokens", 0)
        self._row.cost_usd, self._row.model = _price(value), value.get("model_name")

    def beat(self, at: datetime) -> None:
        """Note a sign of life."""
        self._row.heartbeat_at = at
        self._put()

    def succeed(self) -> None:
        """Note that the body has returned."""
        self._end("success")

    def fail(self, error: BaseException, outcome: Outcome, wait_s: float | None = None) -> None:
        """Note what the body has raised, and the seconds until the next try if one follows."""
        row = self._row
        row.error_type, row.error_message = _type_name(error), _message(error)
        row.http_status, row.retry_after_s = http_status(error), retry_after_s(error)
        self._end(outcome, wait_s)

    def _end(self, outcome: Outcome, wait_s: float | None = None) -> None:
        own = self._scope.usage - self._usage_before
        if own.has_values():  # what a tool has spent by itself
            self._row.input_tokens = own.input_tokens
            self._row.output_tokens = own.output_tokens
            self._row.cost_usd = own.cost
        self._row.outcome = outcome
        self._row.finished_at = at = datetime.now(UTC)
        self._row.retry_at = None if wait_s is None else at + timedelta(seconds=wait_s)
        self._put()

    def _put(self) -> None:
        storage().ledger.put(self._row)


def close_open(rows: Iterable[dict[str, Any]], outcome: Outcome) -> None:
    """Note what became of tries that an earlier life left open, here and in the ledger."""
    for row in rows:
        if row["outcome"] is None:
            row["outcome"] = outcome
            known = {name: row[name] for name in ("run_id", "step_number", "attempt_number")}
            lost = AttemptRow(
                **known,
                step_name=row["step_name"],
                executor_id=row["executor_id"],
                started_at=datetime.fromisoformat(row["started_at"]),
                outcome=outcome,
            )
            storage().ledger.put(lost)


def _price(value: dict[str, Any]) -> Decimal | None:
    model = (value.get("provider_name"), value.get("model_name"))
    if model in _unpriced:
        return None
    try:
        return _RESPONSE.validate_python(value).cost().total_price
    except LookupError:
        _unpriced.add(model)
    except (ValueError, AssertionError, ValidationError):  # this answer's own fault
        pass
    return None


def _type_name(error: BaseException) -> str:
    return error.type_name if isinstance(error, RecordedError) else type(error).__name__


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""
