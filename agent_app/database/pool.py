"""Connections that are shared on an event loop: opened when needed, closed when idle."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from agent_app.database.connect import Database, translate

Connection = psycopg.AsyncConnection[DictRow]
_IDLE_S = 60.0
_LOST = ("08", "57P", "53300")
"""SQLSTATEs of a connection that the server ended or did not take."""


def is_lost_connection(error: BaseException) -> bool:
    """Say whether Postgres went away, so that nobody knows what it has committed."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(_LOST)


_RESET: LiteralString = """
reset all; reset session authorization; close all; unlisten *; discard temp;
select pg_advisory_unlock_all()
"""
"""What `discard all` does, but for prepared statements: psycopg keeps a list of them."""


async def _reset(connection: Connection) -> None:
    """Undo what a tool has set in its session; the next one finds it as it was."""
    connection.row_factory = dict_row
    await connection.execute(_RESET)


class Pool:
    """Asynchronous connections to one database, in autocommit; rows are dicts."""

    def __init__(self, database: Database, max_size: int) -> None:
        self._database = database
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            conninfo.make_conninfo(**database.parameters),
            connection_class=Connection,
            min_size=0,
            max_size=max_size,
            max_idle=_IDLE_S,
            timeout=database.connect_timeout_s * 2,
            check=AsyncConnectionPool.check_connection,  # a restart leaves dead ones behind
            reset=_reset,
            open=False,
            name="agent_app",
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "application_name": "agent_app",
            },
        )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """Yield a connection; what psycopg raises in the block stays what it is."""
        async with self._pool.connection() as connection:
            yield connection

    async def execute(self, query: Any, **values: Any) -> list[DictRow]:
        """Execute one statement and return its rows.

        Raises: DatabaseError.
        """
        try:
            async with self.connect() as connection:
                cursor = await connection.execute(query, values)
                return await cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            database = self._database
            timeout_s = database.connect_timeout_s
            raise translate(error, database.address, timeout_s, role=database.role) from error

    async def open(self) -> None:
        """Get ready; nothing is connected yet."""
        await self._pool.open()

    async def close(self) -> None:
        """Close what is open."""
        await self._pool.close()


@asynccontextmanager
async def open_pool(database: Database, *, max_size: int) -> AsyncIterator[Pool]:
    """Yield a pool of `max_size` connections at most, closed at the end of the block."""
    pool = Pool(database, max_size)
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()
