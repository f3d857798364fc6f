"""A prompt for queries, where there is no psql: lines in, one query at a time out."""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from agent_app.cli.printing import notice
from agent_app.errors import AgentAppError

Read = Callable[[str], str]
"""Shows a prompt and returns a line; raises EOFError at the end of the input."""

_GREETING = "A query ends with a semicolon; \\q or Ctrl-D ends the session."
_LEAVE = ("\\q", "quit", "exit")


def converse(answer: Callable[[str], None]) -> None:
    """Answer queries from stdin until it ends; a query that is refused ends nothing."""
    notice(_GREETING)
    for query in read_queries(_line_reader()):
        try:
            answer(query)
        except AgentAppError as error:
            notice(str(error))
        except KeyboardInterrupt:
            notice("Stopped.")


def read_queries(read: Read) -> Iterator[str]:
    """Yield queries until the input ends: lines up to one with a semicolon at its end.

    What stands there at the end of the input is a query too. Ctrl-C drops the lines before it.
    """
    lines: list[str] = []
    while True:
        try:
            line = read("agent_app-> " if lines else "agent_app=> ").strip()
        except KeyboardInterrupt:
            notice("")
            lines.clear()
            continue
        except EOFError:
            break
        if not lines and line.rstrip(";") in _LEAVE:
            return
        if line.startswith("\\"):
            notice(f"{line.split()[0]} is a command of psql, which is not installed. {_GREETING}")
        else:
            lines.append(line)
        if line.endswith(";") and (query := _join(lines)):
            yield query
            lines.clear()
    if query := _join(lines):
        yield query


def _join(lines: list[str]) -> str:
    """Return the query; empty lines and semicolons alone are none."""
    query = "\n".join(lines).strip()
    if query.strip("; \n"):
        return query
    lines.clear()
    return ""


def _line_reader() -> Read:
    """Return `input` with the keys of a shell; without a prompt where nobody types."""
    if not sys.stdin.isatty():
        return lambda prompt: input()
    with suppress(ImportError):
        import readline  # noqa: F401 - importing it is what gives `input` its history
    return input
