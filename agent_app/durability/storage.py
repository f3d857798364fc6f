"""Where the launched process keeps what is durability's own beside DBOS's tables."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent_app.database.attempt_ledger import AttemptLedger, attempt_ledger
from agent_app.database.connect import Database
from agent_app.database.pool import Pool, open_pool
from agent_app.settings import Settings

POOL_SIZE = 8
"""Connections for transactional and external tools, opened when needed; further calls wait."""


@dataclass(frozen=True)
class Storage:
    """The ledger and the connections of one launch."""

    executor_id: str
    database: Database
    settings: Settings
    ledger: AttemptLedger
    pool: Pool


_storages: list[Storage] = []


def storage() -> Storage:
    """Return the launched process's storage; only inside `launched`."""
    return _storages[-1]


@asynccontextmanager
async def stored_in(
    database: Database, settings: Settings, executor_id: str
) -> AsyncIterator[None]:
    """Keep durability's own rows in `database` while the block runs."""
    with attempt_ledger(database) as ledger:
        async with open_pool(database, max_size=POOL_SIZE) as pool:
            _storages.append(Storage(executor_id, database, settings, ledger, pool))
            try:
                yield
            finally:
                _storages.pop()
