"""Composition root: settings go in, a ready application comes out and is closed on exit."""

import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_app.database.connect import Database, explained, open_database
from agent_app.database.migrate import migrate, schema_is_current
from agent_app.settings import Settings

if TYPE_CHECKING:
    from agent_app.durability.catalog import Catalog
    from agent_app.operations.control import Executor

SHIPPED_AGENTS = (
    "agent_app.agents.twenty_questions.workflow",
    "agent_app.agents.deep_research.workflow",
)
"""Modules that register the agents which come with agent_app."""

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Application:
    """A process that executes runs."""

    settings: Settings
    database: Database
    catalog: "Catalog"
    executor: "Executor"
    queues: Sequence[str] = ()
    """Those that it takes new runs from."""


@contextmanager
def open_reader(settings: Settings, notify: Notify) -> Iterator[Database]:
    """Open the database with its schema up to date, for what only reads; nothing is executed.

    Raises: DatabaseError.
    """
    with open_database(settings, notify=notify) as database:
        ensure_schema(database)
        yield database


def ensure_schema(database: Database) -> None:
    """Create or update DBOS's tables and ours; one query when there is nothing to do."""
    if not schema_is_current(database):
        from agent_app.durability.runtime import migrate_dbos  # imports DBOS: late

        migrate(database, lambda: migrate_dbos(database))


@asynccontextmanager
async def open_application(settings: Settings, notify: Notify) -> AsyncIterator[Application]:
    """Open everything that a process needs to execute runs; they run on the calling event loop.

    Raises: DatabaseError; CatalogError; ConfigurationInvalid.
    """
    catalog = read_catalog(settings)
    with open_reader(settings, notify) as database:
        async with open_executor(settings, database, catalog) as application:
            yield application


@asynccontextmanager
async def open_executor(
    settings: Settings,
    database: Database,
    catalog: "Catalog",
    *,
    takes_over: bool = True,
    queues: Sequence[str] = (),
) -> AsyncIterator[Application]:
    """Take an executor's lock and launch DBOS on this loop; what is left at the end stays PENDING.

    Without `takes_over` it executes recovered runs only once it has looked for some and found them.
    It takes new runs from `queues`, by default from none.
    Raises: DatabaseError; AgentInvalid.
    """
    from agent_app.durability.journal import journal_to
    from agent_app.durability.queues import stored_name
    from agent_app.durability.runtime import launched
    from agent_app.failover.lease import executor_lease
    from agent_app.operations.control import Executor

    executor = Executor(secrets.token_hex(8), settings.application_version)
    lease_s = settings.executor_lease_s
    version = executor.version
    lease = executor_lease(
        database,
        executor.executor_id,
        lease_s=lease_s,
        application_version=version,
        serves=[stored_name(queue) for queue in queues],
    )
    with explained(database), lease, journal_to(settings.body_journal):
        async with launched(
            database,
            settings,
            executor_id=executor.executor_id,
            catalog=catalog,
            takes_over=takes_over,
            queues=queues,
        ):
            yield Application(settings, database, catalog, executor, queues)


def read_catalog(settings: Settings) -> "Catalog":
    """Import the shipped agents and the user's own, which may lie in the working directory.

    Raises: AgentsNotImportable; AgentInvalid.
    """
    from agent_app.durability.catalog import load_agents

    here = os.getcwd()
    if settings.agents and here not in sys.path:
        sys.path.insert(0, here)  # a command's path begins at its own folder, not at the user's
    return load_agents((*SHIPPED_AGENTS, *settings.agents))
