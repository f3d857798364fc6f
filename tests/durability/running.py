"""Starting runs in tests, replaying them, and reading what they left in the database."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

import psycopg
from dbos import DBOS, SetWorkflowID
from psycopg import sql
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app.database.connect import Database
from agent_app.durability.catalog import Catalog
from agent_app.durability.queues import RECOVERY_QUEUE
from agent_app.durability.runtime import launched, workflow_of
from agent_app.durability.serializer import Checkpoint, JsonSerializer
from agent_app.settings import Settings

PAST_THE_END = 99


@dataclass(frozen=True)
class Step:
    """One recorded step."""

    number: int
    name: str
    of: str | None
    value: Any
    error: BaseException | None


class Engine:
    """A launched DBOS: `async with engine:` after the agents are defined."""

    def __init__(self, database: Database, catalog: Catalog, settings: Settings) -> None:
        self.database = database
        self.catalog = catalog
        self.settings = settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Launch."""
        await self._stack.enter_async_context(
            launched(
                self.database,
                self.settings,
                executor_id=uuid.uuid4().hex,
                catalog=self.catalog,
            )
        )
        return self

    async def __aexit__(self, *exit: object) -> None:
        """Destroy."""
        await self._stack.aclose()

    async def start(
        self, name: str, value: Any, run_id: str = "r", models: dict[str, str] | None = None
    ) -> Any:
        """Start a run and return its handle."""
        runnable = self.catalog.find(name)
        request = {"input": runnable.parse(value, models or {}), "models": models or {}}
        with SetWorkflowID(run_id):
            return await DBOS.start_workflow_async(workflow_of(runnable), request)

    async def run(
        self, name: str, value: Any, run_id: str = "r", models: dict[str, str] | None = None
    ) -> Any:
        """Return the output of a new run, or raise its error."""
        return (await self.record(name, value, run_id, models))["output"]

    async def record(
        self, name: str, value: Any, run_id: str = "r", models: dict[str, str] | None = None
    ) -> Any:
        """Return everything that a new run leaves: output, usage, cost."""
        return await (await self.start(name, value, run_id, models)).get_result()

    async def replay(self, run_id: str = "r", steps: int = PAST_THE_END) -> Any:
        """Return the record of a copy that takes all of its steps below `steps` from the run."""
        handle = await DBOS.fork_workflow_async(run_id, steps, queue_name=RECOVERY_QUEUE)
        return await handle.get_result(polling_interval_sec=0.02)

    def steps(self, run_id: str = "r") -> list[Step]:
        """Return the run's recorded steps, in the order of their numbers."""
        rows = self.sql(
            "select function_id, function_name, output, error from dbos.operation_outputs"
            " where workflow_uuid = %s order by function_id",
            run_id,
        )
        return [_step(*row) for row in rows]

    def names(self, run_id: str = "r") -> list[str]:
        """Return the names of the run's recorded steps."""
        return [step.name for step in self.steps(run_id)]

    def numbered(self, run_id: str = "r") -> list[tuple[int, str]]:
        """Return numbers and names of the run's recorded steps."""
        return [(step.number, step.name) for step in self.steps(run_id)]

    def status(self, run_id: str = "r") -> str | None:
        """Return the run's status, None where there is no such run."""
        rows = self.sql("select status from dbos.workflow_status where workflow_uuid = %s", run_id)
        return rows[0][0] if rows else None

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Execute one statement and return its rows."""
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            cursor = connection.execute(sql.SQL(query), parameters)
            return cursor.fetchall() if cursor.description else []

    def swap_steps(self, first: int, second: int, run_id: str = "r") -> None:
        """Exchange what two recorded steps say, as a program that mixed them up would."""
        self.sql(
            "update dbos.operation_outputs a set output = b.output, error = b.error"
            " from dbos.operation_outputs b where a.workflow_uuid = %s and"
            " b.workflow_uuid = a.workflow_uuid and (a.function_id, b.function_id)"
            " in ((%s, %s), (%s, %s))",
            run_id,
            first,
            second,
            second,
            first,
        )


def _step(number: int, name: str, output: str | None, error: str | None) -> Step:
    decode = JsonSerializer().deserialize
    value = decode(output) if output is not None else None
    failure = decode(error) if error is not None else None
    if isinstance(value, Checkpoint):
        return Step(number, name, value.of, value.value, failure)
    return Step(number, name, None, value, failure)


def call(tool: str, tool_call_id: str, **arguments: Any) -> ToolCallPart:
    """Return a call of `tool`, as a model asks for it."""
    return ToolCallPart(tool, arguments, tool_call_id=tool_call_id)


Turn = str | ToolCallPart | Sequence[ToolCallPart]


def scripted(*turns: Turn, seen: Callable[[list[ModelMessage]], None] | None = None) -> Any:
    """Return a model that gives these answers one after another: text, or tool calls."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if seen is not None:
            seen(messages)
        turn = turns[sum(isinstance(message, ModelResponse) for message in messages)]
        if isinstance(turn, str):
            return ModelResponse([TextPart(turn)])
        return ModelResponse([turn] if isinstance(turn, ToolCallPart) else list(turn))

    return FunctionModel(answer)


def echoing(*calls: ToolCallPart) -> Any:
    """Return a model that makes these calls at once and then says what they returned."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if not any(isinstance(message, ModelResponse) for message in messages):
            return ModelResponse(list(calls))
        return ModelResponse([TextPart(" ".join(tool_returns(messages)))])

    return FunctionModel(answer)


def tool_returns(messages: list[ModelMessage]) -> list[str]:
    """Return what tools have returned so far, each as `call ID=content`."""
    return [
        f"{part.tool_call_id}={part.content}"
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    ]
