"""Runs of dead executors: found, handed over once, and those of the living left alone."""

import inspect

import pytest
from dbos._sys_db import SystemDatabase

from agent_app.database.connect import Database
from agent_app.database.read import read_run
from agent_app.durability.catalog import fresh_catalog, workflow
from agent_app.durability.runtime import launched
from agent_app.failover.lease import executor_lease
from agent_app.failover.orphans import recover_orphans
from agent_app.operations.start import start_run, wait_for_run
from agent_app.settings import Settings
from tests.database.rows import plant_attempt, plant_executor, plant_step


@pytest.fixture
async def orphan(database: Database) -> str:
    """Return a run that is PENDING on an executor called `dead`."""
    with fresh_catalog() as catalog:

        @workflow("greet", input=str, output=str)
        async def greet(name: str) -> str:
            return f"Hello, {name}."

        async with launched(database, Settings(), executor_id="dead", catalog=catalog):
            await start_run(catalog, "greet", "you", run_id="orphan", models={})
            await wait_for_run("orphan")
    with database.connect() as connection:
        connection.execute("delete from dbos.workflow_output")
        connection.execute("update dbos.workflow_status set status = 'PENDING'")
    return "orphan"


async def test_run_of_a_dead_executor_goes_on_here(database: Database, orphan: str) -> None:
    """A PENDING run whose executor's lock is free is executed by the one who looks."""
    with fresh_catalog() as catalog:

        @workflow("greet", input=str, output=str)
        async def greet(name: str) -> str:
            return f"Hello again, {name}."

        async with launched(database, Settings(), executor_id="survivor", catalog=catalog):
            recovery = recover_orphans(
                database, own_executor_id="survivor", application_version="1"
            )
            assert recovery.recovered == (orphan,)
            assert (await wait_for_run(orphan))["output"] == "Hello again, you."
            again = recover_orphans(database, own_executor_id="survivor", application_version="1")
            assert again.recovered == ()
    row = read_run(database, orphan)
    assert row is not None
    assert (row.status, row.executor_id) == ("SUCCESS", "survivor")


@pytest.mark.parametrize(
    ("executor_id", "version"), [("dead", "1"), ("survivor", "2")], ids=["own run", "other version"]
)
async def test_own_runs_and_other_versions_are_not_touched(
    database: Database, orphan: str, executor_id: str, version: str
) -> None:
    """An executor recovers neither its own runs nor those of another application version."""
    recovery = recover_orphans(database, own_executor_id=executor_id, application_version=version)
    assert (recovery.recovered, recovery.held) == ((), ())
    row = read_run(database, orphan)
    assert row is not None
    assert row.status == "PENDING"


async def test_run_of_a_living_executor_is_held(database: Database, orphan: str) -> None:
    """A run whose executor holds its lock is reported and stays where it is."""
    with executor_lease(database, "dead", lease_s=5):
        recovery = recover_orphans(database, own_executor_id="survivor", application_version="1")
    assert (recovery.recovered, recovery.held) == ((), (orphan,))


async def test_only_the_given_runs_are_recovered(database: Database, orphan: str) -> None:
    """With run IDs given, every other orphan stays."""
    recovery = recover_orphans(
        database, own_executor_id="survivor", application_version="1", run_ids=["another"]
    )
    assert recovery.recovered == ()


@pytest.mark.parametrize(
    ("was_killed", "finished_a_step", "count"),
    [(True, False, 6), (False, False, 5), (True, True, 1)],
    ids=["killed", "ended by itself", "killed after a step"],
)
async def test_what_counts_as_a_recovery(
    database: Database, orphan: str, was_killed: bool, finished_a_step: bool, count: int
) -> None:
    """Only a death of the process counts, and a step that it finished begins the count anew."""
    with database.connect() as connection:
        connection.execute("update dbos.workflow_status set recovery_attempts = 5")
    if was_killed:
        plant_executor(database, "dead")
    if finished_a_step:
        plant_step(database, orphan, 1)
        plant_attempt(database, orphan, 1, executor_id="dead")
    with fresh_catalog() as catalog:

        @workflow("greet", input=str, output=str)
        async def greet(name: str) -> str:
            return f"Hello again, {name}."

        async with launched(database, Settings(), executor_id="survivor", catalog=catalog):
            recover_orphans(database, own_executor_id="survivor", application_version="1")
            await wait_for_run(orphan)
    with database.connect() as connection:
        row = connection.execute("select recovery_attempts from dbos.workflow_status").fetchone()
    assert row == {"recovery_attempts": count}


def test_private_name_of_dbos_is_as_we_call_it() -> None:
    """DBOS still has the method that hands one run over, with these parameters."""
    parameters = list(inspect.signature(SystemDatabase.reenqueue_for_recovery).parameters)
    assert parameters == ["self", "workflow_id", "executor_ids", "recovery_queue_name"]
