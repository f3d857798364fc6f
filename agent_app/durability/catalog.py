"""What can be run, by name: agents and workflows go in where they are defined."""

import difflib
import importlib
import inspect
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_ai import Agent
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model
from pydantic_core import PydanticSerializationError

from agent_app.database.connect import Database
from agent_app.durability.agent_runs import guard_runs
from agent_app.durability.capability import StepDurability
from agent_app.durability.dialogue import MakeDialogue
from agent_app.durability.events import RunEvent
from agent_app.durability.output_type import output_adapter
from agent_app.durability.policy import StepPolicies
from agent_app.durability.scope import RunScope
from agent_app.errors import (
    AgentInvalid,
    AgentNotFound,
    AgentsNotImportable,
    InputInvalid,
)
from agent_app.settings import OFFLINE_MODEL

EVERY_SHIPPED_AGENT = "*"
"""Key of a run's `models` that stands for the agents which take AGENT_APP_MODEL."""

AgentT = TypeVar("AgentT", bound=Agent[Any, Any])
R = TypeVar("R")
Narrator = Callable[[RunEvent], str | None]
"""One line about an event of a run, None for nothing."""


@dataclass(frozen=True)
class Runnable:
    """Something with a name that a run can execute."""

    name: str
    kind: Literal["agent", "workflow"]
    description: str
    """The first line for `agent-app agents`; may be empty."""
    input_type: TypeAdapter[Any]
    output_type: TypeAdapter[Any]
    execute: Callable[[Any], Awaitable[Any]]
    """The deterministic body: validated input to output."""
    narrator: Callable[[], Narrator] | None = None
    """Makes, for one run that is watched, what turns its events into lines for people."""
    check: Callable[[Any, Mapping[str, str]], None] | None = None
    """Refuses an input before a run starts; it gets the validated input and the run's models."""
    check_stored: Callable[[Database, Any], None] | None = None
    """Refuses a validated input of a new run by what the database holds; it may block."""
    you_ask: MakeDialogue | None = None
    """Makes the other side for a person who takes the part that asks."""
    text_field: str | None = None
    """Field of the input model that plain text goes to; None where the input is text itself."""
    takes_default_model: bool = False
    agent: Agent[Any, Any] | None = None
    policies: StepPolicies | None = None
    models: Mapping[str, Model] = field(default_factory=dict)

    def read_text(self, text: str | None) -> Any:
        """Turn what a person typed into an input: JSON where that is meant, else the text itself.

        For a model, an object is JSON and anything else text; for other types, what is JSON is.
        Raises: InputInvalid (a brace that begins no JSON).
        """
        if text is None:
            return {} if self.text_field else None
        is_object = text.lstrip().startswith("{")
        if self.input_type.core_schema["type"] == "str" or (self.text_field and not is_object):
            return text
        try:
            return json.loads(text)
        except ValueError as error:
            if self.text_field is None:
                return text
            raise InputInvalid(self.name, f"it begins like JSON, but {error}.") from error

    def with_fields(self, value: Any, fields: Mapping[str, Any]) -> Any:
        """Return an input as typed with further fields of its model.

        Raises: InputInvalid (a field that the model lacks, or that the input has already).
        """
        if not fields:
            return value
        known = self.input_type.core_schema.get("schema", {}).get("fields", {})
        for name in fields:
            if self.text_field is None or name not in known:
                raise InputInvalid(self.name, f"it has no field {name!r}.")
            if isinstance(value, dict) and name in value:
                raise InputInvalid(self.name, f"{name!r} is given twice.")
        return {**(value if isinstance(value, dict) else {self.text_field: value}), **fields}

    def parse(self, value: Any, models: Mapping[str, str]) -> Any:
        """Return the input as JSON, validated and checked; text goes to the model's first field.

        Raises: InputInvalid.
        """
        if isinstance(value, str) and self.text_field:
            value = {self.text_field: value}
        try:
            parsed = self.input_type.validate_python(value)
        except ValidationError as error:
            raise InputInvalid(self.name, _explain(error)) from None
        if self.check is not None:
            self.check(parsed, models)
        try:
            return self.input_type.dump_python(parsed, mode="json")
        except PydanticSerializationError as error:
            raise InputInvalid(self.name, f"{error}.") from error


def _explain(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return (
        "; ".join(
            ".".join(str(part) for part in problem["loc"])
            + (": " if problem["loc"] else "")
            + problem["msg"]
            for problem in problems
        )
        + "."
    )


class Catalog:
    """The runnables of a process, by name, and what makes their agents durable."""

    def __init__(self) -> None:
        self._by_name: dict[str, Runnable] = {}
        self._bound: dict[str, StepDurability] = {}
        self._policies = StepPolicies()

    def __iter__(self) -> Iterator[Runnable]:
        return iter(sorted(self._by_name.values(), key=lambda runnable: runnable.name))

    def add(self, runnable: Runnable) -> None:
        """Take a runnable in.

        Raises: AgentInvalid (the name is taken).
        """
        known = self._by_name.get(runnable.name)
        if known is not None and (known.agent is None or known.agent is not runnable.agent):
            raise AgentInvalid(runnable.name, "another agent or workflow has this name already.")
        self._by_name[runnable.name] = runnable

    def find(self, name: str) -> Runnable:
        """Return the runnable of that name.

        Raises: AgentNotFound, with the nearest name.
        """
        if name in self._by_name:
            return self._by_name[name]
        nearest = difflib.get_close_matches(name, self._by_name, n=1, cutoff=0.5)
        raise AgentNotFound(name, nearest[0] if nearest else None)

    def set_policies(self, policies: StepPolicies) -> None:
        """Set the deployment's defaults and bind every agent: a faulty one shows at the start.

        Raises: AgentInvalid.
        """
        self._policies = policies
        self._bound.clear()
        for runnable in self:
            if runnable.agent is not None:
                self.durability_of(runnable)

    def durability_of(self, runnable: Runnable) -> StepDurability:
        """Return the capability that makes the runnable's agent durable, bound once.

        Raises: AgentInvalid (no model, a toolset without an ID, two of one ID).
        """
        bound = self._bound.get(runnable.name)
        if bound is None:
            assert runnable.agent is not None
            policies = runnable.policies or self._policies
            capability = StepDurability(
                name=runnable.name, policies=policies, models=runnable.models
            )
            try:
                made = capability.for_agent(runnable.agent)
            except UserError as error:
                raise AgentInvalid(runnable.name, str(error)) from error
            assert isinstance(made, StepDurability)
            bound = self._bound[runnable.name] = made
        return bound


_catalog = Catalog()


def catalog() -> Catalog:
    """Return this process's catalog."""
    return _catalog


@contextmanager
def fresh_catalog() -> Iterator[Catalog]:
    """Put an empty catalog in place while the block runs, for tests and tools."""
    global _catalog
    kept, _catalog = _catalog, Catalog()
    try:
        yield _catalog
    finally:
        _catalog = kept


def load_agents(import_paths: tuple[str, ...]) -> Catalog:
    """Import the modules, which register what they define, and return the catalog.

    Raises: AgentsNotImportable (naming the path and the reason); AgentInvalid.
    """
    for path in import_paths:
        try:
            importlib.import_module(path)
        except (AgentInvalid, AgentsNotImportable):
            raise
        except (Exception, SystemExit) as error:
            raise AgentsNotImportable(path, f"{type(error).__name__}: {error}") from error
    return _catalog


def durable(
    agent: AgentT,
    *,
    input: Any = str,
    prompt: Callable[[Any], Any] | None = None,
    deps: Callable[[Any], Any] | None = None,
    policies: StepPolicies | None = None,
    models: Mapping[str, Model] | None = None,
    takes_default_model: bool = False,
    narrator: Callable[[], Narrator] | None = None,
    check: Callable[[Any, Mapping[str, str]], None] | None = None,
) -> AgentT:
    """Make `agent` runnable by its name and return it.

    `input` is a type that a run's input is validated against; `prompt` and `deps` make the agent's
    prompt and dependencies out of it, in workflow code: keep them pure. Tools may still be added.
    Raises: AgentInvalid (no name, a name that is taken, a name that a step could not carry).
    """
    name = _valid_name(agent.name)

    async def execute(value: Any) -> Any:
        text = prompt(value) if prompt else _as_prompt(value)
        result = await agent.run(text, deps=deps(value) if deps else None)
        return result.output

    runnable = Runnable(
        name=name,
        kind="agent",
        description=agent.description if isinstance(agent.description, str) else "",
        input_type=TypeAdapter(input),
        output_type=output_adapter(agent.output_type),
        execute=execute,
        narrator=narrator,
        check=check,
        text_field=_first_field(input),
        takes_default_model=takes_default_model,
        agent=agent,
        policies=policies,
        models=models or {},
    )
    _catalog.add(runnable)
    guard_runs(agent, runnable.name, lambda run: _durable_options(runnable, run))
    return agent


def workflow(
    name: str,
    *,
    input: Any = str,
    output: Any = Any,
    narrator: Callable[[], Narrator] | None = None,
    check: Callable[[Any, Mapping[str, str]], None] | None = None,
    check_stored: Callable[[Database, Any], None] | None = None,
    you_ask: MakeDialogue | None = None,
) -> Callable[[Callable[[Any], Awaitable[R]]], Callable[[Any], Awaitable[R]]]:
    """Make an async function of several agents runnable by `name`.

    Its code is executed again on recovery and must be deterministic: everything that touches the
    world goes through a durable agent, `delegate` or a tool.
    Raises: AgentInvalid (a bad or taken name, a function that is not async).
    """

    def register(function: Callable[[Any], Awaitable[R]]) -> Callable[[Any], Awaitable[R]]:
        if not inspect.iscoroutinefunction(function):
            raise AgentInvalid(name, "a workflow must be an `async def` function.")
        _catalog.add(
            Runnable(
                name=_valid_name(name),
                kind="workflow",
                description=(inspect.getdoc(function) or "").partition("\n")[0],
                input_type=TypeAdapter(input),
                output_type=TypeAdapter(output),
                execute=function,
                narrator=narrator,
                check=check,
                check_stored=check_stored,
                you_ask=you_ask,
                text_field=_first_field(input),
            )
        )
        return function

    return register


def _valid_name(name: str | None) -> str:
    if not name:
        raise AgentInvalid("", "it has no name; write Agent(…, name='my_agent').")
    if not all(sign.isalnum() or sign in "-_" for sign in name) or len(name) > 100:
        raise AgentInvalid(name, "a name has up to 100 letters, digits, '-' and '_'.")
    return name


def _first_field(input_type: Any) -> str | None:
    if isinstance(input_type, type) and issubclass(input_type, BaseModel):
        return next(iter(input_type.model_fields), None)
    return None


def _as_prompt(value: Any) -> Any:
    return value.model_dump_json() if isinstance(value, BaseModel) else value


def _durable_options(runnable: Runnable, run: RunScope) -> tuple[StepDurability, str | None]:
    """Return what an agent run inside `run` gets: the capability, and the run's model if any."""
    return _catalog.durability_of(runnable), _chosen_model(runnable, run.models)


def model_of(agent: str, models: Mapping[str, str]) -> str:
    """Return the model string that a run with these models has for a shipped agent."""
    return models.get(agent, models.get(EVERY_SHIPPED_AGENT, OFFLINE_MODEL))


def _chosen_model(runnable: Runnable, models: Mapping[str, str]) -> str | None:
    """Return the model string that the run was started with for this agent; None keeps its own."""
    default = models.get(EVERY_SHIPPED_AGENT) if runnable.takes_default_model else None
    chosen = models.get(runnable.name, default)
    return None if chosen == OFFLINE_MODEL else chosen
