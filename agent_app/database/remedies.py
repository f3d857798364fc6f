"""Statements that a person executes to mend a database, and the psql command around them."""

from collections.abc import Sequence

from psycopg import conninfo, sql

from agent_app.database.connect import Database
from agent_app.database.health import ServerSetting

SESSIONS = (
    "select usename, application_name, state, count(*) from pg_stat_activity group by 1, 2, 3"
)
_WRITABLE = "set default_transaction_read_only = off"
"""For the session that mends it, which could not write either."""
PROMOTE = "select pg_promote()"
COMMIT_SETTINGS = (
    "select name, setting from pg_settings where name in"
    " ('synchronous_standby_names', 'commit_delay', 'wal_sync_method')"
)


SUPERUSER = "postgres"
"""As it is called nearly everywhere."""


def psql_command(
    database: Database, statements: Sequence[str], *, role: str | None = None
) -> list[str]:
    """Return the words of a psql command that executes the statements; no password is in them.

    Without a role it is that of the URL.
    """
    parts = conninfo.conninfo_to_dict(database.url) | ({"user": role} if role else {})
    kept = {key: value for key, value in parts.items() if key not in ("password", "sslpassword")}
    words = ["psql", conninfo.make_conninfo("", **kept)]
    for statement in statements:
        words += ["-c", statement]
    return words


def locate_server(database: Database) -> tuple[str, str]:
    """Return host and port, as `pg_isready` takes them."""
    parts = conninfo.conninfo_to_dict(database.url)
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    return str(host), str(parts.get("port") or 5432)


def set_again(setting: ServerSetting, value: str) -> list[str]:
    """Return what gives the setting a value, undone where somebody changed it for a few sessions.

    Empty for one that no statement reaches: the server's command line, or the client's own.
    """
    if setting.source in ("command line", "environment variable", "client"):
        return []
    name, role, database = map(_identifier, (setting.name, setting.role, setting.database))
    places = {
        "database": f"alter database {database}",
        "user": f"alter role {role}",
        "database user": f"alter role {role} in database {database}",
    }
    first = [_WRITABLE] if setting.name == "default_transaction_read_only" else []
    if setting.source in places:
        return [*first, f"{places[setting.source]} reset {name}"]
    return [*first, f"alter system set {name} = {value}", "select pg_reload_conf()"]


def allow_connections(database_name: str, role: str, limited_by: str, count: int) -> str:
    """Return what raises the limit to so many connections; the server's needs a restart."""
    if limited_by == "database":
        return f"alter database {_identifier(database_name)} connection limit {count}"
    if limited_by == "role":
        return f"alter role {_identifier(role)} connection limit {count}"
    return f"alter system set max_connections = {count}"


def vacuum(tables: Sequence[str]) -> list[str]:
    """Return what frees the dead rows of tables, whose names are quoted already."""
    return [f"vacuum (analyze) {table}" for table in tables]


def end_session(server_process_id: int) -> str:
    """Return what ends one session and rolls its transaction back."""
    return f"select pg_terminate_backend({server_process_id})"


def rebuild(indexes: Sequence[str]) -> list[str]:
    """Return what builds indexes again while others write; their names are quoted already."""
    return [f"reindex index concurrently {index}" for index in indexes]


def grant_creation(database_name: str, role: str) -> list[str]:
    """Return what lets the role create the schemas."""
    return [f"grant create on database {_identifier(database_name)} to {_identifier(role)}"]


def grant_use(role: str) -> list[str]:
    """Return what lets the role use what another one has migrated, as docs/operate.md has it."""
    name = _identifier(role)
    return [
        f"grant usage on schema dbos, agent_app to {name}",
        f"grant all on all tables in schema dbos, agent_app to {name}",
        f"grant all on all sequences in schema dbos, agent_app to {name}",
        f"grant execute on all functions in schema dbos, agent_app to {name}",
    ]


def _identifier(name: str) -> str:
    return sql.Identifier(name).as_string()
