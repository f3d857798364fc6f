"""The end of a process that executes runs: no further step begins, those in flight may finish."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dbos._dbos import _get_dbos_instance

from agent_app.durability.scope import StepScope

_POLL_S = 0.02
_QUIET_S = 0.3
"""Seconds without a body: a run whose last step has ended is given them to record its outcome."""
_draining = threading.Event()
_in_flight: dict[int, StepScope] = {}
"""Steps whose body has begun and whose checkpoint is not written, without those that only wait."""


def begin_taking() -> None:
    """Let steps begin again, at the start of a process's next life."""
    _draining.clear()
    _in_flight.clear()


def stop_taking() -> None:
    """Take no run from any queue from now on, and begin no step; idempotent.

    What DBOS 3.4 does first when it is destroyed: its threads look at these events between polls.
    """
    _draining.set()
    for event in _get_dbos_instance().background_thread_stop_events:
        event.set()


def is_draining() -> bool:
    """Say whether this process takes no runs any more."""
    return _draining.is_set()


async def begin_body(scope: StepScope) -> None:
    """Note that a body begins; in a process that drains, stay before it until the process ends."""
    await stay_if_draining(scope)
    _in_flight[id(scope)] = scope


async def stay_if_draining(scope: StepScope) -> None:
    """Stay where another try would begin, until the process ends; else return at once."""
    if _draining.is_set():
        end_body(scope)
        await asyncio.get_running_loop().create_future()


def end_body(scope: StepScope) -> None:
    """Note that the step's checkpoint is written, or that it never will be here; idempotent."""
    _in_flight.pop(id(scope), None)


@contextmanager
def resting(scope: StepScope) -> Iterator[None]:
    """Let the step hold up no drain while the block waits for time to pass, or for a person."""
    was_in_flight = _in_flight.pop(id(scope), None)
    try:
        yield
    finally:
        if was_in_flight is not None:
            _in_flight[id(scope)] = scope


def steps_in_flight() -> list[str]:
    """Return what a person calls the steps that are executed here, without those that wait."""
    return [
        f"step {scope.step_number} ({scope.name}) of run {scope.run.run_id}"
        for scope in _in_flight.values()
        if not scope.waiting_count
    ]


async def wait_until_quiet(limit_s: float) -> None:
    """Wait until no step is executed here any more, for `limit_s` seconds at most."""
    now = asyncio.get_running_loop().time
    deadline, busy_at = now() + limit_s, now()
    while now() < deadline and now() - busy_at < _QUIET_S:
        await asyncio.sleep(_POLL_S)
        if steps_in_flight():
            busy_at = now()
