"""`export`, `import`: a run as a file."""

import errno
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent_app.operations.export import Export
    from agent_app.operations.import_run import Imported


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("export")(export)
    app.command("import")(import_run)


def export(
    run_id: Annotated[str, typer.Argument(help="The run's ID.")],
    no_redact: Annotated[
        bool, typer.Option("--no-redact", help="Leave secrets in it, for a copy of one's own.")
    ] = False,
) -> None:
    """Print a run with its child runs as one JSON document: `agent-app export ID > run.json`."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_json
    from agent_app.errors import RunNotExportable
    from agent_app.operations.export import export_run
    from agent_app.operations.redaction import Redaction
    from agent_app.settings import read_settings

    settings = read_settings()
    redaction = None if no_redact else Redaction(settings.redact)
    with reading(settings) as database:
        exported = export_run(database, run_id, redaction=redaction)
    try:
        print_json(exported.document)
    except OSError as error:
        if error.errno == errno.EPIPE:  # who read it has seen enough
            raise
        reason = f"its file cannot be written: {error.strerror}"
        raise RunNotExportable(run_id, reason) from error
    _tell_export(exported)


def _tell_export(exported: "Export") -> None:
    from agent_app.cli.printing import count_of, notice

    for run_id, status in exported.unfinished.items():
        notice(f"Run {run_id} is {status}: the file holds what it had done at this moment.")
    for url in exported.left_out:
        notice(f"Source {url} is left out: its text holds what looks like a secret.")
    secrets = "secrets are left in it"
    if exported.redacted_count is not None:
        secrets = f"{count_of(exported.redacted_count, 'secret')} redacted"
    runs, steps = count_of(exported.run_count, "run"), count_of(exported.step_count, "step")
    notice(f"Exported {runs} with {steps}; {secrets}.")


def import_run(
    file: Annotated[str, typer.Argument(help="What `export` printed; - reads standard input.")],
    new_id: Annotated[str | None, typer.Option("--id", help="The run's ID here.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write an exported run into the database; nobody executes it."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_json
    from agent_app.operations.import_run import import_run as operation

    content = _read(file)
    with reading() as database:
        imported = operation(database, content, new_id=new_id)
    if json:
        print_json(imported)
    else:
        _tell_import(imported)


def _tell_import(imported: "Imported") -> None:
    from agent_app.cli.printing import count_of

    run_id, *children = imported.run_ids
    below = f", with {count_of(len(children), 'child run')}" if children else ""
    if imported.is_new:
        print(f"Run {run_id} is imported{below}.")
    else:
        print(f"Run {run_id} is there already, with the same content{below}.")
    for cancelled_id, status in imported.cancelled.items():
        print(f"Run {cancelled_id} was {status} and is CANCELLED here, so that nobody executes it.")


def _read(file: str) -> bytes:
    """Return the file's content, of one that is too large a little more than is taken."""
    from agent_app.errors import ArchiveInvalid
    from agent_app.operations.archive import MAX_BYTES

    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with open(file, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # a ValueError for a zero character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ArchiveInvalid(f"{file!r} cannot be read: {reason}") from error
