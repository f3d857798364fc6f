"""Typed rows: the right ones, in order, by an index."""

import json
from dataclasses import fields
from datetime import UTC, datetime

import pytest

from agent_app.database import read
from agent_app.database.connect import Database
from agent_app.database.read import (
    RunRow,
    StepRow,
    read_descendants,
    read_run,
    read_runs,
    read_steps,
)
from tests.database.rows import checkpoint_json, input_json, output_json, plant_run, plant_step


def test_rows_have_the_columns_of_their_views(database: Database) -> None:
    """Each class mirrors its view, name by name."""
    for row_type, view in ((RunRow, "run"), (StepRow, "step")):
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


def test_newest_runs_come_by_an_index(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many runs only the page is read, backwards through the index on created_at."""
    with database.connect() as connection:
        connection.execute(
            "insert into dbos.workflow_status (workflow_uuid, name, status, created_at, updated_at,"
            " priority, serialization) select 'r' || n, 'player', 'SUCCESS', n, n, 0, 'py_pickle'"
            " from generate_series(1, 20000) as n"
        )
        connection.execute("analyze dbos.workflow_status")
    plan: list[str] = []
    original = read._read

    def explain(database: Database, query: str, **values: object) -> object:
        plan.append(json.dumps(original(database, "explain " + query, **values)))
        return original(database, query, **values)

    monkeypatch.setattr(read, "_read", explain)
    assert ids(read_runs(database, limit=2)) == ["r20000", "r19999"]
    assert "Index Scan Backward using workflow_status_created_at_index" in plan[0]
    assert "Seq Scan on workflow_status" not in plan[0]


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
