"""What a process under test does besides: it counts places, writes effects, kills or stops itself.

Only the process that a test starts has these hooks; they go around DBOS's, Pydantic AI's and
psycopg's methods, so that agent_app runs as it is.
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

import psycopg
from dbos import DBOS, DBOSClient
from dbos._sys_db import SystemDatabase
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.toolsets.function import FunctionToolset
from sqlalchemy import event

from agent_app.durability import step_check
from agent_app.durability.joint_commit import JointCommit
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
    stop: tuple[str, int] | None = None
    """SIGSTOP to itself when this place is reached for the n-th time."""
    hold_from: int | None = None
    """The n-th body to start, and every later one, waits until `gate` exists."""
    hold_bodies: tuple[str, ...] = ()
    """Bodies of these names wait for it too: where several start at once, no number is theirs."""
    gate: str = ""
    pause_s: float = 0.0
    """Seconds that each body takes longer."""
    is_flipped: bool = False
    """Say whether the slow ones of parallel tools are the fast ones."""


STATEMENTS = {
    "insert into agent_app.intent": "intent",
    "set unknown_since": "unknown",
    "decided_value": "look",
    "insert into public.entry": "insert",
    "for no key update": "owner",
    "insert into agent_app.committed_call": "result",
}
"""Statements on our own connections, each with its name: `before …` and `after …` are places."""
counts: Counter[str] = Counter()
"""How often each place was reached in this process."""
hooks = Hooks(effects=os.devnull)
_lock = threading.Lock()


def install(chosen: Hooks) -> None:
    """Put the hooks in place, once in a process."""
    global hooks
    hooks = chosen
    _before(SystemDatabase, "record_operation_result", "checkpoint")
    _after(SystemDatabase, "_record_operation_result_txn", "written")
    _after(SystemDatabase, "record_operation_result", "commit")
    _before(SystemDatabase, "init_workflow", "row")
    _after(SystemDatabase, "init_workflow", "commit")
    _after(SystemDatabase, "update_workflow_outcome", "commit")
    _after(SystemDatabase, "reenqueue_for_recovery", "handed over", if_result=bool)
    _after(SystemDatabase, "start_queued_workflows", "dequeued", if_result=lambda r: bool(r[0]))
    _after(step_check, "look_up", "replayed", if_result=bool)
    _after(step_check, "look_up", "asked", if_result=lambda found: found is None)
    _before(lease._Keeper, "start", "lock")
    _after(lease._Keeper, "start", "locked")
    _before(DBOS, "launch", "launch")
    _after(DBOS, "launch", "launched")
    _surround_body(FunctionModel, "request", lambda *_: "model")
    _surround_body(OpenAIChatModel, "request", lambda *_: "model")
    _surround_body(FunctionToolset, "call_tool", lambda _, name, *__: str(name))
    _surround_statements()
    _after_commit()
    _inside_joint_commits()


def latency_s(place: int, of: int) -> float:
    """Return how long the tool at this place among its siblings takes; the order can be flipped."""
    return 0.01 * (place + 1 if hooks.is_flipped else of - place)


def count_own_starts() -> int:
    """Return how often the body that asks has begun, in all its lives."""
    step = current_step()
    assert step is not None
    return count_starts(read_effects(hooks.effects), (step.run.run_id, step.step_number))


def call_out(body: str, note: str = "") -> None:
    """Do something to the world: write it down, then reach the place `call`."""
    _write("call", body, note)
    reach("call")


def reach(place: str) -> int:
    """Count the place, die or stop there."""
    with _lock:
        counts[place] += 1
        here = place, counts[place]
        if hooks.kill == here:
            os.kill(os.getpid(), signal.SIGKILL)
        if hooks.stop == here:  # sent to this thread: another one would take its time to stop it
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return counts[place]


def _before(owner: type, method: str, place: str) -> None:
    inner = getattr(owner, method)

    @functools.wraps(inner)
    def hooked(*args: Any, **options: Any) -> Any:
        reach(place)
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
            reach(place)
        return result

    setattr(owner, method, hooked)


def _surround_body(owner: type, method: str, name_of: Callable[..., str]) -> None:
    """Count and record the innermost code of a step: a provider's API, or a tool's work."""
    inner = getattr(owner, method)

    @functools.wraps(inner)
    async def hooked(*args: Any, **options: Any) -> Any:
        body = name_of(*args)
        _write("start", body)
        number = reach("start")
        await _wait_for_gate(number, body)
        await asyncio.sleep(hooks.pause_s)
        try:
            return await inner(*args, **options)
        finally:
            if not asyncio.current_task().cancelling():  # type: ignore[union-attr]
                reach("end")
                _write("end", body)

    setattr(owner, method, hooked)


def _surround_statements() -> None:
    inner = psycopg.AsyncCursor.execute

    @functools.wraps(inner)
    async def hooked(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        text = str(query)
        name = next((name for part, name in STATEMENTS.items() if part in text), None)
        if name is not None:
            reach(f"before {name}")
        result = await inner(self, query, *args, **options)
        if name is not None:
            reach(f"after {name}")
        return result

    setattr(psycopg.AsyncCursor, "execute", hooked)  # noqa: B010 - mypy takes no assignment


def _after_commit() -> None:
    inner = psycopg.AsyncTransaction.__aexit__

    @functools.wraps(inner)
    async def hooked(self: Any, kind: Any, *rest: Any) -> Any:
        result = await inner(self, kind, *rest)
        if kind is None:
            reach("committed")
        return result

    setattr(psycopg.AsyncTransaction, "__aexit__", hooked)  # noqa: B010


def _inside_joint_commits() -> None:
    """Count `joint` before each statement of a joint commit and before its end, then `joined`."""
    inner = JointCommit.__init__

    @functools.wraps(inner)
    def hooked(self: Any, client: Any, connection: Any) -> None:
        for name in ("before_cursor_execute", "commit"):
            event.listen(connection, name, lambda *_: reach("joint"))
        inner(self, client, connection)

    setattr(JointCommit, "__init__", hooked)  # noqa: B010
    _before(DBOSClient, "destroy", "joined")


def _write(phase: Phase, body: str, note: str = "") -> None:
    step = current_step()
    run_id = step.run.run_id if step else None
    number = step.step_number if step else None
    append_effect(hooks.effects, Effect(phase, run_id, number, body, os.getpid(), note))


async def _wait_for_gate(number: int, body: str) -> None:
    is_late = hooks.hold_from is not None and number >= hooks.hold_from
    while is_late or body in hooks.hold_bodies:
        if os.path.exists(hooks.gate):  # noqa: ASYNC240  # a stat, in a test
            break
        await asyncio.sleep(0.01)
