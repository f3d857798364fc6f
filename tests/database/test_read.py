"""Typed rows: the right ones, in order, by an index."""

import json
from dataclasses import fields
from datetime import UTC, datetime

import pytest

from agent_app.database.connect import Database
from agent_app.database.read import (
    MessageRow,
    RunRow,
    StepRow,
    read_descendants,
    read_messages,
    read_run,
    read_runs,
    read_steps,
)
from agent_app.errors import RunNotFound
from tests.database.rows import (
    answer_json,
    call_part,
    checkpoint_json,
    input_json,
    output_json,
    plant_run,
    plant_step,
)


def test_rows_have_the_columns_of_their_views(database: Database) -> None:
    """Each class mirrors its view, name by name."""
    for row_type, view in ((RunRow, "run"), (StepRow, "step"), (MessageRow, "message")):
        with database.connect() as connection:
            query = (
                "select attname from pg_attribute where attrelid = ('agent_app.' || %s)::regclass"
                " and attnum > 0 order by attnum"
            )
            columns = [row["attname"] for row in connection.execute(query, (view,))]
        assert [column.name for column in fields(row_type)] == columns


def test_run_is_read_by_its_id(database: Database) -> None:
    """A run comes back typed; an unknown ID is None."""
    plant_run(database, "r1", inputs=input_json("in"), output=output_json({"x": 1}))
    run = read_run(database, "r1")
    assert run
    assert (run.input, run.output, run.status) == ("in", {"x": 1}, "SUCCESS")
    assert run.created_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert read_run(database, "r2") is None


def test_runs_are_newest_first_and_filtered(database: Database) -> None:
    """The newest come first; agent, status and limit narrow them, internal ones are left out."""
    plant_run(database, "old", created_at=1, name="a")
    plant_run(database, "new", created_at=3, name="a", status="ERROR")
    plant_run(database, "mid", created_at=2, name="b")
    plant_run(database, "internal", created_at=4, name="<temp>.x")
    assert ids(read_runs(database)) == ["new", "mid", "old"]
    assert ids(read_runs(database, limit=2)) == ["new", "mid"]
    assert ids(read_runs(database, agent="a")) == ["new", "old"]
    assert ids(read_runs(database, status="SUCCESS")) == ["mid", "old"]
    assert ids(read_runs(database, agent="a", status="ERROR")) == ["new"]
    assert read_runs(database, agent="c") == []


def ids(runs: list[RunRow]) -> list[str]:
    """Return the runs' IDs in order."""
    return [run.run_id for run in runs]


def test_runs_are_narrowed_by_time_label_and_text(database: Database) -> None:
    """Each filter keeps what fits, and together they keep what fits all of them."""
    label = {"attributes": json.dumps({"customer": "acme", "n": 1})}
    for number, topic in ((1, "Owls"), (2, "mice"), (3, "owls and mice")):
        values = label if number != 2 else {}
        text = input_json({"topic": topic, "depth": number * 11})
        plant_run(database, f"r{number}", created_at=number * 1_000, inputs=text, **values)
    moment = datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)
    assert ids(read_runs(database, created_after=moment)) == ["r3", "r2"]
    assert ids(read_runs(database, created_before=moment)) == ["r1"]
    assert ids(read_runs(database, attributes={"customer": "acme"})) == ["r3", "r1"]
    assert ids(read_runs(database, attributes={"customer": "other"})) == []
    assert ids(read_runs(database, attributes={"customer": "acme", "x": 1})) == []
    assert ids(read_runs(database, text="OWLS")) == ["r3", "r1"]
    assert ids(read_runs(database, text="22")) == ["r2"]
    found = read_runs(database, text="mice", attributes={"n": 1}, created_after=moment)
    assert ids(found) == ["r3"]


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ('say "hi"', True),
        ("50% of_it", True),
        ("back\\slash", True),
        ("ÉTÉ", True),
        ("line\nbreak", True),
        ("topic", False),  # a key
        ("models", False),  # what DBOS wraps the input in
        ("5__ of", False),
        ("50%it", False),
        ("\ud800", False),
        ("\0", False),
    ],
)
def test_text_is_looked_for_in_values_and_literally(
    database: Database, text: str, is_found: bool
) -> None:
    """Quotes, wildcards and line breaks are what they are; keys and wrappings are not searched."""
    topic = 'We say "hi" to 50% of_it, back\\slash, été, line\nbreak.'
    plant_run(database, "r1", inputs=input_json({"topic": [topic]}))
    assert ids(read_runs(database, text=text)) == (["r1"] if is_found else [])


def test_text_of_foreign_payloads_is_not_looked_at(database: Database) -> None:
    """A run that we do not decode is found by no text, and is no error."""
    plant_run(database, "foreign", inputs=input_json("owls"), serialization="py_pickle")
    plant_run(database, "broken", inputs='{"args": [{"input": "owls"')
    assert read_runs(database, text="owls") == []


def test_pages_follow_each_other(database: Database) -> None:
    """Pages have every run once, also of one moment, and what starts meanwhile moves none."""
    for number in range(7):
        plant_run(database, f"r{number}", created_at=1_000 + number // 4)
    seen: list[str] = []
    while page := ids(read_runs(database, after=seen[-1] if seen else None, limit=2)):
        seen += page
        plant_run(database, f"new-{len(seen)}", created_at=9_000 + len(seen))
    assert seen == ["r6", "r5", "r4", "r3", "r2", "r1", "r0"]


def test_page_after_no_run_is_an_error(database: Database) -> None:
    """A page that begins after a run which is gone is not silently empty."""
    plant_run(database, "r1")
    assert read_runs(database, after="r1") == []
    with pytest.raises(RunNotFound, match="'gone'"):
        read_runs(database, after="gone")


def test_messages_are_read_in_order(database: Database) -> None:
    """A run's conversation comes typed, by position; of an unknown run there is none."""
    plant_run(database, "r1", inputs=input_json("Why?"))
    part = {"part_kind": "text", "content": "Because."}
    plant_step(database, "r1", 2, output=answer_json(part, call_part("x", "c", "{}")))
    messages = read_messages(database, "r1")
    assert [(m.position, m.role, m.kind, m.text) for m in messages] == [
        (1, "user", "input", "Why?"),
        (2, "assistant", "text", "Because."),
        (3, "assistant", "tool-call", None),
    ]
    assert messages[2].arguments == {}
    assert read_messages(database, "r2") == []


def test_steps_are_in_order(database: Database) -> None:
    """A run's steps come by number; of an unknown run there are none."""
    plant_run(database, "r1")
    for number in (2, 10, 1):
        plant_step(database, "r1", number, output=checkpoint_json(number))
    steps = read_steps(database, "r1")
    assert [(step.step_number, step.output) for step in steps] == [(1, 1), (2, 2), (10, 10)]
    assert steps[0].duration_ms == 250
    assert read_steps(database, "r2") == []


def test_descendants_are_found_through_both_links(database: Database) -> None:
    """Children of both kinds and theirs are found, nearest first; a circle ends."""
    attribute = {"attributes": json.dumps({"parent_run_id": "root"})}
    plant_run(database, "root", parent_workflow_id="grandchild")
    plant_run(database, "child-1", parent_workflow_id="root")
    plant_run(database, "child-2", **attribute)
    plant_run(database, "grandchild", parent_workflow_id="child-2")
    plant_run(database, "internal", parent_workflow_id="root", name="<temp>.x")
    plant_run(database, "stranger")
    found = read_descendants(database, "root")
    assert sorted(found[:2]) == ["child-1", "child-2"]
    assert found[2:] == ["grandchild"]
    assert read_descendants(database, "stranger") == []
