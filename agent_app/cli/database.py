"""`sql`, `migrate`: the database itself."""

import os
import subprocess
from typing import TYPE_CHECKING, Annotated

import typer

from agent_app.errors import ConfigurationInvalid

if TYPE_CHECKING:
    from agent_app.database.connect import Database


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("sql")(sql)
    app.command("migrate")(migrate)


def sql(
    query: Annotated[
        str | None, typer.Argument(help="One query that reads; none opens psql.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Query the database: `agent-app sql "select * from agent_app.run"`."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import notice, print_json, print_table
    from agent_app.operations.read import query_database
    from agent_app.settings import read_settings

    settings = read_settings()
    with reading(settings) as database:
        if query is None:
            _open_psql(database)
            return
        result = query_database(database, query, timeout_s=settings.sql_timeout_s)
    if json:
        print_json([dict(zip(result.columns, row, strict=True)) for row in result.rows])
    else:
        print_table(result.columns, result.rows)
    if result.is_truncated:
        notice(f"Only the first {len(result.rows)} rows are shown.")


def migrate(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Create the schema or bring it up to date; every other command does it by itself."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_json

    with reading() as database:
        if json:
            print_json({"database": database.address, "is_current": True})
        else:
            print(f"The schema of {database.address} is up to date.")


def _open_psql(database: "Database") -> None:
    from agent_app.operations.read import psql_of

    psql, variables = psql_of(database)
    if psql is None:
        raise ConfigurationInvalid(
            'psql is not installed. Install it, or give a query: agent-app sql "select …".'
        )
    if subprocess.run([psql], env={**os.environ, **variables}, check=False).returncode:
        raise typer.Exit(1)
