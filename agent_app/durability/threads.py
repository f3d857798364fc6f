"""Threads for synchronous tools: one for each call, abandoned when the call is over its limit."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from pydantic_ai import Agent


class DaemonThreads(Executor):
    """Starts a thread for each call; the process ends without waiting for one that hangs.

    Python cannot stop a thread: a call that was abandoned goes on, and what it returns is dropped.
    """

    def submit(self, call: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Return the call's future."""
        future: Future[Any] = Future()

        def execute() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                value = call(*args, **options)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(value)

        threading.Thread(target=execute, name="agent-app-tool", daemon=True).start()
        return future


_THREADS = DaemonThreads()


@contextmanager
def daemon_threads() -> Iterator[None]:
    """Execute the synchronous tools that are called in the block in such threads."""
    with Agent.using_thread_executor(_THREADS):
        yield
