"""What a provider can answer, and what becomes of a run: its own client against a local server."""

import asyncio
import time
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from dbos import error as dbos_error
from pydantic_ai.exceptions import (
    ModelAuthenticationError,
    ModelNotFoundError,
    ModelQuotaExceededError,
    ModelRequestRejectedError,
    ModelServerError,
)

from agent_app.database.connect import Database
from agent_app.errors import RunFailed, StepTimedOut
from agent_app.operations.control import cancel_run
from agent_app.operations.start import wait_for_run
from tests.doors.asking import CHAT, SOON, answering, launched, until
from tests.doors.conftest import Command
from tests.doors.providers import PROVIDERS, Provider
from tests.doors.stub_server import Failure, Fault, Stub
from tests.durability.running import Engine

by_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
on_chat = pytest.mark.parametrize("provider", [CHAT], ids=["chat"])
NO_QUOTA = {"code": "insufficient_quota", "type": "insufficient_quota", "message": "spent"}
NO_CREDIT = {"type": "invalid_request_error", "message": "Your credit balance is too low to go on."}
SPENT = {
    "chat": Failure(429, body={"error": NO_QUOTA}),
    "responses": Failure(429, body={"error": NO_QUOTA}),
    "messages": Failure(400, body={"type": "error", "error": NO_CREDIT}),
}
BROKEN: tuple[Fault, ...] = ("reset", "drop", "cut", "hold")
"""What gives no whole answer, the last one within the time limit."""


@pytest.fixture
def stub(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Yield the provider's stub, which its client is pointed to."""
    with answering(provider, monkeypatch) as stub:
        yield stub


def attempts(engine: Engine, columns: str, run_id: str = "r") -> list[tuple[Any, ...]]:
    """Return the run's rows in the ledger, oldest first."""
    return engine.sql(
        f"select {columns} from agent_app.attempt where run_id = %s order by attempt_number",  # noqa: S608
        run_id,
    )


async def errors_of(*lives: Awaitable[Any]) -> list[Any]:
    """Return what each raised, or returned if it raised nothing."""
    return await asyncio.gather(*lives, return_exceptions=True)


def failure_id(failure: Failure) -> str:
    """Return a run ID that no other failure has."""
    return f"r{failure.status}{'-spent' if failure.body else ''}"


@by_provider
async def test_a_refused_request_is_sent_once(
    database: Database, provider: Provider, stub: Stub
) -> None:
    """A wrong key, a bad request, no such model, a spent quota: their own errors, in both lives."""
    refused: list[tuple[Failure, type[Any]]] = [
        (Failure(401), ModelAuthenticationError),
        (Failure(400), ModelRequestRejectedError),
        (Failure(404), ModelNotFoundError),
        (SPENT[provider.name], ModelQuotaExceededError),
    ]
    run_ids = [failure_id(failure) for failure, _ in refused]
    async with launched(database, worker=provider.model) as engine:
        first: list[Any] = []
        for run_id, (failure, _) in zip(run_ids, refused, strict=True):
            stub.faults = {len(stub.requests) + 1: failure}
            first += await errors_of(engine.run("worker", "go", run_id=run_id))
        again = await errors_of(*map(engine.replay, run_ids))
    assert len(stub.requests) == len(refused)
    for error, replayed, (failure, kind) in zip(first, again, refused, strict=True):
        assert isinstance(error, kind)
        assert isinstance(replayed, kind)
        assert error.status_code == replayed.status_code == failure.status
        assert error.body == replayed.body
        rows = attempts(engine, "outcome, http_status", failure_id(failure))
        assert rows == [("error", failure.status)]


@by_provider
async def test_what_passes_is_asked_once_more(
    database: Database, provider: Provider, stub: Stub
) -> None:
    """After an error that can pass the next try succeeds; each is one request of the client's."""
    statuses = [408, 429, 500, 502, 503, 529]
    async with launched(database, worker=provider.model) as engine:
        for status in statuses:
            stub.faults = {len(stub.requests) + 1: Failure(status)}
            assert await engine.run("worker", "go", run_id=f"r{status}") == "at last"
            assert len(stub.requests) == 2 * len(stub.answered)
    assert {headers["x-stainless-retry-count"] for headers in stub.headers} == {"0"}
    for status in statuses:
        rows = attempts(engine, "outcome, http_status", f"r{status}")
        assert rows == [("error", status), ("success", None)]


@by_provider
@pytest.mark.parametrize("name", ["worker", "heard"])
async def test_no_whole_answer_is_asked_for_once_more(
    database: Database, provider: Provider, stub: Stub, name: str
) -> None:
    """Connections that end too early and one that hangs cost one try, streamed or not."""
    policy = replace(SOON, timeout_s=0.8)
    async with launched(database, policy=policy, worker=provider.model) as engine:
        for fault in BROKEN:
            stub.faults = {len(stub.requests) + 1: fault}
            assert await engine.run(name, "go", run_id=str(fault)) == "at last"
            assert len(stub.requests) == 2 * len(stub.answered)
    errors = [attempts(engine, "error_type", str(fault)) for fault in BROKEN]
    lost, late = [("ModelConnectionError",), (None,)], [("StepTimedOut",), (None,)]
    assert errors == [lost, lost, lost, late]
    assert all(body.get("stream", False) for body in stub.requests) or name == "worker"


@by_provider
async def test_an_answer_that_ends_early_is_no_answer(
    database: Database, provider: Provider, stub: Stub
) -> None:
    """A stream without its last events is asked for again, though its connection ended well."""
    stub.text = "at last, " * 20
    stub.faults[1] = "short"
    async with launched(database, worker=provider.model) as engine:
        assert await engine.run("heard", "go") == stub.text
    assert len(stub.requests) == 2


@on_chat
async def test_a_provider_that_hangs_is_asked_as_often_as_the_policy_says(
    database: Database, stub: Stub
) -> None:
    """Each try has the whole limit, and its connection is closed when the limit is over."""
    stub.faults = dict.fromkeys(range(1, 9), "hold")
    policy = replace(SOON, timeout_s=0.3, max_attempts=3)
    async with launched(database, policy=policy, worker=CHAT.model) as engine:
        with pytest.raises(StepTimedOut):
            await engine.run("worker", "go")
    assert len(stub.requests) == len(stub.left_at) == 3
    held = [stub.left_at[n + 1] - at for n, at in enumerate(stub.asked_at)]
    assert all(0.2 < held_s < 3 for held_s in held), held


@by_provider
async def test_the_last_real_error_comes_out_with_its_attempts(
    database: Database, provider: Provider, stub: Stub
) -> None:
    """Class, status and body are the last answer's, in both lives; every try is told of."""
    body = {"type": "error", "error": {"type": "api_error", "message": "the very last one"}}
    stub.faults |= {1: Failure(503), 2: Failure(429), 3: "cut", 4: Failure(500, body=body)}
    async with launched(database, worker=provider.model) as engine:
        errors = await errors_of(engine.record("worker", "go"))
        errors += await errors_of(engine.replay())
        with pytest.raises(RunFailed, match=r"\(after 4 attempts\)\. ") as failed:
            await wait_for_run("r")
        assert "the very last one" in str(failed.value)
    assert len(stub.requests) == 4
    assert all(isinstance(error, ModelServerError) for error in errors)
    for error in errors:
        assert (type(error).__name__, error.status_code) == ("ModelServerError", 500)
        assert "the very last one" in str(error.body)
        assert [text.partition(":")[2].split()[0] for text in error.step_attempts] == [
            "ModelUnavailableError:",
            "ModelRateLimitError:",
            "ModelConnectionError:",
            "ModelServerError:",
        ]
        assert [text.partition(":")[0] for text in error.step_attempts] == [
            f"attempt {number}" for number in range(1, 5)
        ]
    ((error,),) = engine.sql("select error from agent_app.run where run_id = 'r'")
    assert error.startswith("ModelServerError: status_code: 500")
    assert error.endswith("(after 4 attempts)")


@on_chat
def test_a_person_reads_after_how_many_attempts(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch, stub: Stub
) -> None:
    """`run` and `show` say the provider's error and how often it was tried."""
    monkeypatch.setenv("AGENT_APP_RETRY_BACKOFF_S", "0.001")
    stub.faults = dict.fromkeys(range(1, 9), Failure(503))
    game = ("run", "twenty-questions", "potato", "--id", "r", "--model", CHAT.model)
    failed = agent_app(*game)
    assert failed.code == 1
    for told in (failed.stderr, agent_app("show", "r").stdout):
        assert "ModelUnavailableError" in told
        assert "(after 4 attempts)" in told
    assert len(stub.requests) == 4


@by_provider
async def test_the_ledger_tells_of_every_try(
    database: Database, provider: Provider, stub: Stub
) -> None:
    """Two failures with what was asked and waited, one success with what it has cost."""
    stub.faults |= {1: Failure(429, {"retry-after-ms": "250"}), 2: Failure(500)}
    async with launched(database, worker=provider.model) as engine:
        record = await engine.record("worker", "go")
    busy, broken, good = attempts(
        engine,
        "attempt_number, outcome, error_type, http_status, retry_after_s, input_tokens,"
        " output_tokens, cost_usd",
    )
    assert busy == (1, "error", "ModelRateLimitError", 429, 0.25, None, None, None)
    assert broken == (2, "error", "ModelServerError", 500, None, None, None, None)
    assert good[:-1] == (3, "success", None, None, None, 10, 5)
    assert good[-1] > 0
    assert str(good[-1]) == record["cost_usd"]
    waits = attempts(engine, "extract(epoch from retry_at - finished_at)::float")
    assert waits[0][0] == pytest.approx(0.25, abs=0.05)
    assert waits[1][0] < 0.05
    assert waits[2] == (None,)
    assert all(
        is_told
        for row in attempts(engine, "started_at <= finished_at, executor_id <> '', step_name <> ''")
        for is_told in row
    )


@by_provider
async def test_cancelling_closes_the_connection_of_a_request_that_hangs(
    database: Database, provider: Provider, stub: Stub
) -> None:
    """A cancelled run leaves its request at once, and its try says that it was cancelled."""
    stub.faults[1] = "hold"
    async with launched(database, worker=provider.model) as engine:
        handle = await engine.start("worker", "go")
        await until(stub.holding.is_set)
        started = time.monotonic()
        await asyncio.to_thread(cancel_run, database, "r")
        with pytest.raises(dbos_error.DBOSAwaitedWorkflowCancelledError):
            await handle.get_result()
        await until(lambda: stub.left_at)
        assert stub.left_at[1] - started < 2
        assert engine.status() == "CANCELLED"
    assert attempts(engine, "outcome, finished_at is not null") == [("cancelled", True)]
    assert len(stub.requests) == 1
