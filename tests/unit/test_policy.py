"""Which errors are tried again, after how long."""

import datetime as dt
from email.utils import format_datetime

import httpx
import pytest
from pydantic_ai.exceptions import (
    FallbackExceptionGroup,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelRetry,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
    UsageLimitExceeded,
)

from agent_app.durability.policy import StepPolicy, is_ambiguous, is_retryable, policies_from
from agent_app.errors import (
    AgentInvalid,
    ConfigurationInvalid,
    HeartbeatMissed,
    StepTimedOut,
    ValueNotStorable,
)
from agent_app.settings import Settings

REQUEST = httpx.Request("GET", "https://example.org")


def http_error(status: int, **headers: str) -> httpx.HTTPStatusError:
    """Return what `raise_for_status` raises."""
    response = httpx.Response(status, headers=headers, request=REQUEST)
    return httpx.HTTPStatusError("m", request=REQUEST, response=response)


def model_error(status: int, category: object = None, **headers: str) -> ModelHTTPError:
    """Return what a model of Pydantic AI raises."""
    return ModelHTTPError.for_category(
        category,  # type: ignore[arg-type]
        status_code=status,
        model_name="m",
        headers=headers or None,
    )


PASSING = [
    *(model_error(status) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)),
    *(http_error(status) for status in (408, 409, 425, 429, 500, 503)),
    model_error(429, ModelRateLimitError),
    model_error(503, ModelUnavailableError),
    model_error(529, ModelOverloadedError),
    model_error(500, ModelServerError),
    ModelConnectionError("m", "no route"),
    ModelTimeoutError("m", "slow"),
    StepTimedOut("s", 1),
    ConnectionResetError("m"),
    TimeoutError("m"),
    TimeoutError(),
    httpx.ConnectError("m"),
    httpx.ReadTimeout("m"),
    httpx.RemoteProtocolError("m"),
    ExceptionGroup("g", [httpx.ConnectError("m"), TimeoutError()]),
    FallbackExceptionGroup("g", [model_error(503), model_error(429)]),
]
FINAL = [
    *(model_error(status) for status in (400, 401, 402, 403, 404, 413, 422)),
    *(http_error(status) for status in (301, 400, 401, 404)),
    model_error(429, ModelQuotaExceededError),
    model_error(401, ModelAuthenticationError),
    model_error(404, ModelNotFoundError),
    model_error(400, ModelContextWindowExceededError),
    model_error(500, ModelRequestRejectedError),
    ModelAPIError("m", "odd"),
    ModelRetry("m"),
    UsageLimitExceeded("m"),
    ValueNotStorable("s", "r"),
    ValueError("m"),
    OSError("m"),
    ExceptionGroup("g", [TimeoutError(), ValueError("m")]),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_what_can_pass_is_tried_again(error: Exception) -> None:
    """Overload, lost connections and time-outs pass."""
    assert is_retryable(error)


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_what_is_a_fact_is_not(error: Exception) -> None:
    """A refused request, a spent quota and the code's own errors stay what they are."""
    assert not is_retryable(error)


POLICY = StepPolicy(backoff_s=1, backoff_max_s=10, retry_after_max_s=60)


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (99, 10)]
)
def test_the_backoff_doubles_up_to_its_limit(attempt: int, longest: float) -> None:
    """The wait is drawn between 0 and a bound that doubles with each try."""
    error = ConnectionError()
    assert POLICY.wait_s(attempt, error, 0.0) == 0
    assert POLICY.wait_s(attempt, error, 0.5) == longest / 2


@pytest.mark.parametrize(
    ("headers", "wait_s"), [({"retry-after": "7"}, 7), ({"retry-after": "999"}, 60), ({}, 0.5)]
)
def test_retry_after_replaces_the_backoff(headers: dict[str, str], wait_s: float) -> None:
    """What the other side asks for is obeyed, up to the limit, by models and by httpx alike."""
    for error in (model_error(429, ModelRateLimitError, **headers), http_error(503, **headers)):
        assert POLICY.wait_s(1, error, 0.5) == wait_s


def test_retry_after_can_be_a_date() -> None:
    """A date in the header counts from now."""
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30)
    error = http_error(503, **{"retry-after": format_datetime(at, usegmt=True)})
    assert 25 < POLICY.wait_s(1, error, 0.5) <= 30


def test_a_tool_changes_its_policy() -> None:
    """`metadata={"step": {...}}` changes what it names; a whole policy replaces all."""
    assert POLICY.changed("a", {"max_attempts": 9}).max_attempts == 9
    assert POLICY.changed("a", {"max_attempts": 9}).backoff_s == 1
    assert POLICY.changed("a", StepPolicy()) == StepPolicy()
    for wrong in ({"tries": 1}, 3, ["effect"]):
        with pytest.raises(AgentInvalid, match="known keys"):
            POLICY.changed("a", wrong)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", "3"),
        ("timeout_s", 0),
        ("timeout_s", float("nan")),
        ("heartbeat_timeout_s", -1),
        ("backoff_s", -0.1),
        ("backoff_max_s", None),
        ("retry_after_max_s", float("inf")),
        ("effect", "Pure"),
        ("reconcile", "find_payment"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(name: str, value: object) -> None:
    """The error names the field, the value and what was expected, in code and in metadata."""
    with pytest.raises(ConfigurationInvalid, match=f"{name}={value!r}; .* was expected"):
        StepPolicy(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(AgentInvalid, match=f"metadata: .*{name}="):
        POLICY.changed("a", {name: value})


AMBIGUOUS = [
    StepTimedOut("s", 1),
    HeartbeatMissed("s", 1),
    TimeoutError(),
    ConnectionResetError("m"),
    httpx.ReadTimeout("m"),
    httpx.RemoteProtocolError("m"),
    http_error(500),
    http_error(408),
]
CLEAR = [
    ConnectionRefusedError("m"),
    httpx.ConnectError("m"),
    httpx.ConnectTimeout("m"),
    httpx.PoolTimeout("m"),
    http_error(400),
    http_error(429),
    ValueError("m"),
]


@pytest.mark.parametrize("error", AMBIGUOUS, ids=lambda error: type(error).__name__)
def test_a_call_that_broke_off_may_have_been_made(error: Exception) -> None:
    """Time-outs, broken connections and a server's own errors do not say."""
    assert is_ambiguous(error)


@pytest.mark.parametrize("error", CLEAR, ids=lambda error: type(error).__name__)
def test_a_call_that_was_refused_was_not_made(error: Exception) -> None:
    """No connection, a refused request and the code's own errors do say."""
    assert not is_ambiguous(error)


class Undone(Exception):
    """An error with the SQLSTATE that a transaction was undone by."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def test_a_transaction_that_was_undone_is_tried_again() -> None:
    """Serialization failures, deadlocks and lost connections pass; a unique violation does not."""
    assert all(is_retryable(Undone(state)) for state in ("40001", "40P01", "57P01", "08006"))
    assert not is_retryable(Undone("23505"))


def test_settings_make_the_defaults() -> None:
    """Models and tools have tries and limits of their own, and share the waits."""
    policies = policies_from(
        Settings(_env_file=None, model_max_attempts=7, tool_timeout_s=5, retry_backoff_s=0.1)
    )
    assert (policies.model.max_attempts, policies.tool.timeout_s) == (7, 5)
    assert policies.model.backoff_s == policies.tool.backoff_s == 0.1
