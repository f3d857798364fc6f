"""What a process under test does besides: it counts places, writes effects, and kills itself.

Only the process that a test starts has these hooks; they go around DBOS's and Pydantic AI's
methods, so that agent_app runs as it is.
"""

import asyncio
import functools
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dbos import DBOS
from dbos._sys_db import SystemDatabase
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.toolsets.function import FunctionToolset

from agent_app.durability import step_check
from agent_app.durability.scope import current_step
from agent_app.failover import lease
from tests.crash.effects import Effect, Phase, append_effect, count_starts, read_effects


@dataclass(frozen=True)
class Hooks:
    """What happens in one process."""

    effects: str
    """Path of the file that bodies write to."""
    kill: tuple[str, int] | None = None
    """SIGKILL to itself when this place is reached for the n-th time."""
    hold_from: int | None = None
    """The n-th body to start, and every later one, waits until `gate` exists."""
    gate: str = ""
    pause_s: float = 0.0
    """Seconds that each body takes longer."""
    is_flipped: bool = False
    """Say whether the slow ones of parallel tools are the fast ones."""


counts: Counter[str] = Counter()
"""How often each place was reached in this process."""
hooks = Hooks(effects=os.devnull)
_lock = threading.Lock()


def install(chosen: Hooks) -> None:
    """Put the hooks in place, once in a process."""
    global hooks
    hooks = chosen
    _after(SystemDatabase, "record_operation_result", "commit")
    _before(SystemDatabase, "init_workflow", "row")
    _after(SystemDatabase, "init_workflow", "commit")
    _after(SystemDatabase, "update_workflow_outcome", "commit")
    _after(SystemDatabase, "reenqueue_for_recovery", "handed over", if_result=bool)
    _after(SystemDatabase, "start_queued_workflows", "dequeued", if_result=lambda r: bool(r[0]))
    _after(step_check, "look_up", "replayed", if_result=bool)
    _before(lease._Keeper, "start", "lock")
    _after(lease._Keeper, "start", "locked")
    _before(DBOS, "launch", "launch")
    _after(DBOS, "launch", "launched")
    _surround_body(FunctionModel, "request", lambda *_: "model")
    _surround_body(FunctionToolset, "call_tool", lambda _, name, *__: str(name))


def latency_s(place: int, of: int) -> float:
    """Return how long the tool at this place among its siblings takes; the order can be flipped."""
    return 0.01 * (place + 1 if hooks.is_flipped else of - place)


def count_own_starts() -> int:
    """Return how often the body that asks has begun, in all its lives."""
    step = current_step()
    assert step is not None
    return count_starts(read_effects(hooks.effects), (step.run.run_id, step.step_number))


def _reach(place: str) -> int:
    """Count the place, or die there."""
    with _lock:
        counts[place] += 1
        if hooks.kill == (place, counts[place]):
            os.kill(os.getpid(), signal.SIGKILL)
        return counts[place]


def _before(owner: type, method: str, place: str) -> None:
    inner = getattr(owner, method)

    @functools.wraps(inner)
    def hooked(*args: Any, **options: Any) -> Any:
        _reach(place)
        return inner(*args, **options)

    setattr(owner, method, hooked)


def _after(
    owner: Any, method: str, place: str, *, if_result: Callable[[Any], bool] | None = None
) -> None:
    """Count what comes after the method: each of DBOS's has committed when it returns (3.4)."""
    inner = getattr(owner, method)

    @functools.wraps(inner)
    def hooked(*args: Any, **options: Any) -> Any:
        result = inner(*args, **options)
        if if_result is None or if_result(result):
            _reach(place)
        return result

    setattr(owner, method, hooked)


def _surround_body(owner: type, method: str, name_of: Callable[..., str]) -> None:
    """Count and record the innermost code of a step: a provider's API, or a tool's work."""
    inner = getattr(owner, method)

    @functools.wraps(inner)
    async def hooked(*args: Any, **options: Any) -> Any:
        body = name_of(*args)
        _write("start", body)
        number = _reach("start")
        await _wait_for_gate(number)
        await asyncio.sleep(hooks.pause_s)
        try:
            return await inner(*args, **options)
        finally:
            if not asyncio.current_task().cancelling():  # type: ignore[union-attr]
                _reach("end")
                _write("end", body)

    setattr(owner, method, hooked)


def _write(phase: Phase, body: str) -> None:
    step = current_step()
    run_id = step.run.run_id if step else None
    number = step.step_number if step else None
    append_effect(hooks.effects, Effect(phase, run_id, number, body, os.getpid()))


async def _wait_for_gate(number: int) -> None:
    while hooks.hold_from is not None and number >= hooks.hold_from:
        if os.path.exists(hooks.gate):  # noqa: ASYNC240  # a stat, in a test
            break
        await asyncio.sleep(0.01)
