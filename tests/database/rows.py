"""Rows as DBOS 3.4 writes them, planted without it: broken and hostile ones too."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from agent_app.database.connect import Database

OURS = "agent_app_json"
PICKLE = "gASVCAAAAAAAAACMBGhhY2uULg=="
"""Base64 of a pickle, as DBOS writes one."""
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


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


def plant_attempt(database: Database, run_id: str, number: int = 1, **values: object) -> None:
    """Store a try of a step, the first one, that began at noon of the first of January 2026."""
    row = {"run_id": run_id, "step_number": number, "attempt_number": 1}
    row |= {"step_name": "player.model", "executor_id": "e1", "started_at": NOON}
    with database.connect() as connection:
        insert(connection, "attempt", row | values, schema="agent_app")


def plant_intent(database: Database, run_id: str, number: int, **values: object) -> None:
    """Store an external call."""
    row = {"run_id": run_id, "step_number": number, "step_name": "player.tool.pay", "call": "c"}
    row |= {"idempotency_key": f"{run_id}:p", "executor_id": "e1", "arguments": '{"cents": 3}'}
    with database.connect() as connection:
        insert(connection, "intent", row | values, schema="agent_app")


def plant_executor(database: Database, executor_id: str, version: str = "1") -> None:
    """Store the row of a process; it lives only while `living` holds its lock."""
    row = {"executor_id": executor_id, "application_version": version}
    with database.connect() as connection:
        insert(connection, "executor", row | {"host": "vm", "process_id": 7}, schema="agent_app")


def plant_queue(database: Database, name: str, **limits: object) -> None:
    """Register a queue, as a worker does."""
    with database.connect() as connection:
        insert(connection, "queues", {"name": name, "polling_interval_sec": 0.1} | limits)


@contextmanager
def living(database: Database, *executor_ids: str) -> Iterator[None]:
    """Hold the locks of these executors, as their processes would."""
    with database.connect() as connection:
        for executor_id in executor_ids:
            connection.execute(
                "select pg_advisory_lock(hashtextextended('agent_app.executor:' || %s, 0))",
                (executor_id,),
            )
        yield


@contextmanager
def serving(database: Database, executor_id: str, *queues: str) -> Iterator[None]:
    """Hold the locks of an executor and of the queues that it serves, in one session."""
    with database.connect() as connection:
        connection.execute("select pg_advisory_lock(agent_app.executor_key(%s))", (executor_id,))
        for queue in queues:
            connection.execute("select pg_advisory_lock_shared(agent_app.queue_key(%s))", (queue,))
        yield


def column(database: Database, query: str) -> list[Any]:
    """Return the first column of a query's rows."""
    with database.connect(read_only=True) as connection:
        return [next(iter(row.values())) for row in connection.execute(query.encode())]


def answer_json(*parts: dict[str, Any], model: str = "gpt-5.2", **usage: object) -> str:
    """Return a model's answer as the checkpoint of its step holds it."""
    counts = {"input_tokens": 60, "output_tokens": 10, "cost": None} | usage
    answer = {"parts": list(parts), "usage": counts, "model_name": model, "kind": "response"}
    answer |= {"provider_name": "openai", "finish_reason": "stop"}
    return checkpoint_json(answer, "1 messages 0123456789ab")


def call_part(tool: str, tool_call_id: str, args: object) -> dict[str, Any]:
    """Return the part of an answer that calls a tool."""
    return {"part_kind": "tool-call", "tool_name": tool, "args": args, "tool_call_id": tool_call_id}


def result_json(tool: str, tool_call_id: str, result: object, kind: str = "tool_return") -> str:
    """Return a tool's result as the checkpoint of its step holds it."""
    key = "message" if kind in ("model_retry", "tool_failed") else "result"
    return checkpoint_json({key: result, "kind": kind}, f"{tool} {tool_call_id} 0123456789ab")


def input_json(value: object) -> str:
    """Return a run's input as our serializer stores it."""
    stored = {"args": [{"input": value, "models": {}}], "kwargs": {}}
    return json.dumps(stored, ensure_ascii=False)


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
