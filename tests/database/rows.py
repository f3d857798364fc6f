"""Rows as DBOS 3.4 writes them, planted without it: broken and hostile ones too."""

import json
from typing import Any

import psycopg
from psycopg import sql

from agent_app.database.connect import Database

OURS = "agent_app_json"
PICKLE = "gASVCAAAAAAAAACMBGhhY2uULg=="
"""Base64 of a pickle, as DBOS writes one."""


def insert(
    connection: psycopg.Connection[Any],
    table: str,
    values: dict[str, Any],
    *,
    schema: str = "dbos",
) -> None:
    """Insert one row into a table of DBOS's, or of ours."""
    statement = sql.SQL("insert into {} ({}) values ({})").format(
        sql.Identifier(schema, table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join([sql.Placeholder()] * len(values)),
    )
    connection.execute(statement, list(values.values()))


def plant_run(database: Database, run_id: str, **values: object) -> None:
    """Store a run; `input`, `output` and `error` go where DBOS keeps them, as they are."""
    payloads = {name: values.pop(name, None) for name in ("inputs", "output", "error")}
    row = {"status": "SUCCESS", "name": "player", "created_at": 1_000, "updated_at": 2_000}
    row |= {"serialization": OURS, "priority": 0, "workflow_uuid": run_id}
    with database.connect() as connection:
        insert(connection, "workflow_status", row | values)
        inputs = {"workflow_uuid": run_id, "inputs": payloads["inputs"], "retention_timestamp": 0}
        insert(connection, "workflow_input", inputs)
        output = {"workflow_uuid": run_id, "output": payloads["output"], "error": payloads["error"]}
        insert(connection, "workflow_output", output | {"retention_timestamp": 0})


def plant_step(database: Database, run_id: str, number: int, **values: object) -> None:
    """Store a step of a run; payloads as they are."""
    row: dict[str, object] = {"workflow_uuid": run_id, "function_id": number}
    row |= {"function_name": "player.model", "serialization": OURS, "retention_timestamp": 0}
    row |= {"started_at_epoch_ms": 1_000, "completed_at_epoch_ms": 1_250}
    with database.connect() as connection:
        insert(connection, "operation_outputs", row | values)


def input_json(value: object) -> str:
    """Return a run's input as our serializer stores it."""
    return json.dumps({"args": [{"input": value, "models": {}}], "kwargs": {}})


def output_json(value: object) -> str:
    """Return a run's output as our serializer stores it."""
    return json.dumps({"output": value, "usage": {"requests": 1}, "cost_usd": None})


def checkpoint_json(value: object, of: str = "call 1") -> str:
    """Return a step's output as our serializer stores it."""
    return json.dumps({"$checkpoint": of, "value": value})


def error_json(type_name: str, message: str, **more: object) -> str:
    """Return an error as our serializer stores it."""
    error = {"type": type_name, "message": message, "args": [message], "state": {}}
    return json.dumps({"$error": error} | more)
