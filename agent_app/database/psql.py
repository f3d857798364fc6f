"""The interactive console: which psql to open, and how it gets the password."""

import shutil

from psycopg import conninfo

from agent_app.database.binaries import find_installation
from agent_app.database.connect import Database
from agent_app.errors import EmbeddedServerMissing

_VARIABLES = {"dbname": "PGDATABASE", "password": "PGPASSWORD"}


def find_psql() -> str | None:
    """Return the machine's psql, else the embedded server's, else None."""
    if found := shutil.which("psql"):
        return found
    try:
        program = find_installation() / "bin" / "psql"
    except EmbeddedServerMissing:
        return None
    return str(program) if program.exists() else None


def psql_variables(database: Database) -> dict[str, str]:
    """Return the environment that leads psql to the database; `ps` shows no environment."""
    parts = conninfo.conninfo_to_dict(database.url)
    return {_VARIABLES.get(key, f"PG{key.upper()}"): str(value) for key, value in parts.items()}
