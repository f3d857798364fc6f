"""`agent-app sql`: tables, JSON, CSV, examples, psql, and a prompt where there is none."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_app.cli import prompt
from agent_app.database.connect import Database
from agent_app.database.examples import read_examples
from tests.database.rows import input_json, plant_run
from tests.doors.conftest import Command


def test_query_prints_a_table_json_or_csv(agent_app: Command, database: Database) -> None:
    """The same rows come in three forms."""
    plant_run(database, "r1", inputs=input_json({"topic": 'owls, "big"\nones'}))
    query = "select run_id, input, cost_usd, created_at from agent_app.run"
    assert "owls" in agent_app("sql", query).stdout
    (row,) = agent_app("sql", query, "--json").json()
    assert row == {
        "run_id": "r1",
        "input": {"topic": 'owls, "big"\nones'},
        "cost_usd": None,
        "created_at": "1970-01-01T00:00:01+00:00",
    }
    names, cells = csv.reader(io.StringIO(agent_app("sql", query, "--csv").stdout))
    assert names == ["run_id", "input", "cost_usd", "created_at"]
    assert json.loads(cells[1]) == row["input"]
    assert (cells[0], cells[2], cells[3]) == ("r1", "", "1970-01-01T00:00:01+00:00")


def test_no_column_is_lost_in_json(agent_app: Command) -> None:
    """Columns of one name are numbered, also where a column has the numbered name already."""
    (row,) = agent_app("sql", "select 1 as a, 2 as a, 3 as a_2, 4 as a", "--json").json()
    assert list(row.values()) == [1, 2, 3, 4]
    assert row["a_2"] == 3


def test_values_that_json_lacks_are_text(agent_app: Command) -> None:
    """Numbers that are none, bytes, days and times stay readable, in every form."""
    query = (
        "select 'NaN'::float8, '-infinity'::float8, 'Infinity'::numeric, 12345678901234567890.0,"
        " '\\x00ff'::bytea, date '2026-01-31', time '12:30', array[1, null]"
    )
    (row,) = agent_app("sql", query, "--json").json()
    expected = ["NaN", "-Infinity", "Infinity", 12345678901234567890, "\\x00ff", "2026-01-31"]
    assert list(row.values()) == [*expected, "12:30:00", [1, None]]
    _, cells = csv.reader(io.StringIO(agent_app("sql", query, "--csv").stdout))
    assert cells[3] == "12345678901234567890.0"
    assert cells[4] == "\\x00ff"
    assert "\\x00ff" in agent_app("sql", query).stdout


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_rows_beyond_the_limit_are_announced(agent_app: Command, form: str) -> None:
    """A notice on stderr says that there were more; stdout stays what a program reads."""
    outcome = agent_app("sql", "select generate_series(1, 10001) as n", form)
    assert outcome.stderr == "Only the first 10000 rows are shown.\n"
    assert outcome.code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("select 1", "--json", "--csv"), "--json and --csv exclude each other"),
        (("--json",), "print one query"),
        (("--csv",), "print one query"),
        (("--examples", "select 1"), "takes none"),
    ],
)
def test_options_that_exclude_each_other(
    agent_app: Command, arguments: tuple[str, ...], words: str
) -> None:
    """What cannot go together is bad usage, and nothing is printed or opened."""
    outcome = agent_app("sql", *arguments)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert words in outcome.stderr


def test_query_without_an_end_is_ended(agent_app: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit is a setting; the error names it, and no half table is printed."""
    monkeypatch.setenv("AGENT_APP_SQL_TIMEOUT_S", "0.3")
    endless = (
        "with recursive n as (select 1 as i union all select i + 1 from n) select max(i) from n"
    )
    for form in ((), ("--csv",)):
        outcome = agent_app("sql", endless, *form)
        assert (outcome.code, outcome.stdout) == (1, "")
        assert "did not end within 0.3 s" in outcome.stderr


def test_examples_are_listed_and_run_as_they_are_printed(agent_app: Command) -> None:
    """The text is SQL with titles as comments; JSON and CSV have titles and queries."""
    text = agent_app("sql", "--examples").stdout
    rows = agent_app("sql", "--examples", "--json").json()
    assert [(row["title"], row["query"]) for row in rows] == [
        (example.title, example.query) for example in read_examples()
    ]
    for row in rows:
        assert f"-- {row['title']}\n{row['query']};" in text
    first = text.partition("\n\n")[0]
    assert agent_app("sql", "--", first).code == 0  # it begins with a comment: two hyphens
    assert agent_app("sql", "--examples", "--csv").stdout.startswith("title,query\n")


def test_examples_need_no_database(agent_app: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are printed where no server answers."""
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert agent_app("sql", "--examples").code == 0


def test_psql_is_opened_where_there_is_one(
    agent_app: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a query psql takes over, led to the database by its environment."""
    program = tmp_path / "psql"
    program.write_text(f"#!/bin/sh\necho $# $PGDATABASE > {tmp_path}/seen\nexit $STATUS\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for status in (0, 3):
        monkeypatch.setenv("STATUS", str(status))
        assert agent_app("sql").code == min(status, 1)
    assert (tmp_path / "seen").read_text().startswith("0 test_")


@pytest.fixture
def typed(agent_app: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return what stdout and stderr say to lines that are typed where there is no psql."""
    monkeypatch.setattr("agent_app.operations.read.find_psql", lambda: None)

    def talk(text: str) -> list[str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        outcome = agent_app("sql")
        assert outcome.code == 0
        return [outcome.stdout, outcome.stderr]

    return talk


def test_prompt_answers_queries(typed: Callable[[str], list[str]]) -> None:
    """A query ends with a semicolon, over as many lines as it takes, or with the input."""
    stdout, stderr = typed("select 1 as one;\nselect 2\n  as two\n;\n\n;\n;;\nselect 3 as three")
    assert stdout.split() == ["one", "1", "two", "2", "three", "3"]
    assert stderr.startswith("A query ends with a semicolon")


def test_prompt_survives_mistakes(
    typed: Callable[[str], list[str]], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong, writes, or takes too long is told, and the next query is answered."""
    monkeypatch.setenv("AGENT_APP_SQL_TIMEOUT_S", "0.3")
    plant_run(database, "r1")
    stdout, stderr = typed(
        "selec 1;\ndelete from dbos.workflow_status;\nselect pg_sleep(60);\n\\d\n"
        "select run_id from agent_app.run;\n"
    )
    assert stdout.split() == ["run_id", "r1"]
    for words in ("syntax error", "begins with 'DELETE'", "0.3 s", "\\d is a command of psql"):
        assert words in stderr


@pytest.mark.parametrize("leave", ["\\q", "quit", "exit;", "  \\q  "])
def test_prompt_ends_when_asked(typed: Callable[[str], list[str]], leave: str) -> None:
    """What stands behind the end of the session is not read."""
    stdout, _ = typed(f"select 1 as one;\n{leave}\nselect 2 as two;\n")
    assert stdout.split() == ["one", "1"]


def test_interrupt_drops_what_was_typed() -> None:
    """Ctrl-C clears the lines of an unfinished query; the next one stands alone."""
    lines: list[str | BaseException] = ["select 1,", KeyboardInterrupt(), "select 2;", "select 3"]
    prompts: list[str] = []

    def read_line(prompt: str) -> str:
        prompts.append(prompt)
        line = lines.pop(0) if lines else EOFError()
        if isinstance(line, BaseException):
            raise line
        return line

    assert list(prompt.read_queries(read_line)) == ["select 2;", "select 3"]
    assert [text[-3] for text in prompts] == ["=", "-", "=", "=", "-"]


def test_interrupted_query_ends_no_session(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C under a running query ends that one."""
    asked: list[str] = []

    def answer(query: str) -> None:
        asked.append(query)
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", io.StringIO("select 1;\nselect 2;\n"))
    prompt.converse(answer)
    assert asked == ["select 1;", "select 2;"]
    assert capsys.readouterr().err.count("Stopped.") == 2
