"""How long a provider asks to wait, in each form of the header, and how long is waited."""

import datetime as dt
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import format_datetime
from typing import Any

import pytest
from dbos import DBOS

from agent_app.database.connect import Database
from agent_app.durability.policy import StepPolicy
from agent_app.durability.storage import storage
from agent_app.failover.orphans import recover_orphans
from tests.doors.asking import CHAT, SOON, answering, launched, until
from tests.doors.providers import PROVIDERS, Provider
from tests.doors.stub_server import Failure, Stub
from tests.durability.running import Engine

by_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
on_chat = pytest.mark.parametrize("provider", [CHAT], ids=["chat"])
NEVER = StepPolicy(backoff_s=1e6, backoff_max_s=1e6)
"""A backoff that no test lives through: what is waited must be what is asked for."""
SLACK_S = 5.0


@pytest.fixture
def stub(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Yield the provider's stub, which its client is pointed to."""
    with answering(provider, monkeypatch) as stub:
        yield stub


async def wait_met(engine: Engine, stub: Stub, failure: Failure, run_id: str) -> float:
    """Return the seconds between a run's first request, which fails like this, and its second."""
    first = len(stub.requests)
    stub.faults = {first + 1: failure}
    assert await engine.run("worker", "go", run_id=run_id) == "at last"
    assert len(stub.requests) == first + 2
    return stub.asked_at[first + 1] - stub.asked_at[first]


@by_provider
async def test_the_wait_is_what_was_asked_for(
    database: Database, provider: Provider, stub: Stub
) -> None:
    """Whole seconds, decimal ones and milliseconds replace the backoff, for a 503 as for a 429."""
    asked: list[tuple[int, str, str, float]] = [
        (429, "retry-after", "1", 1.0),
        (503, "Retry-After", "0.4", 0.4),
        (429, "retry-after-ms", "300", 0.3),
        (500, "retry-after-ms", "0", 0.0),
    ]
    async with launched(database, policy=NEVER, worker=provider.model) as engine:
        for number, (status, name, text, asked_s) in enumerate(asked):
            failure = Failure(status, {name: text})
            waited_s = await wait_met(engine, stub, failure, f"r{number}")
            assert asked_s <= waited_s < asked_s + SLACK_S, (name, text)


@on_chat
async def test_a_date_is_waited_for(database: Database, stub: Stub) -> None:
    """An HTTP date says when to ask again."""
    async with launched(database, policy=NEVER, worker=CHAT.model) as engine:
        at = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=2)
        failure = Failure(429, {"retry-after": format_datetime(at, usegmt=True)})
        waited_s = await wait_met(engine, stub, failure, "r")
        asked_again_at = time.time() - (time.monotonic() - stub.asked_at[1])
    assert 0 <= asked_again_at - at.timestamp() < SLACK_S
    assert waited_s > 0.5


@on_chat
@pytest.mark.parametrize("text", ["3600", "3600.5", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_no_more_than_the_limit_is_waited(database: Database, stub: Stub, text: str) -> None:
    """Who asks for an hour gets what the policy allows."""
    policy = replace(NEVER, retry_after_max_s=0.3)
    async with launched(database, policy=policy, worker=CHAT.model) as engine:
        waited_s = await wait_met(engine, stub, Failure(429, {"retry-after": text}), "r")
    assert 0.3 <= waited_s < 0.3 + SLACK_S


@on_chat
async def test_a_header_that_says_nothing_leaves_the_backoff(
    database: Database, stub: Stub
) -> None:
    """Nonsense, a negative number and infinity are not obeyed."""
    async with launched(database, policy=SOON, worker=CHAT.model) as engine:
        for number, text in enumerate(("soon", "-5", "inf", "nan", "", "-0.5")):
            failure = Failure(503, {"retry-after": text})
            assert await wait_met(engine, stub, failure, f"r{number}") < SLACK_S
    rows = engine.sql("select retry_after_s from agent_app.attempt where attempt_number = 1")
    assert rows == [(None,)] * 6


@on_chat
async def test_the_rest_of_a_wait_is_left_to_the_next_life(database: Database, stub: Stub) -> None:
    """A process that ends in a wait makes it neither shorter nor much longer."""
    stub.faults[1] = Failure(503, {"retry-after": "3"})
    waits = "select true from agent_app.attempt where retry_at is not null"
    async with launched(database, policy=NEVER, worker=CHAT.model) as engine:
        await engine.start("worker", "go")
        await until(lambda: engine.sql(waits))
    async with launched(database, policy=NEVER, worker=CHAT.model):
        recover_orphans(database, own_executor_id=storage().executor_id, application_version="1")
        handle: Any = await DBOS.retrieve_workflow_async("r")
        assert (await handle.get_result())["output"] == "at last"
    first, second = stub.asked_at
    assert 3 <= second - first < 3 + SLACK_S
