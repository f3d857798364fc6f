"""The attempts ledger as runs write it, and runs without it."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage, RunUsage

from agent_app.durability.catalog import durable
from agent_app.operations.control import cancel_run
from tests.durability.running import Engine, call, scripted

COLUMNS = "step_number, attempt_number, step_name, outcome, error_type"


def attempts(engine: Engine, columns: str = COLUMNS) -> list[tuple[Any, ...]]:
    """Return the ledger by step and attempt."""
    return engine.sql(
        f"select {columns} from agent_app.attempt order by run_id, step_number, attempt_number"  # noqa: S608
    )


async def until(predicate: Any) -> None:
    """Wait until something is true in the database, while the loop goes on."""
    async with asyncio.timeout(20):
        while not predicate():  # noqa: ASYNC110 - nothing tells when a row is there
            await asyncio.sleep(0.02)


async def test_every_try_is_a_row(engine: Engine) -> None:
    """The failed ones have their error and when the next began; a replay adds none."""
    bodies: Counter[str] = Counter()
    agent = durable(Agent(scripted(call("fetch", "a"), "done"), name="worker"))

    @agent.tool_plain
    async def fetch() -> str:
        bodies["fetch"] += 1
        if bodies["fetch"] < 3:
            raise ConnectionError("lost")
        return "found"

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert attempts(engine) == [
        (1, 1, "worker.model", "success", None),
        (2, 1, "worker.tool.fetch", "error", "ConnectionError"),
        (2, 2, "worker.tool.fetch", "error", "ConnectionError"),
        (2, 3, "worker.tool.fetch", "success", None),
        (3, 1, "worker.model", "success", None),
    ]
    waited = attempts(engine, "retry_at between finished_at and finished_at + interval '1 s'")
    assert waited == [(None,), (True,), (True,), (None,), (None,)]


async def test_a_model_request_has_its_tokens_and_its_price(engine: Engine) -> None:
    """Tokens and cost are the response's; a model without a price has none."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        usage = RequestUsage(input_tokens=1000, output_tokens=100)
        return ModelResponse(
            [TextPart("hello")], usage=usage, model_name="gpt-4o", provider_name="openai"
        )

    durable(Agent(FunctionModel(answer, model_name="gpt-4o"), name="priced"))
    async with engine:
        record = await engine.record("priced", "go")
    columns = "model, input_tokens, output_tokens, cost_usd"
    ((model, tokens_in, tokens_out, cost),) = attempts(engine, columns)
    assert (model, tokens_in, tokens_out) == ("gpt-4o", 1000, 100)
    assert cost > 0
    assert str(cost) == record["cost_usd"]


async def test_a_tool_has_what_it_spent_by_itself(engine: Engine) -> None:
    """Usage that a tool adds counts for its try, in a failed one too."""
    bodies: Counter[str] = Counter()
    agent = durable(Agent[None, Any](scripted(call("think", "a"), "done"), name="worker"))

    @agent.tool
    async def think(ctx: RunContext[None]) -> str:
        bodies["think"] += 1
        ctx.usage.incr(RunUsage(input_tokens=5, output_tokens=1))
        if bodies["think"] == 1:
            raise ConnectionError("lost")
        return "thought"

    async with engine:
        await engine.run("worker", "go")
    found = attempts(engine, "step_number, input_tokens")
    assert [tokens for number, tokens in found if number == 2] == [5, 5]


async def test_what_is_being_done_is_a_select(engine: Engine) -> None:
    """A running try is in current_attempt until it ends, and not when its process is dead."""
    agent = durable(Agent(scripted(call("rest", "a"), "rested"), name="sleeper"))
    released = asyncio.Event()

    @agent.tool_plain
    async def rest() -> None:
        await released.wait()

    query = "select run_id, step_number, step_name from agent_app.current_attempt"
    async with engine:
        handle = await engine.start("sleeper", "go")
        await until(lambda: engine.sql(query) == [("r", 2, "sleeper.tool.rest")])
        engine.sql("update dbos.workflow_status set executor_id = 'another'")
        assert engine.sql(query) == []
        released.set()
        await handle.get_result()
    assert [row[3] for row in attempts(engine)] == ["success"] * 3


async def test_a_cancelled_try_is_closed(engine: Engine) -> None:
    """Cancelling a run ends the try that is being made, and says so."""
    agent = durable(Agent(scripted(call("rest", "a"), "rested"), name="sleeper"))
    began = asyncio.Event()

    @agent.tool_plain
    async def rest() -> None:
        began.set()
        await asyncio.sleep(60)

    async with engine:
        await engine.start("sleeper", "go")
        await began.wait()
        cancel_run(engine.database, "r")
        await until(lambda: ("cancelled",) in attempts(engine, "outcome"))
        assert engine.status() == "CANCELLED"


@pytest.mark.parametrize(
    "damage",
    [
        "drop table agent_app.attempt cascade",
        "alter table agent_app.attempt add check (run_id = 'another')",
        "alter table agent_app.attempt drop column executor_id cascade",
    ],
    ids=["gone", "refuses", "another shape"],
)
async def test_a_broken_ledger_costs_a_step_nothing(engine: Engine, damage: str) -> None:
    """Runs, retries and replays are what they are with it."""
    bodies: Counter[str] = Counter()
    agent = durable(Agent(scripted(call("fetch", "a"), "done"), name="worker"))

    @agent.tool_plain
    async def fetch() -> str:
        bodies["fetch"] += 1
        if bodies["fetch"] == 1:
            raise ConnectionError("lost")
        return "found"

    engine.sql(damage)
    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert first["output"] == "done"
    assert bodies["fetch"] == 2
    assert engine.numbered() == [(1, "worker.model"), (2, "worker.tool.fetch"), (3, "worker.model")]


async def test_the_last_error_says_what_all_tries_met(engine: Engine) -> None:
    """It is the real one, with a line for each try, in both lives; one try needs no list."""
    bodies: Counter[str] = Counter()
    agent = durable(Agent(scripted(call("fetch", "a")), name="worker"))

    @agent.tool_plain
    async def fetch() -> str:
        bodies["fetch"] += 1
        raise ConnectionError(f"lost {bodies['fetch']}")

    async with engine:
        for life in (engine.record("worker", "go"), engine.replay()):
            with pytest.raises(ConnectionError, match="lost 3") as caught:
                await life
            texts = caught.value.step_attempts  # type: ignore[attr-defined]
            assert [text.split(";")[0] for text in texts] == [
                f"attempt {n}: ConnectionError: lost {n}" for n in (1, 2, 3)
            ]
    (error,) = engine.sql("select distinct error from agent_app.run")[0]
    assert error == "ConnectionError: lost 3 (after 3 attempts)"
