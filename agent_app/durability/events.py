"""What happens in this process, told to whoever watches: events in order, not durable."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Kind = Literal[
    "run_started",
    "run_finished",
    "step_started",
    "step_parked",
    "step_undecided",
    "attempt_started",
    "fault_injected",
    "attempt_failed",
    "step_finished",
    "step_failed",
    "step_replayed",
]


@dataclass(frozen=True)
class RunEvent:
    """One thing that happened; what a kind does not have is None."""

    kind: Kind
    run_id: str
    agent: str
    step_number: int | None = None
    name: str | None = None
    attempt: int | None = None
    """Number of the try, counted over all lives of the run."""
    duration_ms: float | None = None
    wait_s: float | None = None
    """Seconds until the next try, or until a closed rate limit opens."""
    subject: Any = None
    """What the step was asked: a tool's arguments; None for a model."""
    value: Any = None
    """JSON of a step's or a run's result; of a fault, its place."""
    error: str | None = None
    """Class and message."""
    at: datetime | None = None


ATTEMPTS = "step_attempts"
"""Attribute of a recorded error: what each of several tries met, oldest first."""
Observer = Callable[[RunEvent], None]
_observers: list[Observer] = []
_logger = logging.getLogger(__name__)


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Tell `observer` of every event while the block runs; it is called on the event loop."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def emit(kind: Kind, **parts: Any) -> None:
    """Tell the observers; one that fails is logged and costs the run nothing."""
    if not _observers:
        return
    event = RunEvent(kind, at=datetime.now(UTC), **parts)
    for observer in tuple(_observers):
        try:
            observer(event)
        except Exception:
            _logger.exception("An observer of run events failed.")


def describe_error(error: BaseException) -> str:
    """Return `Class: message`, and after how many attempts; a message that fails is left out."""
    count = len(getattr(error, ATTEMPTS, ()))
    after = f" (after {count} attempts)" if count > 1 else ""
    try:
        return f"{type(error).__name__}: {error}{after}"
    except Exception:
        return f"{type(error).__name__}{after}"
