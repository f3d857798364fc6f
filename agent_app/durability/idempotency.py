"""Keys by which the other side of a tool can tell that it has met a call before."""

import uuid
from typing import Any

import httpx2

from agent_app.durability.scope import StepScope, current_step

HEADER = "Idempotency-Key"
"""Source: The Idempotency-Key HTTP Header Field, IETF HTTP API working group (draft)."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def idempotency_key() -> str:
    """Return the running tool call's key: the same in every try and every life of the run.

    No other call has it. Outside a run it is a new one at each call, so that a tool can be tested.
    """
    step = current_step()
    return uuid.uuid4().hex if step is None else key_of(step)


def key_of(step: StepScope) -> str:
    """Return `{run}:{tool call}`, or `{run}:{step number}` for what is no tool call."""
    return f"{step.run.run_id}:{step.call_key or step.step_number}"


def http_client(**options: Any) -> httpx2.AsyncClient:
    """Return an HTTP client that sends the tool call's key with each request.

    The options are those of `httpx2.AsyncClient`. The second request of a call that changes
    something has `:2` after the key, and so on, counted from 1 in each try: make them in the same
    order every time. A header that is set already stays.
    """
    return _KeyedClient(**options)


class _KeyedClient(httpx2.AsyncClient):
    def build_request(self, method: str, url: Any, **options: Any) -> httpx2.Request:
        """Add the header where the request is made: a redirect of it keeps the key."""
        request = super().build_request(method, url, **options)
        step = current_step()
        if step is not None and HEADER not in request.headers:
            request.headers[HEADER] = _request_key(step, request.method)
        return request


def _request_key(step: StepScope, method: str) -> str:
    if method.upper() in _SAFE_METHODS:
        return key_of(step)
    number = next(step.request_numbers)
    return key_of(step) if number == 1 else f"{key_of(step)}:{number}"
