"""`agent-app run`, `resume`, `cancel`: what a person types, sees and gets back."""

from pathlib import Path

import pytest

from agent_app.database.connect import Database
from tests.doors.conftest import Command


def test_game_is_told_turn_by_turn(agent_app: Command) -> None:
    """A game prints every question with its answer, then the end and the run's ID."""
    outcome = agent_app("run", "twenty-questions", "potato", "--id", "game-1")
    lines = outcome.stdout.splitlines()
    assert outcome.code == 0
    assert lines[0].startswith(" 1  ")
    assert lines[0].endswith(("yes", "kind of", "not really", "no", "complete wrong"))
    assert "Is it: potato?  yes" in lines[-3]
    assert lines[-2].startswith("Found in")
    assert "offline player, no language model" in lines[-2]
    assert lines[-1].startswith("Run game-1: ")


def test_steps_flag_prints_each_step_as_it_starts_and_ends(agent_app: Command) -> None:
    """With --steps, each step has a line when it starts and a line with its time when it ends."""
    outcome = agent_app("run", "twenty-questions", "potato", "--steps")
    starts = [line for line in outcome.stdout.splitlines() if line.endswith("…")]
    ends = [line for line in outcome.stdout.splitlines() if line.endswith(" ms")]
    assert len(starts) == len(ends) > 10
    assert any("questioner.tool.ask" in line for line in ends)
    assert any(line.startswith("    ") and "answerer.model" in line for line in ends)


def test_json_is_the_only_thing_on_stdout(agent_app: Command) -> None:
    """With --json, stdout is one JSON object with the whole record."""
    record = agent_app("run", "twenty-questions", "a bicycle", "--json", "--id", "game-2").json()
    assert record["run_id"] == "game-2"
    assert record["status"] == "SUCCESS"
    assert record["output"]["found"] is True
    assert len(record["output"]["history"]) == record["output"]["turns"] <= 20


def test_same_id_and_input_attach_to_the_same_run(agent_app: Command) -> None:
    """The same command with the same ID returns the first run's result and starts nothing."""
    first = agent_app("run", "twenty-questions", "potato", "--json", "--id", "once").json()
    runs = agent_app("list", "--json").json()
    second = agent_app("run", "twenty-questions", "potato", "--json", "--id", "once").json()
    assert second == first
    assert agent_app("list", "--json").json() == runs


def test_same_id_with_another_input_is_refused(agent_app: Command) -> None:
    """Another input under a known ID is an error, and the first run keeps its result."""
    agent_app("run", "twenty-questions", "potato", "--id", "taken")
    outcome = agent_app("run", "twenty-questions", "house", "--id", "taken")
    assert outcome.code == 1
    assert "Run 'taken' exists" in outcome.stderr
    assert agent_app("show", "taken", "--json").json()["input"] == {"secret": "potato"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["twenty-question", "x"], "Did you mean 'twenty-questions'?"),
        (["twenty-questions", "qqqqqq"], "does not know 'qqqqqq'"),
        (["twenty-questions"], "secret: Field required"),
        (["twenty-questions", ""], "secret: String should have at least 1 character"),
        (["twenty-questions", '{"secret": '], "it begins like JSON"),
        (["twenty-questions", '{"wrong": "potato"}'], "secret: Field required"),
        (["twenty-questions", "potato", "--id", "no spaces"], "Run ID 'no spaces' is not one"),
        (["twenty-questions", "potato", "--model", "nothing:real"], "Model 'nothing:real'"),
        (["twenty-questions", "potato", "--model", "someone=offline"], "Agent 'someone'"),
        (["twenty-questions", "potato", "--model", "=x"], "--model '=x' is not valid"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(
    agent_app: Command, arguments: list[str], message: str
) -> None:
    """Each bad input gives one clear sentence and exit code 1, and leaves no run behind."""
    outcome = agent_app("run", *arguments)
    assert outcome.code == 1
    assert message in outcome.stderr
    assert outcome.stdout == ""
    assert agent_app("list", "--json").json() == []


def test_resume_with_nothing_left_says_so(agent_app: Command) -> None:
    """`resume` on a database without unfinished runs is no error."""
    outcome = agent_app("resume")
    assert outcome.code == 0
    assert "Nothing is left" in outcome.stderr


def test_finished_run_cannot_be_resumed_or_cancelled(agent_app: Command) -> None:
    """What has ended stays as it is, and the messages say why."""
    agent_app("run", "twenty-questions", "potato", "--id", "done")
    resumed, cancelled = agent_app("resume", "done"), agent_app("cancel", "done")
    assert (resumed.code, cancelled.code) == (1, 1)
    assert "it has ended with SUCCESS" in resumed.stderr
    assert "is SUCCESS and cannot be cancelled" in cancelled.stderr
    assert agent_app("show", "done", "--json").json()["status"] == "SUCCESS"


def test_cancelled_run_goes_on_with_resume(agent_app: Command, database: Database) -> None:
    """A run that was cancelled while nobody executed it is resumed to its end."""
    agent_app("run", "twenty-questions", "potato", "--id", "again")
    with database.connect() as connection:
        connection.execute("delete from dbos.workflow_output where workflow_uuid = 'again'")
        connection.execute(
            "update dbos.workflow_status set status = 'PENDING', executor_id = 'dead',"
            " completed_at = null where workflow_uuid = 'again'"
        )
    assert agent_app("cancel", "again").stdout == "Run 'again' is cancelled.\n".replace("'", "")
    refused = agent_app("run", "twenty-questions", "potato", "--id", "again")
    assert refused.code == 1
    assert "`agent-app resume again` goes on" in refused.stderr
    resumed = agent_app("resume", "again")
    assert resumed.code == 0
    assert "(from its checkpoint)" in resumed.stdout


def test_unknown_run_is_named(agent_app: Command) -> None:
    """`show`, `steps`, `resume` and `cancel` of an unknown ID name it and exit with 1."""
    for command in ("show", "steps", "resume", "cancel"):
        outcome = agent_app(command, "nobody")
        assert outcome.code == 1
        assert "Run 'nobody' does not exist." in outcome.stderr


def test_run_of_another_version_is_left_alone(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    """A run that another application version left is neither recovered nor attached to."""
    agent_app("run", "twenty-questions", "potato", "--id", "old")
    with database.connect() as connection:
        connection.execute(
            "update dbos.workflow_status set status = 'PENDING', executor_id = 'dead'"
            " where workflow_uuid = 'old'"
        )
    monkeypatch.setenv("AGENT_APP_APPLICATION_VERSION", "2")
    assert "Nothing is left" in agent_app("resume").stderr
    attached = agent_app("run", "twenty-questions", "potato", "--id", "old")
    assert attached.code == 1
    assert "it belongs to application version '1'" in attached.stderr
    assert agent_app("show", "old", "--json").json()["status"] == "PENDING"


def test_server_that_only_reads_is_named(agent_app: Command, database: Database) -> None:
    """What DBOS meets at its start or in a cancel is told in a sentence; runs are left alone."""
    agent_app("run", "twenty-questions", "potato", "--id", "read")
    with database.connect() as connection:
        connection.execute("update dbos.workflow_status set status = 'PENDING'")
        name = database.address.rpartition("/")[2]
        connection.execute(
            f'alter database "{name}" set default_transaction_read_only = on'.encode()
        )
    for command in (("run", "twenty-questions", "potato"), ("resume",), ("cancel", "read")):
        outcome = agent_app(*command)
        assert outcome.code == 1
        assert "in a read-only transaction" in outcome.stderr
        assert outcome.stdout == ""
    assert agent_app("show", "read", "--json").json()["status"] == "PENDING"


def test_directory_that_is_gone_is_named(
    agent_app: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a working directory that was deleted a command says so."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    outcome = agent_app("list")
    assert outcome.code == 1
    assert "The working directory does not exist any more." in outcome.stderr


def test_run_id_that_is_no_text_names_no_run(agent_app: Command) -> None:
    """An argument in another encoding than the terminal's is an unknown ID."""
    outcome = agent_app("show", "\udcff")
    assert outcome.code == 1
    assert "does not exist" in outcome.stderr
