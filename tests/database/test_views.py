"""The views: what each must show, what it must not, and what must not break it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.rows import DictRow

from agent_app.database.connect import Database
from tests.database.rows import (
    PICKLE,
    checkpoint_json,
    column,
    error_json,
    input_json,
    output_json,
    plant_attempt,
    plant_intent,
    plant_run,
    plant_step,
)


def read(database: Database, view: str) -> dict[str, DictRow]:
    """Return the rows of a view by run and step."""
    query = {
        "run": "select run_id as key, * from agent_app.run",
        "step": "select run_id || ':' || step_number as key, * from agent_app.step",
    }
    with database.connect(read_only=True) as connection:
        return {row["key"]: row for row in connection.execute(query[view])}


def test_run_shows_what_went_in_and_came_out(database: Database) -> None:
    """A finished run has its input, its output, both times in UTC, and no error."""
    plant_run(
        database,
        "r1",
        inputs=input_json({"topic": "owls"}),
        output=output_json(["answer"]),
        completed_at=61_500,
        executor_id="e1",
        application_version="7",
    )
    row = read(database, "run")["r1"]
    assert row["input"] == {"topic": "owls"}
    assert row["output"] == ["answer"]
    assert row["error"] is None
    assert row["created_at"] == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert row["created_at"].utcoffset() == timedelta(0)
    assert row["finished_at"] - row["created_at"] == timedelta(seconds=60.5)
    assert (row["agent"], row["executor_id"], row["application_version"]) == ("player", "e1", "7")


def test_run_reads_payloads_of_the_old_columns(database: Database) -> None:
    """Rows from before DBOS moved the payloads out of workflow_status are shown alike."""
    plant_run(database, "old")
    with database.connect() as connection:
        connection.execute(
            "update dbos.workflow_status set inputs = %s, output = %s",
            (input_json("old in"), output_json("old out")),
        )
    row = read(database, "run")["old"]
    assert (row["input"], row["output"]) == ("old in", "old out")


def test_run_without_an_end_has_no_end(database: Database) -> None:
    """A pending run shows neither output nor error nor an end, whatever an earlier life left."""
    plant_run(database, "r1", status="PENDING", inputs=input_json(None), completed_at=5_000)
    row = read(database, "run")["r1"]
    assert (row["finished_at"], row["output"], row["error"]) == (None, None, None)


def test_run_shows_its_error_as_class_and_message(database: Database) -> None:
    """An error is the last part of its class and its message."""
    error = error_json("agent_app.errors:StepTimedOut", "Step 'x' did not end.")
    plant_run(database, "r1", status="ERROR", error=error)
    plant_run(database, "r2", status="ERROR", error=error_json("a.b:Outer.Inner", "boom"))
    rows = read(database, "run")
    assert rows["r1"]["error"] == "StepTimedOut: Step 'x' did not end."
    assert rows["r2"]["error"] == "Inner: boom"


def test_run_knows_its_parent(database: Database) -> None:
    """The parent is DBOS's, or the one that a delegation recorded."""
    plant_run(database, "by-dbos", parent_workflow_id="p1")
    plant_run(database, "by-us", attributes=json.dumps({"parent_run_id": "p2"}))
    plant_run(database, "orphan", attributes=json.dumps(["odd"]))
    rows = read(database, "run")
    parents = {run_id: row["parent_run_id"] for run_id, row in rows.items()}
    assert parents == {"by-dbos": "p1", "by-us": "p2", "orphan": None}


@pytest.mark.parametrize("name", ["<temp>.send", "_dbos_debouncer", None])
def test_workflows_of_dbos_are_no_runs(database: Database, name: str | None) -> None:
    """Neither run nor step shows what DBOS runs for itself."""
    plant_run(database, "internal", name=name)
    plant_step(database, "internal", 0, output=checkpoint_json(1))
    assert read(database, "run") == {}
    assert read(database, "step") == {}


@pytest.mark.parametrize("tag", ["py_pickle", "portable_json", "x" * 5_000, "it's"])
def test_foreign_payload_is_refused_and_the_rest_is_shown(database: Database, tag: str) -> None:
    """A row tagged otherwise shows no payload and says why; its neighbours are untouched."""
    plant_run(database, "good", output=output_json(1))
    plant_run(database, "bad", serialization=tag, inputs='{"args": [{"input": 1}]}', output=PICKLE)
    plant_run(database, "started", serialization=tag, status="PENDING", inputs=PICKLE)
    plant_step(database, "good", 1, serialization=tag, output='{"$checkpoint": "x", "value": 1}')
    runs, steps = read(database, "run"), read(database, "step")
    assert runs["good"]["output"] == 1
    for row in (runs["bad"], runs["started"], steps["good:1"]):
        assert row["output"] is None
        assert row["error"].startswith("PayloadRefused: tagged 'it" if "'" in tag else
                                       f"PayloadRefused: tagged '{tag[:100]}', not")  # fmt: skip
    assert runs["bad"]["input"] is None
    assert steps["good:1"]["checkpoint_of"] is None


@pytest.mark.parametrize(
    "broken", ["{", "", PICKLE, "NaN", "[" * 200_000, '{"output": "\\ud800"}', "1e999999"]
)
def test_broken_json_with_our_tag_breaks_no_view(database: Database, broken: str) -> None:
    """A payload that is tagged ours and is not JSON is null, with the reason, in its row only."""
    plant_run(database, "good", output=output_json(1))
    plant_run(database, "bad", inputs=broken, output=broken)
    plant_run(database, "worse", status="ERROR", error=broken)
    plant_step(database, "good", 1, output=broken)
    plant_step(database, "good", 2, error=broken)
    runs, steps = read(database, "run"), read(database, "step")
    assert runs["good"]["output"] == 1
    assert (runs["bad"]["input"], runs["bad"]["output"]) == (None, None)
    for row in (runs["bad"], runs["worse"], steps["good:1"], steps["good:2"]):
        assert row["output"] is None
        assert row["error"].startswith("PayloadRefused: ")


@pytest.mark.parametrize(
    "odd", ["[]", "1", '"text"', "{}", "null", '{"args": {}}', '{"args": [1]}']
)
def test_json_of_another_shape_breaks_no_view(database: Database, odd: str) -> None:
    """JSON that our serializer would not have written shows as no value."""
    plant_run(database, "r1", inputs=odd, output=odd)
    plant_run(database, "r2", status="ERROR", error=odd)
    rows = read(database, "run")
    assert (rows["r1"]["input"], rows["r1"]["output"], rows["r1"]["error"]) == (None, None, None)
    assert rows["r2"]["error"].startswith("PayloadRefused: ")


def test_zero_character_does_not_hide_a_payload(database: Database) -> None:
    """U+0000, which jsonb cannot hold, is replaced; an escaped backslash stays what it is."""
    plant_run(database, "r1", output=output_json("a\0\0b"))
    plant_run(database, "r2", output=output_json("a\\u0000b\0"))
    rows = read(database, "run")
    assert rows["r1"]["output"] == "a\ufffd\ufffdb"
    assert rows["r2"]["output"] == "a\\u0000b\ufffd"


def test_payload_without_a_tag_is_shown_if_it_is_json(database: Database) -> None:
    """DBOS leaves the tag empty on some rows of its own: JSON is shown, a pickle refused."""
    plant_run(database, "json", serialization=None, output=output_json(1))
    plant_run(database, "pickle", serialization=None, output=PICKLE)
    rows = read(database, "run")
    assert rows["json"]["output"] == 1
    assert rows["pickle"]["output"] is None
    assert rows["pickle"]["error"].startswith("PayloadRefused: ")


def test_step_shows_its_checkpoint(database: Database) -> None:
    """A step shows its value, what it is the checkpoint of, and how long it took."""
    plant_run(database, "r1")
    plant_step(database, "r1", 3, output=checkpoint_json({"x": None}, "call 7"))
    row = read(database, "step")["r1:3"]
    assert (row["output"], row["checkpoint_of"]) == ({"x": None}, "call 7")
    assert (row["duration_ms"], row["name"], row["error"]) == (250, "player.model", None)
    assert row["started_at"] == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_step_shows_its_error_with_its_checkpoint(database: Database) -> None:
    """A step that failed shows the error and what it was the attempt of."""
    plant_run(database, "r1")
    error = error_json("builtins:ValueError", "no", **{"$checkpoint": "call 7"})
    plant_step(database, "r1", 1, error=error)
    row = read(database, "step")["r1:1"]
    assert (row["output"], row["error"], row["checkpoint_of"]) == (None, "ValueError: no", "call 7")


def test_step_of_dbos_itself_shows_its_plain_value(database: Database) -> None:
    """DBOS tags a sleep's end portable_json: it is shown; the same under our name is refused."""
    plant_run(database, "r1")
    plant_step(database, "r1", 1, function_name="DBOS.sleep", output="12.5",
               serialization="portable_json")  # fmt: skip
    plant_step(database, "r1", 2, function_name="DBOS.getEvent", output='["x"]')
    plant_step(database, "r1", 3, output="12.5", serialization="portable_json")
    rows = read(database, "step")
    assert (rows["r1:1"]["output"], rows["r1:1"]["error"]) == (12.5, None)
    assert rows["r1:2"]["output"] == ["x"]
    assert (rows["r1:3"]["output"], rows["r1:3"]["checkpoint_of"]) == (None, None)


def test_step_without_a_run_is_not_shown(database: Database) -> None:
    """What a deleted run left behind is nobody's step."""
    plant_step(database, "deleted", 1, output=checkpoint_json(1))
    assert read(database, "step") == {}


def test_current_attempt_shows_what_is_being_done(database: Database) -> None:
    """An open try of a pending run's own executor; no ended one, no dead one, no finished run."""
    plant_run(database, "open", status="PENDING", executor_id="e1")
    plant_run(database, "ended", status="PENDING", executor_id="e1")
    plant_run(database, "moved", status="PENDING", executor_id="e2")
    plant_run(database, "finished", status="SUCCESS", executor_id="e1")
    for run_id in ("open", "moved", "finished"):
        plant_attempt(database, run_id)
    plant_attempt(database, "ended", outcome="error")
    assert column(database, "select run_id from agent_app.current_attempt") == ["open"]
    (running_s,) = column(database, "select running_s from agent_app.current_attempt")
    assert isinstance(running_s, float)
    assert running_s > 0


def test_undecided_call_shows_what_waits_for_a_person(database: Database) -> None:
    """A call of unknown outcome; no decided one, no complete step, no ended run, none in flight."""
    since = datetime(2026, 1, 1, tzinfo=UTC)
    plant_run(database, "r1", status="PENDING")
    plant_run(database, "over", status="CANCELLED")
    plant_intent(database, "r1", 1, unknown_since=since)
    plant_intent(database, "r1", 2, unknown_since=since, decision="retry")
    plant_intent(database, "r1", 3, unknown_since=since)
    plant_step(database, "r1", 3)
    plant_intent(database, "r1", 4)
    plant_intent(database, "over", 1, unknown_since=since)
    query = "select run_id || ' ' || step_number from agent_app.undecided_call"
    assert column(database, query) == ["r1 1"]


def test_error_says_after_how_many_attempts(database: Database) -> None:
    """The count stands after the message where there were several."""
    error = error_json("builtins:ConnectionError", "lost")
    several = json.loads(error)
    several["$error"]["state"] = {"step_attempts": ["a", "b", "c"]}
    plant_run(database, "r1", status="ERROR", error=json.dumps(several))
    plant_run(database, "r2", status="ERROR", error=error)
    rows = read(database, "run")
    assert rows["r1"]["error"] == "ConnectionError: lost (after 3 attempts)"
    assert rows["r2"]["error"] == "ConnectionError: lost"


def test_views_describe_themselves(database: Database) -> None:
    """Every view has a comment, for psql and for people."""
    with database.connect() as connection:
        rows = connection.execute(
            "select relname, obj_description(oid, 'pg_class') as words from pg_class"
            " where relnamespace = 'agent_app'::regnamespace and relkind in ('v', 'r')"
        ).fetchall()
    assert {row["relname"] for row in rows} >= {"run", "step", "migration", "view_set"}
    assert all(row["words"] for row in rows)
