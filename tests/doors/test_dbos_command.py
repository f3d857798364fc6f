"""DBOS's own command on our database, by the dbos-config.yaml at the top of the repository."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agent_app.database.connect import Database
from agent_app.database.read import read_run
from tests.helpers import wait_until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DBOS = str(BIN / "dbos")
LONG_GAME = "barrel"
"""The offline player needs eleven turns to find it."""


def environment(database: Database) -> dict[str, str]:
    """Return an environment where only DBOS's variable names the database."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AGENT_APP_")}
    return ours | {
        "DBOS_SYSTEM_DATABASE_URL": database.url,
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


def execute(database: Database, *command: str) -> subprocess.CompletedProcess[str]:
    """Return the finished command, which must have succeeded."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(database),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


def agent_app(*arguments: str) -> Sequence[str]:
    """Return a command line of ours on the database that DBOS's variable names."""
    ours = 'AGENT_APP_DATABASE_URL="$DBOS_SYSTEM_DATABASE_URL" exec "$0" -m agent_app "$@"'
    return ("sh", "-c", ours, sys.executable, *arguments)


def dbos_json(database: Database, *arguments: str) -> Any:
    """Return what `dbos workflow …` printed."""
    return json.loads(execute(database, DBOS, "workflow", *arguments).stdout)


@pytest.fixture
def with_runs(database: Database) -> Database:
    """Return a database with the finished run `done` and the run `left`, killed half-way."""
    execute(database, *agent_app("run", "twenty-questions", "potato", "--id", "done"))
    command = agent_app("run", "twenty-questions", LONG_GAME, "--id", "left")
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(database), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(" 1  ")
        process.kill()
    assert status(database, "left") == "PENDING"
    return database


def status(database: Database, run_id: str) -> str:
    """Return a run's status as our view shows it."""
    row = read_run(database, run_id)
    assert row is not None
    return row.status


@pytest.fixture
def started(with_runs: Database) -> Iterator[subprocess.Popen[str]]:
    """Yield `dbos start` while it runs."""
    with subprocess.Popen(
        [DBOS, "start"],
        cwd=ROOT,
        env=environment(with_runs),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_workflow_commands_show_runs(with_runs: Database) -> None:
    """`dbos workflow list`, `get` and `steps` show our runs, payloads as they are stored."""
    listed = {row["workflow_id"]: row for row in dbos_json(with_runs, "list", "--limit", "100")}
    assert (listed["done"]["status"], listed["left"]["status"]) == ("SUCCESS", "PENDING")
    got = dbos_json(with_runs, "get", "done")
    assert (got["name"], got["application_name"]) == ("twenty-questions", "agent_app")
    assert json.loads(got["input"])["args"][0]["input"] == {"secret": "potato"}
    names = [step["function_name"] for step in dbos_json(with_runs, "steps", "done")]
    assert names[:2] == ["questioner.model", "questioner.tool.ask"]
    assert dbos_json(with_runs, "steps", "left")


def test_cancelled_run_is_resumed_by_us(with_runs: Database) -> None:
    """`dbos workflow cancel` cancels a run, and `agent-app resume` goes on with it."""
    execute(with_runs, DBOS, "workflow", "cancel", "left")
    assert status(with_runs, "left") == "CANCELLED"
    resumed = execute(with_runs, *agent_app("resume", "left"))
    assert LONG_GAME in resumed.stdout
    assert status(with_runs, "left") == "SUCCESS"


def test_start_is_a_worker(with_runs: Database, started: subprocess.Popen[str]) -> None:
    """`dbos start` takes over what was left behind, shows no password, and ends on SIGTERM."""
    wait_until(lambda: status(with_runs, "left") == "SUCCESS", timeout_s=60)
    started.send_signal(signal.SIGTERM)
    assert started.stdout is not None
    said = started.stdout.read()  # to the end: the worker has ended too
    assert with_runs.url not in said
    assert "Stopped; what was under way" in said


def test_migrate_leaves_the_rest_to_us(empty_database: Database) -> None:
    """After `dbos migrate` alone, a command of ours brings our schema up and works."""
    execute(empty_database, DBOS, "migrate")
    with psycopg.connect(empty_database.url) as connection:
        query = "select to_regclass('dbos.workflow_status'), to_regclass('agent_app.run')"
        theirs, ours = connection.execute(query).fetchone() or (None, None)
    assert theirs is not None
    assert ours is None
    assert json.loads(execute(empty_database, *agent_app("list", "--json")).stdout) == []
    execute(empty_database, *agent_app("run", "twenty-questions", "potato", "--id", "first"))
    assert status(empty_database, "first") == "SUCCESS"
