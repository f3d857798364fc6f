"""The chain of fixtures: a server, a template database migrated once, a database for each test."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from dbos import DBOS, DBOSClient
from psycopg import conninfo, sql

from agent_app.database.connect import Database
from agent_app.database.embedded import READER_ROLE, embedded_server
from agent_app.database.migrate import migrate
from agent_app.durability.queues import POLL_S, RECOVERY_QUEUE


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Yield the URL of a server where databases may be created."""
    if url := os.environ.get("AGENT_APP_TEST_SERVER_URL"):
        yield url
        return
    home = Path(tempfile.mkdtemp(prefix="aa-", dir="/tmp"))  # short: a socket lies in it
    home.chmod(0o711)  # as root, the server runs as another user, who must come in
    try:
        with embedded_server(home, start_timeout_s=60, notify=print) as url:
            yield url
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def template_database(server_url: str) -> Iterator[str]:
    """Yield the name of a database that DBOS and we have migrated, for cloning."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    execute_on_server(server_url, "create database {}", name)
    database = name_test_database(server_url, name)
    migrate(database, lambda: DBOS.migrate(database.sqlalchemy_url))
    _store_recovery_queue(database)
    yield name
    execute_on_server(server_url, "drop database {} with (force)", name)


def _store_recovery_queue(database: Database) -> None:
    """Let each test's first process find the queue at once, as every later one of a database."""
    client = DBOSClient(system_database_url=database.sqlalchemy_url)
    client.register_queue(RECOVERY_QUEUE, polling_interval_sec=POLL_S, on_conflict="never_update")
    client.destroy()


@pytest.fixture
def database(server_url: str, template_database: str) -> Iterator[Database]:
    """Yield a fresh database with the whole schema, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    execute_on_server(server_url, "create database {} template {}", name, template_database)
    yield name_test_database(server_url, name)
    execute_on_server(server_url, "drop database {} with (force)", name)


@pytest.fixture
def empty_database(server_url: str) -> Iterator[Database]:
    """Yield a fresh database with nothing in it, dropped afterwards."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    execute_on_server(server_url, "create database {}", name)
    yield name_test_database(server_url, name)
    execute_on_server(server_url, "drop database {} with (force)", name)


def execute_on_server(server_url: str, statement: str, *names: str) -> None:
    """Execute one statement about databases, their names filled in."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def name_test_database(server_url: str, name: str) -> Database:
    """Return the database of this name on the server of the tests."""
    parts = conninfo.conninfo_to_dict(server_url)
    host, port = parts.get("host", "localhost"), parts.get("port", 5432)
    user, password = parts.get("user"), parts.get("password")
    login = f"{user}:{password}@" if password else f"{user}@"
    url = f"postgresql://{login}/{name}?host={host}&port={port}"
    is_embedded = "AGENT_APP_TEST_SERVER_URL" not in os.environ
    return Database(url, f"test/{name}", READER_ROLE if is_embedded else None)
