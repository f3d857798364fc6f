"""Queries to start from: examples.sql, which `agent-app sql --examples` and docs/sql.md show."""

import re
from dataclasses import dataclass
from pathlib import Path

_FILE = Path(__file__).with_name("examples.sql")
_BLOCK = re.compile(r"^-- (?P<title>.+)\n(?P<query>(?:(?!--).+\n)+?(?:.*;))$", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """One query with what it answers."""

    title: str
    query: str
    """Without a semicolon."""


def read_examples() -> list[Example]:
    """Return the examples in the order of the file."""
    found = _BLOCK.finditer(_FILE.read_text(encoding="utf-8"))
    return [Example(match["title"], match["query"].rstrip(";")) for match in found]
