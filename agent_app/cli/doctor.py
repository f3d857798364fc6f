"""`doctor`: what is wrong, and the commands that mend it."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent_app.operations.doctor.finding import Finding

_STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("doctor")(doctor)


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Examine settings, database, executors, runs and models; print what mends them."""
    from agent_app.application import SHIPPED_AGENTS
    from agent_app.cli.printing import notice, print_json
    from agent_app.operations.doctor.examination import examine
    from agent_app.operations.doctor.finding import worst

    findings = examine(SHIPPED_AGENTS, notify=notice)
    if json:
        print_json({"status": worst(findings), "findings": findings})
    else:
        _print_checklist(findings)
    if worst(findings) == "bad":
        raise typer.Exit(1)


def _print_checklist(findings: "Sequence[Finding]") -> None:
    """Print a line for each finding, and under it the commands, which no terminal breaks."""
    from rich.text import Text

    from agent_app.cli.printing import console, printable

    target = console()
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        line = Text(f"{finding.status:<4}", style=_STYLES[finding.status])
        line.append(f"  {finding.check:<{width}}  {_in_one_line(finding.text)}", style="default")
        target.print(line, soft_wrap=True)
        for remedy in finding.remedies:
            target.print(Text(f"      $ {printable(remedy)}"), soft_wrap=True)
    counts = Counter(finding.status for finding in findings)
    target.print(f"{counts['bad']} bad, {counts['warn']} to look at, {counts['ok']} ok.")


def _in_one_line(text: str) -> str:
    from agent_app.cli.printing import printable

    return printable(" ".join(text.split()))
