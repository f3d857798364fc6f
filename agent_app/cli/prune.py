"""`prune`: what ended long ago goes."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from agent_app.operations.prune import Pruned


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("prune")(prune)


def prune(
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="How long ago a run has ended: 30d, 12h, 4w.")
    ],
    status: Annotated[
        list[str] | None,
        typer.Option(metavar="STATUS", help="Only runs that ended in this status; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would go, and delete nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete runs that ended long ago, with their children and all that is stored of them."""
    from datetime import UTC, datetime

    from agent_app.cli.opening import reading
    from agent_app.cli.values import parse_age
    from agent_app.operations.prune import choose_retention, plan_prune, prune_runs

    age = parse_age("--older-than", older_than)
    retention = choose_retention(age, status or (), datetime.now(UTC))
    with reading() as database:
        pruned = (plan_prune if dry_run else prune_runs)(database, retention)
    _print_pruned(pruned, is_plan=dry_run, as_json=json)


def _print_pruned(pruned: "Pruned", *, is_plan: bool, as_json: bool) -> None:
    from agent_app.cli.printing import print_json, print_table

    groups = [group for _, group in sorted(pruned.groups.items())]
    if as_json:
        numbers = {
            "run_count": pruned.run_count,
            "executor_count": pruned.executor_count,
            "source_count": pruned.source_count,
        }
        moment: dict[str, Any] = {"is_dry_run": is_plan, "ended_before": pruned.ended_before}
        print_json(moment | numbers | {"groups": groups})
        return
    if groups:
        cells = (
            (g.agent, g.status, g.run_count, g.oldest_ended_at, g.newest_ended_at) for g in groups
        )
        print_table(("AGENT", "STATUS", "RUNS", "OLDEST END", "NEWEST END"), cells)
    print(describe_pruned(pruned, is_plan=is_plan))


def describe_pruned(pruned: "Pruned", *, is_plan: bool = False) -> str:
    """Return in a sentence what went, or would go."""
    from agent_app.cli.printing import count_of

    before = pruned.ended_before.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    runs = count_of(pruned.run_count, "run", "runs")
    executors = count_of(pruned.executor_count, "row of a dead process", "rows of dead processes")
    sources = count_of(pruned.source_count, "uncited source", "uncited sources")
    verb = "would be deleted" if is_plan else "were deleted"
    return f"{runs} that ended before {before}, {executors} and {sources} {verb}."
