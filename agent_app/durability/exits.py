"""Exits that code of a run raises by itself: they become errors of that run alone."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn

from dbos import error as dbos_error

from agent_app.durability.scope import current_run, current_step, in_run
from agent_app.errors import StepExited

_SIGNALS = (dbos_error.DBOSWorkflowCancelledError, dbos_error.DBOSWorkflowConflictIDError)


def raise_unless_ended(
    error: BaseException, place: str, task: asyncio.Task[Any] | None
) -> NoReturn:
    """Turn an exit that the code of `task` raised by itself into an error of this run alone.

    SystemExit would end the event loop under every other run, and anything else that is no
    Exception would leave this run PENDING with nobody executing it. What comes from outside
    passes: DBOS's own signals, a cancellation, the closing of a task that will never go on.
    """
    if isinstance(error, _SIGNALS) or not _is_current(task):
        raise error
    is_exit = isinstance(error, (SystemExit, KeyboardInterrupt))
    if task is not None and task.cancelling() and not is_exit:
        raise error
    raise StepExited(place, repr(error)) from error


def _is_current(task: asyncio.Task[Any] | None) -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs: the interpreter collects what was left over
        return False


@contextmanager
def contained_exits(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Keep SystemExit and KeyboardInterrupt inside the tasks that code of a run starts.

    asyncio raises the two out of the loop at once, before anybody who awaits the task sees them.
    """
    previous = loop.get_task_factory()

    def make(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        if in_run(options.get("context")):
            coro = _Contained(coro)
        if previous is not None:
            return previous(loop, coro, **options)
        return asyncio.Task(coro, loop=loop, **options)

    loop.set_task_factory(make)
    try:
        yield
    finally:
        loop.set_task_factory(previous)


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine that turns the two exits into StepExited; an `async def` would not be closed."""

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner
        self.__name__ = getattr(inner, "__name__", "task")
        self.__qualname__ = getattr(inner, "__qualname__", "task")

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            _contain(error)

    def throw(
        self,
        kind: Any,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> Any:
        try:
            # One argument: the form with three is deprecated from Python 3.12 on.
            return self._inner.throw(kind if value is None else value)  # type: ignore[arg-type]
        except (SystemExit, KeyboardInterrupt) as error:
            _contain(error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()


def _contain(error: BaseException) -> NoReturn:
    step, run = current_step(), current_run()
    place = step.name if step is not None else run.agent if run is not None else ""
    raise StepExited(place, repr(error)) from error
