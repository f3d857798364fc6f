"""`agents`: what can be run."""

from typing import Annotated

import typer


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("agents")(agents)


def agents(
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the input's schema.")
    ] = False,
) -> None:
    """List the agents and workflows that can be run."""
    from agent_app.application import read_catalog
    from agent_app.cli.printing import print_json, print_table
    from agent_app.settings import read_settings

    runnables = list(read_catalog(read_settings()))
    if json:
        print_json(
            [
                {
                    "name": r.name,
                    "kind": r.kind,
                    "description": r.description,
                    "input_schema": r.input_type.json_schema(),
                }
                for r in runnables
            ]
        )
    else:
        print_table(
            ("NAME", "KIND", "DESCRIPTION"), ((r.name, r.kind, r.description) for r in runnables)
        )
