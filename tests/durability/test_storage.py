"""What lies in the database: text that Postgres takes as jsonb, and no pickle that is read."""

import base64
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dbos import DBOS, DBOSClient
from hypothesis import HealthCheck, given, settings
from pydantic_ai import Agent

from agent_app.database.connect import Database
from agent_app.durability.catalog import durable
from agent_app.durability.serializer import JsonSerializer, as_recorded
from agent_app.errors import PayloadRefused
from tests.durability.running import Engine, call, scripted
from tests.unit.test_serializer import JSON_VALUES, weird_errors


@given(JSON_VALUES)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_postgres_takes_every_value_as_jsonb(connection: psycopg.Connection, value: Any) -> None:
    """The text of any JSON value can be cast, so SQL can look into every step."""
    text = JsonSerializer().serialize(value)
    assert connection.execute("select (%s::text)::jsonb is not null", [text]).fetchone() == (True,)


@pytest.fixture
def connection(database: Database) -> Any:
    """Yield a connection that is not in a transaction."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        yield connection


def test_postgres_takes_every_error_as_jsonb(connection: psycopg.Connection) -> None:
    """The text of an error can be cast, however weird the error."""
    for error in weird_errors():
        text = JsonSerializer().serialize(as_recorded(error))
        row = connection.execute("select (%s::text)::jsonb ? '$error'", [text]).fetchone()
        assert row == (True,)


class Bomb:
    """Executes a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def crater(tmp_path: Path) -> Path:
    """Return a path that exists once a Bomb was unpickled."""
    return tmp_path / "crater"


@pytest.fixture
def bomb(crater: Path) -> str:
    """Return what DBOS would store of a Bomb."""
    text = base64.b64encode(pickle.dumps(Bomb(crater))).decode()
    pickle.loads(base64.b64decode(text))
    assert crater.exists()
    crater.rmdir()
    return text


def check_nothing_exploded(crater: Path) -> None:
    """Assert that no Bomb was unpickled."""
    assert not crater.exists()


def define_worker() -> None:
    """Define an agent with one tool."""
    agent = durable(Agent(scripted(call("look", "a"), "done"), name="worker"))

    @agent.tool_plain
    async def look() -> str:
        return "seen"


@pytest.mark.parametrize("column", ["output", "error"])
async def test_a_pickled_step_is_refused_on_replay(
    engine: Engine, bomb: str, crater: Path, column: str
) -> None:
    """A planted step ends the replay with PayloadRefused and executes nothing."""
    define_worker()
    async with engine:
        await engine.run("worker", "go")
        engine.sql("update dbos.operation_outputs set output = null where function_id = 2")
        engine.sql(
            f"update dbos.operation_outputs set {column} = %s,"  # noqa: S608 - names of columns
            " serialization = 'py_pickle'"
            " where function_id = 2",
            bomb,
        )
        with pytest.raises(PayloadRefused, match="py_pickle"):
            await engine.replay()
    check_nothing_exploded(crater)


async def test_a_foreign_step_is_refused_on_replay(engine: Engine) -> None:
    """A step that DBOS's own JSON wrote is no checkpoint of ours."""
    define_worker()
    async with engine:
        await engine.run("worker", "go")
        engine.sql(
            "update dbos.operation_outputs set output = %s, serialization = 'portable_json'"
            " where function_id = 2",
            '{"result": "forged", "kind": "tool_return"}',
        )
        with pytest.raises(PayloadRefused, match="no checkpoint"):
            await engine.replay()


async def test_pickled_workflows_are_listed_and_not_unpickled(
    engine: Engine, bomb: str, crater: Path
) -> None:
    """A planted input or output shows as raw text in lists; getting the result is refused."""
    define_worker()
    async with engine:
        await engine.run("worker", "go")
        engine.sql("update dbos.workflow_status set serialization = 'py_pickle'")
        for table, column in (("workflow_input", "inputs"), ("workflow_output", "output")):
            engine.sql(f"update dbos.{table} set {column} = %s", bomb)  # noqa: S608 - names
        listed = await DBOS.list_workflows_async(load_input=True, load_output=True)
        assert [status.workflow_id for status in listed] == ["r"]
        handle: Any = await DBOS.retrieve_workflow_async("r")
        await handle.get_status()
        with pytest.raises(PayloadRefused):
            await handle.get_result()
        client = DBOSClient(
            system_database_url=engine.database.sqlalchemy_url, serializer=JsonSerializer()
        )
        client.list_workflows()
        client.list_workflow_steps("r")
        client.destroy()
    check_nothing_exploded(crater)


async def test_nothing_of_ours_is_pickled(engine: Engine) -> None:
    """Every row that a run leaves is tagged with our serializer."""
    define_worker()
    async with engine:
        await engine.run("worker", "go")
        tags = engine.sql(
            "select serialization from dbos.workflow_status"
            " union select serialization from dbos.operation_outputs"
        )
    assert tags == [("agent_app_json",)]
