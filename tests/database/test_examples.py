"""The queries to start from: one source, shown by the document, and every one runs and finds."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_app.database.connect import Database
from agent_app.database.examples import Example, read_examples
from agent_app.database.query import run_query
from tests.database.rows import (
    answer_json,
    call_part,
    error_json,
    input_json,
    insert,
    living,
    output_json,
    plant_attempt,
    plant_executor,
    plant_intent,
    plant_queue,
    plant_run,
    plant_step,
    result_json,
    serving,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "sql.md"
EXAMPLES = read_examples()


def test_document_shows_exactly_the_examples() -> None:
    """Every block of sql.md is an example under its title, in the file's order."""
    text = DOCUMENT.read_text()
    blocks = re.findall(r"^(.+):\n\n```sql\n([^`]+);\n```$", text, re.M)
    assert [Example(title, query) for title, query in blocks] == EXAMPLES
    assert len(blocks) == text.count("```sql")


def test_every_view_has_an_example(database: Database) -> None:
    """No view is without a query that shows what it is for."""
    with database.connect() as connection:
        rows = connection.execute(
            "select relname from pg_class where relkind = 'v'"
            " and relnamespace = 'agent_app'::regnamespace"
        ).fetchall()
    queries = "\n".join(example.query for example in EXAMPLES)
    assert len(rows) >= 18
    assert [r["relname"] for r in rows if f"agent_app.{r['relname']}" not in queries] == []


@pytest.fixture
def planted(database: Database) -> Iterator[Database]:
    """Yield a database with something for every example to find."""
    now = datetime.now(UTC)
    ago = {"created_at": (now - timedelta(hours=1)).timestamp() * 1000}
    labels = json.dumps({"customer": "acme"})
    running = {"status": "PENDING", "executor_id": "alive", "application_version": "1"}
    plant_run(database, "game-1", attributes=labels, inputs=input_json("x"), **ago, **running)
    plant_run(database, "game-1:c", parent_workflow_id="game-1", output=output_json(1), **ago)
    plant_run(database, "failed", status="ERROR", error=error_json("a:B", "c"), **ago)
    dead = {"status": "PENDING", "executor_id": "dead", "application_version": "0"}
    plant_run(database, "orphan", **dead, **ago)
    moment = {"completed_at_epoch_ms": now.timestamp() * 1000}
    moment["started_at_epoch_ms"] = moment["completed_at_epoch_ms"] - 900
    part = call_part("ask", "c1", {"q": 1})
    plant_step(database, "game-1", 1, output=answer_json(part), **moment)
    tool = {"function_name": "player.tool.ask", "output": result_json("ask", "c1", "yes")}
    plant_step(database, "game-1", 2, **tool, **moment)
    spent: dict[str, Any] = {"input_tokens": 9, "output_tokens": 3, "cost_usd": "0.1"}
    recent = now - timedelta(minutes=1)
    plant_attempt(database, "game-1", started_at=recent, finished_at=recent, outcome="error",
                  executor_id="alive", **spent)  # fmt: skip
    plant_attempt(database, "game-1", attempt_number=2, started_at=recent, outcome="success",
                  executor_id="alive", **spent)  # fmt: skip
    plant_attempt(database, "game-1", 3, started_at=recent, executor_id="alive")
    plant_intent(database, "game-1", 3, unknown_since=recent)
    with database.connect() as connection:
        limit = {"provider": "openai", "model": "m", "run_id": "game-1", "step_number": 1}
        limit["closed_until"] = now + timedelta(hours=1)
        insert(connection, "rate_limit", limit, schema="agent_app")
    plant_executor(database, "alive")
    plant_executor(database, "worker")
    plant_queue(database, "agent_app_runs")
    waiting = {"status": "ENQUEUED", "queue_name": "agent_app_runs", "application_version": "1"}
    plant_run(database, "queued", **waiting, **ago)
    served = serving(database, "worker", "agent_app_runs")
    with served, living(database, "alive", "of an older build"):
        yield database


def test_every_example_finds_something(planted: Database) -> None:
    """Each runs as it stands, reads only, and has rows where there is what it asks for."""
    assert len(EXAMPLES) >= 25
    for example in EXAMPLES:
        result = run_query(planted, example.query, timeout_s=30)
        assert result.rows, example.title
