"""What a step costs: one agent with N tool calls, plain, with our steps and with DBOS's stock ones.

    python benchmarks/step_cost.py postgresql://postgres@127.0.0.1:5432/scratch

A scratch database's URL; DBOS's schema is made in it. The model answers at once, so all that is
measured is the machinery. The stock capability leaves function tools unwrapped, so two variants of
it are run: as it is (it records the model requests only), and with each tool decorated as a step.
The engines take turns in one process: each round launches ours, then DBOS as it comes, with pickle.
"""

import asyncio
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop
from dbos import DBOS, SetWorkflowID
from dbos._serialization import DefaultSerializer
from pydantic_ai import Agent
from pydantic_ai.durable_exec.dbos import DBOSDurability
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app.database.connect import Database
from agent_app.durability.catalog import durable, fresh_catalog
from agent_app.durability.runtime import launched, migrate_dbos, workflow_of
from agent_app.settings import Settings

TOOL_CALL_COUNT = 49  # Pydantic AI ends an agent run at 50 requests
ROUND_COUNT = 5
RUNS_PER_ROUND = 4
MODELS, BOTH = TOOL_CALL_COUNT + 1, 2 * TOOL_CALL_COUNT + 1
RESULT = "x" * 500

Run = Callable[[], Awaitable[Any]]
_pickle = {name: vars(DefaultSerializer)[name] for name in ("serialize", "deserialize")}


@dataclass(frozen=True)
class Variant:
    """One way to run the same agent."""

    title: str
    step_count: int
    run: Run


@dataclass
class Result:
    """What was measured of one variant."""

    step_count: int
    times_ms: list[float] = field(default_factory=list)


def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Call the tool, one call in each answer, and end after the last."""
    turn = sum(isinstance(message, ModelResponse) for message in messages)
    if turn < TOOL_CALL_COUNT:
        return ModelResponse([ToolCallPart("look", {"x": turn}, tool_call_id=f"call_{turn}")])
    return ModelResponse([TextPart("done")])


async def look(x: int) -> str:
    """Return half a kilobyte."""
    return RESULT


async def run_workflow(function: Any, argument: Any) -> None:
    """Start a workflow under a new ID and wait for its end."""
    with SetWorkflowID(uuid.uuid4().hex):
        handle: Any = await DBOS.start_workflow_async(function, argument)
    await handle.get_result()


@asynccontextmanager
async def our_engine(database: Database) -> AsyncIterator[list[Variant]]:
    """Launch ours and yield the agent with it, after the agent as it is."""
    with fresh_catalog() as catalog:
        agent = durable(Agent(FunctionModel(answer), name="ours", tools=[look]))
        async with launched(database, Settings(), executor_id=uuid.uuid4().hex, catalog=catalog):
            function = workflow_of(catalog.find("ours"))
            request = {"input": "go", "models": {}}
            yield [
                Variant("pydantic-ai, not durable", 0, lambda: agent.run("go")),
                Variant("agent_app", BOTH, lambda: run_workflow(function, request)),
            ]


@asynccontextmanager
async def stock_engine(database: Database) -> AsyncIterator[list[Variant]]:
    """Launch DBOS as it comes and yield the agent with Pydantic AI's own capability, twice."""
    for name, method in _pickle.items():
        setattr(DefaultSerializer, name, method)
    url = database.sqlalchemy_url
    DBOS(config={"name": "stock", "system_database_url": url, "log_level": "ERROR"})
    bare = stock_workflow("bare", look)
    stepped = stock_workflow("stepped", DBOS.step(name="look")(look))
    try:
        DBOS.launch()
        yield [
            Variant("DBOSDurability, tools unrecorded", MODELS, lambda: run_workflow(bare, "go")),
            Variant("DBOSDurability, tools as steps", BOTH, lambda: run_workflow(stepped, "go")),
        ]
    finally:
        DBOS.destroy(destroy_registry=True)


def stock_workflow(name: str, tool: Any) -> Callable[[str], Any]:
    """Return a workflow around an agent with the capability that comes with Pydantic AI."""
    durability = DBOSDurability[None](name=name)
    agent = Agent(FunctionModel(answer), name=name, tools=[tool], capabilities=[durability])

    @DBOS.workflow(name=f"{name}_run")
    async def execute(prompt: str) -> str:
        return (await agent.run(prompt)).output

    return execute


async def measure(database: Database) -> dict[str, Result]:
    """Take the times of interleaved rounds; the first run after each launch does not count."""
    results: dict[str, Result] = {}
    for _ in range(ROUND_COUNT):
        for engine in (our_engine, stock_engine):
            async with engine(database) as variants:
                for number in range(RUNS_PER_ROUND + 1):
                    for variant in variants:
                        started = time.perf_counter()
                        await variant.run()
                        took_ms = (time.perf_counter() - started) * 1000
                        result = results.setdefault(variant.title, Result(variant.step_count))
                        if number:
                            result.times_ms.append(took_ms)
    return results


def show(results: dict[str, Result]) -> None:
    """Print medians, what each step adds to the plain run, and the ratio to ours."""
    medians = {title: statistics.median(result.times_ms) for title, result in results.items()}
    plain, ours = list(medians.values())[:2]
    print(f"{TOOL_CALL_COUNT} tool calls, {ROUND_COUNT} rounds of {RUNS_PER_ROUND} runs, medians")
    for title, median in medians.items():
        steps = results[title].step_count
        added = f"{(median - plain) / steps:6.2f} ms/step" if steps else ""
        print(f"{title:<34}{median:8.1f} ms {steps:>4} steps {added:>15}   x {median / ours:.2f}")


async def main(url: str) -> None:
    """Measure and print."""
    database = Database(url, "benchmark")
    migrate_dbos(database)
    show(await measure(database))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
