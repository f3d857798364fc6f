"""Opening a database: what answers, what refuses, and what is never shown."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
import sqlalchemy
from psycopg import conninfo

from agent_app.database import connect
from agent_app.database.connect import (
    SIGNS_OF_LIFE,
    Database,
    name_database,
    open_database,
    translate,
)
from agent_app.errors import (
    ConfigurationInvalid,
    DatabaseError,
    DatabaseRefused,
    DatabaseUnreachable,
    DatabaseVersionTooOld,
    DiskFull,
    PrivilegeMissing,
)
from agent_app.settings import Settings, read_settings
from tests.database.embedded_tools import make_home

SECRET = "s3cr%40t"


def settings_for(address: str, **more: object) -> Settings:
    """Return settings for a server at `host:port`, with a password in the URL."""
    return read_settings(database_url=f"postgresql://ann:{SECRET}@{address}/agents", **more)


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """Yield the address of a server that gives this answer to a log-in, or None: none at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server, answer))
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread
        thread.join()


def serve(server: socket.socket, answer: bytes | None) -> None:
    """Answer every client of the socket, until that is shut down."""
    with ExitStack() as clients:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                break
            clients.enter_context(client)  # kept open: a silent server does not hang up
            if answer is not None:
                refuse(client, answer)


def refuse(client: socket.socket, answer: bytes) -> None:
    """Take the log-in, offer neither TLS nor GSS before it, and answer."""
    while b"user\0" not in client.recv(4096):
        client.sendall(b"N")
    client.sendall(answer)
    client.shutdown(socket.SHUT_WR)


def server_error(state: str, words: str, severity: str = "FATAL") -> bytes:
    """Return an error of Postgres's protocol 3. Source: its manual, Message Formats."""
    fields = f"S{severity}\0VFATAL\0C{state}\0M{words}\0\0".encode()
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


def open_once(settings: Settings) -> None:
    """Open the database and leave it."""
    with open_database(settings, notify=print):
        pass


def test_closed_port_is_unreachable() -> None:
    """Where nothing listens, the error names host, port and database, and no password."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(DatabaseUnreachable, match=f"'127.0.0.1:{port}/agents'") as caught:
        open_once(settings_for(f"127.0.0.1:{port}"))
    assert_secret_is_kept(caught.value)


def test_unknown_host_is_unreachable() -> None:
    """A name that no DNS knows is an address that does not answer."""
    with pytest.raises(DatabaseUnreachable, match=r"no-such-host\.invalid"):
        open_once(settings_for("no-such-host.invalid:5432"))


def test_silent_server_is_unreachable() -> None:
    """A server that takes the connection and says nothing is given up after the timeout."""
    with listening(None) as address, pytest.raises(DatabaseUnreachable, match="within 1 s"):
        open_once(settings_for(address, database_connect_timeout_s=1))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("28P01", 'password authentication failed for user "ann"'),
        ("3D000", 'database "agents" does not exist'),
        ("53300", "sorry, too many clients already"),
    ],
)
@pytest.mark.parametrize("severity", ["FATAL", "ВАЖНО"])
def test_refusal_is_told_in_the_servers_words(state: str, words: str, severity: str) -> None:
    """A server that says no is quoted, in whatever language it announces it."""
    with listening(server_error(state, words, severity)) as address:
        with pytest.raises(DatabaseRefused) as caught:
            open_once(settings_for(address))
        assert caught.value.reason == words
        assert_secret_is_kept(caught.value)


def assert_secret_is_kept(error: BaseException) -> None:
    """Fail when the password is in anything that the error would show."""
    shown = f"{error} {error!r} {error.__cause__} {error.__cause__!r}"
    assert SECRET not in shown
    assert "s3cr@t" not in shown


def test_unknown_database_is_refused(server_url: str) -> None:
    """The real server's refusal comes through as one."""
    url = conninfo.make_conninfo(server_url, dbname="no_such_database")
    with (
        pytest.raises(DatabaseRefused, match="no_such_database"),
        Database(url, "somewhere").connect(),
    ):
        pass


def test_old_server_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server from before the oldest version that we know gets both numbers told."""
    monkeypatch.setattr(connect, "OLDEST_VERSION", 99)
    url = sqlalchemy.make_url(database.url).set(host="localhost")
    settings = read_settings(database_url=url.render_as_string(hide_password=False))
    with pytest.raises(DatabaseVersionTooOld, match="needs 99 or later"):
        open_once(settings)


def test_embedded_database_opens_without_a_setting() -> None:
    """Without a URL the embedded server is started; read-only connections are the reader's."""
    with make_home() as home:
        settings = read_settings(database_url=None, data_directory=home)
        with open_database(settings, notify=print) as database:
            assert database.address == "embedded"
            with database.connect(read_only=True) as connection:
                row = connection.execute("select current_user as name").fetchone()
    assert row == {"name": "agent_app_reader"}


@pytest.mark.parametrize("url", ["postgresql://ann:s3cret@db", "postgresql://ann:s3cret@db/"])
def test_url_without_a_database_is_refused(url: str) -> None:
    """A URL must name a database: libpq would take the user's name, silently."""
    with pytest.raises(ConfigurationInvalid, match="names no database") as caught:
        name_database(url)
    assert "s3cret" not in str(caught.value)


def test_url_that_libpq_refuses_is_not_repeated() -> None:
    """The complaint of libpq quotes the whole URL; ours does not, nor its cause."""
    with pytest.raises(ConfigurationInvalid) as caught:
        name_database("postgresql://ann:s3cret@db/agents?no_such_option=1")
    error = caught.value
    assert "s3cret" not in f"{error} {error.__cause__} {error.__context__}"


def test_password_is_not_shown() -> None:
    """The representation of a database has its address only."""
    database = name_database(f"postgresql+asyncpg://ann:{SECRET}@h1:1,h2:2/agents")
    assert database.address == "h1:1,h2:2/agents"
    assert SECRET not in repr(database)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cr%40t@db:5433/agents?sslmode=require",
        "postgresql://ann@/agents?host=/run/my%20server&port=5432",
        "postgresql://ann:x@h1:1,h2:2/agents",
        "postgresql://ann:x@[::1]:5432/agents",
        "postgresql:///agents",
    ],
)
def test_sqlalchemy_gets_the_same_parameters(url: str) -> None:
    """SQLAlchemy's driver is given what libpq reads from the URL, sockets and host lists too."""
    engine = sqlalchemy.create_engine(name_database(url).sqlalchemy_url)
    _, arguments = engine.dialect.create_connect_args(engine.url)
    found = {name: str(value) for name, value in arguments.items() if name != "context"}
    assert found == SIGNS_OF_LIFE | conninfo.conninfo_to_dict(url)
    assert "s3cr" not in str(engine.url)


def test_sqlalchemy_connects(database: Database) -> None:
    """The URL for DBOS reaches the same database."""
    engine = sqlalchemy.create_engine(database.sqlalchemy_url)
    with engine.connect() as connection:
        name = connection.execute(sqlalchemy.text("select current_database()")).scalar()
    engine.dispose()
    assert database.address.endswith(str(name))


def test_connection_is_in_autocommit_and_utc(database: Database) -> None:
    """A connection needs no commit, gives dicts, and is named in pg_stat_activity."""
    query = (
        "select current_setting('timezone') as zone, current_setting('application_name') as name,"
        " current_setting('statement_timeout') as timeout"
    )
    with database.connect(statement_timeout_s=1.5) as connection:
        assert connection.autocommit
        row = connection.execute(query).fetchone()
    assert row == {"zone": "UTC", "name": "agent_app", "timeout": "1500ms"}


def test_read_only_connection_does_not_write(database: Database) -> None:
    """A write over a read-only connection is an error of ours."""
    with (
        pytest.raises(DatabaseError),
        database.connect(read_only=True) as connection,
    ):
        connection.execute("create table planted (x int)")


def test_lost_connection_is_ours(database: Database) -> None:
    """A server that ends the session is told as one sentence."""
    with pytest.raises(DatabaseError), database.connect() as connection:
        connection.execute("select pg_terminate_backend(pg_backend_pid())")


def test_role_without_a_privilege_is_named(database: Database) -> None:
    """The role that lacks a privilege is named, though its connection has been closed by then."""
    if database.reader is None:
        pytest.skip("the server of the tests has no weak role")
    weak = Database(database.url.replace("agent_app@", f"{database.reader}@"), "test")
    with pytest.raises(PrivilegeMissing) as caught, weak.connect() as connection:
        connection.execute("create table public.mine ()")
    assert caught.value.role == database.reader


def test_errors_are_translated() -> None:
    """A full disk and a missing privilege have classes of their own."""
    assert isinstance(translate(psycopg.errors.DiskFull("x"), "db", 5), DiskFull)
    denied = psycopg.errors.InsufficientPrivilege("permission denied for schema dbos")
    assert isinstance(translate(denied, "db", 5), PrivilegeMissing)
    assert "permission denied for schema dbos" in str(translate(denied, "db", 5))
    broken = translate(psycopg.errors.UndefinedColumn("no column x"), "db", 5)
    assert str(broken) == "Postgres at 'db' says: no column x."
