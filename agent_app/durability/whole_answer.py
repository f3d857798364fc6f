"""Answers of models that broke off without an error: a stream that ends before its last event."""

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic_ai.exceptions import ModelConnectionError

_SAY_WHY_THEY_END = ("openai", "anthropic")
"""Providers whose every whole answer has a finish reason, as they word it."""


def whole_answer(body: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    """Refuse an answer whose last events are missing: Pydantic AI 2.68 takes it for a whole one."""

    async def ask() -> object:
        payload = await body()
        if isinstance(payload, dict) and _is_cut_off(payload):
            text = "The answer broke off before its last event."
            raise ModelConnectionError(str(payload.get("model_name")), text, phase="read")
        return payload

    return ask


def _is_cut_off(response: dict[str, Any]) -> bool:
    details = response.get("provider_details") or {}
    return (
        response.get("provider_name") in _SAY_WHY_THEY_END
        and response.get("provider_response_id") is not None
        and response.get("state") in ("complete", "incomplete")
        and "finish_reason" not in details
    )
