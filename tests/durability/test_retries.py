"""Tries of a step: how many, how long, and what comes out in the end."""

import asyncio
import time
from collections import Counter
from typing import Any

import httpx
import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelAuthenticationError, ModelHTTPError, ModelRateLimitError
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app.durability.catalog import durable
from agent_app.durability.delegation import delegate
from agent_app.durability.events import RunEvent, observed_by
from agent_app.durability.policy import StepPolicies, StepPolicy
from agent_app.errors import RecordedError, StepTimedOut
from tests.durability.running import Engine, call, scripted


def failing_model(*errors: Exception) -> tuple[Any, Counter[str]]:
    """Return a model that raises these one after another and then answers, and its counter."""
    calls: Counter[str] = Counter()

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        calls["model"] += 1
        if calls["model"] <= len(errors):
            raise errors[calls["model"] - 1]
        return ModelResponse([TextPart("at last")])

    return FunctionModel(answer), calls


def busy(retry_after: str = "0") -> ModelHTTPError:
    """Return the error of a provider that is overloaded."""
    return ModelHTTPError.for_category(
        ModelRateLimitError,
        status_code=429,
        model_name="m",
        headers={"retry-after": retry_after},
    )


async def test_a_model_is_tried_until_it_answers(engine: Engine) -> None:
    """Failed tries leave no step; watchers hear of each with its wait."""
    model, calls = failing_model(busy(), ConnectionError("lost"))
    durable(Agent(model, name="worker"))
    heard: list[RunEvent] = []
    with observed_by(heard.append):
        async with engine:
            first = await engine.record("worker", "go")
            assert await engine.replay() == first
    assert first["output"] == "at last"
    assert calls["model"] == 3
    assert engine.numbered() == [(1, "worker.model")]
    kinds = [(event.kind, event.attempt) for event in heard if event.name == "worker.model"]
    assert kinds == [
        ("step_started", None),
        ("attempt_started", 1),
        ("attempt_failed", 1),
        ("attempt_started", 2),
        ("attempt_failed", 2),
        ("attempt_started", 3),
        ("step_finished", 3),
        ("step_replayed", None),
    ]


async def test_the_last_real_error_comes_out(engine: Engine) -> None:
    """When the tries are spent the run ends with the provider's own error, in both lives."""
    model, calls = failing_model(*(busy() for _ in range(9)))
    durable(Agent(model, name="worker"))
    async with engine:
        for life in (engine.record("worker", "go"), engine.replay()):
            with pytest.raises(ModelRateLimitError) as caught:
                await life
            assert isinstance(caught.value, ModelHTTPError)
    assert calls["model"] == engine.settings.model_max_attempts == 4


async def test_a_fact_is_not_tried_again(engine: Engine) -> None:
    """A wrong key is asked for once."""
    error = ModelHTTPError.for_category(ModelAuthenticationError, status_code=401, model_name="m")
    model, calls = failing_model(error)
    durable(Agent(model, name="worker"))
    async with engine:
        with pytest.raises(ModelAuthenticationError):
            await engine.run("worker", "go")
    assert calls["model"] == 1


async def test_retry_after_is_waited_for_up_to_the_limit(engine: Engine) -> None:
    """An agent's own policy caps what a provider asks for."""
    model, _ = failing_model(busy("3600"))
    policies = StepPolicies(model=StepPolicy(retry_after_max_s=0.2))
    durable(Agent(model, name="worker"), policies=policies)
    started = time.perf_counter()
    async with engine:
        assert await engine.run("worker", "go") == "at last"
    assert 0.2 < time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("metadata", "tries"),
    [
        (None, 3),
        ({"step": {"max_attempts": 5}}, 5),
        ({"step": {"effect": "external"}}, 1),
        ({"step": StepPolicy(max_attempts=2, backoff_s=0)}, 2),
    ],
)
async def test_a_tool_has_its_own_tries(engine: Engine, metadata: Any, tries: int) -> None:
    """Metadata sets the tries of one tool; an external effect is tried once."""
    bodies: Counter[str] = Counter()
    agent = durable(Agent(scripted(call("fetch", "a")), name="worker"))

    @agent.tool_plain(metadata=metadata)
    async def fetch() -> str:
        bodies["fetch"] += 1
        raise httpx.ConnectError("no route")

    async with engine:
        for life in (engine.record("worker", "go"), engine.replay()):
            with pytest.raises(RecordedError, match="ConnectError: no route"):
                await life
    assert bodies["fetch"] == tries


async def test_a_tool_over_its_limit_is_stopped_and_tried_again(engine: Engine) -> None:
    """Each try has the whole limit; the error says which step and how long."""
    bodies: Counter[str] = Counter()
    agent = durable(Agent(scripted(call("sleep", "a"), call("sleep", "b")), name="worker"))

    @agent.tool_plain(metadata={"step": {"timeout_s": 0.05, "max_attempts": 2}})
    async def sleep() -> str:
        bodies["begun"] += 1
        await asyncio.sleep(10)
        bodies["ended"] += 1
        return "rested"

    async with engine:
        for life in (engine.record("worker", "go"), engine.replay()):
            with pytest.raises(StepTimedOut) as caught:
                await life
            assert caught.value.args == ("worker.tool.sleep", 0.05)
    assert bodies == {"begun": 2}


async def test_a_tools_own_timeout_error_is_its_own(engine: Engine) -> None:
    """A TimeoutError that the tool raises is no StepTimedOut."""
    agent = durable(Agent(scripted(call("sleep", "a")), name="worker"))

    @agent.tool_plain
    async def sleep() -> str:
        raise TimeoutError("mine")

    async with engine:
        with pytest.raises(TimeoutError, match="mine"):
            await engine.run("worker", "go")


@pytest.mark.parametrize("children", [1, 2])
async def test_the_limit_stands_still_while_delegates_work(engine: Engine, children: int) -> None:
    """Waiting for children takes nothing of the limit; the tool's own work around it does."""
    slow = durable(Agent(scripted(call("rest", "x"), "rested"), name="slow"))

    @slow.tool_plain
    async def rest() -> None:
        await asyncio.sleep(0.6)

    agent = durable(Agent(scripted(call("ask", "a"), "done"), name="worker"))
    patience = [0.0]

    @agent.tool_plain(metadata={"step": {"timeout_s": 0.5, "max_attempts": 1}})
    async def ask() -> str:
        quick = asyncio.gather(*(delegate(slow, str(n)) for n in range(children)))
        await quick
        await asyncio.sleep(patience[0])
        return "asked"

    async with engine:
        assert await engine.run("worker", "go", "patient") == "done"
        patience[0] = 5
        with pytest.raises(StepTimedOut):
            await engine.run("worker", "go", "late")


async def test_a_second_try_attaches_to_the_same_children(engine: Engine) -> None:
    """A tool that fails after its delegate answered pays for one child, whatever the tries."""
    bodies: Counter[str] = Counter()
    helper = durable(Agent(scripted("help"), name="helper"))
    agent = durable(Agent(scripted(call("ask", "a"), "done"), name="worker"))

    @agent.tool_plain
    async def ask() -> str:
        bodies["ask"] += 1
        answer: str = await delegate(helper, "please")
        if bodies["ask"] < 3:
            raise ConnectionError("lost")
        return answer

    async with engine:
        first = await engine.record("worker", "go")
        assert engine.sql("select count(*) from dbos.workflow_status") == [(2,)]
        assert await engine.replay() == first
    assert bodies["ask"] == 3
    assert first["usage"]["requests"] == 3
    assert engine.names("r:a") == ["helper.model"]
