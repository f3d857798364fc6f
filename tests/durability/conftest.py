"""A fresh catalog and, on request, a launched DBOS with helpers around it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic_ai import models

from agent_app.database.connect import Database
from agent_app.durability.catalog import Catalog, fresh_catalog
from agent_app.settings import Settings
from tests.durability.running import Engine

models.ALLOW_MODEL_REQUESTS = False


@pytest.fixture(autouse=True)
def catalog() -> Iterator[Catalog]:
    """Yield an empty catalog that `durable` and `workflow` write to."""
    with fresh_catalog() as catalog:
        yield catalog


@pytest.fixture
def quick_settings() -> Settings:
    """Return settings whose retries wait for next to nothing."""
    return Settings(_env_file=None, retry_backoff_s=0.001, retry_backoff_max_s=0.002)


@pytest.fixture
def engine(database: Database, catalog: Catalog, quick_settings: Settings) -> Engine:
    """Return what launches DBOS with the test's agents; they are defined before `async with`."""
    return Engine(database, catalog, quick_settings)


@pytest.fixture
async def ready(engine: Engine) -> AsyncIterator[Engine]:
    """Yield a launched engine, for tests that bring no agents of their own."""
    async with engine:
        yield engine
