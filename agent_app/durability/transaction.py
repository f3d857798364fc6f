"""Tools that write to our own Postgres: their rows and their result commit together."""

from collections.abc import Iterator
from contextlib import contextmanager
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
from agent_app.errors import DatabaseError, PayloadRefused, ReplayDiverged, TransactionMisused

_JSON = JsonSerializer()
_open: ContextVar[Connection | None] = ContextVar("agent_app_transaction", default=None)


def transaction() -> Connection:
    """Return the connection of the running tool's transaction: psycopg's, its rows are dicts.

    Exactly once: what the tool writes with it commits together with the tool's result, or not at
    all. Only in an asynchronous tool with `metadata={"step": {"effect": "transactional"}}`; the
    connection goes back when the tool returns.
    Raises: TransactionMisused (no transaction is open).
    """
    connection = _open.get()
    if connection is None:
        raise TransactionMisused(
            "`transaction()` was called where no transaction is open; call it in a tool of a run "
            'with metadata={"step": {"effect": "transactional"}}.'
        )
    return connection


def with_transaction(body: Body, *, policy: StepPolicy, scope: StepScope, of: str) -> Body:
    """Return the body of one try, inside a transaction where its policy asks for one."""
    if policy.effect != "transactional":
        return body

    async def commit() -> Any:
        try:
            async with storage().pool.connect() as connection:
                return await _commit_once(connection, body, scope, of)
        except Exception as error:
            if not is_lost_connection(error) and not isinstance(error, DatabaseError):
                raise
            # Nobody knows whether it has committed: whoever goes on with the run looks.
            raise dbos_error.DBOSWorkflowConflictIDError(scope.run.run_id) from error

    return commit


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
    token = _open.set(connection)
    try:
        yield
    finally:
        _open.reset(token)
