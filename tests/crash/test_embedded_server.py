"""The embedded server and the application killed at once, and a fresh start of both."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent_app.application import open_reader
from agent_app.settings import read_settings
from tests.crash.conftest import Tell
from tests.crash.driver import ROOT
from tests.crash.effects import read_effects
from tests.crash.hooks import Hooks
from tests.database.embedded_tools import find_postmaster, make_home
from tests.helpers import wait_until


def start_command(home: Path, hooks: Hooks, *words: str) -> "subprocess.Popen[str]":
    """Start a real `python -m agent_app` on a data directory of its own."""
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("AGENT_APP_")},
        "AGENT_APP_DATA_DIRECTORY": str(home),
        "AGENT_APP_AGENTS": "tests.crash.hooked",
        "CRASH_TEST_HOOKS": json.dumps(asdict(hooks)),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "agent_app", *words, "--json"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def find_family(process_id: int) -> list[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
    return [process_id, *map(int, children.split())]


def read_completed(home: Path, before: datetime) -> set[tuple[str, int]]:
    """Return the steps that were complete at that moment; every run must be by now."""
    settings = read_settings(database_url=None, data_directory=home)
    with open_reader(settings, print) as database, database.connect() as connection:
        runs = connection.execute("select status from agent_app.run").fetchall()
        assert {row["status"] for row in runs} == {"SUCCESS"}
        steps = connection.execute(
            "select run_id, step_number from agent_app.step where finished_at < %s", [before]
        )
        return {(row["run_id"], row["step_number"]) for row in steps}


@pytest.mark.slow
def test_run_survives_the_death_of_its_server_and_of_itself(tmp_path: Path, tell: Tell) -> None:
    """After SIGKILL to the app, the postmaster and its children, `resume` ends the game."""
    path = tmp_path / "effects.jsonl"
    hooks = Hooks(str(path), hold_from=9, gate=str(tmp_path / "gate"))
    game = ("run", "twenty-questions", "rabbit", "--id", "game")
    with make_home() as home:
        first = start_command(home, hooks, *game)
        wait_until(lambda: sum(e.phase == "start" for e in read_effects(path)) >= 9, 60)
        postmaster = find_postmaster(home)
        assert postmaster
        for process_id in (*find_family(postmaster), first.pid):
            os.kill(process_id, signal.SIGKILL)
        first.communicate()
        wait_until(lambda: find_postmaster(home) is None)
        cut_at, effect_count = datetime.now(UTC), len(read_effects(path))

        resumed = start_command(home, Hooks(str(path)), "resume", "game")
        stdout, stderr = resumed.communicate(timeout=90)

        assert resumed.returncode == 0, stderr
        assert json.loads(stdout)["output"]["found"] is True
        completed = read_completed(home, cut_at)
        repeated = completed & {effect.step for effect in read_effects(path)[effect_count:]}
        assert len(completed) >= 6
        tell("agent-app run, with the embedded server", 0, 2, len(repeated))
        assert repeated == set()
