"""What runs cost and how they hang together: `expense`, the costs, `child_run`, `run`'s figures."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from agent_app.database.connect import Database
from tests.database.rows import (
    NOON,
    answer_json,
    checkpoint_json,
    column,
    plant_attempt,
    plant_run,
    plant_step,
)


def read(database: Database, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with database.connect(read_only=True) as connection:
        return [tuple(row.values()) for row in connection.execute(query.encode())]


def plant_bill(database: Database) -> None:
    """Store two runs: one with a failed try and a lost one, and its child of another model."""
    plant_run(database, "r1", status="ERROR")
    plant_run(database, "r1:c", name="writer", parent_workflow_id="r1")
    money = {"input_tokens": 100, "output_tokens": 10, "cost_usd": "0.25", "model": "gpt-5.2"}
    plant_attempt(database, "r1", 1, outcome="error", **money)
    plant_attempt(database, "r1", 1, attempt_number=2, outcome="success", **money)
    plant_step(database, "r1", 1, output=answer_json(input_tokens=1_000, cost="9"))
    # The process died behind the checkpoint and before the ledger: the try is still open.
    plant_attempt(database, "r1", 2)
    lost = answer_json(model="lost", input_tokens=7, output_tokens=3, cost="0.50")
    plant_step(database, "r1", 2, output=lost)
    plant_attempt(database, "r1", 3, step_name="player.tool.x", outcome="success")
    plant_step(database, "r1", 3, function_name="player.tool.x", output=checkpoint_json(1))
    child = {"step_name": "writer.model", "started_at": NOON + timedelta(days=1)}
    plant_attempt(database, "r1:c", 1, outcome="success", input_tokens=40, output_tokens=4, **child)
    answer = answer_json(model="tiny", input_tokens=40, output_tokens=4)
    plant_step(database, "r1:c", 1, function_name="writer.model", output=answer)


def test_run_counts_what_it_did_by_itself(database: Database) -> None:
    """Steps, tries, tokens and money are its own: failed tries count, children do not."""
    plant_bill(database)
    plant_run(database, "idle", status="ENQUEUED")
    query = (
        "select run_id, step_count, attempt_count, input_tokens, output_tokens, cost_usd, model"
        " from agent_app.run order by run_id"
    )
    assert read(database, query) == [
        ("idle", 0, 0, 0, 0, None, None),
        ("r1", 3, 4, 207, 23, Decimal("1.00"), "gpt-5.2"),
        ("r1:c", 1, 1, 40, 4, None, "tiny"),
    ]


def test_expense_counts_nothing_twice(database: Database) -> None:
    """A try of the ledger goes before its checkpoint; where the ledger lost it, that counts."""
    plant_bill(database)
    plant_run(database, "internal", name="<temp>.x")
    query = (
        "select run_id, step_number, model, input_tokens, cost_usd::text from agent_app.expense"
        " order by 1, 2, 4"
    )
    assert read(database, query) == [
        ("r1", 1, "gpt-5.2", 100, "0.25"),
        ("r1", 1, "gpt-5.2", 100, "0.25"),
        ("r1", 2, "lost", 7, "0.50"),
        ("r1:c", 1, "tiny", 40, None),
    ]
    sums = "select sum(input_tokens), sum(output_tokens), sum(cost_usd) from agent_app."
    assert read(database, sums + "expense") == read(database, sums + "run")
    assert read(database, sums + "expense") == read(database, sums + "model_call")


def test_costs_by_day_model_and_agent(database: Database) -> None:
    """Each sums the same tries; what has no price is counted, not guessed."""
    plant_bill(database)
    figures = "try_count, input_tokens, output_tokens, cost_usd::text, unpriced_count"
    by_model = read(database, f"select model, {figures} from agent_app.cost_by_model order by 1")  # noqa: S608
    assert by_model == [
        ("gpt-5.2", 2, 200, 20, "0.50", 0),
        ("lost", 1, 7, 3, "0.50", 0),
        ("tiny", 1, 40, 4, None, 1),
    ]
    by_agent = read(database, f"select agent, {figures} from agent_app.cost_by_agent order by 1")  # noqa: S608
    assert by_agent == [("player", 3, 207, 23, "1.00", 0), ("writer", 1, 40, 4, None, 1)]
    by_day = read(database, f"select day::text, {figures} from agent_app.cost_by_day order by 1")  # noqa: S608
    assert by_day == [
        ("1970-01-01", 1, 7, 3, "0.50", 0),
        ("2026-01-01", 2, 200, 20, "0.50", 0),
        ("2026-01-02", 1, 40, 4, None, 1),
    ]


def test_day_is_one_of_utc(database: Database) -> None:
    """Half past eleven at night in UTC is that day, in whatever zone the session is."""
    at = datetime(2026, 5, 1, 23, 30, tzinfo=UTC)
    plant_attempt(database, "r1", started_at=at, outcome="success", input_tokens=1)
    with database.connect() as connection:
        connection.execute("set time zone 'Asia/Tokyo'")
        (row,) = connection.execute("select day::text from agent_app.cost_by_day").fetchall()
    assert row["day"] == "2026-05-01"


def test_run_knows_when_it_started(database: Database) -> None:
    """Started directly: when created. Through a queue: when taken, or at its first step."""
    plant_run(database, "direct", completed_at=4_000)
    plant_run(database, "queued", status="ENQUEUED", queue_name="q")
    taken = {"queue_name": "q", "status": "PENDING"}
    plant_run(database, "taken", started_at_epoch_ms=3_000, **taken)
    plant_run(database, "again", started_at_epoch_ms=9_000, **taken)
    plant_step(database, "again", 1, started_at_epoch_ms=2_500)
    plant_run(database, "fork", status="ENQUEUED", queue_name="_dbos_internal_queue")
    plant_step(database, "fork", 1, started_at_epoch_ms=500)
    query = (
        "select run_id, extract(epoch from started_at)::float8, duration_ms from agent_app.run"
        " order by 1"
    )
    assert read(database, query) == [
        ("again", 2.5, None),
        ("direct", 1.0, 3_000),
        ("fork", None, None),
        ("queued", None, None),
        ("taken", 3.0, None),
    ]


def test_run_shows_its_labels_and_its_origin(database: Database) -> None:
    """Labels come without our own key; odd ones break nothing; a fork names what it came from."""
    labels = {"parent_run_id": "p", "customer": "acme", "n": 3}
    plant_run(database, "child", attributes=json.dumps(labels), forked_from="other")
    plant_run(database, "only ours", attributes=json.dumps({"parent_run_id": "p"}))
    plant_run(database, "odd", attributes=json.dumps(["customer"]))
    plant_run(database, "null", attributes="null")
    query = "select run_id, attributes, forked_from from agent_app.run order by 1"
    assert read(database, query) == [
        ("child", {"customer": "acme", "n": 3}, "other"),
        ("null", None, None),
        ("odd", None, None),
        ("only ours", None, None),
    ]


def test_child_run_is_the_tree(database: Database) -> None:
    """Every run has its root and its depth, through both links; internal ones are not in it."""
    attribute = {"attributes": json.dumps({"parent_run_id": "root"})}
    plant_run(database, "root")
    plant_run(database, "a", parent_workflow_id="root")
    plant_run(database, "b", **attribute)
    plant_run(database, "b1", parent_workflow_id="b")
    plant_run(database, "alone")
    plant_run(database, "left", parent_workflow_id="deleted")
    plant_run(database, "internal", name="_dbos_x", parent_workflow_id="root")
    query = (
        "select run_id, root_run_id, parent_run_id, depth from agent_app.child_run order by 2, 4, 1"
    )
    assert read(database, query) == [
        ("alone", "alone", None, 0),
        ("left", "left", "deleted", 0),
        ("root", "root", None, 0),
        ("a", "root", "root", 1),
        ("b", "root", "root", 1),
        ("b1", "root", "b", 2),
    ]
    assert column(database, "select run_id from agent_app.children('root') order by 1") == [
        "a",
        "b",
    ]


def test_circle_ends_the_tree(database: Database) -> None:
    """Runs that a planted link makes each other's parents are shown, once each."""
    for run_id, parent in (("a", "b"), ("b", "c"), ("c", "a"), ("self", "self")):
        plant_run(database, run_id, parent_workflow_id=parent)
    query = "select run_id, depth from agent_app.child_run order by 1"
    assert read(database, query) == [("a", 2), ("b", 2), ("c", 2), ("self", 0)]
