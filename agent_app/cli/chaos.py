"""`chaos`: a run that is killed again and again, and the account of what that cost."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent_app.operations.chaos.tally import ChaosReport, RestartCost

MAX_KILLS = 90
"""DBOS 3.4 gives a run up after 100 recoveries, and so after as many kills."""


def add_commands(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command("chaos")(chaos)


def chaos(
    agent: Annotated[str, typer.Argument(help="Name of an agent or a workflow.")],
    input: Annotated[
        str | None, typer.Argument(help="Text, or a JSON object; - reads standard input.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of tries that meet a fault on purpose.")
    ] = 0.2,
    kills: Annotated[
        int, typer.Option(min=0, max=MAX_KILLS, help="How often the process is killed, at most.")
    ] = 5,
    seed: Annotated[
        int | None, typer.Option(help="Chooses the faults, and the moments of the kills.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="MODEL for all shipped agents, or AGENT=MODEL; repeatable."),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(min=1, help="Seconds without a sign of work until a process counts as hung."),
    ] = 120,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Run an agent in processes that meet faults and are killed; report what it survived."""
    from agent_app.application import read_catalog
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import notice, print_json
    from agent_app.cli.run import parse_models
    from agent_app.operations.chaos.experiment import run_chaos
    from agent_app.operations.chaos.plan import check_chaos, plan_chaos
    from agent_app.settings import read_settings

    text, settings = sys.stdin.read() if input == "-" else input, read_settings()
    models = parse_models(model or [])
    plan = plan_chaos(
        agent, text, models=models, rate=rate, kill_count=kills, seed=seed, patience_s=patience
    )
    check_chaos(read_catalog(settings), settings, plan)
    with reading(settings) as database, _stopped_by_sigterm():
        notice(f"Run {plan.run_id} ({agent}), seed {plan.seed}.")
        report = run_chaos(database, settings, plan, tell=notice)
    if json:
        print_json(report)
    else:
        _print_report(report)
    if not report.is_sound:
        raise typer.Exit(1)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Take SIGTERM as what Ctrl-C is: the operation cleans up after either."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_report(report: "ChaosReport") -> None:
    from agent_app.cli.printing import notice, print_fields

    faults = ", ".join(f"{count} {place}" for place, count in report.fault_counts.items())
    print_fields(
        {
            "run": f"{report.run_id} ({report.agent}), {report.status or 'never recorded'}",
            "steps": report.step_count,
            "attempts": report.attempt_count,
            "faults": f"{sum(report.fault_counts.values())} ({faults})",
            "kills": _describe_kills(report),
            "completed steps executed again": len(report.repeated_steps),
            "completed steps lost": len(report.lost_steps),
            "calls in flight sent again": report.sent_again_count,
            "time": f"{report.duration_s:.1f} s, {report.lost_s:.1f} s of it lost by the kills",
        }
    )
    print(_describe_restart(report.restart))
    for words, steps in (("executed again", report.repeated_steps), ("lost", report.lost_steps)):
        for run_id, step_number in steps:
            notice(f"Step {step_number} of run {run_id!r} was complete and was {words}.")
    if report.problem is not None:
        notice(report.problem)


def _describe_kills(report: "ChaosReport") -> str:
    missing = report.asked_kill_count - report.kill_count
    why = "; it was over before the others" if missing else ""
    return f"{report.kill_count} of {report.asked_kill_count}{why}"


def _describe_restart(restart: "RestartCost") -> str:
    cost = "cost unknown" if restart.cost_usd is None else f"{restart.cost_usd} USD"
    return (
        f"Had each kill meant a restart from scratch, {restart.call_count} calls behind checkpoints"
        f" would have been made again: {restart.input_tokens} tokens in, {restart.output_tokens}"
        f" out, {cost}, {restart.duration_s:.1f} s."
    )
