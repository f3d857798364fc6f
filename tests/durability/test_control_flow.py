"""What a tool raises to steer the agent is a result: recorded, and replayed as itself."""

from collections import Counter
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    ApprovalRequired,
    CallDeferred,
    DeferredToolRequests,
    DeferredToolResults,
    ModelRetry,
    RunContext,
    ToolApproved,
    ToolDenied,
)
from pydantic_ai.exceptions import ToolFailed, UnexpectedModelBehavior, UsageLimitExceeded
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import UsageLimits

from agent_app.durability.catalog import durable, workflow
from tests.durability.running import Engine, call, scripted


async def test_model_retry_is_recorded(engine: Engine) -> None:
    """A tool that asks for a better call gets one, and the replay takes the same way."""
    bodies: Counter[int] = Counter()
    model = scripted(call("divide", "a", by=0), call("divide", "b", by=2), "done")
    agent = durable(Agent(model, name="worker"))

    @agent.tool_plain(retries=2)
    async def divide(by: int) -> float:
        bodies[by] += 1
        if by == 0:
            raise ModelRetry("not by zero")
        return 1 / by

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert bodies == {0: 1, 2: 1}
    assert [step.value for step in engine.steps() if "divide" in step.name] == [
        {"message": "not by zero", "kind": "model_retry"},
        {"result": 0.5, "kind": "tool_return"},
    ]


async def test_too_many_retries_end_the_run(engine: Engine) -> None:
    """When a tool's retries are spent the run fails with Pydantic AI's own error, in both lives."""
    model = scripted(call("divide", "a"), call("divide", "b"), call("divide", "c"))
    agent = durable(Agent(model, name="worker"))

    @agent.tool_plain(retries=1)
    async def divide() -> float:
        raise ModelRetry("no")

    async with engine:
        with pytest.raises(UnexpectedModelBehavior, match="exceeded max retries") as first:
            await engine.run("worker", "go")
        with pytest.raises(UnexpectedModelBehavior) as again:
            await engine.replay()
    assert str(first.value) == str(again.value)
    assert engine.status() == "ERROR"


async def test_a_failed_tool_is_told_to_the_model(engine: Engine) -> None:
    """`ToolFailed` reaches the model as a failed return and is not tried again."""
    bodies: Counter[str] = Counter()
    seen: list[str] = []

    def note(messages: list[ModelMessage]) -> None:
        last = messages[-1].parts[-1]
        seen.append(f"{last.part_kind} {getattr(last, 'outcome', '')}")

    agent = durable(Agent(scripted(call("fetch", "a"), "done", seen=note), name="worker"))

    @agent.tool_plain
    async def fetch() -> str:
        bodies["fetch"] += 1
        raise ToolFailed("it is gone")

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert bodies == {"fetch": 1}
    assert seen == ["user-prompt ", "tool-return failed"]
    assert engine.steps()[1].value == {"message": "it is gone", "kind": "tool_failed"}


async def test_invalid_arguments_make_no_step(engine: Engine) -> None:
    """Arguments that do not fit go back to the model; only the call that fits is a step."""
    model = scripted(call("divide", "a", by="x"), call("divide", "b", by=2), "done")
    agent = durable(Agent(model, name="worker"))

    @agent.tool_plain(retries=2)
    async def divide(by: int) -> float:
        return 1 / by

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert engine.numbered() == [
        (1, "worker.model"),
        (2, "worker.model"),
        (3, "worker.tool.divide"),
        (4, "worker.model"),
    ]


async def test_a_tool_can_report_a_validation_error(engine: Engine) -> None:
    """A ValidationError out of a tool's body is a retry for the model, recorded as one."""

    class Point(BaseModel):
        x: int

    model = scripted(call("read", "a", raw="{}"), call("read", "b", raw='{"x": 1}'), "done")
    agent = durable(Agent(model, name="worker"))

    @agent.tool_plain(retries=2)
    async def read(raw: str) -> Point:
        return Point.model_validate_json(raw)

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert [step.value["kind"] for step in engine.steps() if "read" in step.name] == [
        "validation_error",
        "tool_return",
    ]


async def test_an_output_validator_asks_again(engine: Engine) -> None:
    """Output validators run in workflow code, in both lives, and lead to the same requests."""
    agent = durable(Agent(scripted("no", "yes"), name="worker", retries=2))

    @agent.output_validator
    def agree(ctx: RunContext[object], output: str) -> str:
        if output == "no":
            raise ModelRetry("say yes")
        return output

    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert first["output"] == "yes"
    assert engine.names() == ["worker.model", "worker.model"]


async def test_a_usage_limit_ends_the_run(engine: Engine) -> None:
    """A usage limit is workflow code's own error: it comes out as itself, in both lives."""
    agent = durable(Agent(scripted(call("look", "a"), "done"), name="worker"))

    @agent.tool_plain
    async def look() -> int:
        return 1

    @workflow("limited")
    async def limited(question: str) -> str:
        return (await agent.run(question, usage_limits=UsageLimits(request_limit=1))).output

    async with engine:
        for attempt in (engine.run("limited", "go"), engine.replay()):
            with pytest.raises(UsageLimitExceeded, match="request_limit of 1"):
                await attempt
    assert engine.names() == ["worker.model", "worker.tool.look"]


def buyer(bodies: Counter[str]) -> Agent[None, str | DeferredToolRequests]:
    """Return an agent with three tools: one asks a person, one is done elsewhere, one is free."""
    calls = [call("buy", "b", what="tea"), call("fetch", "f"), call("look", "l")]
    agent: Agent[None, str | DeferredToolRequests] = Agent(
        two_halves(calls), name="buyer", output_type=[str, DeferredToolRequests]
    )

    @agent.tool
    async def buy(ctx: RunContext[object], what: str) -> str:
        bodies["asked" if not ctx.tool_call_approved else f"bought {what}"] += 1
        if not ctx.tool_call_approved:
            raise ApprovalRequired(metadata={"price": 3})
        return f"bought {what}"

    @agent.tool_plain
    async def fetch() -> str:
        bodies["fetch"] += 1
        raise CallDeferred(metadata={"queue": "slow"})

    @agent.tool_plain
    async def look() -> str:
        bodies["look"] += 1
        return "seen"

    return durable(agent)


def two_halves(calls: list[ToolCallPart]) -> Any:
    """Return a model that makes the calls, and once it has all results says them."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(list(calls))
        contents = {
            part.tool_call_id: str(part.content)
            for message in messages
            if isinstance(message, ModelRequest)
            for part in message.parts
            if part.part_kind == "tool-return"
        }
        return ModelResponse([TextPart(" ".join(contents[part.tool_call_id] for part in calls))])

    return FunctionModel(answer)


@pytest.mark.parametrize(
    ("verdict", "said", "bought"),
    [
        (ToolApproved(), "bought tea fetched seen", {"bought tea": 1}),
        (
            ToolApproved(override_args={"what": "milk"}),
            "bought milk fetched seen",
            {"bought milk": 1},
        ),
        (ToolDenied("too dear"), "too dear fetched seen", {}),
    ],
)
async def test_a_run_waits_for_people_and_goes_on(
    engine: Engine, verdict: Any, said: str, bought: dict[str, int]
) -> None:
    """Deferred calls end the first agent run; a second one in the same run takes the results."""
    bodies: Counter[str] = Counter()
    agent = buyer(bodies)

    @workflow("shop")
    async def shop(question: str) -> Any:
        first = await agent.run(question)
        asked = first.output
        assert isinstance(asked, DeferredToolRequests)
        assert [part.tool_name for part in asked.approvals] == ["buy"]
        assert asked.metadata == {"b": {"price": 3}, "f": {"queue": "slow"}}
        results = DeferredToolResults(calls={"f": "fetched"}, approvals={"b": verdict})
        history = first.all_messages()
        second = await agent.run(message_history=history, deferred_tool_results=results)
        return second.output

    async with engine:
        first = await engine.record("shop", "go")
        assert await engine.replay() == first
    assert first["output"] == said
    assert bodies == {"asked": 1, "fetch": 1, "look": 1, **bought}
    calls = ["buyer.tool.buy", "buyer.tool.fetch", "buyer.tool.look"]
    second_life = ["buyer.tool.buy"] if bought else []
    assert engine.names() == ["buyer.model", *calls, *second_life, "buyer.model"]


async def test_deferred_calls_can_be_the_output_of_a_run(engine: Engine) -> None:
    """An agent run on its own ends with what it waits for as its stored output."""
    buyer(Counter())
    async with engine:
        first = await engine.record("buyer", "go")
        assert await engine.replay() == first
    assert [part["tool_name"] for part in first["output"]["approvals"]] == ["buy"]
    assert [part["tool_name"] for part in first["output"]["calls"]] == ["fetch"]


async def test_a_tool_that_always_needs_approval_leaves_a_gap(engine: Engine) -> None:
    """The number drawn for a call that was not executed stays unused, the same in every life."""
    agent: Agent[None, str | DeferredToolRequests] = Agent(
        two_halves([call("buy", "b"), call("look", "l")]),
        name="buyer",
        output_type=[str, DeferredToolRequests],
    )

    @agent.tool_plain(requires_approval=True)
    async def buy() -> str:
        return "bought"

    @agent.tool_plain
    async def look() -> str:
        return "seen"

    durable(agent)

    @workflow("shop")
    async def shop(question: str) -> Any:
        first = await agent.run(question)
        results = DeferredToolResults(approvals={"b": True})
        history = first.all_messages()
        return (await agent.run(message_history=history, deferred_tool_results=results)).output

    async with engine:
        first = await engine.record("shop", "go")
        assert await engine.replay() == first
    assert first["output"] == "bought seen"
    assert [name for _, name in engine.numbered()] == [
        "buyer.model",
        "buyer.tool.look",
        "buyer.tool.buy",
        "buyer.model",
    ]
