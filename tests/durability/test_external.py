"""Calls that must not be made twice: what their failures say, without any process dying."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import psycopg
import pytest
from pydantic_ai import Agent, ModelRetry

from agent_app.database.intent import Decision
from agent_app.durability.catalog import durable, workflow
from agent_app.durability.effects import CallOutcome, ExternalCall
from agent_app.durability.heartbeat import heartbeat
from agent_app.durability.idempotency import idempotency_key
from agent_app.durability.policy import StepPolicies, StepPolicy, is_ambiguous
from agent_app.durability.runtime import running_ids
from agent_app.errors import CallFailed, StepNotUndecided
from agent_app.failover import orphans
from agent_app.operations.control import Executor, cancel_run, resolve_call, resume_run
from tests.durability.running import Engine, call, echoing, scripted
from tests.durability.takeover import change_owner, eventually, recover_own_runs
from tests.durability.test_mcp import Server
from tests.durability.test_outage import allow_writes, refuse_writes, until_nobody_executes

REQUEST = httpx.Request("POST", "http://bank.example/")
Fail = Callable[[], Any]


def answered(status: int) -> httpx.HTTPStatusError:
    """Return the error of a request that was answered with this status."""
    response = httpx.Response(status, request=REQUEST)
    return httpx.HTTPStatusError(f"answered {status}", request=REQUEST, response=response)


async def hang() -> None:
    """Take longer than any limit of these tests."""
    await asyncio.sleep(60)


async def fall_silent() -> None:
    """Give one sign of life and no other."""
    heartbeat()
    await asyncio.sleep(60)


AMBIGUOUS: dict[str, Exception | Fail] = {
    "over its limit": hang,
    "silent": fall_silent,
    "reset": ConnectionResetError("peer"),
    "read time-out": httpx.ReadTimeout("late"),
    "503": answered(503),
    "one of a group": ExceptionGroup("all", [ValueError("one"), ConnectionResetError("peer")]),
}
FACTS: dict[str, Exception] = {
    "no connection": httpx.ConnectError("no route"),
    "value": ValueError("no such account"),
    "400": answered(400),
    "group": ExceptionGroup("all", [ValueError("one"), httpx.ConnectError("no route")]),
}
MORE_AMBIGUOUS = [
    BrokenPipeError(),
    TimeoutError(),
    httpx2.ReadTimeout("late"),
    httpx2.ReadError("cut off"),
    httpx.RemoteProtocolError("cut off"),
    answered(408),
    answered(500),
    psycopg.OperationalError("server closed the connection unexpectedly"),
    psycopg.errors.AdminShutdown("terminating connection"),
]
MORE_FACTS = [
    ConnectionRefusedError(),
    httpx2.ConnectTimeout("no route"),
    httpx2.PoolTimeout("busy"),
    answered(429),
    answered(409),
    psycopg.errors.SerializationFailure("undone"),
    psycopg.errors.UniqueViolation("there already"),
    KeyError("account"),
]


class Bank:
    """The other side: it counts, and fails as it is told."""

    def __init__(self, failure: Exception | Fail | None = None, answer: Any = None) -> None:
        self.failure = failure
        self.answer = answer
        self.keys: list[str] = []
        self.asked: list[ExternalCall] = []

    async def pay(self, cents: int) -> str:
        """Take the money, then fail."""
        self.keys.append(idempotency_key())
        if isinstance(self.failure, Exception):
            raise self.failure
        if self.failure is not None:
            await self.failure()
        return f"paid {cents}"

    def find(self, payment: ExternalCall) -> Any:
        """Say what became of a payment."""
        self.asked.append(payment)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def employ(self, *turns: Any, reconciles: bool = False, **policy: Any) -> None:
        """Make the agent that pays here."""
        agent = durable(Agent(scripted(*turns), name="payer"))
        change = {
            "effect": "external",
            "reconcile": self.find if reconciles else None,
            "timeout_s": 2.0,
            "heartbeat_timeout_s": 0.2,
            **policy,
        }
        agent.tool_plain(metadata={"step": change})(self.pay)


PAY = call("pay", "a", cents=5)


def undecided(engine: Engine) -> list[tuple[Any, ...]]:
    """Return the calls that wait for a person."""
    return engine.sql(
        "select run_id, step_number, idempotency_key, arguments"
        " from agent_app.undecided_call order by run_id, step_number"
    )


def intents(engine: Engine) -> list[tuple[Any, ...]]:
    """Return the run, the step and the key of every intent."""
    return engine.sql(
        "select run_id, step_number, step_name, idempotency_key"
        " from agent_app.intent order by run_id, step_number"
    )


def tries(engine: Engine, run_id: str = "r") -> list[tuple[int, int, str | None]]:
    """Return step, number and outcome of each try of a tool."""
    return engine.sql(
        "select step_number, attempt_number, outcome from agent_app.attempt"
        " where run_id = %s and step_name not like '%%.model' order by 1, 2",
        run_id,
    )


@pytest.mark.parametrize("error", MORE_AMBIGUOUS, ids=repr)
def test_these_errors_do_not_say_whether_the_call_was_made(error: Exception) -> None:
    """A connection that was there and broke off, and a server's own error, leave it open."""
    assert is_ambiguous(error)


@pytest.mark.parametrize("error", MORE_FACTS, ids=repr)
def test_these_errors_say_that_the_call_had_no_effect(error: Exception) -> None:
    """No connection, a refusal, an undone transaction and the tool's own errors are facts."""
    assert not is_ambiguous(error)


@pytest.mark.parametrize("failure", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_failure_that_does_not_say_is_reconciled(
    engine: Engine, failure: Exception | Fail
) -> None:
    """The tool's own function finds the payment: its answer is the result, in both lives."""
    bank = Bank(failure, "found")
    limit = {"timeout_s": 0.2, "heartbeat_timeout_s": None} if failure is hang else {}
    bank.employ(PAY, "done", reconciles=True, **limit)
    async with engine:
        first = await engine.record("payer", "go")
        assert await engine.replay() == first
        assert engine.steps()[1].value["result"] == "found"
    assert bank.keys == ["r:a"]
    assert bank.asked == [ExternalCall("payer.tool.pay", {"cents": 5}, "r:a", None)]
    assert tries(engine) == [(2, 1, "unknown")]


@pytest.mark.parametrize("failure", FACTS.values(), ids=FACTS)
async def test_a_failure_that_says_it_is_recorded(engine: Engine, failure: Exception) -> None:
    """A call that was not made, or was refused, is tried once and nobody is asked."""
    bank = Bank(failure, "found")
    bank.employ(PAY, "done", reconciles=True)
    async with engine:
        for life in (engine.record("payer", "go"), engine.replay()):
            with pytest.raises(Exception, match=str(failure).split(" (")[0]):
                await life
        assert undecided(engine) == []
    assert (bank.keys, bank.asked) == (["r:a"], [])
    assert tries(engine) == [(2, 1, "error")]


DECISIONS: dict[Decision, tuple[str | None, int]] = {
    "done": ('"by hand"', 1),
    "retry": (None, 2),
    "fail": ("the bank says no", 1),
}


@pytest.mark.parametrize("decision", DECISIONS)
async def test_a_person_decides_on_a_failure_that_does_not_say(
    engine: Engine, decision: Decision
) -> None:
    """Without `reconcile` the run waits; each decision has its own end, and holds in a replay."""
    value, call_count = DECISIONS[decision]
    bank = Bank(ConnectionResetError("peer"))
    bank.employ(PAY, "done")
    async with engine:
        handle = await engine.start("payer", "go")
        await eventually(lambda: undecided(engine))
        assert undecided(engine) == [("r", 2, "r:a", {"cents": 5})]
        assert engine.status() == "PENDING"
        bank.failure = None
        resolve_call(engine.database, "r", 2, decision, value)
        if decision == "fail":
            for life in (handle.get_result(), engine.replay()):
                with pytest.raises(CallFailed) as caught:
                    await life
                assert caught.value.args == ("payer.tool.pay", value)
        else:
            first = await handle.get_result()
            assert await engine.replay() == first
            result = "by hand" if decision == "done" else "paid 5"
            assert engine.steps()[1].value["result"] == result
        assert undecided(engine) == []
    assert bank.keys == ["r:a"] * call_count
    second = [(2, 2, "success")] if decision == "retry" else []
    assert tries(engine) == [(2, 1, "unknown"), *second]


async def test_a_person_may_order_one_call_after_another(engine: Engine) -> None:
    """Each `--retry` is one call; between two of them the question is open again."""
    bank = Bank(ConnectionResetError("peer"))
    bank.employ(PAY, "done")
    async with engine:
        handle = await engine.start("payer", "go")
        for number in (1, 2, 3):
            await eventually(lambda: undecided(engine))
            assert len(bank.keys) == number
            resolve_call(engine.database, "r", 2, "retry", None)
            await eventually(lambda number=number: len(bank.keys) > number)  # type: ignore[misc]
        await eventually(lambda: undecided(engine))
        with pytest.raises(StepNotUndecided):
            resolve_call(engine.database, "r", 4, "retry", None)
        resolve_call(engine.database, "r", 2, "done", "1")
        assert (await handle.get_result())["output"] == "done"
    assert bank.keys == ["r:a"] * 4
    assert tries(engine) == [(2, number, "unknown") for number in (1, 2, 3, 4)]


async def test_a_side_that_stays_down_is_not_called_for_ever(engine: Engine) -> None:
    """A call that is known not to be made has its tries and its waits; then its error is final."""
    bank = Bank(answered(503), CallOutcome.NOT_MADE)
    bank.employ(PAY, "done", reconciles=True, max_attempts=3)
    async with engine:
        for life in (engine.record("payer", "go"), engine.replay()):
            with pytest.raises(Exception, match="answered 503"):
                await asyncio.wait_for(life, 20)
    assert bank.keys == ["r:a"] * 3
    assert len(bank.asked) == 3


@pytest.mark.parametrize("answer", [CallOutcome.UNKNOWN, RuntimeError("down")], ids=str)
async def test_who_does_not_know_leaves_it_to_a_person(engine: Engine, answer: Any) -> None:
    """A `reconcile` that cannot tell is asked once, one that fails as often as the policy says."""
    bank = Bank(ConnectionResetError("peer"), answer)
    bank.employ(PAY, "done", reconciles=True, max_attempts=2)
    async with engine:
        handle = await engine.start("payer", "go")
        await eventually(lambda: undecided(engine))
        resolve_call(engine.database, "r", 2, "done", "1")
        await handle.get_result()
    assert len(bank.asked) == (1 if answer is CallOutcome.UNKNOWN else 2)
    assert bank.keys == ["r:a"]


async def test_a_reconcile_that_hangs_has_the_limit_of_a_try(engine: Engine) -> None:
    """It counts as one that does not know."""
    bank = Bank(ConnectionResetError("peer"))

    async def find(payment: ExternalCall) -> None:
        bank.asked.append(payment)
        await hang()

    bank.employ(PAY, "done", reconcile=find, max_attempts=2, timeout_s=0.1)
    async with engine:
        handle = await engine.start("payer", "go")
        await eventually(lambda: undecided(engine))
        resolve_call(engine.database, "r", 2, "done", "1")
        await handle.get_result()
    assert len(bank.asked) == 2


async def test_a_word_to_the_model_is_an_answer(engine: Engine) -> None:
    """`ModelRetry` is recorded as any other; the model's second call has an intent of its own."""
    bank = Bank(ModelRetry("in cents"))

    def turn(messages: Any) -> None:
        if len(messages) > 2:
            bank.failure = None

    agent = durable(
        Agent(scripted(PAY, call("pay", "b", cents=500), "done", seen=turn), name="payer")
    )
    agent.tool_plain(metadata={"step": {"effect": "external"}})(bank.pay)
    async with engine:
        first = await engine.record("payer", "go")
        assert await engine.replay() == first
        assert intents(engine) == [
            ("r", 2, "payer.tool.pay", "r:a"),
            ("r", 4, "payer.tool.pay", "r:b"),
        ]
    assert bank.keys == ["r:a", "r:b"]
    assert tries(engine) == [(2, 1, "success"), (4, 1, "success")]


async def test_two_calls_at_once_are_decided_apart(engine: Engine) -> None:
    """Each of two parallel calls has its own intent, and waits for its own decision."""
    agent = durable(
        Agent(echoing(call("pay", "a", cents=1), call("pay", "b", cents=2)), name="payer")
    )
    bank = Bank(ConnectionResetError("peer"))
    agent.tool_plain(metadata={"step": {"effect": "external"}})(bank.pay)
    async with engine:
        handle = await engine.start("payer", "go")
        await eventually(lambda: len(undecided(engine)) == 2)
        assert undecided(engine) == [("r", 2, "r:a", {"cents": 1}), ("r", 3, "r:b", {"cents": 2})]
        bank.failure = None
        resolve_call(engine.database, "r", 3, "retry", None)
        await eventually(lambda: len(engine.steps()) == 2)
        assert [row[1] for row in undecided(engine)] == [2]
        resolve_call(engine.database, "r", 2, "done", '"by hand"')
        first = await handle.get_result()
        assert first["output"] == "a=by hand b=paid 2"
        assert await engine.replay() == first
    assert Counter(bank.keys) == {"r:a": 1, "r:b": 2}


async def test_a_fork_makes_its_own_calls(engine: Engine) -> None:
    """A copy that goes on before the call has its own intent and key; one after it makes none."""
    bank = Bank()
    bank.employ(PAY, "done")
    async with engine:
        first = await engine.record("payer", "go")
        assert await engine.replay(steps=3) == first
        assert bank.keys == ["r:a"]
        assert await engine.replay(steps=2) == first
        own, copied = intents(engine) if intents(engine)[0][0] == "r" else intents(engine)[::-1]
    assert own == ("r", 2, "payer.tool.pay", "r:a")
    assert copied[1:3] == own[1:3]
    assert bank.keys == ["r:a", f"{copied[0]}:a"]


async def test_only_calls_of_tools_are_external(engine: Engine, tmp_path: Path) -> None:
    """A policy for all tools makes neither model requests nor an MCP server's listing external."""
    server = Server(tmp_path / "notes")
    policies = StepPolicies(tool=StepPolicy(effect="external"))
    model = scripted(call("add", "a", x=1, y=2), call("own", "b"), "done")
    toolset = server.toolset(include_instructions=True)
    agent = durable(Agent(model, name="worker", toolsets=[toolset]), policies=policies)

    @agent.tool_plain
    async def own() -> str:
        return "own"

    @workflow("timed", output=str)
    async def timed(text: str) -> str:
        return str((await agent.run(text, timeout=60)).output)

    async with engine:
        assert await engine.run("timed", "go") == "done"
        assert "worker.run_start_time" in engine.names()
        assert [row[2] for row in intents(engine)] == ["worker.mcp.sums.add", "worker.tool.own"]


@pytest.mark.parametrize("table", ["agent_app.rate_limit", "agent_app.attempt"])
async def test_no_call_is_made_where_an_intent_could_not_be_read(
    engine: Engine, table: str
) -> None:
    """Where our tables answer only in part, an earlier life's intent still holds the call back."""
    bank = Bank()
    bank.employ(PAY, "done")
    async with engine:
        engine.sql(
            "insert into agent_app.intent (run_id, step_number, step_name, call, idempotency_key,"
            " executor_id) values ('r', 2, 'payer.tool.pay', '', 'r:a', '')"
        )
        engine.sql(f"alter table {table} rename to gone")
        await engine.start("payer", "go")
        await eventually(lambda: undecided(engine))
    assert bank.keys == []


async def test_no_call_is_made_without_its_intent(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While intents cannot be written the run stands still; then it goes on where it is."""
    monkeypatch.setattr(orphans, "_STOPPED_S", 0.0)
    bank = Bank()
    bank.employ(PAY, "done")
    async with engine:
        refuse_writes(engine.database, "agent_app.intent", "25006")
        handle = await engine.start("payer", "go")
        await eventually(lambda: len(engine.steps()) == 1)
        await until_nobody_executes()
        assert (bank.keys, engine.status()) == ([], "PENDING")
        allow_writes(engine.database)
        recover_own_runs(engine)
        assert (await asyncio.wait_for(handle.get_result(), 20))["output"] == "done"
    assert bank.keys == ["r:a"]


async def test_who_lost_the_run_does_not_settle_its_call(engine: Engine) -> None:
    """A decision belongs to the run's new owner: the old one neither calls nor takes it away."""
    bank = Bank(ConnectionResetError("peer"))
    bank.employ(PAY, "done")
    async with engine:
        await engine.start("payer", "go")
        await eventually(lambda: undecided(engine))
        change_owner(engine)
        resolve_call(engine.database, "r", 2, "retry", None)
        kept = engine.sql("table agent_app.intent")
        await until_nobody_executes()
        assert engine.sql("table agent_app.intent") == kept
    assert bank.keys == ["r:a"]


async def test_a_cancelled_run_keeps_its_question(engine: Engine) -> None:
    """Cancelled while it waits, a run asks nobody; resumed, it asks the same again."""
    bank = Bank(ConnectionResetError("peer"))
    bank.employ(PAY, "done")
    async with engine:
        await engine.start("payer", "go")
        await eventually(lambda: undecided(engine))
        kept = engine.sql("table agent_app.intent")
        cancel_run(engine.database, "r")
        await until_nobody_executes()
        assert undecided(engine) == []
        (executor_id,) = engine.sql("select executor_id from dbos.workflow_status")[0]
        await resume_run(engine.database, "r", Executor(executor_id, "1"))
        await eventually(lambda: undecided(engine) and running_ids())
        assert engine.sql("table agent_app.intent") == kept
        resolve_call(engine.database, "r", 2, "done", "1")
        await eventually(lambda: engine.status() == "SUCCESS")
    assert bank.keys == ["r:a"]
