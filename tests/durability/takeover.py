"""Runs that change hands, and waiting for what the database alone tells."""

import asyncio
from collections.abc import Callable

from agent_app.failover import orphans
from tests.durability.running import Engine


async def eventually(predicate: Callable[[], object]) -> None:
    """Wait until it is true."""
    async with asyncio.timeout(20):
        while not predicate():  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)


def change_owner(engine: Engine) -> None:
    """Give every run to another executor, as a takeover does."""
    engine.sql("update dbos.workflow_status set owner_xid = 'another', executor_id = 'another'")


def recover_own_runs(engine: Engine) -> None:
    """Look twice for runs that stand still here, as a living process does each second.

    The first look only notes them; `orphans._STOPPED_S` says for how long they must stand still.
    """
    executor_id = engine.sql("select executor_id from dbos.workflow_status")[0][0]
    for _ in range(2):
        orphans.recover_orphans(
            engine.database, own_executor_id=executor_id, application_version="1"
        )
