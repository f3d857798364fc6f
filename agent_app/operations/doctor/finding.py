"""What an examination says: one finding after another, with the commands that mend it."""

import shlex
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "bad"]
"""ok; warn: it works, and somebody should look; bad: it does not work, or is not durable."""
_ORDER: tuple[Status, ...] = ("ok", "warn", "bad")


@dataclass(frozen=True)
class Finding:
    """One line of the checklist."""

    status: Status
    text: str
    """The finding in one sentence or two; no secret is in it."""
    remedies: tuple[str, ...] = ()
    """Commands for a shell, ready to be copied; each mends it, or shows what to mend."""
    check: str = ""
    """Name of the check, `database.schema`; whoever makes the examination fills it in."""


def ok(text: str) -> Finding:
    """Return a finding about what is as it should be."""
    return Finding("ok", text)


def warn(text: str, *remedies: str) -> Finding:
    """Return a finding about what works and should be looked at."""
    return Finding("warn", text, remedies)


def bad(text: str, *remedies: str, check: str = "") -> Finding:
    """Return a finding about what does not work."""
    return Finding("bad", text, remedies, check)


def worst(findings: list[Finding]) -> Status:
    """Return the worst status of all."""
    return max((finding.status for finding in findings), key=_ORDER.index, default="ok")


def command(*words: str, **environment: str) -> str:
    """Return a line for a shell; whatever the words hold stays one word each."""
    given = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return " ".join([*given, *map(shlex.quote, words)])
