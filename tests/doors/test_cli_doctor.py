"""`doctor` as it is typed: what it prints, its exit codes, and that it changes nothing."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agent_app.database.connect import Database
from agent_app.database.embedded import embedded_server
from agent_app.operations.doctor import storage
from tests.database.embedded_tools import find_postmaster, make_home
from tests.database.rows import column, living, plant_executor, plant_run
from tests.doors.conftest import Command, Outcome


@pytest.fixture(autouse=True)
def _own_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AGENT_APP_")]:
        if name != "AGENT_APP_TEST_SERVER_URL":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    # How long a commit takes is a matter of who else is on this machine.
    monkeypatch.setattr(storage, "MAX_COMMIT_MS", inf)
    monkeypatch.setattr(storage, "MAX_ROUND_TRIP_MS", inf)


def by_check(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Return the first finding of each check of --json."""
    return {finding["check"]: finding for finding in reversed(outcome.json()["findings"])}


def counts(database: Database) -> dict[str, int]:
    """Return the number of rows of every table of both schemas."""
    tables = column(
        database,
        "select format('%I.%I', schemaname, relname) from pg_stat_user_tables"
        " where schemaname in ('dbos', 'agent_app')",
    )
    query = "select count(*) from {}"
    return {table: column(database, query.format(table))[0] for table in tables}


def test_healthy_database_exits_with_0(agent_app: Command, database: Database) -> None:
    """Everything is ok, no remedy is printed, and no row of any table is written."""
    before = counts(database)
    outcome = agent_app("doctor")
    assert outcome.code == 0, outcome.stdout
    assert outcome.stderr == ""
    assert counts(database) == before
    lines = outcome.stdout.splitlines()
    assert re.fullmatch(r"0 bad, 0 to look at, \d+ ok\.", lines[-1]), outcome.stdout
    assert all(line.startswith("ok    ") for line in lines[:-1])
    assert f"database.server       {database.url.split('host=')[1].split('&')[0]}" in outcome.stdout


def test_bad_finding_exits_with_1_and_its_command_mends_it(
    agent_app: Command, database: Database
) -> None:
    """A missing schema of DBOS's version is bad; what is printed under it is a command of ours."""
    plant_run(database, "r 1", status="PENDING", executor_id="gone", application_version="1")
    outcome = agent_app("doctor")
    assert outcome.code == 1
    lines = outcome.stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if "runs.orphaned" in line)
    assert lines[place].startswith("bad   ")
    assert lines[place + 1] == "      $ agent-app resume 'r 1'"
    assert lines[-1].startswith("1 bad, ")


def test_warnings_alone_exit_with_0(
    agent_app: Command, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt variable is a warning that a script does not fail for."""
    monkeypatch.setenv("AGENT_APP_MODLE", "offline")
    outcome = agent_app("doctor")
    assert outcome.code == 0
    assert "warn  settings.names" in outcome.stdout
    assert 'export AGENT_APP_MODEL="$AGENT_APP_MODLE"; unset AGENT_APP_MODLE' in outcome.stdout


def test_json_has_every_finding(agent_app: Command, database: Database) -> None:
    """One object: the worst status, and findings with status, text, remedies and check."""
    plant_executor(database, "e7")
    with living(database, "e7"):
        outcome = agent_app("doctor", "--json")
    answer = outcome.json()
    assert answer["status"] == "ok"
    for finding in answer["findings"]:
        assert set(finding) == {"status", "text", "remedies", "check"}
        assert finding["status"] in ("ok", "warn", "bad")
    assert "e7" in by_check(outcome)["executors.living"]["text"]


def test_database_that_is_down(agent_app: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one bad finding without the password, and everything else is examined."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql://ann:s3cret@127.0.0.1:{port}/agents"
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", url)
    outcome = agent_app("doctor", "--json")
    assert outcome.code == 1
    found = by_check(outcome)
    assert [name for name, finding in found.items() if finding["status"] == "bad"] == [
        "database.server"
    ]
    assert found["database.server"]["remedies"][0] == f"pg_isready --host=127.0.0.1 --port={port}"
    assert {"settings.values", "agents.imports", "agents.models", "machine.open_files"} <= set(
        found
    )
    assert "s3cret" not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("url", ["", "postgresql://ann:s3cret@db", "postgresql://%zz/x"])
def test_url_that_names_nothing(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """A URL that is empty, broken or without a database is one bad finding of the database."""
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", url)
    outcome = agent_app("doctor", "--json")
    assert outcome.code == 1
    bad = [f for f in outcome.json()["findings"] if f["status"] == "bad"]
    assert [finding["check"] for finding in bad] == ["database.server"]
    assert "s3cret" not in outcome.stdout + outcome.stderr


def test_bad_settings_are_findings_and_not_the_end(
    agent_app: Command, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .env that every other command stops at is a finding; the database is examined."""
    Path(".env").write_text("AGENT_APP_MODEL_MAX_ATTEMPTS=many\nAGENT_APP_MODELS={\n")
    assert agent_app("list").code == 1
    outcome = agent_app("doctor", "--json")
    assert outcome.code == 1
    found = by_check(outcome)
    assert found["settings.values"]["status"] == "bad"
    assert found["database.schema"]["status"] == "ok"
    Path(".env").unlink()
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", "mysql://ann:s3cret@db/x")
    outcome = agent_app("doctor", "--json")
    found = by_check(outcome)
    assert found["database.server"]["status"] == "bad"
    assert "which is meant" in found["database.server"]["text"]
    assert "s3cret" not in outcome.stdout


def test_empty_database_is_not_migrated(
    agent_app: Command, empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database without our schema is a warning, and is as empty afterwards."""
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", empty_database.url)
    outcome = agent_app("doctor", "--json")
    assert outcome.code == 0
    found = by_check(outcome)["database.schema"]
    assert (found["status"], found["remedies"]) == ("warn", ["agent-app migrate"])
    assert column(empty_database, "select to_regnamespace('agent_app')") == [None]


def test_no_embedded_server_is_made(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a server there is nothing to examine: the doctor says so and makes none."""
    monkeypatch.delenv("AGENT_APP_DATABASE_URL")
    monkeypatch.setenv("AGENT_APP_DATA_DIRECTORY", str(tmp_path / "data"))
    outcome = agent_app("doctor", "--json")
    assert outcome.code == 0
    assert "no embedded server yet" in by_check(outcome)["database.server"]["text"]
    assert not (tmp_path / "data").exists()


def test_what_a_module_or_a_row_says_steers_no_terminal(
    agent_app: Command, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control characters of an ID and of an error are not printed as they are."""
    plant_run(database, "r\x1b[2J", status="PENDING", application_version="1")
    Path("hostile.py").write_text("raise RuntimeError('\\x1b[2J\\nbad   database.server  lies')")
    monkeypatch.setenv("AGENT_APP_AGENTS", "hostile")
    outcome = agent_app("doctor")
    assert outcome.code == 1
    assert "\x1b" not in outcome.stdout
    assert not [
        line for line in outcome.stdout.splitlines() if "lies" in line and "agents" not in line
    ]


@pytest.fixture
def unsafe_home() -> Iterator[Path]:
    """Yield the data directory of an embedded server that writes nothing to its disk in time."""
    with make_home() as home:
        with (
            embedded_server(home, start_timeout_s=60, notify=print) as url,
            psycopg.connect(url, autocommit=True) as connection,
        ):
            connection.execute("alter system set fsync = off")
            connection.execute("alter system set full_page_writes = off")
            connection.execute("alter system set autovacuum = off")
        yield home


def test_embedded_server_that_is_unsafe(
    agent_app: Command, unsafe_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fsync is bad, and the command below turns it on; a server that did not run is stopped."""
    monkeypatch.delenv("AGENT_APP_DATABASE_URL")
    monkeypatch.setenv("AGENT_APP_DATA_DIRECTORY", str(unsafe_home))
    outcome = agent_app("doctor", "--json")
    assert outcome.code == 1
    assert find_postmaster(unsafe_home) is None
    findings = outcome.json()["findings"]
    bad = [f for f in findings if f["status"] == "bad"]
    assert [finding["text"].partition(" ")[0] for finding in bad] == ["fsync", "full_page_writes"]
    assert "autovacuum is off" in str([f for f in findings if f["check"] == "storage.dead_rows"])
    with embedded_server(unsafe_home, start_timeout_s=60, notify=print) as url:
        for finding in bad:
            _execute(shlex.split(finding["remedies"][0]), url)
    assert [
        f for f in agent_app("doctor", "--json").json()["findings"] if f["status"] == "bad"
    ] == []


def _execute(words: list[str], url: str) -> None:
    """Do what the psql command would: this machine may have no psql."""
    assert words[0] == "psql"
    with psycopg.connect(words[1], autocommit=True) as connection:
        for statement in words[3::2]:
            connection.execute(statement.encode())


def test_it_runs_as_a_process(database: Database) -> None:
    """The command itself ends with its exit code, and prints nothing but JSON on stdout."""
    environment = {**os.environ, "AGENT_APP_DATABASE_URL": database.url}
    done = subprocess.run(
        [sys.executable, "-m", "agent_app", "doctor", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] in ("ok", "warn")  # commits may be slow just now
