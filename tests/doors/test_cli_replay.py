"""`agent-app replay` as typed: real processes replay what other code has recorded."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from agent_app.database.connect import Database
from agent_app.durability.catalog import fresh_catalog
from tests.doors.conftest import Command

CODE = """
import os
from agent_app import delegate, workflow

print("printed at import")

@workflow("part", input=int, output=str)
async def part(number):
    print("printed by a body")
    return str(number)

@workflow("mine")
async def mine(question):
    print("printed by workflow code")
    first = await delegate("part", 1)
    {change}
    return f"{{question}} {{first}}"
"""


class Project:
    """A module of the user's, at whatever state its code is."""

    def __init__(self, folder: Path, command: Command) -> None:
        self._path = folder / "my_replayed_agents.py"
        self._command = command

    def write(self, change: str = "pass") -> None:
        """Write the code, with a line between the only step and the end."""
        self._path.write_text(CODE.format(change=change))

    def run(self, *run_ids: str) -> None:
        """Execute runs with the code as it stands."""
        spec = importlib.util.spec_from_file_location("recorded_agents", self._path)
        assert spec is not None
        assert spec.loader is not None
        with fresh_catalog():
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
            for run_id in run_ids:
                outcome = self._command("run", "mine", "go", "--id", run_id)
                assert outcome.code == 0, outcome.stderr


@pytest.fixture
def project(agent_app: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    """Return a project whose run `r` is recorded; processes that replay know its module."""
    project = Project(tmp_path, agent_app)
    project.write()
    monkeypatch.delenv("AGENT_APP_AGENTS", raising=False)
    project.run("r")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("AGENT_APP_AGENTS", "my_replayed_agents")
    return project


def rows_of(database: Database) -> dict[str, list[str]]:
    """Return all rows of all tables, with the transactions that wrote them and their places."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables"
            " where schemaname in ('dbos', 'agent_app', 'public')"
        ).fetchall()
        found = {}
        for table in tables:
            query = "select t.xmin || ' ' || t.ctid || ' ' || t from {} as t"
            cursor = connection.execute(sql.SQL(query).format(sql.Identifier(*table)))
            found[".".join(table)] = sorted(row[0] for row in cursor.fetchall())
        return found


def test_the_same_code_passes_and_nothing_is_written(
    agent_app: Command, database: Database
) -> None:
    """A game and the runs below it are the same, and no row of any table has changed."""
    assert agent_app("run", "twenty-questions", "potato", "--id", "game").code == 0
    before = rows_of(database)
    outcome = agent_app("replay", "game", "game", "game:turn-1")
    assert outcome.code == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert lines[0] == "same       game (twenty-questions, SUCCESS): 11 steps"
    assert [line.split()[:2] for line in lines[1:-1]] == [
        ["same", f"game:turn-{turn}"] for turn in range(1, 5)
    ]
    assert lines[-1] == "5 runs: 5 same, 0 diverge, 0 unchecked."
    assert sum(map(len, before.values())) > 20
    assert rows_of(database) == before


def test_changed_code_fails_the_gate(project: Project, agent_app: Command) -> None:
    """One run that diverges is exit code 1, and the line says where; what code prints is lost."""
    project.write('first += await delegate("part", 2)')
    outcome = agent_app("replay", "r")
    assert outcome.code == 1
    assert outcome.stdout.splitlines() == [
        "diverges   r (mine, SUCCESS): The code now asks for 'mine.delegate.part' as step 2: the "
        "run had ended without it.",
        "same       r:1 (part, SUCCESS): 0 steps",
        "2 runs: 1 same, 1 diverge, 0 unchecked.",
    ]


def test_json_says_the_same_to_programs(project: Project, agent_app: Command) -> None:
    """With --json, stdout is a list of checks and nothing else."""
    project.write('open("/nowhere/at/all", "w")')
    outcome = agent_app("replay", "--agent", "mine", "--json")
    assert outcome.code == 1
    (found,) = outcome.json()
    act = "open '/nowhere/at/all' for writing"
    assert found["finding"] == {
        "kind": "side_effect",
        "text": f"Workflow code outside of a step tried to {act}.",
        "step_number": None,
        "recorded": None,
        "asked": act,
    }
    assert {key: found[key] for key in ("run_id", "verdict", "step_count", "next_step")} == {
        "run_id": "r",
        "verdict": "diverges",
        "step_count": 1,
        "next_step": None,
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("os._exit(7)", "ended the process that replays, exit code 7."),
        ("while True: pass", "held the process up for 0.5 s."),
    ],
)
def test_code_that_ends_or_holds_up_its_process_costs_its_own_run_alone(
    change: str, words: str, project: Project, agent_app: Command
) -> None:
    """The run is unchecked, the command fails, and the runs after it are checked."""
    project.write(change)
    outcome = agent_app("replay", "r", "--run-timeout", "0.5")
    assert outcome.code == 1
    first, second, last = outcome.stdout.splitlines()
    assert first.startswith("unchecked  r (mine, SUCCESS): ")
    assert first.endswith(words)
    assert second == "same       r:1 (part, SUCCESS): 0 steps"
    assert last == "2 runs: 1 same, 0 diverge, 1 unchecked."


def test_time_that_is_over_is_no_success(project: Project, agent_app: Command) -> None:
    """Runs that the limit for all does not reach are unchecked."""
    outcome = agent_app("replay", "r", "--timeout", "0.1")
    assert outcome.code == 1
    assert "unchecked  r (mine, SUCCESS): The 0.1 s for all runs were over." in outcome.stdout


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("raise RuntimeError('broken')", "does not import: RuntimeError: broken."),
        ("import os; os._exit(3)", "has not started: it ended with exit code 3."),
    ],
)
def test_a_module_that_does_not_import_is_an_error(
    line: str, words: str, project: Project, agent_app: Command, tmp_path: Path
) -> None:
    """Nothing is checked, and the message says why."""
    (tmp_path / "my_replayed_agents.py").write_text(line)
    outcome = agent_app("replay", "r")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert words in outcome.stderr


def test_an_agent_that_is_gone_is_unchecked(
    project: Project, agent_app: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy that forgets AGENT_APP_AGENTS fails the gate."""
    monkeypatch.delenv("AGENT_APP_AGENTS")
    outcome = agent_app("replay", "r")
    assert outcome.code == 1
    assert "unchecked  r (mine, SUCCESS): Agent 'mine' does not exist." in outcome.stdout


def test_filters_choose_runs_and_a_limit_is_told(project: Project, agent_app: Command) -> None:
    """The newest runs that fit are checked; those that a limit leaves out are mentioned."""
    outcome = agent_app("replay", "--since", "1h", "--status", "success", "--limit", "1", "--json")
    assert [found["run_id"] for found in outcome.json()] == ["r:1"]
    assert outcome.stderr.endswith("There are older runs; --limit 1 left them out.\n")
    assert agent_app("replay", "--status", "error").stdout == (
        "0 runs: 0 same, 0 diverge, 0 unchecked.\n"
    )


def test_a_run_of_another_version_is_checked_and_says_so(
    project: Project, agent_app: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of a new version may be checked against the runs of an old one."""
    monkeypatch.setenv("AGENT_APP_APPLICATION_VERSION", "2")
    outcome = agent_app("replay", "r")
    assert outcome.code == 0
    assert "same       r (mine, SUCCESS, version '1'): 1 step\n" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "some of --since, --agent and --status were expected"),
        (("r", "--since", "7d"), "Runs by their ID, or else"),
        (("--status", "odd"), "Status 'odd' does not exist"),
        (("--since", "soon"), "--since 'soon' is no time"),
        (("no-such-run",), "Run 'no-such-run' does not exist."),
        (("\0",), "does not exist."),
    ],
)
def test_a_choice_that_means_nothing_is_an_error(
    arguments: tuple[str, ...], words: str, agent_app: Command
) -> None:
    """The message says what was expected, and no process is started."""
    outcome = agent_app("replay", *arguments)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert words in outcome.stderr


def test_a_database_without_a_schema_is_left_as_it_is(
    empty_database: Database, agent_app: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate of a build migrates nothing: that is the deploy's part."""
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", empty_database.url)
    assert agent_app("replay", "--since", "7d").stdout.startswith("0 runs")
    assert rows_of(empty_database) == {}


def test_a_changed_checkpoint_shows_the_difference(
    project: Project, agent_app: Command, database: Database
) -> None:
    """An output that differs is shown with its place and both values."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(
            "update dbos.workflow_output set output = replace(output, 'go 1', 'went 1')"
            " where workflow_uuid = 'r'"
        )
    outcome = agent_app("replay", "r", "--json")
    finding: dict[str, Any] = outcome.json()[0]["finding"]
    assert finding["kind"] == "other_output"
    assert [json.loads(finding[key]) for key in ("recorded", "asked")] == ["went 1", "go 1"]
