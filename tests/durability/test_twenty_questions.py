"""The game's own rules, in runs of the launched engine with scripted players."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from agent_app.agents.twenty_questions import workflow
from agent_app.agents.twenty_questions.models import Asked
from agent_app.agents.twenty_questions.player import MAX_TURNS
from agent_app.agents.twenty_questions.table import load_table
from agent_app.durability.catalog import Catalog
from agent_app.durability.catalog import catalog as current_catalog
from tests.durability.running import Engine, call, scripted

SHIPPED = {name: current_catalog().find(name) for name in (workflow.NAME, "questioner", "answerer")}
"""Taken while the shipped catalog is in place: the tests' own is empty."""
MODELS = {"questioner": "scripted"}


def seat(catalog: Catalog, questioner: Any, answerer: Any = None) -> None:
    """Put the shipped game into the catalog, with these models for its agents to choose from."""
    players = {"questioner": questioner, "answerer": answerer}
    for name, shipped in SHIPPED.items():
        model = players.get(name)
        catalog.add(replace(shipped, models={"scripted": model}) if model else shipped)


async def play(engine: Engine, models: dict[str, str] = MODELS, secret: str = "potato") -> Any:
    """Return the result of a game, which a replay must give again."""
    async with engine:
        record = await engine.record(workflow.NAME, secret, models=models)
        assert await engine.replay() == record
    assert record["output"]["input_tokens"] == record["usage"]["input_tokens"] > 0
    return record["output"]


def asks(numbers: Iterable[int]) -> list[ToolCallPart]:
    """Return calls that ask these questions of the table."""
    texts = [question.text for question in load_table().questions]
    return [call("ask", f"q{number}", question=texts[number]) for number in numbers]


def guess(thing: str, call_id: str = "g") -> ToolCallPart:
    """Return a call that guesses the thing."""
    return call("guess", call_id, thing=thing)


@pytest.mark.parametrize("name", ["a potato", "The Potatoes!", "spud"])
async def test_any_name_of_the_thing_wins(engine: Engine, catalog: Catalog, name: str) -> None:
    """An article, a plural or another name of the thing is the thing."""
    seat(catalog, scripted(guess("tomato", "g0"), guess(name), "It is a potato."))
    result = await play(engine)
    assert (result["found"], result["turns"]) == (True, 2)
    assert [turn["answer"] for turn in result["history"]] == ["no", "yes"]


async def test_a_21st_call_is_refused_and_is_no_turn(engine: Engine, catalog: Catalog) -> None:
    """After twenty turns neither a question nor the right guess counts any more."""
    late = call("ask", "late", question="Is it red?")
    seat(catalog, scripted(*asks(range(MAX_TURNS)), late, guess("potato"), "Lost."))
    result = await play(engine)
    assert (result["found"], result["turns"]) == (False, MAX_TURNS)
    assert len(result["history"]) == MAX_TURNS
    refused = [step.value["message"] for step in engine.steps()[-4:] if "message" in step.value]
    assert refused == ["No turn is left: the game is over. Say what you think the thing is."] * 2


async def test_who_stops_without_the_right_guess_has_lost(engine: Engine, catalog: Catalog) -> None:
    """Naming the thing in words is no guess."""
    seat(catalog, scripted(*asks([0, 1]), "It is a potato."))
    result = await play(engine)
    assert (result["found"], result["turns"]) == (False, 2)


def in_reverse(count: int) -> FunctionModel:
    """Return an answerer that knows the table and answers the last of `count` questions first."""
    texts = [question.text for question in load_table().questions[:count]]
    answered = [asyncio.Event() for _ in texts]

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        place = texts.index(Asked.model_validate_json(messages[0].parts[0].content).question)  # type: ignore[union-attr,arg-type]
        if place + 1 < count:
            await answered[place + 1].wait()
        answered[place].set()
        reply = {"answer": list(load_table().things[0].answers.values())[place]}
        return ModelResponse(
            [ToolCallPart(info.output_tools[0].name, reply)],
            usage=RequestUsage(input_tokens=10, output_tokens=1),
        )

    return FunctionModel(answer)


async def test_parallel_calls_are_turns_in_call_order(engine: Engine, catalog: Catalog) -> None:
    """Calls of one answer take a turn each, in the order of the calls, whichever ends first."""
    seat(catalog, scripted(asks(range(4)), "I give up."), in_reverse(4))
    result = await play(engine, {**MODELS, "answerer": "scripted"})
    texts = [question.text for question in load_table().questions[:4]]
    assert [turn["text"] for turn in result["history"]] == texts
    assert [turn["number"] for turn in result["history"]] == [1, 2, 3, 4]
    answers = [load_table().things[0].answers[q.key] for q in load_table().questions[:4]]
    assert [turn["answer"] for turn in result["history"]] == answers


async def test_parallel_calls_beyond_the_last_turn_are_refused(
    engine: Engine, catalog: Catalog
) -> None:
    """Of four calls after 18 turns, one malformed, two are turns and the last is refused."""
    malformed = ToolCallPart("ask", {"wrong": 1}, tool_call_id="bad")
    last = [malformed, *asks([18, 19]), guess("potato")]
    seat(catalog, scripted(asks(range(18)), last, "I give up."))
    result = await play(engine)
    assert (result["found"], result["turns"]) == (False, MAX_TURNS)
    assert result["history"][-1]["text"] == load_table().questions[19].text


async def test_nothing_counts_after_the_right_guess(engine: Engine, catalog: Catalog) -> None:
    """A won game is over: what the model calls besides or afterwards is no turn."""
    seat(catalog, scripted([guess("potato"), *asks([0])], *asks([1]), "It is a potato."))
    result = await play(engine)
    assert (result["found"], result["turns"]) == (True, 1)


async def test_a_model_without_end_has_lost_and_keeps_its_turns(
    engine: Engine, catalog: Catalog
) -> None:
    """Running into the request limit ends the game as lost; the run itself succeeds."""
    forever = [call("guess", f"g{number}", thing="tomato") for number in range(80)]
    seat(catalog, scripted(*forever))
    result = await play(engine)
    assert engine.status() == "SUCCESS"
    assert (result["found"], result["turns"], len(result["history"])) == (False, 20, 20)


async def test_each_turn_says_what_it_told(engine: Engine, catalog: Catalog) -> None:
    """A turn has its bits of information; one that the table does not know has none."""
    odd = call("ask", "odd", question="Would your uncle like it?")
    seat(catalog, scripted(*asks([0]), odd, guess("qqqq", "g0"), guess("potato"), "A potato."))
    first, unknown, wrong, last = (await play(engine))["history"]
    assert first["bits"] > 0
    assert (unknown["bits"], wrong["bits"]) == (None, None)
    assert last["bits"] > first["bits"]


async def test_a_thing_outside_the_table_can_be_found(engine: Engine, catalog: Catalog) -> None:
    """Two language models may play about anything; nothing is said of its bits."""
    seat(catalog, scripted(*asks([0]), guess("The Eiffel-Tower"), "Found."), in_reverse(1))
    models = {**MODELS, "answerer": "scripted"}
    result = await play(engine, models, secret="eiffel tower")
    assert (result["found"], result["player"]) == (True, "scripted")
    assert [turn["bits"] for turn in result["history"]] == [None, None]
