"""Processes to be killed, and the table of what was."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_app.database.connect import Database
from tests.crash.driver import Zygote
from tests.crash.laboratory import Laboratory

_KEY = "crash"
Tell = Callable[[str, int, int, int], None]


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Yield the process that all others are forked from."""
    zygote = Zygote(tmp_path_factory.mktemp("lives"))
    yield zygote
    zygote.close()


@pytest.fixture
def laboratory(zygote: Zygote, database: Database, tmp_path: Path) -> Laboratory:
    """Return a fresh database with its processes and effects."""
    return Laboratory(zygote, database, tmp_path)


@pytest.fixture
def effect_laboratory(laboratory: Laboratory) -> Laboratory:
    """Return the same, with the agents whose tools must not repeat what they do."""
    laboratory.environment["AGENT_APP_AGENTS"] = "tests.crash.effect_subjects"
    return laboratory


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Return a function that takes a line of the table: subject, boundaries, bodies, repeated."""
    return lambda *line: record_property(_KEY, line)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what was killed where, and how many completed steps were executed again."""
    totals: dict[str, list[int]] = {}
    for subject, *numbers in _lines(terminalreporter):
        sums = totals.setdefault(subject, [0] * len(numbers))
        totals[subject] = [total + number for total, number in zip(sums, numbers, strict=True)]
    if not totals:
        return
    terminalreporter.section("crash safety")
    form = "{:<44} {:>17} {:>13} {:>24}"
    titles = ("subject", "boundaries killed", "bodies killed", "repeated completed steps")
    for line in (titles, *((subject, *numbers) for subject, numbers in totals.items())):
        terminalreporter.write_line(form.format(*line))


def _lines(terminalreporter: Any) -> Iterator[tuple[Any, ...]]:
    for reports in terminalreporter.stats.values():
        for report in reports:
            for key, line in getattr(report, "user_properties", ()):
                if key == _KEY and getattr(report, "when", "") == "call":
                    yield line
