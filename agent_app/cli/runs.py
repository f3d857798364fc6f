"""`list`, `show`, `steps`, `cancel`: runs as they stand in the database."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent_app.database.read import RunRow, StepRow

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_RunId = Annotated[str, typer.Argument(help="The run's ID.")]


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("list")(list_runs)
    app.command("show")(show)
    app.command("steps")(steps)
    app.command("cancel")(cancel)
    app.command("resolve")(resolve)


def list_runs(
    agent: Annotated[str | None, typer.Option(help="Only runs of this agent.")] = None,
    status: Annotated[str | None, typer.Option(help="Only runs in this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 50,
    json: _Json = False,
) -> None:
    """List runs, the newest first."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_json, print_table, shorten
    from agent_app.operations.read import list_runs as operation

    with reading() as database:
        rows = operation(database, agent=agent, status=status, limit=limit)
    if json:
        print_json(rows)
    else:
        cells = (
            (r.run_id, r.agent, r.status, r.created_at, shorten(r.input, 40), _result(r))
            for r in rows
        )
        print_table(("RUN", "AGENT", "STATUS", "CREATED", "INPUT", "RESULT"), cells)
    _refuse_foreign_payloads(rows)


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


def cancel(run_id: _RunId, json: _Json = False) -> None:
    """Cancel a run and the children that it waits for."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_json
    from agent_app.operations.control import cancel_run

    with reading() as database:
        cancelled = cancel_run(database, run_id)
    if json:
        print_json({"cancelled": cancelled})
        return
    for cancelled_id in cancelled:
        print(f"Run {cancelled_id} is cancelled.")


def resolve(
    run_id: _RunId,
    step: Annotated[int, typer.Argument(help="The step's number.")],
    done: Annotated[
        str | None, typer.Option(help="The call was made, and this is its result, as JSON.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="It was not made: make it.")] = False,
    fail: Annotated[bool, typer.Option("--fail", help="Let the step fail.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for --fail.")] = None,
    json: _Json = False,
) -> None:
    """Decide what became of an external call that was cut short by a crash."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_json
    from agent_app.operations.control import choose_decision, resolve_call

    decision, value = choose_decision(done, is_retry=retry, is_failure=fail, reason=reason)
    with reading() as database:
        name = resolve_call(database, run_id, step, decision, value)
    if json:
        print_json({"run_id": run_id, "step_number": step, "name": name, "decision": decision})
    else:
        print(f"Step {step} ({name}) of run {run_id} is decided: {decision}.")
        print(f"Whoever executes the run goes on; if nobody does: agent-app resume {run_id}")


def _result(row: "RunRow") -> str:
    from agent_app.cli.printing import shorten

    return shorten(row.error or row.output, 60)


def _took(row: "StepRow") -> str:
    return "" if row.duration_ms is None else f"{row.duration_ms} ms"


def _refuse_foreign_payloads(rows: "Iterable[RunRow | StepRow]") -> None:
    """End with an error, after the rest is shown, if a row holds values that we do not decode."""
    from agent_app.operations.read import refuse_foreign_payloads

    refuse_foreign_payloads(rows)
