"""Operations of DBOS and statements of our own that commit together, or not at all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString

from dbos import DBOSClient
from sqlalchemy import Connection

from agent_app.database.connect import Database, explained
from agent_app.durability.serializer import JsonSerializer, refuse_pickle


class JointCommit:
    """One open transaction: `client` is DBOS's, `execute` is ours."""

    def __init__(self, client: DBOSClient, connection: Connection) -> None:
        self.client = client
        self._connection = connection

    def execute(self, query: LiteralString, values: Mapping[str, object]) -> list[dict[str, Any]]:
        """Execute one statement, with psycopg's `%(name)s`, and return its rows."""
        found = self._connection.exec_driver_sql(query, dict(values))
        return [dict(row) for row in found.mappings()] if found.returns_rows else []


@contextmanager
def joint_commit(database: Database) -> Iterator[JointCommit]:
    """Yield a transaction that commits when the block ends, and is undone when it raises.

    The client's own transactions become parts of it: two private names of DBOS 3.4, used here only.
    Raises: DatabaseError.
    """
    refuse_pickle()
    with explained(database):
        client = DBOSClient(
            system_database_url=database.sqlalchemy_url,
            serializer=JsonSerializer(),
            lazy=True,
            retry_connection_errors=False,  # what broke off is undone and cannot be gone on with
        )
        system_database = client._sys_db
        engine = system_database.engine
        try:
            with engine.begin() as connection:
                system_database.engine = _Joined(connection)  # type: ignore[assignment]
                yield JointCommit(client, connection)
        finally:
            system_database.engine = engine
            client.destroy()


class _Joined:
    """An engine in whose place DBOS begins transactions, all of them the same one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.dialect = connection.dialect

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        yield self._connection
