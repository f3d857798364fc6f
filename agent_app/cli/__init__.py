"""The command line: each command parses, calls one operation and prints; it imports late."""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from agent_app.cli import (
    agents,
    archive,
    chaos,
    control,
    corpus,
    database,
    doctor,
    forks,
    prune,
    queues,
    replay,
    report,
    run,
    runs,
)
from agent_app.errors import AgentAppError, ConfigurationInvalid

app = typer.Typer(
    name="agent-app",
    help="Durable AI agents on nothing but Postgres.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (
    run,
    chaos,
    runs,
    report,
    agents,
    forks,
    replay,
    control,
    archive,
    prune,
    queues,
    corpus,
    database,
    doctor,
):
    part.add_commands(app)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as installed

        try:
            print(installed("agent-app"))
        except PackageNotFoundError:
            print("not installed: this is a checkout")
        raise typer.Exit


def command_line(arguments: Sequence[str]) -> int:
    """Execute one command and return its exit code: 0 done, 1 our error, 2 bad usage."""
    try:
        _check_working_directory()
        app(list(arguments), prog_name="agent-app")
    except AgentAppError as error:
        from agent_app.cli.printing import notice

        notice(str(error))
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"The result cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    except SystemExit as end:
        return _exit_code(end)
    return 0


def _check_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise ConfigurationInvalid(
            "The working directory does not exist any more. Change to another one."
        ) from error


def _exit_code(end: SystemExit) -> int:
    if end.code == 130:  # an interrupt before or after a run; Typer gives it this number
        print("Stopped.", file=sys.stderr)
        return 1
    return end.code if isinstance(end.code, int) else int(end.code is not None)
