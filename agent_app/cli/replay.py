"""`replay`: the gate before a deploy."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent_app.operations.read import RunFilter
    from agent_app.operations.replay.verdict import RunCheck


def add_commands(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command("replay")(replay)


def replay(
    run_ids: Annotated[
        list[str] | None, typer.Argument(help="Runs to check, with the runs below them.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Check the runs started since: 30m, 2h, 7d, 2026-01-31.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Check the runs of this agent.")] = None,
    status: Annotated[str | None, typer.Option(help="Check the runs of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many runs at most, the newest.")] = 1000,
    run_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a run's workflow code may take.")
    ] = 30,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for all runs.")] = 600,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, nothing else.")] = False,
) -> None:
    """Say whether the code of today would go on with recorded runs; nothing is executed twice."""
    from agent_app.application import SHIPPED_AGENTS
    from agent_app.cli.printing import notice, print_json
    from agent_app.database.connect import open_database
    from agent_app.operations.replay.check import ReplayLimits, check_runs, select_runs
    from agent_app.settings import read_settings

    settings = read_settings()
    wanted = _read_filter(since, agent, status, limit)
    with open_database(settings, notify=notice) as database:  # as it is: nothing is migrated
        chosen, is_cut = select_runs(database, run_ids or [], wanted)
        checks = []
        modules = (*SHIPPED_AGENTS, *settings.agents)
        for check in check_runs(database, chosen, modules, ReplayLimits(run_timeout, timeout)):
            checks.append(check)
            if not json:
                _print_check(check, settings.application_version)
    if is_cut:
        notice(f"There are older runs; --limit {limit} left them out.")
    if json:
        print_json(checks)
    else:
        _print_sum(checks)
    if any(check.verdict != "same" for check in checks):
        raise typer.Exit(1)


def _read_filter(
    since: str | None, agent: str | None, status: str | None, limit: int
) -> "RunFilter | None":
    """Return which runs are meant; None where none of the options is given."""
    from agent_app.cli.values import parse_moment
    from agent_app.operations.read import RunFilter

    if since is None and agent is None and status is None:
        return None
    created_after = parse_moment("--since", since, datetime.now(UTC))
    return RunFilter(agent=agent, status=status, created_after=created_after, limit=limit)


def _print_check(check: "RunCheck", version: str) -> None:
    from agent_app.cli.printing import printable

    of = [check.agent, check.status]
    if check.application_version != version:
        of.append(f"version {check.application_version!r}")
    line = f"{check.verdict:<9}  {check.run_id} ({', '.join(of)}): {_describe(check)}"
    print(printable(" ".join(line.splitlines())), flush=True)


def _describe(check: "RunCheck") -> str:
    if check.finding is not None:
        return check.finding.text
    steps = "1 step" if check.step_count == 1 else f"{check.step_count} steps"
    if check.next_step is not None:
        return f"{steps}, goes on at step {check.next_step}, {check.next_name}"
    return steps if check.status in ("SUCCESS", "ERROR") else f"{steps}, would end"


def _print_sum(checks: "Sequence[RunCheck]") -> None:
    counts = {verdict: 0 for verdict in ("same", "diverges", "unchecked")}
    for check in checks:
        counts[check.verdict] += 1
    parts = f"{counts['same']} same, {counts['diverges']} diverge, {counts['unchecked']} unchecked"
    print(f"{len(checks)} {'run' if len(checks) == 1 else 'runs'}: {parts}.")
