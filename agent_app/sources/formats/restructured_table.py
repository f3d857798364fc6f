"""Tables of reStructuredText, drawn in characters, into rows."""

import re
from collections.abc import Iterator

_GRID_RULE = re.compile(r"\+(?:[-=]{1,}\+)+\s*$")
_SIMPLE_RULE = re.compile(r"[=-]+(?: +[=-]+)+\s*$")


def is_table(line: str) -> bool:
    """Say whether a table begins at this line."""
    return bool(_GRID_RULE.match(line) or (line[0] == "=" and _SIMPLE_RULE.match(line)))


def table_rows(lines: list[str]) -> Iterator[str]:
    """Yield one text for each row, a bar between its cells; a cell may have several lines."""
    is_grid = lines[0][0] == "+"
    spans = _columns(lines[0])
    row = [""] * len(spans)
    for line in lines[1:]:
        is_rule = bool((_GRID_RULE if is_grid else _SIMPLE_RULE).match(line))
        cells = [line[start:stop].strip().strip("|").strip() for start, stop in spans]
        if is_rule or (not is_grid and cells[0]):
            yield " | ".join(filter(None, row))
            row = [""] * len(spans)
        if not is_rule:
            row = [" ".join(filter(None, pair)) for pair in zip(row, cells, strict=True)]
    yield " | ".join(filter(None, row))


def _columns(rule: str) -> list[tuple[int, int | None]]:
    """Return where each column begins and ends; the last one has no end."""
    starts = [found.start() for found in re.finditer(r"[-=]+", rule)]
    return list(zip(starts, [*starts[1:], None], strict=True))
