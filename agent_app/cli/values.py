"""What people type into options: moments, labels, changes of a fork."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from agent_app.errors import AttributeInvalid, FilterInvalid, RunNotForkable
from agent_app.settings import parse_span


def parse_moment(option: str, text: str | None, now: datetime) -> datetime | None:
    """Return the moment in UTC: `2h` is two hours before `now`; a date is local midnight.

    Raises: FilterInvalid.
    """
    if text is None:
        return None
    with suppress(ValueError):
        return now - parse_span(text)
    try:
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise FilterInvalid(
            f"{option} {text[:80]!r} is no time; a span such as 30m, 2h or 7d, or 2026-01-31, or "
            "2026-01-31T12:00 was expected."
        ) from error


def parse_age(option: str, text: str) -> timedelta:
    """Return how old something must be.

    Raises: FilterInvalid.
    """
    try:
        return parse_span(text)
    except ValueError as error:
        raise FilterInvalid(f"{option} {text[:80]!r} is no age; {error}.") from error


def parse_labels(texts: Sequence[str]) -> dict[str, str]:
    """Turn `KEY=VALUE` texts into attributes; of a key given twice the last one counts.

    Raises: AttributeInvalid.
    """
    labels: dict[str, str] = {}
    for text in texts:
        key, is_pair, value = text.partition("=")
        if not is_pair or not key:
            raise AttributeInvalid(f"Attribute {text[:80]!r} is not valid; KEY=VALUE was expected.")
        labels[key] = value
    return labels


def parse_instructions(run_id: str, texts: Sequence[str]) -> dict[str, str]:
    """Turn `AGENT=TEXT` texts into instructions by agent.

    Raises: RunNotForkable.
    """
    found: dict[str, str] = {}
    for text in texts:
        agent, is_pair, instructions = text.partition("=")
        if not is_pair or not agent:
            raise RunNotForkable(
                run_id,
                f"cannot take --instructions {text[:80]!r}; AGENT=TEXT was expected",
            )
        found[agent] = instructions
    return found


def parse_results(run_id: str, texts: Sequence[str]) -> dict[int, Any]:
    """Turn `step.K=JSON` texts into results by step number.

    Raises: RunNotForkable.
    """
    results: dict[int, Any] = {}
    for text in texts:
        place, _, value = text.partition("=")
        number = re.fullmatch(r"step\.(\d{1,9})", place)
        if number is None:
            raise RunNotForkable(
                run_id, f"cannot take --set {text[:80]!r}; step.K=JSON was expected"
            )
        try:
            results[int(number[1])] = json.loads(value, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RunNotForkable(
                run_id,
                f"cannot take --set {text[:80]!r}, whose value is not JSON: {error}. Text needs "
                "quotation marks: --set 'step.3=\"yes\"'",
            ) from error
    return results


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")
