"""Model requests: plain and streamed, once only, with the same usage in every life."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import AgentStreamEvent, ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.usage import RequestUsage

from agent_app.durability.catalog import durable, workflow
from tests.durability.running import Engine, call, scripted


def counting_model(calls: list[int]) -> Any:
    """Return a model that notes each request and bills for it."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        calls.append(len(messages))
        return ModelResponse(
            [TextPart("hello")], usage=RequestUsage(input_tokens=7, output_tokens=3)
        )

    return FunctionModel(answer)


async def test_a_request_is_made_once_and_its_usage_is_replayed(engine: Engine) -> None:
    """A replay takes answer and usage from the checkpoint and asks no model."""
    calls: list[int] = []
    durable(Agent(counting_model(calls), name="writer"))
    async with engine:
        first = await engine.record("writer", "hi")
        again = await engine.replay()
    assert first == again
    assert (first["usage"]["input_tokens"], first["usage"]["requests"]) == (7, 1)
    assert calls == [1]
    assert engine.numbered() == [(1, "writer.model")]


def streaming_model(calls: list[int]) -> Any:
    """Return a model that calls a tool and then says two words, piece by piece."""

    async def stream(
        messages: list[ModelMessage], info: AgentInfo
    ) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        calls.append(len(messages))
        if len(messages) == 1:
            yield {0: DeltaToolCall("add", '{"x": 1}', tool_call_id="a")}
        else:
            yield "two "
            yield "words"

    return FunctionModel(stream_function=stream)


async def test_an_event_handler_makes_no_further_steps(engine: Engine) -> None:
    """With an event stream handler the steps are the same, and so is the usage on replay."""
    calls: list[int] = []
    told: list[str] = []
    agent = Agent(streaming_model(calls), name="writer")
    agent.tool_plain(add)

    async def handle(ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
        told.extend([type(event).__name__ async for event in events])

    durable(agent)

    @workflow("story")
    async def story(topic: str) -> str:
        return (await agent.run(topic, event_stream_handler=handle)).output

    async with engine:
        first = await engine.record("story", "go")
        heard = len(told)
        again = await engine.replay()
    assert first == again
    assert first["output"] == "two words"
    assert first["usage"]["requests"] == 2
    assert calls == [1, 3]
    assert engine.names() == ["writer.model", "writer.tool.add", "writer.model"]
    assert 0 < heard <= len(told)


async def test_run_stream_in_a_workflow_is_durable(engine: Engine) -> None:
    """`run_stream` gives the whole answer in both lives, and asks the model once."""
    calls: list[int] = []
    agent = Agent(streaming_model(calls), name="writer")
    agent.tool_plain(add)
    durable(agent)

    @workflow("story")
    async def story(topic: str) -> list[str]:
        async with agent.run_stream(topic) as result:
            return [text async for text in result.stream_text(debounce_by=None)]

    async with engine:
        first = await engine.record("story", "go")
        again = await engine.replay()
    assert first == again
    assert first["output"][-1] == "two words"
    assert calls == [1, 3]
    assert engine.names() == ["writer.model", "writer.tool.add", "writer.model"]


async def test_events_of_a_run_in_a_workflow_are_durable(engine: Engine) -> None:
    """`run_stream_events`, which runs the agent in a task of its own, replays as well."""
    calls: list[int] = []
    agent = Agent(streaming_model(calls), name="writer")
    agent.tool_plain(add)
    durable(agent)

    @workflow("story")
    async def story(topic: str) -> list[str]:
        async with agent.run_stream_events(topic) as events:
            return [event.event_kind async for event in events]

    async with engine:
        first = await engine.record("story", "go")
        again = await engine.replay()
    assert first == again
    assert first["output"][-1] == "agent_run_result"
    assert calls == [1, 3]


async def test_the_run_chooses_the_model_of_each_agent(engine: Engine) -> None:
    """A run's models go before the agent's own; `test` answers here, and is recorded so."""
    durable(Agent(scripted("own"), name="writer"))
    async with engine:
        assert await engine.run("writer", "hi", "r1") == "own"
        output = await engine.run("writer", "hi", "r2", {"writer": "test"})
        assert output == "success (no tool calls)"
        assert (await engine.replay("r2"))["output"] == output


async def test_outside_a_run_a_durable_agent_is_a_plain_agent(ready: Engine) -> None:
    """Without a run there are no steps and no checkpoints."""
    calls: list[int] = []
    agent = durable(Agent(counting_model(calls), name="writer"))
    result = await agent.run("hi")
    assert (result.output, calls) == ("hello", [1])
    assert ready.sql("select count(*) from dbos.workflow_status") == [(0,)]


async def test_a_long_conversation_stores_each_answer_once(engine: Engine) -> None:
    """A step holds its own answer only: storage grows with the turns, not with their square."""
    turns = [call("add", f"c{number}", x=number) for number in range(12)]
    agent = durable(Agent(scripted(*turns, "done"), name="writer"))
    agent.tool_plain(add)
    async with engine:
        assert await engine.run("writer", "go") == "done"
        sizes = engine.sql(
            "select length(output) from dbos.operation_outputs where function_name = %s"
            " order by function_id",
            "writer.model",
        )
    assert len(sizes) == 13
    assert sizes[11][0] - sizes[0][0] < 100


def add(x: int) -> int:
    """Add one."""
    return x + 1
