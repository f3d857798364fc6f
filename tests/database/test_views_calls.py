"""What was said and called: `message`, `model_call`, `tool_call`, and the new columns of `step`."""

import json
from typing import Any

import pytest

from agent_app.database.connect import Database
from tests.database.rows import (
    PICKLE,
    answer_json,
    call_part,
    checkpoint_json,
    column,
    error_json,
    input_json,
    plant_attempt,
    plant_run,
    plant_step,
    result_json,
)


def read(database: Database, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with database.connect(read_only=True) as connection:
        return [tuple(row.values()) for row in connection.execute(query.encode())]


def text_part(text: str) -> dict[str, str]:
    """Return a part of an answer that is text."""
    return {"part_kind": "text", "content": text}


def plant_conversation(database: Database, run_id: str) -> None:
    """Store a run that asked, called two tools at once, retried one of them, and answered."""
    plant_run(database, run_id, inputs=input_json("What eats an owl?"))
    first = answer_json(
        {"part_kind": "thinking", "content": "hm"},
        call_part("search", "c1", '{"query": "owls"}'),
        call_part("fetch", "c 2", {"page": 3}),
    )
    plant_step(database, run_id, 1, output=first)
    name = {"function_name": "player.tool.search"}
    plant_step(database, run_id, 2, output=result_json("search", "c1", {"hits": [1]}), **name)
    mcp = {"function_name": "player.mcp.web.fetch"}
    output = result_json("fetch", "c 2", "Give a number.", "model_retry")
    plant_step(database, run_id, 3, output=output, **mcp)
    plant_step(database, run_id, 4, output=answer_json(text_part("Mice.")))


def test_message_is_the_conversation_in_order(database: Database) -> None:
    """Input, parts of answers and tools' results come by position; other runs are not in it."""
    plant_conversation(database, "r1")
    plant_conversation(database, "r2")
    rows = read(
        database,
        "select position, step_number, role, kind, tool, tool_call_id, text, arguments, tokens"
        " from agent_app.message where run_id = 'r1' order by position",
    )
    assert rows == [
        (1, 0, "user", "input", None, None, "What eats an owl?", None, None),
        (2, 1, "assistant", "thinking", None, None, "hm", None, 10),
        (3, 1, "assistant", "tool-call", "search", "c1", None, {"query": "owls"}, None),
        (4, 1, "assistant", "tool-call", "fetch", "c 2", None, {"page": 3}, None),
        (5, 2, "tool", "tool-return", "search", "c1", '{"hits": [1]}', None, None),
        (6, 3, "tool", "model-retry", "fetch", "c 2", "Give a number.", None, None),
        (7, 4, "assistant", "text", None, None, "Mice.", None, 10),
    ]


def test_message_leaves_out_what_nobody_said(database: Database) -> None:
    """DBOS's own steps, delegates of a workflow and lists of tools are no messages."""
    plant_run(database, "r1", inputs=input_json({"depth": 3}))
    plant_run(database, "internal", name="<temp>.x")
    plant_step(database, "internal", 1, output=answer_json(text_part("no")))
    plant_step(database, "r1", 1, function_name="DBOS.sleep", output="12.5")
    of = "delegate writer 0123456789ab"
    plant_step(database, "r1", 2, function_name="w.delegate.p", output=checkpoint_json("x", of))
    listing = checkpoint_json([], "ToolsetGetToolsId")
    plant_step(database, "r1", 3, function_name="player.mcp.web.tools", output=listing)
    query = "select run_id || ' ' || kind || ' ' || text from agent_app.message"
    assert column(database, query) == ['r1 input {"depth": 3}']


@pytest.mark.parametrize(
    "odd",
    [
        PICKLE,
        "{",
        "[]",
        '{"$checkpoint": 1, "value": {"parts": 7}}',
        '{"$checkpoint": "a b c", "value": {"parts": {"content": []}, "usage": {"input_tokens": '
        '1e300, "output_tokens": "x", "cost": {"a": 1}}}}',
        '{"$checkpoint": "a b c", "value": {"parts": [1, null, {}], "usage": []}}',
    ],
)
def test_odd_answers_break_no_view(database: Database, odd: str) -> None:
    """What another program wrote into a step hides neither its neighbours nor the run."""
    plant_run(database, "r1", inputs=input_json("in"))
    plant_step(database, "r1", 1, output=odd)
    plant_step(database, "r1", 2, function_name="player.tool.x", output=odd)
    plant_step(database, "r1", 3, output=answer_json(text_part("still here")))
    for view in ("run", "step", "model_call", "tool_call", "expense", "cost_by_model"):
        assert read(database, f"select * from agent_app.{view}"), view  # noqa: S608 - a name
    assert "still here" in column(database, "select text from agent_app.message")


def test_model_call_shows_what_an_answer_took(database: Database) -> None:
    """Model, tokens of all tries, reason and tries; a tool's step is no model call."""
    plant_conversation(database, "r1")
    plant_attempt(database, "r1", 1, outcome="error", input_tokens=5, cost_usd="0.5")
    plant_attempt(
        database, "r1", 1, attempt_number=2, outcome="success", input_tokens=60, output_tokens=10
    )
    rows = read(
        database,
        "select step_number, agent, model, provider, status, duration_ms, attempt_count,"
        " input_tokens, output_tokens, cost_usd::text, finish_reason, error"
        " from agent_app.model_call order by step_number",
    )
    known = ("player", "gpt-5.2", "openai", "SUCCESS", 250)
    assert rows == [
        (1, *known, 2, 65, 10, "0.5", "stop", None),
        (4, *known, 0, 60, 10, None, "stop", None),
    ]
    (parts,) = column(database, "select answer -> 'parts' from agent_app.model_call where "
                      "step_number = 4")  # fmt: skip
    assert parts == [text_part("Mice.")]


def test_failed_request_is_a_model_call_without_an_answer(database: Database) -> None:
    """An error stands in its row; nothing is made up for the model."""
    plant_run(database, "r1")
    plant_step(database, "r1", 1, error=error_json("builtins:ConnectionError", "lost"))
    query = "select status, model, answer, error from agent_app.model_call"
    assert read(database, query) == [("ERROR", None, None, "ConnectionError: lost")]


def test_tool_call_shows_arguments_and_result(database: Database) -> None:
    """The arguments come out of the answer that called, whatever form the model gave them."""
    plant_conversation(database, "r1")
    plant_attempt(database, "r1", 2, step_name="player.tool.search", outcome="success")
    query = (
        "select step_number, agent, tool, toolset, tool_call_id, status, outcome, attempt_count,"
        " arguments, result, error from agent_app.tool_call order by step_number"
    )
    assert read(database, query) == [
        (2, "player", "search", None, "c1", "SUCCESS", "tool-return", 1,
         {"query": "owls"}, {"hits": [1]}, None),
        (3, "player", "fetch", "web", "c 2", "SUCCESS", "model-retry", 0,
         {"page": 3}, "Give a number.", None),
    ]  # fmt: skip


def test_tool_call_finds_the_last_call_of_its_id(database: Database) -> None:
    """A model that gives one ID twice has the arguments of the later call for the later step."""
    plant_run(database, "r1")
    name = {"function_name": "player.tool.search"}
    for number, query in ((1, "owls"), (3, "mice")):
        part = call_part("search", "same", {"query": query})
        plant_step(database, "r1", number, output=answer_json(part))
        plant_step(database, "r1", number + 1, output=result_json("search", "same", 1), **name)
    query = "select arguments ->> 'query' from agent_app.tool_call order by step_number"
    assert column(database, query) == ["owls", "mice"]


def test_tool_call_unwraps_a_tool_return_only(database: Database) -> None:
    """Of Pydantic AI's ToolReturn the value is shown; a tool's own key of that name is no such."""
    plant_run(database, "r1")
    name = {"function_name": "player.tool.search"}
    wrapped = {"return_value": 1, "content": "for the model", "kind": "tool-return"}
    own = {"return_value": 1, "more": 2}
    for number, result in ((1, wrapped), (2, own)):
        plant_step(database, "r1", number, output=result_json("search", "c", result), **name)
    query = "select result from agent_app.tool_call order by step_number"
    assert column(database, query) == [1, own]


def test_tool_call_that_raised_says_so(database: Database) -> None:
    """The checkpoint of an error names the call too, where our serializer keeps it."""
    plant_run(database, "r1")
    error = json.loads(error_json("builtins:ValueError", "boom"))
    error["$error"]["state"] = {"checkpoint_of": "search c1 0123456789ab"}
    name = "player.tool.search"
    plant_step(database, "r1", 1, function_name=name, error=json.dumps(error))
    query = "select tool, tool_call_id, status, outcome, result, error from agent_app.tool_call"
    assert read(database, query) == [("search", "c1", "ERROR", "error", None, "ValueError: boom")]
    (of,) = column(database, "select checkpoint_of from agent_app.step")
    assert of == "search c1 0123456789ab"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("player.model", "model"),
        ("player.tool.model", "tool"),
        ("player.mcp.web.fetch", "mcp"),
        ("player.dynamic.web.fetch", "dynamic"),
        ("game.delegate.player", "delegate"),
        ("player.capability.budget.check", "capability"),
        ("player.event", "event"),
        ("DBOS.sleep", "dbos"),
        ("player.run_start_time", "other"),
        ("model", "other"),
    ],
)
def test_step_says_what_kind_it_is(database: Database, name: str, kind: str) -> None:
    """The kind is the second part of the name; DBOS's own are told apart."""
    plant_run(database, "r1")
    plant_step(database, "r1", 1, function_name=name, output=checkpoint_json(1))
    assert column(database, "select kind from agent_app.step") == [kind]


def test_step_counts_its_tries(database: Database) -> None:
    """Status and tries are the step's own; another step's tries count for that one."""
    plant_run(database, "r1")
    plant_step(database, "r1", 1, output=checkpoint_json(1))
    plant_step(database, "r1", 2, error=error_json("builtins:ValueError", "no"))
    for number in (1, 2, 3):
        plant_attempt(database, "r1", 1, attempt_number=number, outcome="error")
    query = "select status, attempt_count from agent_app.step order by step_number"
    assert read(database, query) == [("SUCCESS", 3), ("ERROR", 0)]
