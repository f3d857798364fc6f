"""What tools return: the model sees the same value in the first life and on replay."""

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ImageUrl, RunContext, ToolReturn
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart

from agent_app.durability.catalog import durable, workflow
from agent_app.durability.serializer import JsonSerializer
from agent_app.errors import ValueNotStorable
from tests.durability.running import Engine, call, scripted


class Color(enum.StrEnum):
    """A text that is an enum's member."""

    RED = "red"


class Size(str, enum.Enum):  # noqa: UP042 - the older way, whose str() differs
    """The same as it was written before StrEnum."""

    BIG = "big"


class Point(NamedTuple):
    """A tuple with names."""

    x: int
    y: int


@dataclasses.dataclass
class Box:
    """A dataclass."""

    inner: tuple[int, ...]


class Report(BaseModel):
    """A Pydantic model."""

    title: str
    at: dt.datetime


VALUES: dict[str, Any] = {
    "none": None,
    "tuple": (1, (2, "three")),
    "set": {7},
    "dataclass": Box((1, 2)),
    "model": Report(title="t", at=dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
    "models": [Report(title="t", at=dt.datetime(2026, 1, 2, tzinfo=dt.UTC))],
    "datetime": dt.datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - a naive one too
    "date": dt.date(2026, 1, 2),
    "delta": dt.timedelta(seconds=1.5),
    "bytes": b"raw text",
    "decimal": decimal.Decimal("1.10"),
    "uuid": uuid.UUID(int=5),
    "enum": Color.RED,
    "old_enum": Size.BIG,
    "enum_keys": {Color.RED: 1, Size.BIG: 2},
    "int_keys": {1: "a", 2.5: "b", None: "c"},
    "named_tuple": Point(1, 2),
    "nan": [float("nan"), float("inf"), -float("inf")],
    "nul": "a\0b",
    "surrogate": "a\ud800b",
    "tags": {"$text": "x", "$checkpoint": 1, "value": 2, "$error": {}, "$pairs": 3},
    "kind": {"kind": "tool-return", "return_value": 1},
    "kinds": {"kind": "model_retry", "message": "x"},
    "big": 2**200,
    "empty": "",
    "image": BinaryContent(b"\x89PNG\xff", media_type="image/png"),
    "url": ImageUrl("https://example.org/a.png"),
    "mixed": ["text", BinaryContent(b"\x00\x01", media_type="image/png"), {"a": 1}],
    "tool_return": ToolReturn(
        return_value={"rows": 3},
        content=["see", BinaryContent(b"\xff\x00", media_type="image/png")],
        metadata={"at": "noon", "n": [1, 2]},
    ),
}


def seen_parts(messages: list[ModelMessage]) -> list[Any]:
    """Return what a model and its caller see of a tool's return, as comparable values."""
    parts = [
        part
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, (ToolReturnPart, UserPromptPart))
    ]
    return [
        (repr(part.content), repr(getattr(part, "metadata", None)), _as_text(part))
        for part in parts
    ]


def _as_text(part: ToolReturnPart | UserPromptPart) -> str:
    return part.model_response_str() if isinstance(part, ToolReturnPart) else ""


@pytest.fixture
def messages_seen() -> list[list[Any]]:
    """Return where `teller` notes what each life saw."""
    return []


def teller(value: Any, seen: list[list[Any]]) -> None:
    """Define workflow `look`: an agent whose tool returns `value`, and a note of its messages."""
    agent = durable(Agent(scripted(call("give", "a"), "done"), name="giver"))

    @agent.tool_plain
    async def give() -> Any:
        return value

    @workflow("look")
    async def look(question: str) -> str:
        result = await agent.run(question)
        seen.append(seen_parts(result.all_messages()))
        return result.output


@pytest.mark.parametrize("name", list(VALUES))
async def test_both_lives_see_the_same_value(
    engine: Engine, messages_seen: list[list[Any]], name: str
) -> None:
    """The first life already sees what came out of the checkpoint, of whatever type it was."""
    teller(VALUES[name], messages_seen)
    async with engine:
        first = await engine.record("look", "go")
        assert await engine.replay() == first
    assert messages_seen[0] == messages_seen[1]
    assert engine.names() == ["giver.model", "giver.tool.give", "giver.model"]
    engine.sql("select output::jsonb from dbos.operation_outputs")


def deep(levels: int) -> Any:
    """Return a list in a list in a list …."""
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def circle() -> Any:
    """Return a list that contains itself."""
    value: list[Any] = []
    value.append(value)
    return value


NOT_STORABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "object": (object, "unknown type: <class 'object'>"),
    "function": (lambda: print, "unknown type: <class 'builtin_function_or_method'>"),
    "bytes": (lambda: b"\xff\xfe", "utf-8"),
    "deep": (lambda: deep(230), "nested deeper"),
    "circle": (circle, "ircular|recursion|deeper"),
    "huge": (lambda: 10**5000, "thousands of digits"),
}


@pytest.mark.parametrize("name", list(NOT_STORABLE))
async def test_a_value_that_is_not_json_is_refused(
    engine: Engine, messages_seen: list[list[Any]], name: str
) -> None:
    """The error names step and reason, ends the run, and is what a replay gets too."""
    make, reason = NOT_STORABLE[name]
    teller(make(), messages_seen)
    async with engine:
        for life in (engine.record("look", "go"), engine.replay()):
            with pytest.raises(ValueNotStorable, match=reason) as caught:
                await life
            assert caught.value.step == "giver.tool.give"
    assert engine.status() == "ERROR"
    recorded = engine.steps()[1].error
    assert isinstance(recorded, ValueNotStorable)
    assert recorded.args == caught.value.args


@pytest.mark.parametrize(
    "output",
    [object(), deep(230), {1: object()}, 10**5000],
    ids=["object", "deep", "object_inside", "huge"],
)
async def test_an_output_that_is_not_json_ends_the_run(engine: Engine, output: Any) -> None:
    """A workflow's output that cannot be stored is an error, never a run without an end."""

    @workflow("odd")
    async def odd(question: str) -> Any:
        return output

    async with engine:
        with pytest.raises(ValueNotStorable, match="the output of 'odd'"):
            await engine.run("odd", "go")
    assert engine.status() == "ERROR"


class Fruit(BaseModel):
    """One kind of output."""

    fruit: str


class Stone(BaseModel):
    """Another kind."""

    stone: int


async def test_an_output_of_several_types_is_stored(engine: Engine) -> None:
    """An agent with a list of output types stores the one that it gave."""
    kinds: list[Any] = [Fruit, Stone]
    model = scripted(call("final_result_Stone", "a", stone=3))
    durable(Agent(model, name="picker", output_type=kinds))
    async with engine:
        assert await engine.run("picker", "go") == {"stone": 3}
        assert (await engine.replay())["output"] == {"stone": 3}


async def test_what_a_tool_adds_to_the_usage_is_replayed(engine: Engine) -> None:
    """A tool that bills the run through `ctx.usage` bills it once in every life."""
    agent = durable(Agent(scripted([call("buy", "a"), call("buy", "b")], "done"), name="buyer"))

    @agent.tool
    async def buy(ctx: RunContext[object]) -> int:
        ctx.usage.input_tokens += 1000
        ctx.usage.requests += 1
        return 1

    async with engine:
        first = await engine.record("buyer", "go")
        assert await engine.replay() == first
    assert first["usage"]["input_tokens"] > 2000
    assert first["usage"]["requests"] == 4


def test_the_stored_text_is_plain_json() -> None:
    """What `psql` shows of a step is the value itself, with nothing around it."""
    assert JsonSerializer().serialize({"a": [1, "é"]}) == '{"a":[1,"é"]}'
