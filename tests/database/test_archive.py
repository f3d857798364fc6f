"""Runs as a file holds them: every column comes back, and what cannot be one is refused."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql
from pydantic import ValidationError

from agent_app.database.archive import (
    find_waiting_parent,
    read_schema,
    read_stored_family,
    write_runs,
)
from agent_app.database.archive_rows import SECTIONS, ArchivedRun, ArchivedStep
from agent_app.database.connect import Database
from agent_app.errors import ArchiveInvalid
from tests.database.rows import (
    NOON,
    column,
    error_json,
    insert,
    plant_attempt,
    plant_intent,
    plant_run,
    plant_step,
)

RUN_COLUMNS = ("workflow_uuid", "destination_uuid", "run_id")
NOT_A_RUNS = {"agent_app.rate_limit"}
"""Of all runs."""
TEXT = "The yam is a tuber."
SHA256 = hashlib.sha256(TEXT.encode()).hexdigest()


def plant_family(database: Database) -> None:
    """Store a run with a row in each table, and with a child run that has one of its own."""
    labels = '{"team": "ä", "n": 1.10}'
    plant_run(database, "r", inputs='{"args":[1.0]}', output='{"output": 1}', attributes=labels)
    error = error_json("builtins:ValueError", "no")
    plant_run(database, "r:c", error=error, status="ERROR", parent_workflow_id="r")
    plant_run(database, "rest")
    plant_step(database, "r", 1, output='{"$checkpoint":"c","value":"\\u0000 \\ud800"}')
    plant_step(database, "r", 3, output="1.10", child_workflow_id="r:c")
    plant_step(database, "r:c", 1, output='{"a":1, "a":2}', application_name="app")
    plant_attempt(
        database, "r", cost_usd=Decimal("0.000001230"), retry_after_s=0.1, outcome="error"
    )
    plant_intent(database, "r", 3, arguments='{"cents": 3.0, "b": null}', decision="done")
    more: list[tuple[str, dict[str, Any]]] = [
        ("workflow_events", {"workflow_uuid": "r", "key": "k", "value": "null"}),
        ("workflow_events_history", {"workflow_uuid": "r", "key": "k", "value": '"v"'}),
        ("streams", {"workflow_uuid": "r", "key": "s", "value": "[]", "offset": 0}),
        ("notifications", {"destination_uuid": "r", "message": "{}", "topic": "t"}),
    ]
    with database.connect() as connection:
        for table, row in more:
            has_step = {"function_id": 3} if table in ("streams", "workflow_events_history") else {}
            insert(connection, table, {**row, **has_step, "serialization": "agent_app_json"})
        commit = {"run_id": "r", "step_number": 4, "call": "c", "result": "{}"}
        insert(connection, "committed_call", commit, schema="agent_app")
        source = {"source_id": SHA256[:16], "sha256": SHA256, "url": "file:yam", "title": "Yam"}
        kept = {"media_type": "text/plain", "origin": "web", "fetched_by": "r", "in_corpus": False}
        insert(
            connection,
            "source",
            {**source, **kept, "text": TEXT, "passage_count": 0},
            schema="agent_app",
        )
        link = {"run_id": "r", "source_id": SHA256[:16]}
        insert(connection, "run_source", link, schema="agent_app")


def all_rows(database: Database, *run_ids: str) -> dict[str, list[Any]]:
    """Return every row that these runs have anywhere, as Postgres writes it."""
    found = {}
    for row_type in SECTIONS.values():
        query = "select to_jsonb(stored)::text from {} as stored where {} = any(array{}) order by 1"
        place = (row_type.table, row_type.run_column, list(run_ids))
        found[row_type.table] = column(database, query.format(*place))
    return found


def forget(database: Database, *run_ids: str) -> None:
    """Delete every row of these runs."""
    with database.connect() as connection:
        for row_type in reversed(SECTIONS.values()):
            statement = sql.SQL("delete from {} where {} = any(%s)").format(
                sql.Identifier(*row_type.table.split(".")), sql.Identifier(row_type.run_column)
            )
            connection.execute(statement, (list(run_ids),))


def test_every_column_of_a_runs_tables_is_archived(database: Database) -> None:
    """An upgrade that adds a column or a table to what is stored of a run fails here."""
    columns: dict[str, set[str]] = {}
    with database.connect() as connection:
        for row in connection.execute(
            "select table_schema || '.' || table_name as name, column_name"
            " from information_schema.columns join information_schema.tables"
            " using (table_schema, table_name)"
            " where table_schema in ('dbos', 'agent_app') and table_type = 'BASE TABLE'"
        ):
            columns.setdefault(row["name"], set()).add(row["column_name"])
    archived = {
        kind.table: {kind.run_column, *(kind.column(field) for field in kind.model_fields)}
        for kind in SECTIONS.values()
    }
    assert {name: columns[name] for name in archived} == archived
    held = {name for name, found in columns.items() if found & set(RUN_COLUMNS)}
    assert held - NOT_A_RUNS == set(archived)


def test_rows_come_back_as_they_were(database: Database) -> None:
    """Read, made JSON and back, and written again, every row is the same to the byte."""
    plant_family(database)
    before = all_rows(database, "r", "r:c")
    assert all(before.values())
    family = read_stored_family(database, "r")
    assert [run.run_id for run in family.runs] == ["r", "r:c"]
    texts = [json.dumps(run.folded(), indent=2, ensure_ascii=False) for run in family.runs]
    again = [ArchivedRun.model_validate(json.loads(text)) for text in texts]
    assert again == family.runs
    assert [(source.text, source.urls) for source in family.sources] == [(TEXT, [])]
    forget(database, "r", "r:c")
    assert write_runs(database, again)
    assert all_rows(database, "r", "r:c") == before


def test_json_stands_as_json_where_nothing_is_lost(database: Database) -> None:
    """A payload is a value in the file, and a text only where its own form would be lost."""
    plant_family(database)
    run, child = (run.folded() for run in read_stored_family(database, "r").runs)
    assert run["input"]["inputs"] == {"args": [1.0]}
    assert run["status"]["attributes_text"] == '{"n": 1.10, "team": "ä"}'
    assert (
        run["output"]["output_text"] == '{"output": 1}'
    )  # a blank that our serializer never writes
    assert [step.get("output_text") for step in run["steps"]] == [
        '{"$checkpoint":"c","value":"\\u0000 \\ud800"}',
        "1.10",
    ]
    assert run["events"][0]["value"] is None
    assert run["attempts"][0]["cost_usd"] == "0.000001230"
    assert child["steps"][0]["output_text"] == '{"a":1, "a":2}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(value=JSON, is_ascii=st.booleans(), indent=st.sampled_from([None, 1]))
def test_every_text_survives_the_file(value: Any, is_ascii: bool, indent: int | None) -> None:
    """Whatever a text column holds, its text comes back from the file byte by byte."""
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent)
    text = text.encode(errors="backslashreplace").decode()
    row = {"step_number": 1, "name": "s", "retention_timestamp": 0, "output_text": text}
    step = ArchivedStep.model_validate(row)
    assert step.output == text
    stored = json.dumps(step.folded(), allow_nan=False)
    assert ArchivedStep.model_validate(json.loads(stored)) == step


def test_one_snapshot_is_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is recorded while the file is made is in none of its parts."""
    plant_family(database)
    before = read_stored_family(database, "r").runs
    plain = Database.connect

    @contextmanager
    def interrupted(self: Database, **options: Any) -> Iterator[Any]:
        with plain(self, **options) as connection:
            yield _Interrupted(connection, database, plain)

    monkeypatch.setattr(Database, "connect", interrupted)
    assert read_stored_family(database, "r").runs == before
    monkeypatch.undo()
    assert read_stored_family(database, "r").runs != before


class _Interrupted:
    """A connection beside which somebody writes before each of its statements but the first."""

    def __init__(self, connection: Any, database: Database, connect: Any) -> None:
        self.connection, self.database, self.connect = connection, database, connect
        self.count = 0

    def execute(self, *arguments: Any) -> Any:
        self.count += 1
        if self.count > 2:  # `begin`, and what takes the snapshot
            with self.connect(self.database) as other:
                other.execute(
                    "insert into dbos.operation_outputs (workflow_uuid, function_id)"
                    " values ('r', %s)",
                    (100 + self.count,),
                )
        return self.connection.execute(*arguments)


def test_unknown_run_has_no_rows(database: Database) -> None:
    """Of a run that does not exist there is nothing, but the schema's state."""
    family = read_stored_family(database, "x")
    assert family.runs == []
    assert family.schema == read_schema(database)
    assert set(family.schema) == {"agent_app", "dbos"}
    assert all(number > 0 for number in family.schema.values())


def test_nothing_is_written_where_an_id_is_taken(database: Database) -> None:
    """If the second of two runs is there, the first one is not written either."""
    plant_family(database)
    runs = read_stored_family(database, "r").runs
    forget(database, "r")
    before = all_rows(database, "r", "r:c")
    assert not write_runs(database, runs)
    assert all_rows(database, "r", "r:c") == before


def test_rows_that_were_left_behind_are_named(database: Database) -> None:
    """A try that a run left when DBOS's command deleted it stands in the way, and says so."""
    plant_family(database)
    runs = read_stored_family(database, "r").runs
    forget(database, "r", "r:c")
    plant_attempt(database, "r")
    with pytest.raises(ArchiveInvalid, match="does not take a row in 'attempt'"):
        write_runs(database, runs)
    assert column(database, "select count(*) from dbos.workflow_status") == [1]


def test_what_postgres_cannot_hold_changes_nothing(database: Database) -> None:
    """A character that jsonb lacks ends the transaction with Postgres's own reason."""
    plant_run(database, "r")
    (run,) = read_stored_family(database, "r").runs
    forget(database, "r")
    odd = run.status.model_copy(update={"attributes": '{"a": "\\u0000"}'})
    with pytest.raises(ArchiveInvalid, match="unsupported Unicode escape sequence"):
        write_runs(database, [run.model_copy(update={"status": odd})])
    assert all_rows(database, "r")["dbos.workflow_status"] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": {"status": "DONE"}}, "Input should be 'ENQUEUED'"),
        ({"status": {"created_at": 1 << 60}}, "less than or equal to"),
        ({"status": {"created_at": "1"}}, "valid integer"),
        ({"status": {"created_at": True}}, "valid integer"),
        ({"status": {"agent": "a\0b"}}, "Postgres cannot store"),
        ({"status": {"run_id": "a\nb"}}, "control character"),
        ({"status": {"attributes": [1]}}, "attributes are no object"),
        ({"status": {"priority": 1 << 31}}, "less than"),
        ({"status": {"more": 1}}, "Extra inputs"),
        ({"steps": [{"step_number": -1}]}, "greater than or equal to 0"),
        ({"steps": [{}, {}]}, "has two rows (1,) of dbos.operation_outputs"),
        ({"steps": [{"output": 1, "output_text": "1"}]}, "holds output twice"),
        ({"steps": [{"output": 1, "error": {}}]}, "an output and an error"),
        ({"steps": [{"output": "\ud800"}]}, "Postgres cannot store"),
        ({"steps": 3}, "valid list"),
        ({"attempts": [{"outcome": "luck"}]}, "Input should be"),
        ({"attempts": [{"cost_usd": "NaN"}]}, "finite number"),
        ({"attempts": [{"started_at": "2026-01-01T00:00:00"}]}, "timezone"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_impossible_row_is_refused(change: dict[str, Any], reason: str) -> None:
    """A row that no table could hold, or that contradicts another, is named."""
    run: dict[str, Any] = {"status": {**STATUS, **change.get("status", {})}}
    rows = {"steps": STEP, "attempts": ATTEMPT}
    for section, row in rows.items():
        wanted = change.get(section, [])
        run[section] = [row | part for part in wanted] if isinstance(wanted, list) else wanted
    with pytest.raises(ValidationError) as caught:
        ArchivedRun.model_validate(run)
    assert reason in str(caught.value)


STATUS = {"run_id": "r", "agent": "a", "status": "SUCCESS", "created_at": 1, "updated_at": 2}
STATUS |= {"was_forked_from": False, "is_debounced": False, "rate_limited": False, "priority": 0}
STEP = {"step_number": 1, "name": "a.model", "retention_timestamp": 0}
ATTEMPT = {"step_number": 1, "attempt_number": 1, "step_name": "a.model", "executor_id": "e"}
ATTEMPT |= {"started_at": datetime.now(UTC).isoformat()}


def test_moments_are_kept_to_the_microsecond(database: Database) -> None:
    """A moment comes back as the instant that it was."""
    plant_run(database, "r")
    plant_attempt(database, "r", finished_at=NOON.replace(microsecond=123_456))
    (run,) = read_stored_family(database, "r").runs
    again = ArchivedRun.model_validate(json.loads(json.dumps(run.folded())))
    assert again.attempts[0].finished_at == NOON.replace(microsecond=123_456)


@pytest.mark.parametrize(("status", "found"), [("PENDING", "g"), ("SUCCESS", None)])
def test_unfinished_parent_is_found_by_its_id(
    database: Database, status: str, found: str | None
) -> None:
    """A run whose own child would have the ID is found while it is unfinished."""
    plant_run(database, "g", status=status)
    assert find_waiting_parent(database, ["x", "g:c:d"]) == found
    assert find_waiting_parent(database, ["g", "ga", "h:g:c"]) is None
