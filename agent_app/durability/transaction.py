"""Tools that write to our own Postgres: their rows and their result commit together."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

from dbos import error as dbos_error
from dbos._context import current_owner_xid

from agent_app.database.committed_call import lock_owner, read_committed, write_committed
from agent_app.database.pool import Connection, is_lost_connection
from agent_app.durability.faults import Body
from agent_app.durability.policy import StepPolicy
from agent_app.durability.scope import StepScope
from agent_app.durability.serializer import Checkpoint, JsonSerializer
from agent_app.durability.storage import storage
from agent_app.errors import PayloadRefused, ReplayDiverged, TransactionMisused

_JSON = JsonSerializer()
_open: ContextVar[list[Connection]] = ContextVar("agent_app_transaction")
"""The connection of the running tool; emptied at its end, for tasks that outlive it too."""


def transaction() -> Connection:
    """Return the connection of the running tool's transaction: psycopg's, its rows are dicts.

    Exactly once: what the tool writes with it commits together with the tool's result, or not at
    all. Only in an asynchronous tool with `metadata={"step": {"effect": "transactional"}}`; the
    connection goes back when the tool returns.
    Raises: TransactionMisused (no transaction is open).
    """
    connection = _open.get([])
    if not connection or not _is_on_loop():
        raise TransactionMisused(
            "`transaction()` was called where no transaction is open; call it in an asynchronous "
            'tool of a run, with metadata={"step": {"effect": "transactional"}}.'
        )
    return connection[0]


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # a synchronous tool, in a thread of its own
        return False
    return True


def with_transaction(body: Body, *, policy: StepPolicy, scope: StepScope, of: str) -> Body:
    """Return the body of one try, inside a transaction where its policy asks for one."""
    if policy.effect != "transactional":
        return body

    async def commit() -> Any:
        async with _connected(scope) as connection:
            return await _commit_once(connection, body, scope, of)

    return commit


async def unless_committed(attempt: Body, *, scope: StepScope, of: str) -> Any:
    """Return what the tries return; a failure that comes after the commit is too late to count.

    Raises: what the tries raised, if nothing was committed.
    """
    try:
        return await attempt()
    except Exception:
        async with _connected(scope) as connection:
            committed = await read_committed(connection, scope.run.run_id, scope.step_number)
        if committed is None:
            raise
        return _take(scope, of, *committed)


@asynccontextmanager
async def _connected(scope: StepScope) -> AsyncIterator[Connection]:
    """Yield a connection; without one, or when it is lost, the run stops here and stays PENDING.

    Nobody knows then whether it has committed: whoever goes on with the run looks.
    Raises: DBOSWorkflowConflictIDError; what the block raises, while the connection lives.
    """
    connection: Connection | None = None
    try:
        async with storage().pool.connect() as connection:
            yield connection
    except Exception as error:
        if is_lost_connection(error) if connection is None else connection.closed:
            raise dbos_error.DBOSWorkflowConflictIDError(scope.run.run_id) from error
        raise


async def _commit_once(connection: Connection, body: Body, scope: StepScope, of: str) -> Any:
    run_id, number = scope.run.run_id, scope.step_number
    committed = await read_committed(connection, run_id, number)
    if committed is not None:
        return _take(scope, of, *committed)
    try:
        async with connection.transaction():
            with _opened(connection):
                value = await body()
            if _is_refusal(value):
                raise _Undone
            await _write(connection, scope, of, value)
    except _Undone:
        pass
    return value


async def _write(connection: Connection, scope: StepScope, of: str, value: Any) -> None:
    """Write the result, while the run cannot change hands."""
    run_id = scope.run.run_id
    usage = scope.spent_json()
    text = _JSON.serialize(Checkpoint(of, value, usage))
    if await lock_owner(connection, run_id) != current_owner_xid(run_id):
        raise dbos_error.DBOSWorkflowConflictIDError(run_id)
    await write_committed(connection, run_id, scope.step_number, call=of, result=text)


def _take(scope: StepScope, of: str, call: str, result: str) -> Any:
    """Return what an earlier life committed; what it spent counts as this life's."""
    if call != of:
        raise ReplayDiverged(scope.name, call, of)
    checkpoint = _JSON.deserialize(result)
    if not isinstance(checkpoint, Checkpoint):
        raise PayloadRefused("no checkpoint of agent_app")
    scope.take_spent(checkpoint.usage)
    return checkpoint.value


class _Undone(Exception):
    """Rolls a transaction back whose tool has refused: `ModelRetry` and the like."""


def _is_refusal(value: Any) -> bool:
    return isinstance(value, dict) and value.get("kind", "tool_return") != "tool_return"


@contextmanager
def _opened(connection: Connection) -> Iterator[None]:
    opened = [connection]
    token = _open.set(opened)
    try:
        yield
    finally:
        opened.clear()
        _open.reset(token)
