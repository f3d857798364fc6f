"""Lines of `agent-app follow`: what happened, for people or for programs."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from agent_app.cli.printing import console, print_json_line, print_record, printable, shorten
from agent_app.database.read import RunRow
from agent_app.operations.follow import Happening

_GOING_ON = ("ENQUEUED", "DELAYED", "PENDING")


def print_happening(happening: Happening, as_json: bool) -> None:
    """Print one line at once; a child's lines are indented."""
    if as_json:
        known = {name: value for name, value in asdict(happening).items() if value is not None}
        print_json_line(known)
    else:
        print(printable(_line(happening)), flush=True)


def print_result(row: RunRow, record: Mapping[str, Any], as_json: bool) -> None:
    """Print what the run has left, as `run` does."""
    if as_json:
        print_json_line(
            {
                "kind": "result",
                "run_id": row.run_id,
                "agent": row.agent,
                "status": row.status,
                **record,
            }
        )
    else:
        print_record(row.run_id, record, console(), is_told=False)


def _line(happening: Happening) -> str:
    indent = "    " * happening.depth
    if happening.kind.startswith("run_"):
        return f"{indent}Run {happening.run_id} ({happening.agent}){_of_run(happening)}"
    return f"{indent}{happening.step_number:>4}  {happening.name}  {_of_step(happening)}"


def _of_run(happening: Happening) -> str:
    match happening.kind:
        case "run_seen" | "run_status" if happening.status in _GOING_ON:
            return f" is {happening.status}"
        case "run_abandoned":
            return f" is executed by nobody; `agent-app resume {happening.run_id}` goes on"
        case "run_ended":
            error = f": {shorten(happening.error, 200)}" if happening.error else ""
            return f" has ended with {happening.status}{error}"
    return ""


def _of_step(happening: Happening) -> str:
    took = f"{happening.duration_ms} ms" if happening.duration_ms is not None else ""
    error = shorten(happening.error, 200)
    match happening.kind:
        case "step_failed":
            return f"{took}  {error}"
        case "attempt_failed":
            again = f", the next at {_clock(happening.retry_at)}" if happening.retry_at else ""
            return f"attempt {happening.attempt_number} failed{again}: {error}"
        case "step_undecided":
            return _question(happening)
    return took


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")


def _question(happening: Happening) -> str:
    decide = f"agent-app resolve {happening.run_id} {happening.step_number}"
    subject = shorten(happening.subject, 100)
    return (
        f"nobody knows whether it was called, with {subject}. Decide by `{decide}` with "
        "--done JSON, --retry or --fail"
    )
