"""`report`: a finished research as a page, a text, or a list of its sources."""

import errno
import os
import sys
import tempfile
from typing import Annotated, Literal

import typer


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("report")(report)


def report(
    run_id: Annotated[str, typer.Argument(help="The run's ID.")],
    format: Annotated[
        Literal["markdown", "html", "json", "bibtex"], typer.Option(help="What is written.")
    ] = "markdown",
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write to this file, whole or not at all.")
    ] = None,
) -> None:
    """Print the report of a finished deep research."""
    import asyncio

    from agent_app.cli.opening import reading
    from agent_app.cli.printing import notice
    from agent_app.operations.report import make_report

    with reading() as database:
        text = asyncio.run(make_report(database, run_id, format))
    if output is None:
        _print(text)
    else:
        _write_file(output, text)
        notice(f"The report of run {run_id} is in {output}.")


def _print(text: str) -> None:
    """Print the report.

    Raises: ReportNotWritable.
    """
    from agent_app.cli.printing import printable
    from agent_app.errors import ReportNotWritable

    try:
        # A model's words must not steer the terminal; a file gets them as they are.
        sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # who read it has seen enough
            raise
        raise ReportNotWritable("standard output", error.strerror or str(error)) from error


def _write_file(path: str, text: str) -> None:
    """Write the file, or leave what is there untouched.

    Raises: ReportNotWritable.
    """
    from agent_app.errors import ReportNotWritable

    try:
        target = os.path.realpath(path)  # a symbolic link goes on leading where it leads
        if os.path.exists(target) and not os.path.isfile(target):
            with open(target, "w", encoding="utf-8") as stream:  # a pipe, /dev/stdout
                stream.write(text)
        else:
            _replace_file(target, text)
    except (OSError, ValueError) as error:  # a ValueError for a zero character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ReportNotWritable(path, reason) from error


def _replace_file(path: str, text: str) -> None:
    number, unfinished = tempfile.mkstemp(prefix=".report-", dir=os.path.dirname(path))
    try:
        with open(number, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(number, _mode(path))
            stream.flush()
            os.fsync(number)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def _mode(path: str) -> int:
    """Return the permissions of the file that is there, else those of any new one."""
    if os.path.exists(path):
        return os.stat(path).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
