"""`sql`, `migrate`: the database itself."""

import os
import subprocess
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent_app.cli.query_output import Form
    from agent_app.database.connect import Database


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("sql")(sql)
    app.command("migrate")(migrate)


def sql(
    query: Annotated[
        str | None, typer.Argument(help="One query that reads; none opens psql or a prompt.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with a line of names.")] = False,
    examples: Annotated[
        bool, typer.Option("--examples", help="Print queries to start from, and end.")
    ] = False,
) -> None:
    """Query the database: `agent-app sql "select * from agent_app.run"`."""
    from agent_app.cli.opening import reading
    from agent_app.cli.query_output import print_result
    from agent_app.operations.read import query_database
    from agent_app.settings import read_settings

    form = _choose_form(query, is_json=json, is_csv=csv, is_example=examples)
    if examples:
        _print_examples(form)
        return
    settings = read_settings()
    with reading(settings) as database:

        def answer(text: str) -> None:
            result = query_database(database, text, timeout_s=settings.sql_timeout_s)
            print_result(result, form)

        if query is not None:
            answer(query)
        elif not _open_psql(database):
            from agent_app.cli.prompt import converse

            converse(answer)


def _choose_form(query: str | None, *, is_json: bool, is_csv: bool, is_example: bool) -> "Form":
    """Return how to print; what cannot go together is bad usage."""
    if is_json and is_csv:
        raise typer.BadParameter("--json and --csv exclude each other. Choose one.")
    if is_example and query is not None:
        raise typer.BadParameter("--examples prints queries and takes none. Leave one out.")
    if (is_json or is_csv) and query is None and not is_example:
        raise typer.BadParameter('--json and --csv print one query: agent-app sql "select …".')
    return "json" if is_json else "csv" if is_csv else "table"


def _print_examples(form: "Form") -> None:
    from agent_app.cli.query_output import print_result
    from agent_app.database.examples import read_examples
    from agent_app.database.query import QueryResult

    examples = read_examples()
    if form == "table":
        print("\n\n".join(f"-- {example.title}\n{example.query};" for example in examples))
        return
    rows = [(example.title, example.query) for example in examples]
    print_result(QueryResult(("title", "query"), rows, is_truncated=False), form)


def migrate(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Create the schema or bring it up to date; every other command does it by itself."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_json

    with reading() as database:
        if json:
            print_json({"database": database.address, "is_current": True})
        else:
            print(f"The schema of {database.address} is up to date.")


def _open_psql(database: "Database") -> bool:
    """Hand the terminal to psql; False where there is none."""
    from agent_app.operations.read import psql_of

    psql, variables = psql_of(database)
    if psql is None:
        return False
    if subprocess.run([psql], env={**os.environ, **variables}, check=False).returncode:
        raise typer.Exit(1)
    return True
