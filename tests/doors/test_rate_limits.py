"""A rate limit that one run meets: what the others of the process do meanwhile."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from dbos import error as dbos_error

from agent_app.database.connect import Database
from agent_app.durability.events import RunEvent, observed_by
from agent_app.operations.control import cancel_run
from tests.doors.asking import CHAT, answering, launched, until
from tests.doors.stub_server import Failure, Stub
from tests.durability.running import Engine

OTHER_MODEL = "openai-chat:gpt-4o-mini"
WAIT_S = 1.5


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Yield a stub whose first request is refused for a while."""
    with answering(CHAT, monkeypatch) as stub:
        stub.faults[1] = Failure(429, {"Retry-After": str(WAIT_S)})
        yield stub


def asked_at(stub: Stub, model: str) -> list[float]:
    """Return when this model was asked."""
    moments = zip(stub.asked_at, stub.requests, strict=True)
    return [at for at, body in moments if body["model"] == model.partition(":")[2]]


async def meet_limit(engine: Engine) -> Any:
    """Start the run that is refused, and return its handle once all others can know."""
    handle = await engine.start("worker", "go", run_id="first")
    await until(lambda: engine.sql("select true from agent_app.rate_limit"))
    return handle


async def test_one_refusal_parks_all_runs_of_the_model(database: Database, stub: Stub) -> None:
    """Nobody asks until the limit opens; then everybody succeeds, with one try each."""
    heard: list[RunEvent] = []
    with observed_by(heard.append):
        async with launched(database, worker=CHAT.model, second=CHAT.model) as engine:
            handles = [await meet_limit(engine)]
            for run_id in ("a", "b"):
                handles.append(await engine.start("worker", run_id, run_id=run_id))
            handles.append(await engine.start("second", "c", run_id="c"))
            await until(lambda: parked(heard) >= {"a", "b", "c"})
            assert len(stub.requests) == 1
            results = await asyncio.gather(*(handle.get_result() for handle in handles))
    assert [result["output"] for result in results] == ["at last"] * 4
    refused, *later = asked_at(stub, CHAT.model)
    assert len(later) == 4
    assert min(later) - refused >= WAIT_S
    assert max(later) - refused < WAIT_S + 5
    waits = [event.wait_s for event in heard if event.kind == "step_parked"]
    assert all(wait_s is not None and 0 < wait_s <= WAIT_S for wait_s in waits), waits
    rows = engine.sql("select run_id, attempt_number, outcome from agent_app.attempt order by 1, 2")
    one_try = [(run_id, 1, "success") for run_id in ("a", "b", "c")]
    assert rows == [*one_try, ("first", 1, "error"), ("first", 2, "success")]


def parked(heard: list[RunEvent]) -> set[str]:
    """Return the runs that were told to be parked."""
    return {event.run_id for event in heard if event.kind == "step_parked"}


async def test_another_model_is_not_held_up(database: Database, stub: Stub) -> None:
    """A run with a model of the same provider asks and ends while the limit is closed."""
    async with launched(database, worker=CHAT.model, other=OTHER_MODEL) as engine:
        refused = await meet_limit(engine)
        assert await engine.run("other", "go", run_id="other") == "at last"
        await refused.get_result()
    (asked,) = asked_at(stub, OTHER_MODEL)
    first, second = asked_at(stub, CHAT.model)
    assert first < asked < first + WAIT_S <= second
    limits = engine.sql("select provider, model, run_id, step_number from agent_app.rate_limit")
    assert limits == [("openai", "gpt-4o", "first", 1)]


async def test_a_limit_that_others_prolong_is_kept_to(database: Database, stub: Stub) -> None:
    """Whoever waits for one refusal waits on when another process meets a longer one."""
    heard: list[RunEvent] = []
    with observed_by(heard.append):
        async with launched(database, worker=CHAT.model) as engine:
            handles = [await meet_limit(engine)]
            handles.append(await engine.start("worker", "go", run_id="parked"))
            await until(lambda: "parked" in parked(heard))
            engine.sql("update agent_app.rate_limit set closed_until = closed_until + '1.5 s'")
            await asyncio.gather(*(handle.get_result() for handle in handles))
    refused, *later = asked_at(stub, CHAT.model)
    assert len(later) == 2
    assert min(later) - refused >= WAIT_S + 1.5


@pytest.mark.parametrize("run_id", ["first", "parked"])
async def test_cancelling_ends_a_wait(database: Database, stub: Stub, run_id: str) -> None:
    """A run that waits for its next try, or is parked, is cancelled at once and asks no more."""
    stub.faults[1] = Failure(429, {"Retry-After": "60"})
    heard: list[RunEvent] = []
    with observed_by(heard.append):
        async with launched(database, worker=CHAT.model) as engine:
            handles = {"first": await meet_limit(engine)}
            handles["parked"] = await engine.start("worker", "go", run_id="parked")
            await until(lambda: "parked" in parked(heard))
            await asyncio.to_thread(cancel_run, database, run_id)
            async with asyncio.timeout(5):
                with pytest.raises(dbos_error.DBOSAwaitedWorkflowCancelledError):
                    await handles[run_id].get_result()
            assert engine.status(run_id) == "CANCELLED"
    assert len(stub.requests) == 1
    rows = engine.sql("select run_id, attempt_number, outcome from agent_app.attempt")
    assert rows == [("first", 1, "error")]
