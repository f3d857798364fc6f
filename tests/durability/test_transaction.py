"""Tools that write to our own Postgres: rows and result together, or neither."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from pydantic_ai import Agent, ModelRetry, ToolFailed

from agent_app.durability.catalog import durable, workflow
from agent_app.durability.transaction import transaction
from agent_app.errors import StepTimedOut, TransactionMisused
from agent_app.failover import orphans
from tests.durability.running import Engine, call, echoing, scripted
from tests.durability.takeover import eventually, recover_own_runs
from tests.durability.test_outage import until_nobody_executes

BOOK = call("book", "a", text="first")
ELSEWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
def shop(engine: Engine) -> "Shop":
    """Return a table of entries and what writes to it; an agent is made before `async with`."""
    engine.sql("create table public.entry (text text, number integer)")
    return Shop(engine)


class Shop:
    """An agent whose tool writes a row, does what the test wants, and writes another one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.bodies: Counter[str] = Counter()
        self.between: Callable[[str], Any] | None = None
        """What happens between the rows; it gets the tool's argument."""

    def open(self, *turns: Any, **policy: Any) -> None:
        """Make the agent."""
        agent = durable(Agent(scripted(*turns), name="clerk"))
        metadata = {"step": {"effect": "transactional", "backoff_s": 0.001, **policy}}
        agent.tool_plain(metadata=metadata)(self.book)

    async def book(self, text: str) -> str:
        """Write two rows."""
        self.bodies[text] += 1
        await write(text, 1)
        if self.between is not None:
            await self.between(text)
        await write(text, 2)
        return f"{text} is booked"

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """Return what is in the table."""
        return self.engine.sql("table public.entry order by text, number")

    @property
    def committed(self) -> list[tuple[Any, ...]]:
        """Return run and step of the results that are committed together with rows."""
        return self.engine.sql("select run_id, step_number from agent_app.committed_call")

    def fail_once(self, error: Exception) -> None:
        """Raise the error between the rows of the first try of the first call."""

        async def fail(text: str) -> None:
            if text == "first" and self.bodies["first"] == 1:
                raise error

        self.between = fail


async def write(text: str, number: int) -> None:
    """Write one row."""
    await transaction().execute("insert into public.entry values (%s, %s)", (text, number))


FIRST = [("first", 1), ("first", 2)]


async def test_rows_and_result_commit_together(engine: Engine, shop: Shop) -> None:
    """What the tool writes is there once, and a replay writes nothing."""
    shop.open(BOOK, "done")
    async with engine:
        first = await engine.record("clerk", "go")
        assert await engine.replay() == first
    assert shop.bodies == {"first": 1}
    assert shop.rows == FIRST
    assert shop.committed == [("r", 2)]


async def test_an_error_rolls_back_and_is_recorded(engine: Engine, shop: Shop) -> None:
    """A tool that fails leaves no row, and its error is the run's in both lives."""
    shop.open(BOOK, "done")
    shop.fail_once(ValueError("no such seat"))
    async with engine:
        for life in (engine.record("clerk", "go"), engine.replay()):
            with pytest.raises(ValueError, match="no such seat"):
                await life
    assert shop.bodies == {"first": 1}
    assert (shop.rows, shop.committed) == ([], [])


@pytest.mark.parametrize("refusal", [ModelRetry("another seat"), ToolFailed("no seat")], ids=repr)
async def test_a_word_to_the_model_rolls_back(
    engine: Engine, shop: Shop, refusal: Exception
) -> None:
    """A tool that refuses leaves no row; the model's next call writes its own."""
    shop.open(BOOK, call("book", "b", text="second"), "done")
    shop.fail_once(refusal)
    async with engine:
        first = await engine.record("clerk", "go")
        assert await engine.replay() == first
    assert shop.bodies == {"first": 1, "second": 1}
    assert shop.rows == [("second", 1), ("second", 2)]
    assert shop.committed == [("r", 4)]


@pytest.mark.parametrize("state", ["40001", "40P01"])
@pytest.mark.parametrize("place", ["statement", "commit"])
async def test_what_was_undone_for_another_is_done_again(
    engine: Engine, shop: Shop, state: str, place: str
) -> None:
    """A serialization failure or a deadlock, at a statement or at commit, costs another try."""
    engine.sql("create sequence public.times")
    engine.sql(
        "create function public.fail_once() returns trigger language plpgsql as $$ begin"
        " if nextval('public.times') = 1 then raise 'undone' using errcode = '"
        + state
        + "'; end if; return null; end $$"
    )
    timing = "deferrable initially deferred" if place == "commit" else ""
    engine.sql(
        f"create constraint trigger fail after insert on public.entry {timing}"
        " for each row when (new.number = 1) execute function public.fail_once()"
    )
    shop.open(BOOK, "done")
    async with engine:
        assert await engine.run("clerk", "go") == "done"
    assert shop.bodies == {"first": 2}
    assert shop.rows == FIRST


async def test_a_real_deadlock_of_two_parallel_tools_is_resolved(engine: Engine) -> None:
    """Two tools that wait for each other's rows both end, and each has counted once."""
    engine.sql("create table public.stock (name text primary key, sold integer)")
    engine.sql("insert into public.stock values ('x', 0), ('y', 0)")
    model = echoing(call("sell", "a", names=["x", "y"]), call("sell", "b", names=["y", "x"]))
    agent = durable(Agent(model, name="seller"))
    both = asyncio.Barrier(2)
    bodies: Counter[str] = Counter()

    @agent.tool_plain(metadata={"step": {"effect": "transactional", "backoff_s": 0.001}})
    async def sell(names: list[str]) -> str:
        bodies["sell"] += 1
        for name in names:
            await transaction().execute(
                "update public.stock set sold = sold + 1 where name = %s", [name]
            )
            if bodies["sell"] <= 2 and name == names[0]:
                await both.wait()
        return f"sold {names}"

    async with engine:
        first = await engine.record("seller", "go")
        assert await engine.replay() == first
    assert first["output"] == "a=sold ['x', 'y'] b=sold ['y', 'x']"
    assert bodies["sell"] == 3
    assert engine.sql("table public.stock order by name") == [("x", 2), ("y", 2)]


async def test_two_parallel_tools_commit_apart(engine: Engine, shop: Shop) -> None:
    """One that fails takes back its own rows alone."""
    agent = durable(
        Agent(echoing(call("book", "a", text="first"), call("book", "b", text="second")), name="w")
    )
    agent.tool_plain(metadata={"step": {"effect": "transactional"}})(shop.book)
    shop.fail_once(ModelRetry("another seat"))
    async with engine:
        first = await engine.record("w", "go")
        assert await engine.replay() == first
    assert shop.rows == [("second", 1), ("second", 2)]
    assert shop.committed == [("r", 3)]


async def test_a_time_limit_in_the_middle_rolls_back(engine: Engine, shop: Shop) -> None:
    """A try over its limit leaves no row, no open transaction, and the next one writes."""
    shop.open(BOOK, "done", timeout_s=0.3)

    async def sleep(text: str) -> None:
        if shop.bodies["first"] == 1:
            await transaction().execute("select pg_sleep(60)")

    shop.between = sleep
    async with engine:
        assert await engine.run("clerk", "go") == "done"
        await eventually(lambda: states_of_sessions(engine) == {"idle"})
    assert shop.bodies == {"first": 2}
    assert shop.rows == FIRST


def states_of_sessions(engine: Engine) -> set[str]:
    """Return what our own sessions do at this moment."""
    rows = engine.sql(
        "select state from pg_stat_activity where datname = current_database()"
        " and application_name = 'agent_app' and pid <> pg_backend_pid()"
    )
    return {state for (state,) in rows}


@pytest.mark.parametrize("max_attempts", [1, 2])
async def test_a_time_limit_after_the_commit_comes_too_late(
    engine: Engine, shop: Shop, monkeypatch: pytest.MonkeyPatch, max_attempts: int
) -> None:
    """Once its rows are committed a tool has succeeded, in its last try too."""
    shop.open(BOOK, "done", timeout_s=0.3, max_attempts=max_attempts)
    inner = psycopg.AsyncTransaction.__aexit__
    slow = [True]

    async def commit(self: Any, *exit: Any) -> Any:
        result = await inner(self, *exit)
        if slow.pop():
            slow.append(False)
            await asyncio.sleep(60)
        return result

    monkeypatch.setattr(psycopg.AsyncTransaction, "__aexit__", commit)
    async with engine:
        first = await engine.record("clerk", "go")
        assert await engine.replay() == first
    assert shop.bodies == {"first": 1}
    assert shop.rows == FIRST


async def test_a_limit_that_strikes_before_the_commit_is_final_in_the_last_try(
    engine: Engine, shop: Shop
) -> None:
    """Without another try the time-out is the run's error, and no row is there."""
    shop.open(BOOK, "done", timeout_s=0.3, max_attempts=1)

    async def sleep(text: str) -> None:
        await asyncio.sleep(60)

    shop.between = sleep
    async with engine:
        with pytest.raises(StepTimedOut):
            await engine.run("clerk", "go")
    assert (shop.rows, shop.committed) == ([], [])


async def test_a_lost_connection_stops_the_run_until_it_goes_on(
    engine: Engine, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that is ended between two rows leaves the run PENDING; later, both are written."""
    monkeypatch.setattr(orphans, "_STOPPED_S", 0.0)
    shop.open(BOOK, "done")

    async def end_backend(text: str) -> None:
        if shop.bodies["first"] == 1:
            engine.sql("select pg_terminate_backend(%s)", transaction().info.backend_pid)

    shop.between = end_backend
    async with engine:
        await ends_after_a_stop(engine)
    assert shop.bodies == {"first": 2}
    assert shop.rows == FIRST


@pytest.mark.parametrize("is_committed", [False, True], ids=["not committed", "committed"])
async def test_a_connection_lost_at_commit_leaves_the_rows_once(
    engine: Engine, shop: Shop, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    """Nobody knows whether it has committed: who goes on looks, and writes only if it has not."""
    monkeypatch.setattr(orphans, "_STOPPED_S", 0.0)
    shop.open(BOOK, "done")
    lose_commit(engine, monkeypatch, is_committed=is_committed)
    async with engine:
        await ends_after_a_stop(engine)
    assert shop.bodies == {"first": 1 if is_committed else 2}
    assert shop.rows == FIRST
    assert shop.committed == [("r", 2)]


def lose_commit(engine: Engine, monkeypatch: pytest.MonkeyPatch, *, is_committed: bool) -> None:
    """End the first transaction's backend just before its COMMIT, or before it is answered."""
    inner = psycopg.AsyncTransaction.__aexit__
    lost: list[int] = []

    async def lose(self: Any, *exit: Any) -> Any:
        backend = self.connection.info.backend_pid
        is_first = not lost
        lost.append(backend)
        if is_first and not is_committed:
            engine.sql("select pg_terminate_backend(%s, 5000)", backend)
        result = await inner(self, *exit)
        if is_first:
            engine.sql("select pg_terminate_backend(%s, 5000)", backend)
            await self.connection.execute("select 1")
        return result

    monkeypatch.setattr(psycopg.AsyncTransaction, "__aexit__", lose)


async def ends_after_a_stop(engine: Engine) -> None:
    """Run it: it must stop PENDING with nobody executing it, and then go on in this process."""
    handle = await engine.start("clerk", "go")
    await eventually(lambda: len(engine.steps()) == 1)
    await until_nobody_executes()
    assert engine.status() == "PENDING"
    recover_own_runs(engine)
    assert (await asyncio.wait_for(handle.get_result(), 20))["output"] == "done"


async def test_another_servers_failure_is_the_tools_own(engine: Engine, shop: Shop) -> None:
    """A connection that the tool opened elsewhere fails like any call: tried again, then final."""
    shop.open(BOOK, "done", max_attempts=2)

    async def connect_elsewhere(text: str) -> None:
        async with await psycopg.AsyncConnection.connect(ELSEWHERE, connect_timeout=2):
            pass

    shop.between = connect_elsewhere
    async with engine:
        for life in (engine.record("clerk", "go"), engine.replay()):
            with pytest.raises(Exception, match="OperationalError"):
                await asyncio.wait_for(life, 10)
    assert shop.bodies == {"first": 2}
    assert (shop.rows, shop.committed) == ([], [])


async def test_what_a_tool_sets_in_its_session_ends_with_it(engine: Engine, shop: Shop) -> None:
    """The next user of the connection finds it as it was."""
    shop.open(BOOK, call("book", "b", text="second"), "done")
    found: list[Any] = []

    async def change_session(text: str) -> None:
        cursor = await transaction().execute("show statement_timeout")
        found.append(await cursor.fetchone())
        await transaction().execute("set statement_timeout = 1234")

    shop.between = change_session
    async with engine:
        assert await engine.run("clerk", "go") == "done"
    assert found == [{"statement_timeout": "0"}] * 2


async def test_there_is_no_transaction_elsewhere(engine: Engine, shop: Shop) -> None:
    """In workflow code, in an ordinary tool and outside every run, `transaction()` is misused."""
    agent = durable(Agent(scripted(call("look", "a"), "done"), name="looker"))

    @agent.tool_plain
    async def look() -> None:
        transaction()

    @workflow("bare", output=str)
    async def bare(text: str) -> str:
        transaction()
        return text

    with pytest.raises(TransactionMisused):
        transaction()
    async with engine:
        for name in ("looker", "bare"):
            with pytest.raises(TransactionMisused):
                await engine.run(name, "go", name)


async def test_a_synchronous_tool_has_no_transaction(engine: Engine) -> None:
    """It could not await the connection's methods: nothing would be written, and nobody told."""
    agent = durable(Agent(scripted(call("book", "a"), "done"), name="clerk"))

    @agent.tool_plain(metadata={"step": {"effect": "transactional"}})
    def book() -> None:
        transaction()

    async with engine:
        with pytest.raises(TransactionMisused):
            await engine.run("clerk", "go")


async def test_a_transaction_ends_with_its_tool(engine: Engine) -> None:
    """A task that outlives the tool does not get its connection, which is another's by then."""
    agent = durable(Agent(scripted(call("book", "a"), "done"), name="clerk"))
    is_over = asyncio.Event()
    late: list[asyncio.Task[Any]] = []

    async def write_late() -> None:
        await is_over.wait()
        transaction()

    @agent.tool_plain(metadata={"step": {"effect": "transactional"}})
    async def book() -> None:
        late.append(asyncio.create_task(write_late()))

    async with engine:
        assert await engine.run("clerk", "go") == "done"
        is_over.set()
        with pytest.raises(TransactionMisused):
            await late[0]


async def test_a_result_of_another_call_is_not_taken(engine: Engine, shop: Shop) -> None:
    """A committed result that is of another call ends the run: its history is not this one's."""
    shop.open(BOOK, "done")
    engine.sql("insert into agent_app.committed_call values ('r', 2, 'another', '{}')")
    async with engine:
        with pytest.raises(Exception, match="is of 'another'"):
            await engine.run("clerk", "go")
    assert shop.bodies == {}
