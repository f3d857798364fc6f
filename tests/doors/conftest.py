"""The command line, called in this process on a database of the test's own."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from agent_app.cli import command_line
from agent_app.database.connect import Database


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Return what was printed as JSON."""
        assert self.stdout, self.stderr
        return json.loads(self.stdout)


Command = Callable[..., Outcome]


def _drop_log_handlers() -> None:
    """Drop handlers that hold the test's stderr: a process has one command, this one has many."""
    for name in ("", "dbos"):
        logger = logging.getLogger(name)
        for handler in [h for h in logger.handlers if type(h) is logging.StreamHandler]:
            logger.removeHandler(handler)


@pytest.fixture
def agent_app(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Return a function that executes `agent-app` with the given arguments."""
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", database.url)
    monkeypatch.delenv("AGENT_APP_AGENTS", raising=False)
    monkeypatch.delenv("AGENT_APP_MODEL", raising=False)

    def execute(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = command_line(arguments)
        _drop_log_handlers()
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return execute
