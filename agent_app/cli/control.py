"""`cancel`, `resolve`, `attribute`, `delete`: what a person does to runs from outside."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent_app.database.read import RunRow

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_RunId = Annotated[str, typer.Argument(help="The run's ID.")]


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("cancel")(cancel)
    app.command("resolve")(resolve)
    app.command("attribute")(attribute)
    app.command("delete")(delete)


def cancel(run_id: _RunId, json: _Json = False) -> None:
    """Cancel a run and the children that it waits for, and wait until they have stopped."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import notice, print_json
    from agent_app.operations.cancel import cancel_run, wait_until_stopped

    with reading() as database:
        cancelled = cancel_run(database, run_id)
        busy = wait_until_stopped(database, cancelled)
    if json:
        print_json({"cancelled": cancelled, "still_executing": busy})
    else:
        for cancelled_id in cancelled:
            print(f"Run {cancelled_id} is cancelled.")
    for step in busy:
        notice(
            f"Step {step.step_number} ({step.step_name}) of run {step.run_id} is still executed by "
            f"{step.executor_id}; its result will not be recorded."
        )
    if busy:
        raise typer.Exit(1)


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


def attribute(
    run_id: _RunId,
    labels: Annotated[list[str] | None, typer.Argument(help="KEY=VALUE, one or several.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A label to remove; repeatable.")
    ] = None,
    json: _Json = False,
) -> None:
    """Set or remove labels by which `list --attribute` finds a run."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_fields, print_json
    from agent_app.cli.values import parse_labels
    from agent_app.operations.attributes import change_attributes

    with reading() as database:
        row = change_attributes(database, run_id, parse_labels(labels or []), remove or [])
    if json:
        print_json({"run_id": run_id, "attributes": row.attributes})
    else:
        print_fields(row.attributes or {})


def delete(
    run_ids: Annotated[list[str], typer.Argument(help="The runs' IDs.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: _Json = False,
) -> None:
    """Delete finished runs with their children and all that is stored of them."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_json
    from agent_app.operations.delete import delete_runs, list_to_delete

    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("there is nobody to ask; --yes deletes without a question")
    with reading() as database:
        if not yes:
            _ask(list_to_delete(database, run_ids))
        deleted = delete_runs(database, run_ids)
    if json:
        print_json({"deleted": deleted})
    else:
        for deleted_id in deleted:
            print(f"Run {deleted_id} is deleted.")


def _ask(rows: "list[RunRow]") -> None:
    """Ask whether these runs are to be deleted; end the command if they are not."""
    from agent_app.cli.printing import notice

    for row in rows:
        notice(f"{row.run_id}  {row.agent}  {row.status}")
    what = "this run" if len(rows) == 1 else f"these {len(rows)} runs"
    typer.confirm(f"Delete {what} and all that is stored of them?", abort=True, err=True)
