"""How often and how long a step is tried: one policy object, chosen by kind, agent and tool."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, get_args

from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelServerError,
    ModelUnavailableError,
)

from agent_app.errors import (
    AgentInvalid,
    ConfigurationInvalid,
    HeartbeatMissed,
    InjectedFault,
    StepTimedOut,
)
from agent_app.settings import Settings

Effect = Literal["pure", "idempotent", "external", "transactional"]

_RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
_NEVER_RETRIED = (ModelQuotaExceededError, ModelRequestRejectedError)
_NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")
_SQLSTATES = re.compile("08|40001|40P01|57P0|53300")
"""What passes when a transaction is made again: lost connections, serialization, deadlocks."""
_UNDONE = re.compile("40001|40P01|53300|57P03|0800[14]")
"""Which of them say that nothing was committed."""
_DECIMAL = re.compile(r"[0-9]+\.[0-9]+")
_RETRYABLE = (
    ModelRateLimitError,
    ModelUnavailableError,
    ModelServerError,
    ModelConnectionError,
    StepTimedOut,
    HeartbeatMissed,
    InjectedFault,
    ConnectionError,
    TimeoutError,
)


def is_retryable(error: BaseException) -> bool:
    """Say whether another try can help: by category first, then by HTTP status, then by class.

    A spent quota is a 429 too, and no try helps; an error of the tool's own code is a fact. A group
    is as its members are: all of them must pass.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(is_retryable(member) for member in error.exceptions)
    if isinstance(error, _NEVER_RETRIED):
        return False
    if isinstance(error, _RETRYABLE) or _is_http(error, "TransportError") or _is_lost(error):
        return True
    status = http_status(error)
    return status is not None and (status in _RETRYABLE_STATUS or status >= 500)


def _is_lost(error: BaseException) -> bool:
    """Say whether Postgres lost the connection or undid the transaction for another's sake."""
    state = getattr(error, "sqlstate", "")
    if state is None:  # psycopg's own word about a connection has none
        return any(kind.__name__ == "OperationalError" for kind in type(error).__mro__)
    return isinstance(state, str) and bool(_SQLSTATES.match(state))


def retry_after_s(error: BaseException) -> float | None:
    """Return the seconds that the other side asked to wait, None where it did not ask."""
    response = _http_response(error)
    if response is not None:
        # Pydantic AI reads milliseconds, whole seconds and a date.
        error = ModelHTTPError(response.status_code, "", headers=dict(response.headers))
    if not isinstance(error, ModelAPIError):
        return None
    if error.retry_after is not None:
        return error.retry_after
    return _decimal_s(getattr(error, "headers", None) or {})


def _decimal_s(headers: Mapping[str, str]) -> float | None:
    """Read decimal seconds: no standard knows them, and servers send them all the same."""
    text = headers.get("retry-after", "")
    return float(text) if _DECIMAL.fullmatch(text) else None


def is_rate_limit(error: BaseException) -> bool:
    """Say whether a model was asked too often, which holds for all who ask it."""
    if isinstance(error, _NEVER_RETRIED):
        return False
    is_429 = isinstance(error, ModelHTTPError) and error.status_code == 429
    return is_429 or isinstance(error, ModelRateLimitError)


def is_ambiguous(error: BaseException) -> bool:
    """Say whether the other side may have done its work though the call has failed.

    A time-out, a connection that broke off and a server's own error do not say; one that was never
    made and a request that was refused do. A group does not say if one of its members does not.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(is_ambiguous(member) for member in error.exceptions)
    if any(_is_http(error, name) for name in _NEVER_SENT):
        return False
    if isinstance(error, ConnectionRefusedError):
        return False
    if isinstance(error, (StepTimedOut, HeartbeatMissed, ConnectionError, TimeoutError)):
        return True
    status = http_status(error)
    return (
        _is_http(error, "TransportError")
        or (_is_lost(error) and not _is_undone(error))
        or (status is not None and (status == 408 or status >= 500))
    )


def _is_undone(error: BaseException) -> bool:
    return bool(_UNDONE.match(getattr(error, "sqlstate", None) or ""))


def http_status(error: BaseException) -> int | None:
    """Return the status that a model's or a tool's HTTP request was answered with, None without."""
    if isinstance(error, ModelHTTPError):
        return error.status_code
    response = _http_response(error)
    return response.status_code if response is not None else None


def _http_response(error: BaseException) -> Any:
    return getattr(error, "response", None) if _is_http(error, "HTTPStatusError") else None


def _is_http(error: BaseException, name: str) -> bool:
    """Say whether it is this error of httpx or httpx2: tools use the one or the other."""
    return any(
        kind.__name__ == name and kind.__module__.partition(".")[0] in ("httpx", "httpx2")
        for kind in type(error).__mro__
    )


@dataclass(frozen=True)
class StepPolicy:
    """Tries, waits and limits of one step."""

    max_attempts: int = 3
    """Tries, the first included."""
    timeout_s: float | None = 600.0
    """Seconds that one try may take; None is no limit. A synchronous tool's thread is abandoned."""
    heartbeat_timeout_s: float | None = None
    """Seconds that one try may go without a call of `heartbeat()`; None asks for no such call."""
    backoff_s: float = 0.5
    """Seconds before the first retry; doubled for each further one, drawn from 0 to that.

    Full jitter. Source: Marc Brooker, Exponential Backoff And Jitter, AWS Architecture Blog (2015).
    """
    backoff_max_s: float = 30.0
    """Seconds between two tries, at most."""
    retry_after_max_s: float = 120.0
    """Seconds that a `Retry-After` is obeyed for, at most; it replaces the backoff."""
    effect: Effect = "idempotent"
    """What a second execution does: nothing, the same, or harm (`external`: tried once).

    `transactional`: it cannot happen, since what the tool writes commits with its checkpoint.
    """
    reconcile: Callable[..., Any] | None = None
    """Finds out whether an `external` call that a crash cut short was made; None asks a person."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises: ConfigurationInvalid.
        """
        for name, is_valid, expected in (
            ("max_attempts", _is_number(self.max_attempts) and self.max_attempts >= 1, "1 or more"),
            ("timeout_s", _is_limit(self.timeout_s), "seconds above 0, or None"),
            (
                "heartbeat_timeout_s",
                _is_limit(self.heartbeat_timeout_s),
                "seconds above 0, or None",
            ),
            ("backoff_s", _is_wait(self.backoff_s), "seconds"),
            ("backoff_max_s", _is_wait(self.backoff_max_s), "seconds"),
            ("retry_after_max_s", _is_wait(self.retry_after_max_s), "seconds"),
            ("effect", self.effect in get_args(Effect), f"one of {', '.join(get_args(Effect))}"),
            (
                "reconcile",
                self.reconcile is None or callable(self.reconcile),
                "a function, or None",
            ),
        ):
            if not is_valid:
                found = getattr(self, name)
                raise ConfigurationInvalid(
                    f"StepPolicy has {name}={found!r}; {expected} was expected."
                )

    def wait_s(self, attempt: int, error: BaseException, draw: float) -> float:
        """Return the seconds to wait after failed try `attempt`; `draw` is random in [0, 1)."""
        asked = retry_after_s(error)
        if asked is not None:
            return min(asked, self.retry_after_max_s)
        return draw * min(self.backoff_s * 2.0 ** (attempt - 1), self.backoff_max_s)

    @property
    def longest_wait_s(self) -> float:
        """Return the most seconds that can lie between two tries."""
        return max(self.backoff_max_s, self.retry_after_max_s)

    def changed(self, agent: str, change: Any) -> Self:
        """Return this policy with what a tool's `metadata={"step": {...}}` sets.

        Raises: AgentInvalid (an unknown key, a value that cannot be meant).
        """
        if isinstance(change, StepPolicy):
            return replace(self, **vars(change))
        known = {f.name for f in fields(self)}
        if not isinstance(change, dict) or not known.issuperset(change):
            raise AgentInvalid(
                agent, f"a tool's `step` metadata is {change!r}; known keys are {sorted(known)}."
            )
        try:
            return replace(self, **change)
        except ConfigurationInvalid as error:
            raise AgentInvalid(agent, f"a tool's `step` metadata: {error}") from None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_wait(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_limit(value: Any) -> bool:
    return value is None or (_is_number(value) and value > 0)


@dataclass(frozen=True)
class StepPolicies:
    """The defaults by kind of step."""

    model: StepPolicy = StepPolicy(max_attempts=4)
    tool: StepPolicy = StepPolicy()


def policies_from(settings: Settings) -> StepPolicies:
    """Return the deployment's defaults."""
    base = StepPolicy(
        backoff_s=settings.retry_backoff_s,
        backoff_max_s=settings.retry_backoff_max_s,
        retry_after_max_s=settings.retry_after_max_s,
    )
    return StepPolicies(
        model=replace(
            base, max_attempts=settings.model_max_attempts, timeout_s=settings.model_timeout_s
        ),
        tool=replace(
            base, max_attempts=settings.tool_max_attempts, timeout_s=settings.tool_timeout_s
        ),
    )
