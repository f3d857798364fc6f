"""DBOS, configured for us: launched with a catalog, destroyed at the end."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from dbos import DBOS, DBOSConfig
from pydantic import TypeAdapter
from pydantic_ai.usage import RunUsage
from pydantic_core import PydanticSerializationError

from agent_app.database.connect import Database
from agent_app.durability.catalog import Catalog, Runnable
from agent_app.durability.chaos import read_chaos
from agent_app.durability.clients import open_clients
from agent_app.durability.drain import begin_taking
from agent_app.durability.events import describe_error, emit
from agent_app.durability.exits import contained_exits, raise_unless_ended
from agent_app.durability.policy import policies_from
from agent_app.durability.queues import RECOVERY_QUEUE, register_queues, stored_name
from agent_app.durability.scope import RunScope, run_scope
from agent_app.durability.serializer import JsonSerializer, as_recorded, refuse_pickle
from agent_app.durability.step_check import install_step_check
from agent_app.durability.storage import stored_in
from agent_app.durability.unknown_agents import put_back_unknown
from agent_app.errors import StepExited, ValueNotStorable
from agent_app.settings import Settings

APPLICATION = "agent_app"
"""DBOS's name of the application; it is in dbos-config.yaml too."""

Request = dict[str, Any]
UNCHECKED = "is_unchecked"
"""Key of a request that SQL made: nobody has shown its input to the agent yet."""
_workflows: dict[str, Callable[[Request], Coroutine[Any, Any, Request]]] = {}
_tasks: set[asyncio.Task[Any]] = set()
_executing: dict[asyncio.Task[Any], str] = {}
"""Those of them whose run is executed; others wait for an outcome that somebody else records."""
_closing = threading.Event()
"""Set when no further run may start here, though the queue may still hand one over."""
_USAGE: TypeAdapter[RunUsage] = TypeAdapter(RunUsage)
_JSON = JsonSerializer()


def migrate_dbos(database: Database) -> None:
    """Bring DBOS's own schema up to date; the caller holds the migration lock."""
    DBOS.migrate(database.sqlalchemy_url)


def workflow_of(runnable: Runnable) -> Callable[[Request], Coroutine[Any, Any, Request]]:
    """Return the DBOS workflow that executes the runnable; only after `launched`."""
    return _workflows[runnable.name]


@asynccontextmanager
async def launched(
    database: Database,
    settings: Settings,
    *,
    executor_id: str,
    catalog: Catalog,
    takes_over: bool = True,
    queues: Sequence[str] = (),
) -> AsyncIterator[None]:
    """Run DBOS in this process while the block lasts, every run of it on the calling event loop.

    `takes_over` makes it execute recovered runs, whoever found them, from the start; without it,
    from `accept_recovered` on. It takes new runs from `queues`, whose limits are the settings' from
    now on, in every process.
    Raises: AgentInvalid (an agent that cannot be made durable), before anything starts.
    """
    catalog.set_policies(policies_from(settings))
    refuse_pickle()
    install_step_check()
    _quieten_dbos()
    DBOS(config=_configuration(database, settings, executor_id))
    served = [stored_name(queue) for queue in queues]
    DBOS.listen_queues([RECOVERY_QUEUE, *served] if takes_over else served)
    put_back_unknown(database)
    _register(catalog, settings.max_recoveries)
    _closing.clear()
    begin_taking()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(stored_in(database, settings, executor_id))
        await stack.enter_async_context(open_clients())
        try:
            DBOS.launch()
            await register_queues(settings, queues)
            with contained_exits(asyncio.get_running_loop()):
                yield
        finally:
            await stop_running()
            DBOS.destroy(destroy_registry=True)


def _register(catalog: Catalog, max_recoveries: int) -> None:
    _workflows.clear()
    for runnable in catalog:
        register = DBOS.workflow(name=runnable.name, max_recovery_attempts=max_recoveries)
        _workflows[runnable.name] = register(_as_workflow(runnable))


async def stop_running() -> None:
    """Stop the workflows of this process where they stand; their runs stay PENDING.

    Before DBOS goes: what failed for want of a database would be recorded as the run's own error.
    """
    _closing.set()
    tasks = [task for task in _tasks if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def running_ids() -> frozenset[str]:
    """Return the runs that this process executes at this moment."""
    return frozenset(_executing.values())


def _configuration(database: Database, settings: Settings, executor_id: str) -> DBOSConfig:
    return {
        "name": APPLICATION,
        "system_database_url": database.sqlalchemy_url,
        "serializer": JsonSerializer(),
        "executor_id": executor_id,
        # Ours, not a hash of the code: every edit would strand the runs that are under way.
        "application_version": settings.application_version,
        # We migrate ourselves, under one lock for DBOS's tables and ours.
        "run_migrations": False,
        "sys_db_pool_size": settings.database_pool_size,
        # A process that is stopped inside a transaction holds the run's row, and up its takeover.
        "sys_db_idle_transaction_timeout_sec": max(settings.executor_lease_s, 1.0),
        "db_engine_kwargs": {
            # A ping before each use is two of a step's ten round trips; a lost connection shows
            # itself as an error that DBOS retries anyway.
            "pool_pre_ping": False,
            # The connection used last is the one whose backend is warm.
            "pool_use_lifo": True,
        },
        # More threads than this only contend for the interpreter (1.3 to 1.4 times at 32 runs).
        "max_executor_threads": settings.executor_thread_count,
        "log_level": "WARNING",
    }


@asynccontextmanager
async def _entered() -> AsyncIterator[str]:
    """Note that a run executes here; one that comes too late waits for the loop's end instead."""
    if _closing.is_set():
        await asyncio.get_running_loop().create_future()
    task, run_id = asyncio.current_task(), DBOS.workflow_id
    assert task is not None
    assert run_id is not None
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    _executing[task] = run_id
    try:
        yield run_id
    finally:
        del _executing[task]


def _as_workflow(runnable: Runnable) -> Callable[[Request], Coroutine[Any, Any, Request]]:
    async def execute(request: Request) -> Request:
        async with _entered() as run_id:
            return await _conduct(runnable, request, run_id)

    execute.__qualname__ = execute.__name__ = f"run_{runnable.name}"
    return execute


async def _conduct(runnable: Runnable, request: Request, run_id: str) -> Request:
    """Execute the run, tell how it began and ended, and raise errors as they are recorded."""
    task = asyncio.current_task()
    scope = RunScope(
        run_id, runnable.name, request["models"], instructions=request.get("instructions") or {}
    )
    scope.chaos = read_chaos(request.get("chaos"))
    emit("run_started", run_id=run_id, agent=runnable.name, subject=request["input"])
    try:
        record = await _execute(runnable, request, scope)
    except Exception as error:
        raise _failed(error, scope) from error
    except BaseException as error:
        try:
            raise_unless_ended(error, runnable.name, task)
        except StepExited as exited:
            raise _failed(exited, scope) from error
    emit("run_finished", run_id=run_id, agent=runnable.name, value=record["output"])
    return record


async def _execute(runnable: Runnable, request: Request, scope: RunScope) -> Request:
    value = request["input"]
    if request.get(UNCHECKED):
        value = runnable.parse(value, request["models"])
    with run_scope(scope):
        value = await runnable.execute(runnable.input_type.validate_python(value))
    try:
        output = runnable.output_type.dump_python(value, mode="json")
        _JSON.serialize(output)  # what DBOS fails to write would leave the run PENDING
    except (PydanticSerializationError, ValueNotStorable) as error:
        reason = error.reason if isinstance(error, ValueNotStorable) else str(error).rstrip(".")
        raise ValueNotStorable("", f"the output of {runnable.name!r}: {reason}") from error
    usage = _USAGE.dump_python(scope.usage, mode="json")
    return {"output": output, "usage": usage, "cost_usd": usage.get("cost")}


def _failed(error: Exception, scope: RunScope) -> BaseException:
    """Tell that the run has failed and return its error in the form in which it is recorded."""
    text = describe_error(error)
    emit("run_finished", run_id=scope.run_id, agent=scope.agent, error=text)
    return as_recorded(error)


class _Wanted(logging.Filter):
    """Passes DBOS's errors, but no traceback of a run that fails: the run's own error says it.

    Of the warnings, only one that it waits for the database, without the statement and its values.
    """

    _told_at = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record is to be written."""
        message = record.getMessage()
        if given_up := _GIVEN_UP.search(message):
            run_id = given_up[1]
            record.msg, record.args = _TELL_GIVEN_UP.format(run_id=run_id), ()
        if record.levelno >= logging.ERROR:
            return "Exception encountered in" not in message
        if not message.startswith(_WAITS) or time.monotonic() - self._told_at < _TELL_EVERY_S:
            return False
        self._told_at = time.monotonic()
        first_line = message.removeprefix(_WAITS).splitlines()[0]
        record.msg, record.args = f"The database is waited for: {first_line}", ()
        return True


_GIVEN_UP = re.compile(r"Workflow (\S+) has exceeded its maximum of \d+ execution")
"""What DBOS 3.4 says of a run that was recovered too often."""
_TELL_GIVEN_UP = (
    "Run {run_id} is given up: its process died too often. `agent-app resume {run_id}` goes on."
)
_WAITS = "Database connection failed: "
"""How DBOS 3.4 begins the warning that it tries again, for as long as it takes."""
_TELL_EVERY_S = 10.0
_WANTED = _Wanted()


def _quieten_dbos() -> None:
    logging.getLogger("dbos").addFilter(_WANTED)  # idempotent: always the same object
