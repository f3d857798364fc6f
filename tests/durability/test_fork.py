"""Forks: the prefix is free, the changes reach what comes after it, and the source stays."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app.database import history
from agent_app.durability.catalog import durable, workflow
from agent_app.durability.delegation import delegate
from agent_app.errors import (
    AgentAppError,
    AgentNotFound,
    ConfigurationInvalid,
    PayloadRefused,
    RunIdInvalid,
    RunNotForkable,
    RunNotFound,
    ValueNotStorable,
)
from agent_app.operations.control import Executor, cancel_run
from agent_app.operations.fork import Fork, fork_run
from agent_app.operations.read import get_run
from agent_app.operations.start import start_run, wait_for_run
from tests.durability.running import Engine, call

EXECUTOR = Executor("me", "1")


@pytest.fixture
def calls() -> Counter[str]:
    """Count executed bodies by name."""
    return Counter()


@pytest.fixture
def chain(engine: Engine, calls: Counter[str]) -> Engine:
    """Define an agent: `first`, then `second` beside `critic` (a delegate), then what came back."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        calls["model"] += 1
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        if turn == 0:
            return ModelResponse([call("first", "a", x=1)])
        if turn == 1:
            return ModelResponse([call("second", "b"), call("ask_critic", "c")])
        returned = [
            str(part.content)
            for message in messages
            if isinstance(message, ModelRequest)
            for part in message.parts
            if isinstance(part, ToolReturnPart)
        ]
        last = messages[-1]
        assert isinstance(last, ModelRequest)
        return ModelResponse([TextPart(f"{last.instructions}: {' '.join(returned)}")])

    def criticize(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        calls["critic.model"] += 1
        last = messages[-1]
        assert isinstance(last, ModelRequest)
        return ModelResponse([TextPart(f"critic({last.instructions})")])

    durable(Agent(FunctionModel(criticize), name="critic", instructions="be kind"))
    agent = durable(Agent(FunctionModel(answer), name="chain", instructions="be good"))

    @agent.tool_plain
    async def first(x: int) -> str:
        calls["first"] += 1
        return "one"

    @agent.tool_plain
    async def second() -> str:
        calls["second"] += 1
        return "two"

    @agent.tool_plain
    async def ask_critic() -> str:
        calls["ask_critic"] += 1
        result: str = await delegate("critic", "go")
        return result

    return engine


async def run_source(engine: Engine, calls: Counter[str], attributes: Any = None) -> None:
    """Execute the run `r` to its end and forget the counts."""
    await start_run(
        engine.catalog, "chain", "go", run_id="r", models={}, attributes=attributes or {}
    )
    assert (await wait_for_run("r"))["output"] == "be good: one two critic(be kind)"
    calls.clear()


async def fork(engine: Engine, from_step: int | None = None, **changes: Any) -> Any:
    """Fork `r` as `f` and return the output of the copy."""
    fork_run(engine.database, engine.catalog, Fork("r", "f", from_step, **changes), EXECUTOR)
    return (await wait_for_run("f"))["output"]


def stored(engine: Engine, run_id: str) -> list[Any]:
    """Return all that DBOS has of a run's steps and payloads."""
    return engine.sql(
        "select function_id, function_name, output, error, started_at_epoch_ms"
        " from dbos.operation_outputs where workflow_uuid = %s order by 1",
        run_id,
    ) + engine.sql(
        "select input.inputs, status.status from dbos.workflow_status as status"
        " left join dbos.workflow_input as input using (workflow_uuid) where workflow_uuid = %s",
        run_id,
    )


@pytest.mark.parametrize(
    ("from_step", "bodies"),
    [
        (1, {"model": 3, "first": 1, "second": 1, "ask_critic": 1, "critic.model": 1}),
        (4, {"model": 1, "second": 1, "ask_critic": 1, "critic.model": 1}),
        (5, {"model": 1, "ask_critic": 1, "critic.model": 1}),
        (6, {"model": 1}),
        (7, {}),
    ],
)
async def test_prefix_is_free(
    chain: Engine, calls: Counter[str], from_step: int, bodies: dict[str, int]
) -> None:
    """Of the steps before N no body runs and no child starts; from N on each runs once."""
    async with chain:
        await run_source(chain, calls)
        before = stored(chain, "r")
        assert await fork(chain, from_step) == "be good: one two critic(be kind)"
        assert dict(calls) == bodies
        assert stored(chain, "r") == before
        assert chain.status("f:c") == ("SUCCESS" if from_step <= 5 else None)
        assert chain.numbered("f") == chain.numbered("r")
        assert get_run(chain.database, "f").forked_from == "r"


async def test_changed_result_reaches_what_comes_after(chain: Engine, calls: Counter[str]) -> None:
    """With a result set, the copy begins after it, and the model sees the new result."""
    async with chain:
        await run_source(chain, calls)
        output = await fork(chain, results={2: {"changed": [1, None]}})
        assert output == "be good: {'changed': [1, None]} two critic(be kind)"
        assert calls == {"model": 2, "second": 1, "ask_critic": 1, "critic.model": 1}
        assert chain.steps("f")[1].value == {
            "result": {"changed": [1, None]},
            "kind": "tool_return",
        }
        assert chain.steps("f")[1].of == chain.steps("r")[1].of


async def test_siblings_of_a_changed_result_can_be_kept(chain: Engine, calls: Counter[str]) -> None:
    """Two parallel calls: the one before N gets another result, the other keeps its own."""
    async with chain:
        await run_source(chain, calls)
        output = await fork(chain, 6, results={4: "2!"})
        assert output == "be good: one 2! critic(be kind)"
        assert calls == {"model": 1}


async def test_changed_instructions_reach_the_agent_and_its_children(
    chain: Engine, calls: Counter[str]
) -> None:
    """Instructions replace the agents' own from N on, in child runs too, and are recorded."""
    async with chain:
        await run_source(chain, calls)
        output = await fork(chain, 4, instructions={"chain": "be bad", "critic": "be rude"})
        assert output == "be bad: one two critic(be rude)"
        assert await chain.replay("f") == await wait_for_run("f")
        again = Fork("f", "g", 6)
        fork_run(chain.database, chain.catalog, again, EXECUTOR)
        assert (await wait_for_run("g"))["output"] == "be bad: one two critic(be rude)"


async def test_instructions_stay_with_their_run(chain: Engine, calls: Counter[str]) -> None:
    """Another run of the same agent, at the same time in the same process, keeps the agent's."""
    async with chain:
        await run_source(chain, calls)
        fork_run(
            chain.database,
            chain.catalog,
            Fork("r", "f", 4, instructions={"chain": "be bad"}),
            EXECUTOR,
        )
        assert await chain.run("chain", "go", "s") == "be good: one two critic(be kind)"
        assert (await wait_for_run("f"))["output"] == "be bad: one two critic(be kind)"


async def test_changed_model_answers_from_the_fork_on(engine: Engine) -> None:
    """A model that the copy was given answers from N on; what came before keeps its answer."""
    other = FunctionModel(lambda messages, info: ModelResponse([TextPart("from the other")]))

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse([call("look", "a")])
        return ModelResponse([TextPart("from the first")])

    agent = durable(Agent(FunctionModel(answer), name="chain"), models={"openai:other": other})

    @agent.tool_plain
    async def look() -> str:
        return "seen"

    async with engine:
        assert await engine.run("chain", "go") == "from the first"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_API_KEY", "none")
            assert await fork(engine, 3, models={"chain": "openai:other"}) == "from the other"
        assert engine.names("f") == engine.names("r")
        (inputs,) = engine.sql("select inputs from dbos.workflow_input where workflow_uuid = 'f'")[
            0
        ]
        assert json.loads(inputs)["args"][0]["models"] == {"chain": "openai:other"}


async def test_failed_tool_can_be_given_a_result(engine: Engine, calls: Counter[str]) -> None:
    """A run that a tool's error ended goes on in a copy where a person sets the result."""
    agent = durable(
        Agent(
            FunctionModel(
                lambda messages, info: ModelResponse(
                    [call("pay", "a")] if len(messages) == 1 else [TextPart("paid")]
                )
            ),
            name="cashier",
        )
    )

    @agent.tool_plain
    async def pay() -> str:
        calls["pay"] += 1
        raise ValueError("no money")

    async with engine:
        with suppress(ValueError):
            await engine.run("cashier", "go")
        assert await fork(engine, results={2: "receipt"}) == "paid"
        assert calls["pay"] == 1
        assert [step.error for step in engine.steps("f")] == [None, None, None]
        assert engine.status("r") == "ERROR"


async def test_fork_of_a_child_is_a_run_of_its_own(chain: Engine, calls: Counter[str]) -> None:
    """The copy of a child has no parent, keeps the labels, and says where it comes from."""
    async with chain:
        await run_source(chain, calls, {"team": "red"})
        fork_run(chain.database, chain.catalog, Fork("r:c", "own", 1), EXECUTOR)
        await wait_for_run("own")
        row = get_run(chain.database, "own")
        assert (row.parent_run_id, row.forked_from) == (None, "r:c")
        assert await fork(chain, 6)
        assert get_run(chain.database, "f").attributes == {"team": "red"}


FORKS: list[tuple[Fork, type[AgentAppError], str]] = [
    (Fork("r", "f"), RunNotForkable, "--from N or --set step.K=JSON is missing."),
    (Fork("r", "f", 8), RunNotForkable, "Run 'r' has 6 steps; it cannot fork from step 8."),
    (Fork("r", "f", 10**30), RunNotForkable, "it cannot fork from step 1000000"),
    (Fork("r", "f", 0), RunNotForkable, "it cannot fork from step 0."),
    (Fork("r", "f", -1), RunNotForkable, "it cannot fork from step -1."),
    (Fork("nobody", "f", 1), RunNotFound, "Run 'nobody' does not exist."),
    (Fork("r", "no spaces", 1), RunIdInvalid, "Run ID 'no spaces' is not one"),
    (Fork("r", "r", 1), RunNotForkable, "that ID is taken"),
    (Fork("r", "f", results={9: 1}), RunNotForkable, "has no step 9 whose result could be set."),
    (Fork("r", "f", results={1: 1}), RunNotForkable, "only the result of a tool call can be set"),
    (Fork("r", "f", 2, results={2: 1}), RunNotForkable, "fork from step 3 at least"),
    (Fork("r", "f", 5, results={2: 1}), RunNotForkable, "fork from step 3 at most"),
    (Fork("r", "f", 1, models={"chain": "no:model"}), ConfigurationInvalid, "Model 'no:model'"),
    (Fork("r", "f", 1, models={"nobody": "offline"}), AgentNotFound, "Agent 'nobody'"),
    (Fork("r", "f", 1, instructions={"nobody": "x"}), AgentNotFound, "Agent 'nobody'"),
    (Fork("r", "f", 1, instructions={"flow": "x"}), RunNotForkable, "which is a workflow"),
    (Fork("r", "f", results={2: float}), ValueNotStorable, "cannot be stored as JSON"),
]


async def test_bad_fork_is_refused_and_leaves_nothing(chain: Engine, calls: Counter[str]) -> None:
    """Each impossible fork says why; no run is made and the source stays as it is."""

    @workflow("flow")
    async def flow(value: Any) -> None:
        """Do nothing."""

    async with chain:
        await run_source(chain, calls)
        before = stored(chain, "r")
        for wanted, error, message in FORKS:
            with pytest.raises(error) as caught:
                fork_run(chain.database, chain.catalog, wanted, EXECUTOR)
            assert message in str(caught.value), wanted
        assert stored(chain, "r") == before
        assert chain.sql("select count(*) from dbos.workflow_status")[0][0] == 2
        assert calls == {}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            "update dbos.workflow_status set status = 'PENDING'",
            RunNotForkable,
            "is PENDING and cannot be forked",
        ),
        (
            "update dbos.workflow_status set status = 'ENQUEUED'",
            RunNotForkable,
            "is ENQUEUED and cannot be forked",
        ),
        (
            "update dbos.workflow_status set application_version = '2'",
            RunNotForkable,
            "belongs to application version '2'",
        ),
        (
            "update dbos.workflow_status set serialization = 'py_pickle'",
            PayloadRefused,
            "'py_pickle'",
        ),
    ],
)
async def test_run_that_is_not_ours_to_copy(
    chain: Engine, calls: Counter[str], change: str, error: type[AgentAppError], message: str
) -> None:
    """A run that goes on, is of another version or was written by somebody else is refused."""
    async with chain:
        await run_source(chain, calls)
        chain.sql(f"{change} where workflow_uuid = 'r'")
        with pytest.raises(error, match=message):
            fork_run(chain.database, chain.catalog, Fork("r", "f", 2), EXECUTOR)
        assert chain.status("f") is None


async def test_pickled_checkpoint_is_refused(chain: Engine, calls: Counter[str]) -> None:
    """A step that is tagged as pickle is not copied, and not decoded."""
    async with chain:
        await run_source(chain, calls)
        chain.sql(
            "update dbos.operation_outputs set serialization = 'py_pickle' where function_id = 2"
        )
        with pytest.raises(PayloadRefused, match="py_pickle"):
            fork_run(chain.database, chain.catalog, Fork("r", "f", 4), EXECUTOR)
        assert chain.status("f") is None


@pytest.mark.parametrize("part", ["write_request", "write_result", "drop_attributes"])
async def test_fork_is_there_whole_or_not_at_all(
    chain: Engine, calls: Counter[str], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Whatever breaks between the copy and its changes, no copy without them is ever there."""
    done: Callable[..., None] = getattr(history, part)

    def breaking(*arguments: Any) -> None:
        done(*arguments)
        raise ConnectionError("cut off")

    monkeypatch.setattr(f"agent_app.operations.fork.{part}", breaking)
    async with chain:
        await run_source(chain, calls)
        with pytest.raises(ConnectionError):
            fork_run(chain.database, chain.catalog, Fork("r", "f", results={2: 1}), EXECUTOR)
        assert chain.status("f") is None
        assert chain.names("f") == []
        monkeypatch.undo()
        assert await fork(chain, results={2: 1}) == "be good: 1 two critic(be kind)"


async def test_cancelled_run_can_be_forked(chain: Engine, calls: Counter[str]) -> None:
    """What a run has done before it was cancelled is kept in a copy that goes to the end."""
    async with chain:
        await run_source(chain, calls)
        chain.sql("delete from dbos.workflow_output where workflow_uuid = 'r'")
        chain.sql(
            "delete from dbos.operation_outputs where workflow_uuid = 'r' and function_id > 4"
        )
        chain.sql("update dbos.workflow_status set status = 'PENDING' where workflow_uuid = 'r'")
        cancel_run(chain.database, "r")
        assert await fork(chain, 5) == "be good: one two critic(be kind)"
        assert calls == {"model": 1, "ask_critic": 1, "critic.model": 1}
