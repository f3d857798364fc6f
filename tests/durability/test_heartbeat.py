"""Signs of life, time limits of a try, and threads that nobody can stop."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent

from agent_app import delegate, durable, heartbeat
from agent_app.errors import HeartbeatMissed, StepTimedOut
from tests.durability.running import Engine, call, scripted
from tests.helpers import wait_until

BEATING = {"step": {"heartbeat_timeout_s": 0.5, "timeout_s": 30}}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """Yield what threads of synchronous tools wait for, and release them at the end."""
    released = threading.Event()
    yield released
    released.set()


def outcomes(engine: Engine) -> list[tuple[Any, ...]]:
    """Return how the tool's tries ended, oldest first."""
    return engine.sql(
        "select outcome, error_type from agent_app.attempt where step_name = 'worker.tool.work'"
        " order by attempt_number"
    )


async def test_a_tool_that_beats_goes_on(engine: Engine) -> None:
    """Work of several limits is one try as long as no silence is longer than one of them."""
    agent = durable(Agent(scripted(call("work", "a"), "done"), name="worker"))

    @agent.tool_plain(metadata=BEATING)
    async def work() -> None:
        for _ in range(24):
            await asyncio.sleep(0.05)
            heartbeat()

    async with engine:
        assert await engine.run("worker", "go") == "done"
    assert outcomes(engine) == [("success", None)]


async def test_a_synchronous_tool_beats_too(engine: Engine) -> None:
    """A thread's signs of life reach the limit, which is on the event loop."""
    agent = durable(Agent(scripted(call("work", "a"), "done"), name="worker"))

    @agent.tool_plain(metadata=BEATING)
    def work() -> None:
        for _ in range(24):
            time.sleep(0.05)
            heartbeat()

    async with engine:
        assert await engine.run("worker", "go") == "done"
    assert outcomes(engine) == [("success", None)]


async def test_a_tool_that_falls_silent_is_tried_again(engine: Engine) -> None:
    """The try that stopped beating fails, and the next one has the whole limit."""
    tries: Counter[str] = Counter()
    agent = durable(Agent(scripted(call("work", "a"), "done"), name="worker"))

    @agent.tool_plain(metadata=BEATING)
    async def work() -> None:
        tries["begun"] += 1
        for _ in range(10):
            await asyncio.sleep(0.05)
            heartbeat()
        if tries["begun"] == 1:
            await asyncio.Event().wait()

    async with engine:
        assert await engine.run("worker", "go") == "done"
    assert tries["begun"] == 2
    assert outcomes(engine) == [("error", "HeartbeatMissed"), ("success", None)]


@pytest.mark.parametrize("is_synchronous", [False, True])
async def test_silence_in_every_try_is_the_runs_error(
    engine: Engine, hanging: threading.Event, is_synchronous: bool
) -> None:
    """The error says which step was silent and for how long, in both lives."""
    agent = durable(Agent(scripted(call("work", "a"), "done"), name="worker"))
    metadata = {"step": {"heartbeat_timeout_s": 0.1, "max_attempts": 2, "timeout_s": 30}}

    async def wait() -> None:
        await asyncio.Event().wait()

    work: Any = hanging.wait if is_synchronous else wait
    agent.tool_plain(name="work", metadata=metadata)(work)
    async with engine:
        for life in (engine.record("worker", "go"), engine.replay()):
            with pytest.raises(HeartbeatMissed) as caught:
                await life
            assert caught.value.args == ("worker.tool.work", 0.1)
            assert len(caught.value.step_attempts) == 2  # type: ignore[attr-defined]
    assert outcomes(engine) == [("error", "HeartbeatMissed")] * 2


async def test_beating_does_not_prolong_the_time_limit(engine: Engine) -> None:
    """A tool that goes on beating is over its `timeout_s` all the same."""
    agent = durable(Agent(scripted(call("work", "a"), "done"), name="worker"))
    metadata = {"step": {"heartbeat_timeout_s": 0.3, "timeout_s": 0.6, "max_attempts": 1}}

    @agent.tool_plain(metadata=metadata)
    async def work() -> None:
        for _ in range(60):
            await asyncio.sleep(0.05)
            heartbeat()

    async with engine:
        with pytest.raises(StepTimedOut) as caught:
            await engine.run("worker", "go")
        assert caught.value.args == ("worker.tool.work", 0.6)
    assert outcomes(engine) == [("error", "StepTimedOut")]


async def test_nobody_need_beat_while_a_delegate_works(engine: Engine) -> None:
    """Silence counts again, from the beginning, when the child has ended."""
    slow = durable(Agent(scripted(call("rest", "x"), "rested"), name="slow"))
    agent = durable(Agent(scripted(call("work", "a"), "done"), name="worker"))

    @slow.tool_plain
    async def rest() -> None:
        await asyncio.sleep(1)

    @agent.tool_plain(metadata=BEATING)
    async def work() -> str:
        await asyncio.sleep(0.2)
        answer: str = await delegate(slow, "please")
        await asyncio.sleep(0.2)
        return answer

    async with engine:
        assert await engine.run("worker", "go") == "done"
    assert outcomes(engine) == [("success", None)]


async def test_the_ledger_shows_the_last_sign_of_life(engine: Engine) -> None:
    """A beat is seen while the try goes on, and a tool without a limit may beat too."""
    goes_on = asyncio.Event()
    agent = durable(Agent(scripted(call("work", "a"), "done"), name="worker"))

    @agent.tool_plain
    async def work() -> None:
        heartbeat()
        await goes_on.wait()

    async with engine:
        handle = await engine.start("worker", "go")
        seen = "select true from agent_app.current_attempt where heartbeat_at >= started_at"
        await asyncio.to_thread(wait_until, lambda: engine.sql(seen), 20)
        goes_on.set()
        await handle.get_result()
    assert outcomes(engine) == [("success", None)]


def test_outside_a_run_a_beat_does_nothing() -> None:
    """A tool that beats can be called in a test, and goes on."""

    def work() -> str:
        heartbeat()
        return "done"

    assert work() == "done"


async def test_a_thread_over_its_limit_is_abandoned(
    engine: Engine, hanging: threading.Event
) -> None:
    """The next try begins while the first one's thread still sleeps; what that returns is lost."""
    threads: list[threading.Thread] = []
    agent = durable(Agent(scripted(call("work", "a"), "done"), name="worker"))

    @agent.tool_plain(metadata={"step": {"timeout_s": 0.3}})
    def work() -> str:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            hanging.wait()
            heartbeat()
            return "too late"
        assert threads[0].is_alive()
        return "in time"

    async with engine:
        assert await engine.run("worker", "go") == "done"
        hanging.set()
        await asyncio.to_thread(threads[0].join)
    (step,) = [step for step in engine.steps() if step.name == "worker.tool.work"]
    assert "in time" in str(step.value)
    assert outcomes(engine) == [("error", "StepTimedOut"), ("success", None)]


async def test_an_abandoned_thread_does_not_beat_for_the_next_try(
    engine: Engine, hanging: threading.Event
) -> None:
    """The signs of life of a try that is over keep no later one alive."""
    tries: Counter[str] = Counter()
    agent = durable(Agent(scripted(call("work", "a"), "done"), name="worker"))
    metadata = {"step": {"heartbeat_timeout_s": 0.5, "timeout_s": 1.5, "max_attempts": 2}}

    @agent.tool_plain(metadata=metadata)
    def work() -> None:
        tries["begun"] += 1
        is_first = tries["begun"] == 1
        while not hanging.wait(0.05):
            if is_first:
                heartbeat()

    async with engine:
        with pytest.raises(HeartbeatMissed):
            await engine.run("worker", "go")
    assert outcomes(engine) == [("error", "StepTimedOut"), ("error", "HeartbeatMissed")]


async def test_a_thread_that_nobody_waits_for_beats_in_vain(
    engine: Engine, hanging: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Signs of life after the last try change no row, and disturb no process that has closed."""
    beats: Counter[str] = Counter()
    loop, beaten = asyncio.get_running_loop(), asyncio.Event()
    agent = durable(Agent(scripted(call("work", "a"), "done"), name="worker"))

    @agent.tool_plain(metadata={"step": {"timeout_s": 0.3, "max_attempts": 1}})
    def work() -> None:
        while not hanging.wait(0.01):
            heartbeat()
            beats["all"] += 1
            loop.call_soon_threadsafe(beaten.set)

    async def wait_for_beats() -> None:
        enough = beats["all"] + 150  # more than a second: the ledger takes one in that time
        while beats["all"] < enough:
            beaten.clear()
            await beaten.wait()

    async with engine:
        with pytest.raises(StepTimedOut):
            await engine.run("worker", "go")
        await wait_for_beats()
    await wait_for_beats()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
    late = "select true from agent_app.attempt where heartbeat_at > finished_at"
    assert engine.sql(late) == []


SLEEPER = """
    import time
    from pathlib import Path
    from pydantic_ai import Agent
    from agent_app import durable
    from tests.durability.running import call, scripted

    agent = durable(Agent(scripted(call("work", "a"), "done"), name="sleeper"))

    @agent.tool_plain(metadata={"step": {"timeout_s": 0.3, "max_attempts": 2}})
    def work() -> None:
        first = Path(__file__).with_name("first")
        if not first.exists():
            first.touch()
            time.sleep(600)
"""


def test_the_process_ends_though_a_thread_hangs(engine: Engine, tmp_path: Path) -> None:
    """A command whose tool was abandoned prints its result and is gone."""
    (tmp_path / "sleeper.py").write_text(textwrap.dedent(SLEEPER))
    environment = {
        **os.environ,
        "AGENT_APP_DATABASE_URL": engine.database.url,
        "AGENT_APP_AGENTS": "sleeper",
        "AGENT_APP_RETRY_BACKOFF_S": "0.001",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "agent_app", "run", "sleeper", "go"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert "done" in ended.stdout
    assert "attempt 1 failed" in ended.stdout
