"""The command line beside other programs: a pipe that closes, standard input."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent_app.database.connect import Database
from agent_app.database.read import read_run


@pytest.fixture
def environment(database: Database) -> dict[str, str]:
    """Return what a real process needs to find the test's database."""
    return {**os.environ, "AGENT_APP_DATABASE_URL": database.url}


def test_closed_pipe_costs_the_run_nothing(database: Database, environment: dict[str, str]) -> None:
    """`agent-app run … | head -1` prints one line, and the run goes on to its end."""
    command = f"{sys.executable} -m agent_app run twenty-questions potato --id piped | head -1"
    done = subprocess.run(
        command, shell=True, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    row = read_run(database, "piped")
    assert row is not None
    assert row.status == "SUCCESS"


def test_input_comes_from_standard_input(environment: dict[str, str]) -> None:
    """With - as input, the run's input is what stands on standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "agent_app", "run", "twenty-questions", "-"],
        input='{"secret": "a potato"}',
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "Found in" in done.stdout
    assert "\x1b" not in done.stdout


def test_closed_standard_input_is_an_empty_one(environment: dict[str, str]) -> None:
    """`agent-app run … - <&-` says that the input is missing."""
    command = f"{sys.executable} -m agent_app run twenty-questions - <&-"
    done = subprocess.run(
        command, shell=True, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "The input does not fit 'twenty-questions'" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_full_disk_is_an_error_of_one_line(environment: dict[str, str]) -> None:
    """A result that cannot be written is told on stderr, and the exit code is 1."""
    done = subprocess.run(
        f"{sys.executable} -m agent_app agents > /dev/full",
        shell=True,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == "The result cannot be written: No space left on device.\n"
