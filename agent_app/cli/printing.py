"""How results look: tables for people, JSON for programs, notices on stderr."""

import dataclasses
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNPRINTABLE = re.compile("[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON leaves as it is though it steers a terminal, turns the line around, or is no text."""


def notice(text: str) -> None:
    """Print a line that is no result."""
    print(printable(text), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print a value, rows included, as indented JSON."""
    _print_safely(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """Print a value as JSON in one line, at once."""
    _print_safely(json.dumps(value, default=_plain, ensure_ascii=False))


def _print_safely(text: str) -> None:
    print(_UNPRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], text), flush=True)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as a table, as wide as it needs to be when the output is no terminal."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        # Text, not markup: what a model wrote must not steer the terminal.
        table.add_row(*(Text(_cell(value)) for value in row))
    target = console()
    with target.capture() as captured:
        target.print(table)
    # Rich fills every line up to the widest; what is copied or piped should not carry that.
    for line in captured.get().splitlines():
        print(line.rstrip())


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print one value a line, after its name."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        print(f"{name:<{width}}  {_cell(value)}".rstrip())


def console() -> Console:
    """Return the console of stdout; no line is cut when it is a pipe or a file."""
    plain = Console(highlight=False, markup=False)
    return plain if plain.is_terminal else Console(highlight=False, markup=False, width=100_000)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, (dict, list)):
        return printable(json.dumps(value, ensure_ascii=False, default=_plain))
    return printable(str(value))


def printable(text: str) -> str:
    """Return the text without control characters, which could steer a terminal."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in text)


def shorten(value: Any, width: int) -> str:
    """Return a value in one line of `width` characters at most."""
    text = " ".join(_cell(value).split())
    return text if len(text) <= width else text[: width - 1] + "…"


def print_record(run_id: str, record: Mapping[str, Any], target: Console, *, is_told: bool) -> None:
    """Print how a run ended: its output unless it was told already, what it used, its ID."""
    output = record["output"]
    if not is_told:
        is_text = isinstance(output, str)
        text = output if is_text else json.dumps(output, indent=2, ensure_ascii=False)
        target.print(Text(printable(text)))
    usage = record["usage"]
    cost = record["cost_usd"]
    parts = [
        f"{usage['requests']} model requests",
        f"{usage['input_tokens']} tokens in",
        f"{usage['output_tokens']} out",
        f"{cost} USD" if cost is not None else "cost unknown",
    ]
    target.print(Text(f"Run {run_id}: {', '.join(parts)}."))


def count_of(number: int, one: str, several: str | None = None) -> str:
    """Return the number with its noun: `1 run`, `2 runs`."""
    return f"{number} {one if number == 1 else several or one + 's'}"
