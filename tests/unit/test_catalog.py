"""The catalog: what may be registered, how it is found, what an input must be."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, TextOutput, ToolOutput
from pydantic_ai.models.test import TestModel

from agent_app.durability.catalog import (
    Catalog,
    Runnable,
    catalog,
    durable,
    fresh_catalog,
    load_agents,
    workflow,
)
from agent_app.durability.output_type import output_adapter
from agent_app.durability.policy import StepPolicies
from agent_app.errors import AgentInvalid, AgentNotFound, AgentsNotImportable, InputInvalid


@pytest.fixture(autouse=True)
def empty() -> Iterator[Catalog]:
    """Put an empty catalog in place."""
    with fresh_catalog() as empty:
        yield empty


class Topic(BaseModel):
    """An input with a first field for plain text."""

    title: str
    depth: int = 3


def named(name: str | None) -> Agent[None, str]:
    """Return an agent of that name."""
    return Agent(TestModel(), name=name)


@pytest.mark.parametrize("name", [None, "", "a.b", "a b", "a/b", "x" * 101, "a\0", "$text"])
def test_a_name_that_no_step_could_carry_is_refused(name: str | None) -> None:
    """A name is there, is short, and has neither dots nor blanks."""
    with pytest.raises(AgentInvalid, match=r"no name|a name has"):
        durable(named(name))


def test_a_taken_name_is_refused() -> None:
    """Two agents, or an agent and a workflow, cannot share a name; one agent can come twice."""
    first = durable(named("writer"))
    assert durable(first) is first
    with pytest.raises(AgentInvalid, match="has this name already"):
        durable(named("writer"))
    with pytest.raises(AgentInvalid, match="has this name already"):
        workflow("writer")(_nothing)
    workflow("both")(_nothing)
    with pytest.raises(AgentInvalid, match="has this name already"):
        durable(named("both"))


async def _nothing(value: str) -> None:
    """Do nothing at all.

    Not even that.
    """


def test_a_workflow_must_be_async() -> None:
    """A synchronous function would block every run of the process."""

    def blocking(value: str) -> None:
        """Block."""

    with pytest.raises(AgentInvalid, match="`async def`"):
        workflow("blocking")(blocking)  # type: ignore[arg-type]


def test_a_workflow_is_described_by_its_first_line() -> None:
    """Lists show the docstring's first line and the kind."""
    workflow("idle")(_nothing)
    found = catalog().find("idle")
    assert (found.description, found.kind) == ("Do nothing at all.", "workflow")


def test_a_name_that_is_not_there_suggests_the_nearest() -> None:
    """A misspelt name is answered with the one that was meant, a wild one with none."""
    durable(named("researcher"))
    with pytest.raises(AgentNotFound, match="Did you mean 'researcher'"):
        catalog().find("reseacher")
    with pytest.raises(AgentNotFound) as caught:
        catalog().find("zzz")
    assert caught.value.nearest is None


def runnable(input_type: Any) -> Runnable:
    """Return a runnable with that input."""
    durable(named("writer"), input=input_type)
    return catalog().find("writer")


@pytest.mark.parametrize(
    ("input_type", "given", "parsed"),
    [
        (str, "hi", "hi"),
        (Topic, "hi", {"title": "hi", "depth": 3}),
        (Topic, {"title": "hi", "depth": "5"}, {"title": "hi", "depth": 5}),
        (Topic, Topic(title="hi"), {"title": "hi", "depth": 3}),
        (list[int], ["1", 2], [1, 2]),
        (set[int], [3], [3]),
    ],
)
def test_an_input_is_validated_and_becomes_json(input_type: Any, given: Any, parsed: Any) -> None:
    """Text goes to the first field of a model; the rest is what Pydantic makes of it."""
    assert runnable(input_type).parse(given, {}) == parsed


@pytest.mark.parametrize(
    ("input_type", "given", "reason"),
    [
        (str, 3, "valid string"),
        (Topic, {}, "title: Field required"),
        (Topic, {"title": "a", "depth": "x"}, "depth: Input should be a valid integer"),
        (Topic, None, "valid dictionary"),
        (Any, object(), "serialize unknown type"),
    ],
)
def test_a_wrong_input_is_refused(input_type: Any, given: Any, reason: str) -> None:
    """The error names the field and the reason, and not the value."""
    with pytest.raises(InputInvalid, match=reason) as caught:
        runnable(input_type).parse(given, {})
    assert "object at" not in str(caught.value).replace(reason, "") or input_type is Any


def test_an_agent_without_a_model_is_refused_at_the_start() -> None:
    """What is missing shows before anything runs."""
    durable(Agent(name="writer"))
    with pytest.raises(AgentInvalid, match=r"'writer' cannot be made durable.*model"):
        catalog().set_policies(StepPolicies())


def test_modules_register_what_they_define(tmp_path: Path, monkeypatch: Any) -> None:
    """Importing a module is registering its agents."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_agents.py").write_text(
        "from pydantic_ai import Agent\nfrom agent_app.durability.catalog import durable\n"
        "durable(Agent('test', name='mine'))\n"
    )
    try:
        assert [found.name for found in load_agents(("my_agents",))] == ["mine"]
    finally:
        sys.modules.pop("my_agents", None)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'my_agents'"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def :", "SyntaxError"),
        ("raise ValueError('x')", "ValueError: x"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_does_not_import_is_named(
    tmp_path: Path, monkeypatch: Any, source: str | None, reason: str
) -> None:
    """The error names the path of the setting and what went wrong."""
    monkeypatch.syspath_prepend(str(tmp_path))
    if source is not None:
        (tmp_path / "my_agents.py").write_text(source)
    with pytest.raises(AgentsNotImportable, match="'my_agents'") as caught:
        load_agents(("my_agents",))
    assert reason in str(caught.value)


def as_number(text: str) -> int:
    """Turn an answer into a number."""
    return int(text)


KINDS: list[Any] = [Topic, as_number]


@pytest.mark.parametrize(
    ("output_type", "value"),
    [
        (str, "a"),
        ([int, str], "a"),
        ([Topic, list[int]], {"title": "a", "depth": 1}),
        (ToolOutput(Topic), {"title": "a", "depth": 1}),
        (NativeOutput(KINDS), 5),
        (TextOutput(as_number), 5),
        (as_number, 5),
        (Topic | None, None),
    ],
    ids=["one", "list", "types", "tool", "native", "text", "function", "union"],
)
def test_an_output_of_any_form_comes_back(output_type: Any, value: Any) -> None:
    """Every way to say what an agent gives has a type that JSON is validated against."""
    adapter = output_adapter(output_type)
    again = adapter.validate_python(value)
    assert adapter.dump_python(again, mode="json") == value
    if isinstance(value, dict):
        assert isinstance(again, Topic)
