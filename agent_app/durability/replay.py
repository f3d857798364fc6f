"""Replay: the workflow code of a recorded run over its checkpoints, with every body cut off.

DBOS is launched on an empty scratch database, and asks us for checkpoints instead of it. A step
that has none never ends, so that steps beside it can still be asked for; then the run is stopped.
"""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread
from dbos import DBOS, SetWorkflowID
from dbos._sys_db import RecordedResult, SystemDatabase

from agent_app.database.connect import Database
from agent_app.database.history import StoredStep
from agent_app.database.recording import Recording
from agent_app.durability.catalog import Catalog
from agent_app.durability.runtime import launched, migrate_dbos, workflow_of
from agent_app.settings import Settings

_POLL_S = 0.01
_QUIET_POLLS = 30
"""Looks without anything new after which nothing further is expected: 0.3 s of an idle loop."""
_STOP_S = 5.0
_WAITS = ("DBOS.recv", "DBOS.getEvent")
_PAST = "0.0"
"""A recorded sleep is over, though its moment may be to come: what follows it is of interest."""


@dataclass
class Trace:
    """What the code asked for in one replay."""

    recording: Recording
    taken: set[int] = field(default_factory=set)
    """Numbers of the steps whose checkpoints it took."""
    unrecorded: list[tuple[int, str]] = field(default_factory=list)
    """Steps without a checkpoint that it asked for, by number and name, in its order."""
    mismatch: tuple[StoredStep, str] | None = None
    """The first step that it asked for by another name than the recorded one."""
    acts: list[str] = field(default_factory=list)
    """What it tried to do to the world outside of a step."""
    foreign_run_id: str | None = None
    """A run that it started by DBOS itself."""
    has_ended: bool = False
    record: dict[str, Any] | None = None
    """What it returned, where it came to its end; else `error` is set."""
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.recorded = {step.step_number: step for step in self.recording.steps}
        self.question_count = 0

    def take(self, step_number: int, name: str) -> RecordedResult:
        """Return the checkpoint that the code asks for.

        Raises: _NeverEnds (there is none).
        """
        self.question_count += 1
        step = self.recorded.get(step_number)
        if step is None:
            self.unrecorded.append((step_number, name))
            raise _NeverEnds
        if step.name != name:
            self.mismatch = self.mismatch or (step, name)
            raise _NeverEnds
        self.taken.add(step_number)
        return {
            "output": _PAST if name == "DBOS.sleep" else step.output,
            "error": step.error,
            "serialization": step.serialization,
            "child_workflow_id": None,
            "child_shard_key": None,
        }

    def left(self) -> list[StoredStep]:
        """Return the recorded steps that it has not asked for, in the order of their numbers."""
        names = {number: step.name for number, step in self.recorded.items()} | dict(
            self.unrecorded
        )
        return [
            step
            for number, step in sorted(self.recorded.items())
            if number not in self.taken and not _is_silent(step, names)
        ]

    @property
    def has_finding(self) -> bool:
        """Say whether something is wrong already."""
        return bool(self.mismatch or self.acts or self.foreign_run_id)


def _is_silent(step: StoredStep, names: dict[int, str]) -> bool:
    """Say whether DBOS writes the step and does not ask for it: a result, a wait's deadline."""
    is_deadline = step.name == "DBOS.sleep" and names.get(step.step_number - 1) in _WAITS
    return step.name == "DBOS.getResult" or is_deadline


class _NeverEnds(BaseException):
    """Raised where a step has no checkpoint; ReplayLoop makes an endless wait of it."""


_own_tasks: ContextVar["set[asyncio.Task[Any]] | None"] = ContextVar("agent_app_own", default=None)
"""The tasks of the run that is replayed, those that its code starts too."""


class ReplayLoop(asyncio.SelectorEventLoop):
    """A loop that waits for DBOS's own blocking calls: one order, the same in every replay."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = ThreadPoolExecutor(1, "replay")  # DBOS refuses them on the loop's own
        self.thread_count = 0
        """Calls of user code that threads execute at this moment."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Execute at once what DBOS asks for; hand over to another thread what is the user's."""
        if not _is_of_dbos(func):
            self.thread_count += 1
            thread = super().run_in_executor(executor, func, *args)
            thread.add_done_callback(self._thread_ended)
            return thread
        future = self.create_future()
        try:
            future.set_result(self._thread.submit(func, *args).result())
        except _NeverEnds:
            pass
        except BaseException as error:
            future.set_exception(error)
        return future

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        """Create a task, and note it where it belongs to a run that is replayed."""
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        context = options.get("context")
        own = _own_tasks.get() if context is None else context.get(_own_tasks)
        if own is not None:
            own.add(task)
        return task

    def _thread_ended(self, _: Any) -> None:
        self.thread_count -= 1

    def is_busy(self) -> bool:
        """Say whether a thread executes user code that may ask for a step when it ends."""
        limiter = anyio.to_thread.current_default_thread_limiter()
        return self.thread_count > 0 or limiter.borrowed_tokens > 0


def _is_of_dbos(func: Any) -> bool:
    """Look through the partial of `asyncio.to_thread`, which runs the function in a context."""
    while isinstance(func, functools.partial):
        is_in_context = getattr(func.func, "__name__", "") == "run" and func.args
        func = func.args[0] if is_in_context else func.func
    return str(getattr(func, "__module__", "")).split(".")[0] in ("dbos", "agent_app")


class _Scratch(Database):
    """A database that is not there, but for DBOS, which gets an empty SQLite file."""

    @property
    def parameters(self) -> dict[str, Any]:
        return {"dbname": self.url}

    @property
    def sqlalchemy_url(self) -> str:
        return f"sqlite:///{self.url}"


class Replayer:
    """A launched DBOS that takes checkpoints from recordings."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._trace: Trace | None = None

    def tell_act(self, act: str) -> None:
        """Note what the code of the run that is replayed has tried."""
        if self._trace is not None:
            self._trace.acts.append(act)

    async def replay(
        self, recording: Recording, request: dict[str, Any], timeout_s: float
    ) -> Trace:
        """Execute the run's workflow code until it ends, or nothing recorded is left for it.

        Raises: AgentNotFound; TimeoutError (it does neither).
        """
        workflow = workflow_of(self._catalog.find(recording.agent))
        trace = self._trace = Trace(recording)
        tasks: set[asyncio.Task[Any]] = set()
        token = _own_tasks.set(tasks)
        try:
            with SetWorkflowID(recording.run_id):
                handle = await DBOS.start_workflow_async(workflow, request)
            ending = asyncio.ensure_future(handle.get_result())
            await _until_over(trace, ending, timeout_s)
            _note_ending(trace, ending)
        finally:
            self._trace = None
            _own_tasks.reset(token)
            await _stop(tasks)
        return trace

    def look_up(self, run_id: str, step_number: int, name: str) -> RecordedResult:
        """Answer DBOS's question for a checkpoint."""
        trace = self._trace
        if trace is None:  # of a run that has been stopped
            raise _NeverEnds
        if run_id != trace.recording.run_id:
            trace.foreign_run_id = run_id
            raise _NeverEnds
        return trace.take(step_number, name)


async def _until_over(trace: Trace, ending: "asyncio.Future[Any]", timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ReplayLoop)
    deadline = time.monotonic() + timeout_s
    quiet_count, question_count = 0, 0
    while not ending.done():
        await asyncio.wait({ending}, timeout=_POLL_S)
        is_quiet = question_count == trace.question_count and not loop.is_busy()
        quiet_count = quiet_count + 1 if is_quiet else 0
        question_count = trace.question_count
        if trace.has_finding or (trace.unrecorded and _is_stuck(trace, quiet_count)):
            return
        if time.monotonic() > deadline:
            raise TimeoutError


def _is_stuck(trace: Trace, quiet_count: int) -> bool:
    """Say whether the code waits for a step without a checkpoint, and nothing else will come."""
    is_at_the_end = not trace.recording.is_finished and not trace.left()
    return is_at_the_end or quiet_count >= _QUIET_POLLS


def _note_ending(trace: Trace, ending: "asyncio.Future[Any]") -> None:
    if not ending.done() or ending.cancelled():
        return
    trace.error = ending.exception()
    if isinstance(trace.error, _NeverEnds):  # a blocking call on the loop, which cannot wait
        trace.error = None
        return
    trace.has_ended = True
    trace.record = None if trace.error else ending.result()


async def _stop(tasks: "set[asyncio.Task[Any]]") -> None:
    """End what the run has left behind, as the end of a process would."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_STOP_S)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()


@asynccontextmanager
async def replaying(
    catalog: Catalog, settings: Settings, directory: Path
) -> AsyncIterator[Replayer]:
    """Launch DBOS for replays on this loop, a ReplayLoop; `directory` gets its scratch database.

    Raises: AgentInvalid.
    """
    scratch = _Scratch(str(directory / "scratch.sqlite"), "scratch")
    migrate_dbos(scratch)
    replayer = Replayer(catalog)
    async with launched(scratch, settings, executor_id="replay", catalog=catalog, takes_over=False):
        with _answered_by(replayer):
            yield replayer


@contextmanager
def _answered_by(replayer: Replayer) -> Iterator[None]:
    """Put ourselves where DBOS looks for a checkpoint, before a step and inside a transaction."""

    def check(
        self: Any, workflow_id: str, function_id: int, function_name: str, **_: Any
    ) -> RecordedResult:
        return replayer.look_up(workflow_id, function_id, function_name)

    def check_in_transaction(
        self: Any, workflow_id: str, function_id: int, function_name: str, conn: Any
    ) -> RecordedResult:
        return replayer.look_up(workflow_id, function_id, function_name)

    answers = {
        "check_operation_execution": check,
        "_check_operation_execution_txn": check_in_transaction,
    }
    originals = {name: getattr(SystemDatabase, name) for name in answers}
    for name, answer in answers.items():
        setattr(SystemDatabase, name, answer)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(SystemDatabase, name, original)
