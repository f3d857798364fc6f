"""What a query returned, printed: a table for people, JSON or CSV for programs."""

import csv
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from agent_app.cli.printing import notice, print_json, print_table, printable

if TYPE_CHECKING:
    from agent_app.database.query import QueryResult

Form = Literal["table", "json", "csv"]
_INFINITE = {"nan": "NaN", "inf": "Infinity", "infi": "Infinity", "-inf": "-Infinity"}


def print_result(result: "QueryResult", form: Form) -> None:
    """Print the rows; a notice says if there were more than are shown."""
    if form == "json":
        names = _unique(result.columns)
        print_json([dict(zip(names, map(_plain, row), strict=True)) for row in result.rows])
    elif form == "csv":
        _print_csv([result.columns, *(map(_csv_cell, row) for row in result.rows)])
    else:
        print_table(result.columns, ([_table_cell(cell) for cell in row] for row in result.rows))
    if result.is_truncated:
        notice(f"Only the first {len(result.rows)} rows are shown.")


def _unique(columns: Sequence[str]) -> list[str]:
    """Return the names, those that occur again numbered: an object would keep one `count`."""
    seen: Counter[str] = Counter()
    names: list[str] = []
    for column in columns:
        name = column
        while name in names or (name != column and name in columns):
            seen[column] += 1
            name = f"{column}_{seen[column] + 1}"
        names.append(name)
    return names


def _plain(value: Any) -> Any:
    """Return what JSON can hold: numbers that are finite, else text."""
    if isinstance(value, (float, Decimal)):
        if not math.isfinite(value):
            return _INFINITE[str(value).lower()[:4]]
        return int(value) if isinstance(value, Decimal) and value == int(value) else float(value)
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, (date, time)):
        return value.isoformat()
    return value


def _table_cell(value: Any) -> Any:
    return _plain(value) if isinstance(value, bytes) else value


def _csv_cell(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, Decimal):
        return str(value)  # every digit of it
    return _plain(value)


def _print_csv(rows: Sequence[Any]) -> None:
    """Print rows exactly; on a terminal without what could steer it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    lines = text.getvalue()
    sys.stdout.write(printable(lines) if sys.stdout.isatty() else lines)
