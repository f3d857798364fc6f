"""What a killed run leaves: checkpoints with their price, open questions, a version of its own."""

from decimal import Decimal

from agent_app.database.connect import Database
from agent_app.database.evidence import (
    FinishedStep,
    OpenQuestion,
    read_finished_steps,
    read_open_questions,
    read_sessions,
    rename_version,
)
from agent_app.database.read import read_run
from tests.database.rows import checkpoint_json, plant_run, plant_step


def plant_prices(database: Database, *prices: str | None) -> None:
    """Store tries of the first step of `r`."""
    with database.connect() as connection:
        for number, price in enumerate(prices, start=1):
            connection.execute(
                "insert into agent_app.attempt (run_id, step_number, attempt_number, step_name,"
                " executor_id, started_at, cost_usd)"
                " values ('r', 1, %s, 'a.model', 'e', now(), %s)",
                (number, price),
            )


def test_checkpoints_of_the_named_runs_are_read_with_their_tokens(database: Database) -> None:
    """A model's response says what it used; a tool's result is no usage, whatever it looks like."""
    usage = {"usage": {"input_tokens": 7, "output_tokens": 2}}
    for run_id in ("r", "r:child", "other"):
        plant_run(database, run_id)
        plant_step(database, run_id, 1, output=checkpoint_json(usage))
    plant_step(database, "r", 2, function_name="a.tool.b", output=checkpoint_json(usage))
    plant_step(database, "r", 3, output=checkpoint_json({"usage": "none"}))
    assert read_finished_steps(database, ["r", "r:child"]) == [
        FinishedStep("r", 1, 7, 2, None),
        FinishedStep("r", 2, 0, 0, None),
        FinishedStep("r", 3, 0, 0, None),
        FinishedStep("r:child", 1, 7, 2, None),
    ]


def test_prices_come_from_all_tries_that_the_ledger_has(database: Database) -> None:
    """A step's failed tries cost too; without any known price there is none."""
    plant_run(database, "r")
    plant_step(database, "r", 1)
    plant_prices(database, None, "0.002", "0.003")
    (step,) = read_finished_steps(database, ["r"])
    assert step.cost_usd == Decimal("0.005")


def test_only_calls_that_nobody_has_decided_are_open(database: Database) -> None:
    """An intent is a question once its outcome is unknown, and until somebody decides."""
    plant_run(database, "r", status="PENDING")
    with database.connect() as connection:
        for number, unknown, decision in ((1, True, None), (2, False, None), (3, True, "done")):
            connection.execute(
                "insert into agent_app.intent (run_id, step_number, step_name, call,"
                " idempotency_key, executor_id, unknown_since, decision) values"
                " ('r', %s, 'a.tool.pay', 'pay 1', 'k', 'e', case when %s then now() end, %s)",
                (number, unknown, decision),
            )
    assert read_open_questions(database, ["r"]) == [OpenQuestion("r", 1, "a.tool.pay")]
    assert read_open_questions(database, ["another"]) == []


def test_sessions_are_those_of_others_and_say_whether_they_rest(database: Database) -> None:
    """A connection that is open is seen, at rest or in a transaction; our own look is not."""
    assert read_sessions(database) == {}
    with database.connect() as connection:
        process_id = connection.info.backend_pid
        assert [s.is_at_rest for s in read_sessions(database).values()] == [True]
        with connection.transaction():
            connection.execute("select 1")
            assert [*read_sessions(database)] == [process_id]
            assert not read_sessions(database)[process_id].is_at_rest


def test_a_version_is_handed_over_with_its_runs_alone(database: Database) -> None:
    """The named runs of that version get the new one, and DBOS forgets the old one."""
    for run_id, version in (("r", "chaos-r"), ("r:child", "chaos-r"), ("other", "chaos-other")):
        plant_run(database, run_id, application_version=version)
    with database.connect() as connection:
        connection.execute(
            "insert into dbos.application_versions (version_id, version_name)"
            " values ('1', 'chaos-r'), ('2', '1')"
        )
    rename_version(database, ["r", "r:child", "other"], version="chaos-r", new_version="1")
    versions = {
        run_id: run.application_version
        for run_id in ("r", "r:child", "other")
        if (run := read_run(database, run_id))
    }
    assert versions == {"r": "1", "r:child": "1", "other": "chaos-other"}
    with database.connect() as connection:
        rows = connection.execute("select version_name from dbos.application_versions").fetchall()
    assert [row["version_name"] for row in rows] == ["1"]
