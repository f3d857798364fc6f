"""The result of a transactional tool, written in the transaction of the tool itself."""

from typing import LiteralString

from agent_app.database.pool import Connection

_OWNER: LiteralString = """
select owner_xid, set_config('idle_in_transaction_session_timeout', '5000', true)
from dbos.workflow_status where workflow_uuid = %s for no key update
"""
"""A process that is stopped while it holds the run's row lets go of it after these milliseconds."""
_INSERT: LiteralString = """
insert into agent_app.committed_call (run_id, step_number, call, result) values (%s, %s, %s, %s)
"""
_READ: LiteralString = """
select call, result from agent_app.committed_call where run_id = %s and step_number = %s
"""


async def read_committed(
    connection: Connection, run_id: str, step_number: int
) -> tuple[str, str] | None:
    """Return call and result of a transaction that has committed; None where none has."""
    cursor = await connection.execute(_READ, (run_id, step_number))
    row = await cursor.fetchone()
    return None if row is None else (row["call"], row["result"])


async def write_committed(
    connection: Connection, run_id: str, step_number: int, *, call: str, result: str
) -> None:
    """Write the result; it becomes durable with everything else of the transaction."""
    await connection.execute(_INSERT, (run_id, step_number, call, result))


async def lock_owner(connection: Connection, run_id: str) -> str | None:
    """Return the token of who owns the run (DBOS 3.4); until commit it cannot change hands."""
    cursor = await connection.execute(_OWNER, (run_id,))
    row = await cursor.fetchone()
    return None if row is None else row["owner_xid"]
