"""What the doctor says of a real database: each check where it must speak, and where not."""

import asyncio
import socket
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from agent_app.database.connect import Database
from agent_app.durability.catalog import workflow
from agent_app.failover.lease import executor_lease
from agent_app.operations.doctor import database as database_checks
from agent_app.operations.doctor import runs, storage
from agent_app.operations.doctor.examination import CHECKS, make_checks
from agent_app.operations.doctor.finding import Finding
from agent_app.operations.doctor.subject import Subject
from agent_app.operations.doctor.valid_settings import ReadSettings
from agent_app.settings import Settings
from tests.database.pooler import pooled
from tests.database.rows import (
    NOON,
    column,
    living,
    plant_executor,
    plant_intent,
    plant_queue,
    plant_run,
)
from tests.durability.running import Engine
from tests.helpers import wait_until

FUNCTIONS = {check.name: check.examine for check in CHECKS}


def subject_of(database: Database, **changes: Any) -> Subject:
    """Return what is examined, with settings that no file and no variable has changed."""
    url = database.url if "://" in database.url else "postgresql://behind-a-pooler/agents"
    settings = Settings(_env_file=None, database_url=url, **changes)
    return Subject(ReadSettings(settings, (), names_database=True), (), database)


def examine(name: str, database: Database, **changes: Any) -> list[Finding]:
    """Return what one check says."""
    return list(FUNCTIONS[name](subject_of(database, **changes)))


def statuses(findings: list[Finding]) -> list[str]:
    """Return the statuses, in order."""
    return [finding.status for finding in findings]


def execute(database: Database, statement: str) -> None:
    """Execute one statement."""
    with database.connect() as connection:
        connection.execute(statement.encode())


@pytest.fixture
async def left_run(engine: Engine) -> str:
    """Return the ID of a run that its process, which is gone, has left in the middle."""
    begun = asyncio.Event()

    @workflow("waiter", input=str, output=str)
    async def wait(text: str) -> str:
        begun.set()
        await asyncio.get_running_loop().create_future()
        return text

    async with engine:
        await engine.start("waiter", "go", "left-1")
        await begun.wait()
    return "left-1"


def test_healthy_database_has_nothing_to_mend(database: Database) -> None:
    """On a fresh database no check of it finds anything bad, and all of them speak."""
    findings = make_checks(subject_of(database))
    about = [f for f in findings if f.check.partition(".")[0] in ("database", "storage", "runs")]
    assert [f for f in about if f.status == "bad"] == []
    assert {f.check for f in findings} == {c.name for c in CHECKS} - {
        "machine.disk",
        "agents.models",
    }


async def test_run_of_a_dead_process(database: Database, left_run: str) -> None:
    """It is bad while nobody takes it over, a warning while somebody lives, silent when held."""
    (alone,) = examine("runs.orphaned", database)
    assert (alone.status, alone.remedies) == (
        "bad",
        ("agent-app resume left-1", "agent-app worker"),
    )
    assert "'left-1'" in alone.text
    with executor_lease(database, "survivor", lease_s=5, application_version="1"):
        assert statuses(examine("runs.orphaned", database)) == ["warn"]
    (executor_id,) = column(database, "select executor_id from dbos.workflow_status")
    with living(database, executor_id):
        assert statuses(examine("runs.orphaned", database)) == ["ok"]


async def test_queue_that_no_worker_serves(database: Database) -> None:
    """A run that waits where nobody looks is named with the worker that would take it."""
    plant_queue(database, "agent_app_slow")
    waiting = {"status": "ENQUEUED", "queue_name": "agent_app_slow", "application_version": "1"}
    plant_run(database, "w", **waiting)
    (unserved,) = examine("runs.stranded", database, application_version="1")
    assert (unserved.status, unserved.remedies) == ("bad", ("agent-app worker --queue slow",))
    assert "'w'" in unserved.text
    with executor_lease(
        database, "e", lease_s=5, application_version="1", serves=["agent_app_slow"]
    ):
        assert statuses(examine("runs.stranded", database, application_version="1")) == ["ok"]


async def test_run_of_another_version(database: Database, left_run: str) -> None:
    """A version that nobody serves is named with its worker; the runs are no orphans of ours."""
    (stranded,) = examine("runs.stranded", database, application_version="2")
    assert stranded.status == "bad"
    assert stranded.remedies == ("AGENT_APP_APPLICATION_VERSION=1 agent-app worker",)
    assert statuses(examine("runs.orphaned", database, application_version="2")) == ["ok"]
    assert statuses(examine("runs.stranded", database, application_version="1")) == ["ok"]
    with executor_lease(database, "survivor", lease_s=5, application_version="1"):
        assert statuses(examine("runs.stranded", database, application_version="2")) == ["ok"]
        (orphaned,) = examine("runs.orphaned", database, application_version="2")
        assert orphaned.status == "warn"


async def test_executors_are_listed(database: Database, left_run: str) -> None:
    """Those alive are told with version and process; without any, unfinished runs are a warning."""
    (nobody,) = examine("executors.living", database)
    assert (nobody.status, nobody.remedies) == ("warn", ("agent-app worker",))
    plant_executor(database, "e7", version="9")
    with living(database, "e7"):
        (alive,) = examine("executors.living", database)
    assert alive.status == "ok"
    assert all(word in alive.text for word in ("e7", "'9'", "process 7", "'vm'"))
    execute(database, "update dbos.workflow_status set status = 'CANCELLED'")
    assert statuses(examine("executors.living", database)) == ["ok"]


@pytest.mark.parametrize(
    ("check", "change", "remedy"),
    [
        ("runs.stuck", "updated_at = 1000", "agent-app cancel r1 && agent-app resume r1"),
        ("runs.given_up", "status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'", "agent-app resume r1"),
    ],
)
def test_run_that_makes_no_progress(
    database: Database, check: str, change: str, remedy: str
) -> None:
    """A run that hangs in a living process, or was given up, is a warning; a busy one is not."""
    plant_run(database, "r1", status="PENDING", executor_id="e1", application_version="1")
    execute(
        database,
        "update dbos.workflow_status set created_at = extract(epoch from now()) * 1000,"
        " updated_at = extract(epoch from now()) * 1000",
    )
    with living(database, "e1"):
        assert statuses(examine(check, database)) == ["ok"]
        execute(database, f"update dbos.workflow_status set {change}")  # noqa: S608 - ours
        (found,) = examine(check, database)
    assert (found.status, found.remedies) == ("warn", (remedy,))


def test_external_call_that_waits_for_a_person(database: Database) -> None:
    """It is a warning with the command that decides it, and a wait; a decided one is neither."""
    plant_run(database, "r1", status="PENDING")
    plant_intent(database, "r1", 3, unknown_since=NOON)
    (found,) = examine("runs.undecided", database)
    assert (found.status, found.remedies) == ("warn", ("agent-app resolve r1 3 --retry",))
    assert "player.tool.pay" in found.text
    assert "1 for a decision" in examine("runs.waiting", database)[0].text
    execute(database, "update agent_app.intent set decision = 'retry'")
    assert statuses(examine("runs.undecided", database)) == ["ok"]
    assert examine("runs.waiting", database)[0].text == "No run waits for anything."


def test_the_oldest_few_are_shown_and_all_are_counted(database: Database) -> None:
    """Of many runs three are named, the oldest first; a hostile ID stays one word of a shell."""
    for number in range(5):
        plant_run(
            database,
            f"r{number}; rm -rf /",
            status="PENDING",
            created_at=1000 + number,
            application_version="1",
        )
    (found,) = examine("runs.orphaned", database)
    assert "5 ('r0; rm -rf /', 'r1; rm -rf /', 'r2; rm -rf /' …)" in found.text
    assert found.remedies[0] == "agent-app resume 'r0; rm -rf /'"


def test_runs_of_agents_unknown_here(database: Database) -> None:
    """An agent that only an unfinished run knows is named; one that has ended is not."""
    plant_run(database, "r1", status="ENQUEUED", name="stranger", application_version="1")
    plant_run(database, "r2", status="SUCCESS", name="old-friend")
    (found,) = examine("agents.known", database)
    assert found.status == "warn"
    assert "'stranger'" in found.text
    assert "agent-app list --agent stranger" in found.remedies


@pytest.mark.parametrize(
    ("constant", "value", "check", "remedy"),
    [
        ("MAX_DATABASE_BYTES", 1_000_000, "storage.size", "agent-app prune --older-than 30d"),
        ("MAX_TRANSACTION_AGE", -1, "storage.wraparound", "vacuumdb --host="),
    ],
)
def test_limit_of_storage(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    constant: str,
    value: int,
    check: str,
    remedy: str,
) -> None:
    """Below its limit a check is silent, beyond it there is a warning with its remedy."""
    assert statuses(examine(check, database)) == ["ok"]
    monkeypatch.setattr(storage, constant, value)
    (found,) = examine(check, database)
    assert found.status == "warn"
    assert found.remedies[0].startswith(remedy)


def test_dead_rows(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """More dead rows than half of the live ones are a warning with their vacuum; fewer are not."""
    execute(database, "alter table agent_app.rate_limit set (autovacuum_enabled = off)")
    rows = "select 'p', number, now(), 'r', 1 from generate_series(1, 12000) as number"
    execute(database, f"insert into agent_app.rate_limit {rows}")
    assert statuses(examine("storage.dead_rows", database)) == ["ok"]
    with database.connect() as connection:
        connection.execute("update agent_app.rate_limit set step_number = 2")
        connection.execute("select pg_stat_clear_snapshot()")
    wait_until(lambda: statuses(examine("storage.dead_rows", database)) == ["warn"])
    (found,) = examine("storage.dead_rows", database)
    assert found.remedies[0].endswith("-c 'vacuum (analyze) agent_app.rate_limit'")
    assert "12000 dead rows beside 12000 live ones; last vacuum: never" in found.text


@pytest.mark.parametrize(
    ("setting", "value", "check", "status"),
    [
        ("synchronous_commit", "off", "storage.durability", "warn"),
        ("default_transaction_read_only", "on", "database.server", "bad"),
    ],
)
def test_setting_of_the_database_that_harms(
    database: Database, setting: str, value: str, check: str, status: str
) -> None:
    """A setting that harms is told with its place and the statement that takes it back."""
    (name,) = column(database, "select current_database()")
    assert statuses(examine(check, database)) == ["ok"]
    execute(database, f'alter database "{name}" set {setting} = {value}')
    (found,) = examine(check, database)
    assert found.status == status
    assert f'alter database "{name}" reset "{setting}"' in found.remedies[0]


def test_slow_commits(database: Database) -> None:
    """A server that takes long for a commit is a warning."""
    (name,) = column(database, "select current_database()")
    execute(database, f'alter database "{name}" set commit_delay = 60000')
    execute(database, f'alter database "{name}" set commit_siblings = 0')
    (found,) = examine("storage.commits", database)
    assert found.status == "warn"
    assert "synchronous_standby_names" in found.remedies[0]


@pytest.mark.parametrize(
    ("damage", "status", "remedy"),
    [
        ("drop schema agent_app cascade", "warn", "agent-app migrate"),
        ("update agent_app.view_set set digest = 'old'", "warn", "agent-app migrate"),
        (
            "insert into agent_app.migration (number, name) values (9999, 'x')",
            "bad",
            "pip install --upgrade agent-app",
        ),
        ("update dbos.dbos_migrations set version = 3", "bad", "dbos migrate"),
        (
            "update dbos.dbos_migrations set version = 9999",
            "warn",
            "pip install --upgrade agent-app",
        ),
    ],
)
def test_schema_of_another_build(database: Database, damage: str, status: str, remedy: str) -> None:
    """A schema that is missing, behind or ahead, ours or DBOS's, is told with what mends it."""
    assert statuses(examine("database.schema", database)) == ["ok"]
    execute(database, damage)
    (found,) = examine("database.schema", database)
    assert found.status == status
    assert found.remedies[0].endswith(remedy)


def test_missing_schema_hides_no_other_check(database: Database) -> None:
    """Without our tables nothing is said of runs, and everything of the server."""
    execute(database, "drop schema agent_app cascade")
    names = {finding.check for finding in make_checks(subject_of(database))}
    assert not [name for name in names if name.startswith(("runs.", "executors."))]
    assert {"database.server", "database.schema", "storage.commits", "agents.imports"} <= names


def test_broken_view_hides_no_other_check(database: Database) -> None:
    """A check whose view is gone is one bad finding, and the others are made."""
    execute(database, "drop view agent_app.undecided_call cascade")
    findings = make_checks(subject_of(database))
    (broken,) = (finding for finding in findings if finding.check == "runs.undecided")
    assert broken.status == "bad"
    assert "undecided_call" in broken.text
    assert {"runs.orphaned", "machine.open_files"} <= {finding.check for finding in findings}


def test_server_that_stops_answering_is_asked_once(database: Database) -> None:
    """A server that says nothing is one bad finding, and what needs none is examined."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://ann:s3cret@127.0.0.1:{port}/agents"
        findings = make_checks(subject_of(Database(url, "silent", None, 0.1)))
    (bad,) = (finding for finding in findings if finding.status == "bad")
    assert bad.check == "database.server"
    assert bad.remedies[0] == f"pg_isready --host=127.0.0.1 --port={port}"
    assert "s3cret" not in repr(findings)
    assert {"settings.names", "agents.imports"} <= {finding.check for finding in findings}


@pytest.mark.parametrize("is_open", [True, False])
def test_forgotten_transaction(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    """A session that sleeps inside a transaction is a warning with the statement that ends it."""
    monkeypatch.setattr(database_checks, "MAX_IDLE_TRANSACTION_S", 0.0)
    with database.connect() as connection:
        transaction: AbstractContextManager[Any] = (
            connection.transaction() if is_open else nullcontext()
        )
        with transaction:
            connection.execute("select 1")
            (found,) = examine("database.sessions", database)
            pid = connection.info.backend_pid
    assert found.status == ("warn" if is_open else "ok")
    assert (f"pg_terminate_backend({pid})" in str(found.remedies)) is is_open


@pytest.mark.parametrize(("by_transaction", "status"), [(True, "bad"), (False, "ok")])
def test_pooler(database: Database, by_transaction: bool, status: str) -> None:
    """A pooler in transaction mode is bad, since a lock lives in a session; another one is not."""
    with pooled(database, by_transaction=by_transaction) as behind:
        (found,) = examine("database.pooler", behind)
    assert found.status == status
    assert "pooler" in found.text
    assert statuses(examine("database.pooler", database)) == ["ok"]


def test_too_few_connections(database: Database) -> None:
    """Fewer connections than a process opens are a warning, with a pool that would fit."""
    assert statuses(examine("database.connections", database, database_pool_size=2)) == ["ok"]
    (found,) = examine("database.connections", database, database_pool_size=500)
    assert found.status == "warn"
    assert any("AGENT_APP_DATABASE_POOL_SIZE=" in remedy for remedy in found.remedies)


def test_runs_module_names_every_trouble() -> None:
    """Every check of runs is made: a function that nobody calls would be forgotten."""
    made = {check.examine for check in CHECKS}
    assert {getattr(runs, name) for name in dir(runs) if name.startswith("examine_")} <= made
