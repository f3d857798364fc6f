"""`agent-app list`, `show`, `steps`, `agents`, `sql`, `migrate`, `--help`: nothing is executed."""

import subprocess
import sys

import pytest

from agent_app.database.connect import Database
from tests.doors.conftest import Command


def test_list_shows_runs_newest_first_and_filters(agent_app: Command) -> None:
    """`list` shows the run and its children, and filters by agent and status."""
    agent_app("run", "twenty-questions", "potato", "--id", "game")
    rows = agent_app("list", "--json").json()
    assert rows[-1]["run_id"] == "game"
    assert {row["parent_run_id"] for row in rows[:-1]} == {"game"}
    only = agent_app("list", "--json", "--agent", "twenty-questions").json()
    assert [row["run_id"] for row in only] == ["game"]
    assert agent_app("list", "--json", "--status", "pending").json() == []
    assert "game" in agent_app("list", "--agent", "twenty-questions").stdout


def test_show_and_steps_print_what_was_stored(agent_app: Command) -> None:
    """`show` prints input and output as JSON, `steps` the checkpoints under their names."""
    agent_app("run", "twenty-questions", "potato", "--id", "game")
    row = agent_app("show", "game", "--json").json()
    assert row["input"] == {"secret": "potato"}
    assert row["output"]["found"] is True
    steps = agent_app("steps", "game", "--json").json()
    assert [step["step_number"] for step in steps] == list(range(1, len(steps) + 1))
    assert {step["name"] for step in steps} == {
        "questioner.model",
        "questioner.tool.ask",
        "questioner.tool.guess",
    }
    assert "questioner.tool.ask" in agent_app("steps", "game").stdout
    assert "potato" in agent_app("show", "game").stdout


def test_agents_lists_what_can_be_run(agent_app: Command) -> None:
    """`agents` names the shipped ones; --json has the input's schema."""
    assert "twenty-questions" in agent_app("agents").stdout
    shipped = {agent["name"]: agent for agent in agent_app("agents", "--json").json()}
    assert shipped["twenty-questions"]["kind"] == "workflow"
    assert "secret" in shipped["twenty-questions"]["input_schema"]["properties"]


def test_sql_prints_rows_and_refuses_writes(agent_app: Command) -> None:
    """A query prints a table or JSON; one that writes, or is wrong, is an error of one line."""
    agent_app("run", "twenty-questions", "potato", "--id", "game")
    query = "select run_id, output from agent_app.run where parent_run_id is null"
    (row,) = agent_app("sql", query, "--json").json()
    assert row["run_id"] == "game"
    assert row["output"]["secret"] == "potato"
    assert "game" in agent_app("sql", query).stdout
    for bad in ("delete from dbos.workflow_status", "select * from agent_app.nothing", "selec 1"):
        outcome = agent_app("sql", bad)
        assert outcome.code == 1
        assert outcome.stderr.startswith(("The query was refused", "Postgres does not understand"))
    assert agent_app("show", "game").code == 0


def test_migrate_works_on_an_empty_database(
    agent_app: Command, empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new database gets the whole schema, by `migrate` or by the first command that needs it."""
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", empty_database.url)
    assert agent_app("list", "--json").json() == []
    assert "is up to date" in agent_app("migrate").stdout
    assert agent_app("migrate", "--json").json()["is_current"] is True


def test_planted_pickle_is_refused_and_not_executed(agent_app: Command, database: Database) -> None:
    """A row that is tagged as pickle is shown without its values, and every door says why."""
    agent_app("run", "twenty-questions", "potato", "--id", "planted")
    with database.connect() as connection:
        connection.execute(
            "update dbos.workflow_status set serialization = 'py_pickle', status = 'PENDING',"
            " executor_id = 'dead' where workflow_uuid = 'planted'"
        )
    for command in (["list"], ["show", "planted"], ["resume", "planted"]):
        outcome = agent_app(*command)
        assert outcome.code == 1, command
        assert "'py_pickle'" in outcome.stderr
    attached = agent_app("run", "twenty-questions", "potato", "--id", "planted")
    assert attached.code == 1
    assert "was not decoded" in attached.stderr
    assert "is left alone" in agent_app("resume").stderr
    (row,) = agent_app("list", "--json", "--agent", "twenty-questions").json()
    assert (row["status"], row["input"]) == ("PENDING", None)


@pytest.mark.parametrize("arguments", [["bogus"], ["run"], ["list", "--limit", "x"], ["--bogus"]])
def test_bad_usage_exits_with_2(agent_app: Command, arguments: list[str]) -> None:
    """What the command line does not understand is usage, exit code 2."""
    outcome = agent_app(*arguments)
    assert outcome.code == 2
    assert "Usage:" in outcome.stderr


def test_bad_setting_is_named_without_its_value(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that cannot work is an error that names it and keeps the secret."""
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", "mysql://someone:hush@host/name")
    outcome = agent_app("list")
    assert outcome.code == 1
    assert "AGENT_APP_DATABASE_URL" in outcome.stderr
    assert "hush" not in outcome.stderr


def test_help_imports_neither_agents_nor_database() -> None:
    """`agent-app --help` answers without importing what the agents need."""
    code = (
        "import sys; from agent_app.cli import command_line; command_line(['--help']);"
        "heavy = {'dbos', 'pydantic_ai', 'psycopg', 'logfire', 'pydantic'} & set(sys.modules);"
        "sys.exit(','.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert "Durable AI agents" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
