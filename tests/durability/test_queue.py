"""Delegates that wait in a queue: a limit, the order of results, cancelling, and recovery."""

import asyncio
from typing import Any

import pytest
from dbos import DBOS

from agent_app.durability.catalog import workflow
from agent_app.durability.delegation import delegate
from agent_app.durability.queues import SEARCH_QUEUE
from agent_app.errors import RunCancelled
from tests.durability.running import Engine
from tests.helpers import wait_until


class Places:
    """Counts the workers that are busy at a moment, and holds them until the gate opens."""

    def __init__(self) -> None:
        self.busy = self.most = self.started = 0
        self.gate = asyncio.Event()

    async def work(self, text: str) -> str:
        """Take a place until the gate opens."""
        self.started += 1
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await self.gate.wait()
        finally:
            self.busy -= 1
        return f"re {text}"


def define(places: Places) -> None:
    """Define a workflow that lets five others work in the queue."""

    @workflow("work")
    async def work(text: str) -> str:
        return await places.work(text)

    @workflow("fan", output=list[str])
    async def fan(text: str) -> list[str]:
        return list(
            await asyncio.gather(
                *(delegate("work", f"{text}{n}", queue=SEARCH_QUEUE) for n in range(5))
            )
        )


async def settle(places: Places, count: int) -> None:
    """Wait until so many have started."""
    await asyncio.to_thread(wait_until, lambda: places.started >= count, 20)


async def test_a_queue_lets_no_more_work_than_its_limit(engine: Engine) -> None:
    """Five delegates, two places: never three at once, results in order, a replay the same."""
    places = Places()
    define(places)
    engine.settings = engine.settings.model_copy(update={"search_concurrency": 2})
    async with engine:
        handle = await engine.start("fan", "x")
        await settle(places, 2)
        assert places.started == 2
        statuses = engine.sql(
            "select status, count(*) from dbos.workflow_status where name = 'work' group by 1"
        )
        assert dict(statuses) == {"PENDING": 2, "ENQUEUED": 3}
        places.gate.set()
        first = await handle.get_result()
        assert first["output"] == [f"re x{n}" for n in range(5)]
        assert await engine.replay() == first
    assert (places.most, places.started) == (2, 5)
    assert engine.names() == ["fan.delegate.work"] * 5


async def test_cancelling_the_caller_cancels_those_that_wait(engine: Engine) -> None:
    """Neither a child that works nor one that still waits for its place goes on."""
    places = Places()
    define(places)
    engine.settings = engine.settings.model_copy(update={"search_concurrency": 1})
    async with engine:
        handle = await engine.start("fan", "x")
        await settle(places, 1)
        await DBOS.cancel_workflow_async("r")
        with pytest.raises(Exception, match="cancelled"):
            await handle.get_result()
        await asyncio.to_thread(
            wait_until,
            lambda: (
                engine.sql("select count(*) from dbos.workflow_status where status <> 'CANCELLED'")
                == [(0,)]
            ),
            20,
        )
    assert places.started == 1


async def test_a_cancelled_child_is_an_error_of_its_call_alone(engine: Engine) -> None:
    """The caller hears which child was cancelled, and may go on without it."""
    places = Places()

    @workflow("work")
    async def work(text: str) -> str:
        return await places.work(text)

    @workflow("patient")
    async def patient(text: str) -> Any:
        try:
            return await delegate("work", text, queue=SEARCH_QUEUE)
        except RunCancelled as error:
            return f"without {error.run_id}"

    async with engine:
        handle = await engine.start("patient", "x")
        await settle(places, 1)
        await DBOS.cancel_workflow_async("r:1")
        assert (await handle.get_result())["output"] == "without r:1"
