"""Connections: the user's server or the embedded one, opened once, named without its password."""

import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import conninfo
from psycopg.rows import DictRow, dict_row

from agent_app.database.embedded import READER_ROLE, embedded_server
from agent_app.database.patience import Notify
from agent_app.errors import (
    ConfigurationInvalid,
    DatabaseError,
    DatabaseRefused,
    DatabaseUnreachable,
    DatabaseVersionTooOld,
    DiskFull,
    PrivilegeMissing,
)
from agent_app.settings import Settings

OLDEST_VERSION = 14
"""The first with `idle_session_timeout`, which executors' leases need, and `pg_read_all_data`."""
SIGNS_OF_LIFE = {
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""After 30 s a peer that is gone without a word is given up; the kernel's own limit is hours."""
_SERVER_WORDS = re.compile(r"(?:^|: )\w+:  (?P<text>.+)")
"""The server's own sentence inside libpq's: after a severity, in any language, and two blanks."""
_CLIENT_REFUSALS = ("fe_sendauth", "SSL", "certificate", "SCRAM", "GSS", "authentication")
"""What libpq says itself about a server that did answer."""


@dataclass(frozen=True)
class Database:
    """One database that answered; cheap to copy, it holds no connection."""

    url: str = field(repr=False)
    """libpq's URL with the password: never shown."""
    address: str
    """`host:port/name`, or `embedded`: for messages."""
    reader: str | None = None
    """Role that read-only connections log in as; None is the URL's own."""
    connect_timeout_s: float = 5.0

    @contextmanager
    def connect(
        self, *, read_only: bool = False, statement_timeout_s: float | None = None
    ) -> Iterator[psycopg.Connection[DictRow]]:
        """Yield one connection in autocommit: rows are dicts, times are in UTC.

        Raises: DatabaseError, for any error of Postgres's that the caller does not catch itself.
        """
        with explained(self), _connect(self, read_only) as connection:
            settings = {"TimeZone": "UTC"}
            if read_only:
                settings["default_transaction_read_only"] = "on"
            if statement_timeout_s is not None:
                settings["statement_timeout"] = str(max(1, round(statement_timeout_s * 1000)))
            _apply(connection, settings)
            yield connection

    @property
    def role(self) -> str:
        """Return the user's name as the URL or the environment gives it, ? where neither does."""
        parts = conninfo.conninfo_to_dict(self.url)
        return str(parts.get("user") or os.environ.get("PGUSER") or "?")

    @property
    def parameters(self) -> dict[str, Any]:
        """What libpq reads from the URL, with `SIGNS_OF_LIFE`; it holds the password too."""
        return SIGNS_OF_LIFE | conninfo.conninfo_to_dict(self.url)

    @property
    def sqlalchemy_url(self) -> str:
        """The same for SQLAlchemy, and so for DBOS; it holds the password too."""
        parts = self.parameters
        login = quote(str(parts.pop("user", "")), safe="")
        if password := parts.pop("password", None):
            login += ":" + quote(str(password), safe="")
        name = quote(str(parts.pop("dbname")), safe="")
        # Hosts go into the query: a socket's directory and a list of hosts fit nowhere else.
        query = urlencode({key: str(value) for key, value in parts.items()})
        return f"postgresql+psycopg://{login}@/{name}?{query}"


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


@contextmanager
def open_database(settings: Settings, *, notify: Notify = _tell) -> Iterator[Database]:
    """Yield the database of the settings once it answers; the embedded server runs until the end.

    Raises: ConfigurationInvalid, DatabaseUnreachable, DatabaseRefused, DatabaseVersionTooOld, and
    what `embedded_server` raises.
    """
    timeout_s = settings.database_connect_timeout_s
    if settings.database_url is not None:
        database = name_database(str(settings.database_url), connect_timeout_s=timeout_s)
        _check_version(database)
        yield database
        return
    with embedded_server(
        settings.data_directory,
        start_timeout_s=settings.database_start_timeout_s,
        notify=notify,
    ) as url:
        yield Database(url, "embedded", READER_ROLE, timeout_s)


def name_database(url: str, *, connect_timeout_s: float = 5.0) -> Database:
    """Return the database that a URL names, without asking it.

    Raises: ConfigurationInvalid, for a URL that libpq does not understand or that names no
    database: the user's name would be meant, which surprises.
    """
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)
    try:
        parts = conninfo.conninfo_to_dict(plain)
    except psycopg.ProgrammingError:
        parts = None  # and not chained: libpq repeats the whole URL
    if parts is None:
        raise ConfigurationInvalid(
            "AGENT_APP_DATABASE_URL is not a URL that Postgres understands; "
            "postgresql://user:password@host:5432/name was expected."
        )
    if not parts.get("dbname"):
        raise ConfigurationInvalid(
            "AGENT_APP_DATABASE_URL names no database; it must end with one, as in "
            "postgresql://user:password@host:5432/agent_app."
        )
    hosts = str(parts.get("host") or parts.get("hostaddr") or "localhost").split(",")
    ports = str(parts.get("port") or "5432").split(",")
    pairs = zip(hosts, ports * len(hosts), strict=False)  # one port serves all hosts
    address = ",".join(f"{host}:{port or 5432}" for host, port in pairs)
    return Database(plain, f"{address}/{parts['dbname']}", None, connect_timeout_s)


@contextmanager
def explained(database: Database) -> Iterator[None]:
    """Raise Postgres's errors in the block as ours; those that DBOS meets lie in SQLAlchemy's.

    Raises: DatabaseError.
    """
    try:
        yield
    except Exception as error:
        origin = getattr(error, "orig", error)  # where SQLAlchemy keeps the driver's own
        if not isinstance(origin, psycopg.Error):
            raise
        raise translate(
            origin, database.address, database.connect_timeout_s, role=database.role
        ) from error


def translate(
    error: psycopg.Error, address: str, timeout_s: float, *, role: str = "?"
) -> DatabaseError:
    """Return our error for one of Postgres's, in the server's own words; no password is in it."""
    state = error.sqlstate
    if state == "53100":
        return DiskFull(f"Postgres at {address}")
    if state == "42501":
        return _missing_privilege(error, address, role)
    if state is None and isinstance(error, psycopg.OperationalError):
        return _translate_connection(error, address, timeout_s)
    if state is not None and (state.startswith(("08", "28", "3D")) or state == "53300"):
        return DatabaseRefused(address, _sentence(error))
    if state in ("57P01", "57P02", "57P03", "57P05"):
        return DatabaseError(f"Postgres at {address!r} ended the connection: {_sentence(error)}.")
    return DatabaseError(f"Postgres at {address!r} says: {_sentence(error)}.")


def _translate_connection(
    error: psycopg.OperationalError, address: str, timeout_s: float
) -> DatabaseError:
    """Tell a server that refuses from none at all; libpq gives no SQLSTATE for either."""
    lines = str(error).strip().splitlines() or [""]
    if refusals := [m["text"] for line in lines if (m := _SERVER_WORDS.search(line))]:
        return DatabaseRefused(address, refusals[-1].rstrip("."))
    if any(word in str(error) for word in _CLIENT_REFUSALS):
        return DatabaseRefused(address, lines[-1].rsplit("failed: ", 1)[-1].rstrip("."))
    return DatabaseUnreachable(address, timeout_s)


def _missing_privilege(error: psycopg.Error, address: str, role: str) -> DatabaseError:
    action = f"do this at {address} ({_sentence(error)})"
    return PrivilegeMissing(role, action, f'grant the privilege to "{role}".')


def _sentence(error: psycopg.Error) -> str:
    text = error.diag.message_primary or (str(error).strip().splitlines() or ["no reason given"])[0]
    return text.rstrip(".")


def _connect(database: Database, read_only: bool) -> psycopg.Connection[DictRow]:
    is_reader = read_only and database.reader is not None
    login = {"user": database.reader} if is_reader else {}
    return psycopg.connect(
        conninfo.make_conninfo(**database.parameters | login),
        autocommit=True,
        row_factory=dict_row,
        application_name="agent_app",
        connect_timeout=max(2, math.ceil(database.connect_timeout_s)),  # libpq takes 2 at least
    )


def _apply(connection: psycopg.Connection[DictRow], settings: dict[str, str]) -> None:
    """Set all in one round trip; as start-up options a connection pooler would refuse them."""
    connection.execute(
        "select set_config(name, value, false)"
        " from unnest(%s::text[], %s::text[]) as setting(name, value)",
        (list(settings), list(settings.values())),
    )


def _check_version(database: Database) -> None:
    with database.connect() as connection:
        version = connection.info.server_version
    if version < OLDEST_VERSION * 10_000:
        found = f"{version // 10_000}.{version % 10_000}"
        raise DatabaseVersionTooOld(database.address, found, str(OLDEST_VERSION))
