"""`list`, `show`, `steps`, `messages`, `follow`: runs as they stand in the database."""

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent_app.database.read import RunRow, StepRow
    from agent_app.operations.read import RunFilter, RunPage

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_RunId = Annotated[str, typer.Argument(help="The run's ID.")]


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("list")(list_runs)
    app.command("show")(show)
    app.command("steps")(steps)
    app.command("messages")(messages)
    app.command("follow")(follow)


def list_runs(
    agent: Annotated[str | None, typer.Option(help="Only runs of this agent.")] = None,
    status: Annotated[str | None, typer.Option(help="Only runs in this status.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only runs created since then: 2h ago, or 2026-01-31.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only runs created before then.")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(help="Only runs with this KEY=VALUE; repeatable.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Only runs whose input contains it.")] = None,
    after: Annotated[
        str | None, typer.Option(help="Only runs after this one: the last of a page.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 50,
    json: _Json = False,
) -> None:
    """List runs, the newest first."""
    from datetime import UTC, datetime

    from agent_app.cli.opening import reading
    from agent_app.cli.values import parse_labels, parse_moment
    from agent_app.operations.read import RunFilter
    from agent_app.operations.read import list_runs as operation

    now = datetime.now(UTC)
    wanted = RunFilter(
        agent=agent,
        status=status,
        created_after=parse_moment("--since", since, now),
        created_before=parse_moment("--until", until, now),
        attributes=parse_labels(attribute or []),
        text=text,
        after=after,
        limit=limit,
    )
    with reading() as database:
        page = operation(database, wanted)
    _print_page(page, wanted, json)
    _refuse_foreign_payloads(page.runs)


def _print_page(page: "RunPage", wanted: "RunFilter", as_json: bool) -> None:
    from agent_app.cli.printing import notice, print_json, print_table, shorten

    if as_json:
        print_json(page.runs)
    else:
        cells = (
            (r.run_id, r.agent, r.status, r.created_at, shorten(r.input, 40), _result(r))
            for r in page.runs
        )
        print_table(("RUN", "AGENT", "STATUS", "CREATED", "INPUT", "RESULT"), cells)
    if page.next_after is not None:
        notice(f"There are more: {_next_command(page.next_after, wanted, as_json)}")


def _next_command(after: str, wanted: "RunFilter", as_json: bool) -> str:
    """Return the command that shows the next page; spans are told as moments, which stand still."""
    since, until = wanted.created_after, wanted.created_before
    options: dict[str, str | None] = {
        "--agent": wanted.agent,
        "--status": wanted.status,
        "--since": since.isoformat() if since else None,
        "--until": until.isoformat() if until else None,
        "--text": wanted.text,
        "--limit": None if wanted.limit == 50 else str(wanted.limit),
        "--after": after,
    }
    words = ["agent-app", "list"]
    for label in wanted.attributes.items():
        words += ["--attribute", "=".join(label)]
    for option, value in options.items():
        words += [option, value] if value is not None else []
    return shlex.join([*words, "--json"] if as_json else words)


def show(run_id: _RunId, json: _Json = False) -> None:
    """Show one run."""
    from dataclasses import asdict

    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_fields, print_json
    from agent_app.operations.read import get_run

    with reading() as database:
        row = get_run(database, run_id)
    if json:
        print_json(row)
    else:
        print_fields(asdict(row))
    _refuse_foreign_payloads([row])


def steps(run_id: _RunId, json: _Json = False) -> None:
    """List the checkpoints of one run."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_json, print_table, shorten
    from agent_app.operations.read import get_steps

    with reading() as database:
        rows = get_steps(database, run_id)
    if json:
        print_json(rows)
    else:
        cells = ((r.step_number, r.name, _took(r), shorten(r.error or r.output, 100)) for r in rows)
        print_table(("STEP", "NAME", "TOOK", "RESULT"), cells)
    _refuse_foreign_payloads(rows)


def messages(run_id: _RunId, json: _Json = False) -> None:
    """Print the conversation of one run: input, answers, tool calls and their results."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_json, print_table, shorten
    from agent_app.operations.read import get_messages, get_run

    with reading() as database:
        row = get_run(database, run_id)
        rows = get_messages(database, run_id)
    if json:
        print_json(rows)
    else:
        cells = (
            (r.position, r.role, r.kind, r.tool, shorten(r.text or r.arguments, 200), r.tokens)
            for r in rows
        )
        print_table(("NO", "ROLE", "KIND", "TOOL", "TEXT", "TOKENS"), cells)
    _refuse_foreign_payloads([row])


def follow(run_id: _RunId, json: _Json = False) -> None:
    """Print what happens in a run that any process executes, until it ends."""
    from agent_app.cli.following import print_happening, print_result
    from agent_app.cli.opening import reading
    from agent_app.operations.follow import finished_record, follow_run
    from agent_app.operations.read import get_run

    with reading() as database:
        for happening in follow_run(database, run_id):
            print_happening(happening, json)
        record = finished_record(database, run_id)
        print_result(get_run(database, run_id), record, json)


def _result(row: "RunRow") -> str:
    from agent_app.cli.printing import shorten

    return shorten(row.error or row.output, 60)


def _took(row: "StepRow") -> str:
    return "" if row.duration_ms is None else f"{row.duration_ms} ms"


def _refuse_foreign_payloads(rows: "Iterable[RunRow | StepRow]") -> None:
    """End with an error, after the rest is shown, if a row holds values that we do not decode."""
    from agent_app.operations.read import refuse_foreign_payloads

    refuse_foreign_payloads(rows)
