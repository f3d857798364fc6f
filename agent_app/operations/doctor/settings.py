"""Settings: those that are not valid, and variables that name none."""

import difflib
import os
from collections.abc import Iterable
from contextlib import suppress

from dotenv import dotenv_values

from agent_app.operations.doctor.finding import Finding, bad, ok, warn
from agent_app.operations.doctor.subject import Subject
from agent_app.settings import Settings

_PREFIX = "AGENT_APP_"
_OF_TESTS = frozenset({"AGENT_APP_TEST_SERVER_URL"})
_SHOW_NAMES = "grep -n ^AGENT_APP_ .env; env | grep -o '^AGENT_APP_[A-Z_]*'"
"""Names and not values, which may be secret; .env is the user's own to look into."""


def examine_values(subject: Subject) -> Iterable[Finding]:
    """Say which values are not valid, without showing one."""
    for problem in subject.read.problems:
        yield bad(problem, _SHOW_NAMES)
    if not subject.read.problems:
        yield ok("Every value is valid.")


def examine_names(subject: Subject) -> Iterable[Finding]:
    """Say which of our variables name no setting, each with the nearest that does."""
    known = [name.upper() for name in Settings.model_fields]
    unknown = [name for name in sorted(_given_names()) if _setting_of(name) not in known]
    for name in unknown:
        # Without the prefix, which would make any two names alike.
        nearest = difflib.get_close_matches(_setting_of(name), known, n=1)
        right_name = f"{_PREFIX}{nearest[0]}" if nearest else None
        hint = f"; {right_name} is the nearest that does" if right_name else ""
        yield warn(f"{name} names no setting and has no effect{hint}.", _rename(name, right_name))
    if not unknown:
        yield ok("Every variable of agent_app's names a setting.")


def _rename(name: str, right_name: str | None) -> str:
    """Return the command that gives the variable its right name, or takes it away."""
    if name in os.environ:
        given = f'export {right_name}="${name}"; ' if right_name else ""
        return f"{given}unset {name}"
    if right_name:
        return f"sed -i 's/^{name}=/{right_name}=/' .env"
    return f"sed -i '/^{name}=/d' .env"


def _given_names() -> set[str]:
    """Return the names of our variables, those in .env too; case does not count."""
    names = set(os.environ)
    with suppress(OSError, UnicodeDecodeError):  # another finding says so
        names |= set(dotenv_values(".env"))
    return {name for name in names if name.upper().startswith(_PREFIX)} - _OF_TESTS


def _setting_of(name: str) -> str:
    """Return the setting that the variable names: `AGENT_APP_MODELS__X` is a part of one."""
    return name.upper().removeprefix(_PREFIX).partition("__")[0]
