"""Prune: whole families that ended long ago, nothing else, and nothing of them is left."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic_ai import Agent

from agent_app.database.connect import Database
from agent_app.database.retention import ENDED, PruneTurn, prune_turn
from agent_app.durability.catalog import durable
from agent_app.durability.delegation import delegate
from agent_app.errors import FilterInvalid
from agent_app.operations import prune, retention_schedule
from agent_app.operations.delete import drop_whole
from agent_app.operations.prune import Pruned, Retention, choose_retention, plan_prune, prune_runs
from agent_app.operations.retention_schedule import prune_schedule
from agent_app.settings import Settings
from tests.database.rows import living, plant_attempt, plant_executor, plant_run, plant_step
from tests.durability.running import Engine, call, scripted
from tests.durability.test_operations import row_counts, statuses
from tests.helpers import wait_until

CUTOFF = datetime(2026, 1, 1, tzinfo=UTC)
OLD, YOUNG = (int(CUTOFF.timestamp() * 1000) + ms for ms in (-1, 0))
RETENTION = Retention(CUTOFF)


def plant(
    database: Database,
    run_id: str,
    completed_at: int | None = OLD,
    *,
    parent: str | None = None,
    **values: Any,
) -> None:
    """Store a run that was created in 1970; it has ended just before the cutoff by default."""
    if parent is not None:
        values["attributes"] = json.dumps({"parent_run_id": parent})
    plant_run(database, run_id, completed_at=completed_at, **values)


def left(database: Database) -> set[str]:
    """Return the runs that there are."""
    return set(statuses(database))


# -- which runs


@pytest.mark.parametrize("status", ENDED)
def test_run_goes_by_its_end_and_not_by_its_beginning(database: Database, status: str) -> None:
    """What ended before the moment goes, to the millisecond; without an end its change counts."""
    plant(database, "old", status=status)
    plant(database, "young", YOUNG, status=status)
    plant(database, "changed long ago", None, status=status, updated_at=OLD)
    plant(database, "changed lately", None, status=status, updated_at=YOUNG)
    assert prune_runs(database, RETENTION).run_count == 2
    assert left(database) == {"young", "changed lately"}


@pytest.mark.parametrize("status", ["PENDING", "ENQUEUED", "DELAYED"])
def test_unfinished_run_stays_at_any_age(database: Database, status: str) -> None:
    """A run that has not ended stays, however long ago it changed last."""
    plant(database, "r", None, status=status)
    assert prune_runs(database, RETENTION).run_count == 0
    assert left(database) == {"r"}


@pytest.mark.parametrize(
    "hindrance", [{"completed_at": YOUNG}, {"completed_at": None, "status": "PENDING"}]
)
def test_family_goes_whole_or_stays_whole(database: Database, hindrance: dict[str, Any]) -> None:
    """A grandchild that is young or unfinished keeps its whole family; another family goes."""
    for root in ("stays", "goes"):
        plant(database, root)
        plant(database, f"{root}:a", parent_workflow_id=root)
        plant(database, f"{root}:b", parent=root)
    plant(database, "stays:b:c", parent="stays:b", **hindrance)
    plant(database, "goes:b:c", parent="goes:b")
    assert prune_runs(database, RETENTION).run_count == 4
    assert left(database) == {"stays", "stays:a", "stays:b", "stays:b:c"}


def test_child_of_an_unfinished_or_young_parent_stays(database: Database) -> None:
    """A child goes with its parent alone; one whose parent is gone already is its own family."""
    plant(database, "unfinished", None, status="PENDING")
    plant(database, "young", YOUNG)
    for parent in ("unfinished", "young", "gone"):
        plant(database, f"child of {parent}", parent=parent)
    prune_runs(database, RETENTION)
    assert left(database) == {"unfinished", "young", "child of unfinished", "child of young"}


def test_texts_that_no_run_has_any_more_go(database: Database) -> None:
    """What the corpus or a run that stays has is kept; the plan counts what then goes."""
    plant(database, "old")
    plant(database, "young", YOUNG)
    with database.connect() as connection:
        for name, in_corpus, runs in (
            ("of the old run", False, ["old"]),
            ("of both", False, ["old", "young"]),
            ("of the corpus", True, ["old"]),
            ("of nobody", False, ["pruned long ago"]),
        ):
            connection.execute(
                "insert into agent_app.source (source_id, sha256, url, title, text, media_type,"
                " origin, fetched_by, in_corpus, passage_count)"
                " values (%s, '', '', '', '', '', 'web', '', %s, 0)",
                (name, in_corpus),
            )
            for run_id in runs:
                connection.execute(
                    "insert into agent_app.run_source (run_id, source_id) values (%s, %s)",
                    (run_id, name),
                )
    assert plan_prune(database, RETENTION).source_count == 2
    assert prune_runs(database, RETENTION).source_count == 2
    with database.connect() as connection:
        rows = connection.execute("select source_id from agent_app.source order by 1").fetchall()
    assert [row["source_id"] for row in rows] == ["of both", "of the corpus"]


def test_status_is_that_of_the_first_run(database: Database) -> None:
    """--status chooses families by the run that nobody delegated to; its children go with it."""
    plant(database, "failed", status="ERROR")
    plant(database, "failed:child", parent="failed")
    plant(database, "succeeded")
    plant(database, "succeeded:child", parent="succeeded", status="ERROR")
    prune_runs(database, Retention(CUTOFF, ("ERROR", "CANCELLED")))
    assert left(database) == {"succeeded", "succeeded:child"}


def test_what_is_no_run_and_a_planted_circle_stay(database: Database) -> None:
    """DBOS's own workflows are left alone, and runs that are each other's parents end nothing."""
    plant(database, "internal", name="<temp>.send")
    plant(database, "a", parent="b")
    plant(database, "b", parent="a")
    assert prune_runs(database, RETENTION).run_count == 0
    assert left(database) == {"internal", "a", "b"}


def test_many_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Families that stay are passed over, on every page, among runs of the same millisecond."""
    monkeypatch.setattr(prune, "_BATCH", 3)
    for number in range(20):
        plant(database, f"r{number:02}", YOUNG if number % 3 == 0 else OLD)
    plan = plan_prune(database, RETENTION)
    assert prune_runs(database, RETENTION) == plan
    assert left(database) == {f"r{number:02}" for number in range(0, 20, 3)}


@pytest.mark.parametrize("status", ["pending", "ENQUEUED", "DELAYED", "DONE", ""])
def test_status_of_no_end_is_refused(status: str) -> None:
    """A status that a run does not end with is an error that names those that it can end with."""
    with pytest.raises(FilterInvalid, match=f"'{status}' is none that a run ends with; one of SUC"):
        choose_retention(timedelta(days=1), ["SUCCESS", status], CUTOFF)


def test_statuses_are_chosen_in_any_case() -> None:
    """Statuses may be typed in lower case; none means all that a run ends with."""
    day = timedelta(days=1)
    assert choose_retention(day, ["error"], CUTOFF) == Retention(CUTOFF - day, ("ERROR",))
    assert choose_retention(day, [], CUTOFF) == Retention(CUTOFF - day, ENDED)
    assert choose_retention(timedelta(0), [], CUTOFF).ended_before < CUTOFF


# -- what goes with them


async def test_no_row_is_left(engine: Engine) -> None:
    """Parent, child, calls of every effect and their tries vanish from every table; others stay."""
    parent = durable(Agent(scripted(call("ask", "a"), "end"), name="parent"))
    child = durable(
        Agent(
            scripted([call("pay", "p"), call("write", "w"), call("look", "l")], "x"), name="child"
        )
    )

    @parent.tool_plain
    async def ask() -> str:
        return str(await delegate("child", "go"))

    for name, effect in {"pay": "external", "write": "transactional", "look": "pure"}.items():

        async def use(name: str = name) -> str:
            return name

        child.tool_plain(name=name, metadata={"step": {"effect": effect}})(use)

    async with engine:
        await engine.run("parent", "go", "kept")
        await asyncio.sleep(0.3)  # the ledger writes behind the step
        before = row_counts(engine.database)
        await engine.run("parent", "go", "r")
        await asyncio.sleep(0.3)
    engine.sql(
        "update dbos.workflow_status set completed_at = 1, created_at = 0"
        " where starts_with(workflow_uuid, 'r')"
    )
    assert row_counts(engine.database)["agent_app.committed_call"] == 2
    pruned = prune_runs(engine.database, RETENTION)
    assert {key: group.run_count for key, group in pruned.groups.items()} == {
        ("parent", "SUCCESS"): 1,
        ("child", "SUCCESS"): 1,
    }
    assert row_counts(engine.database) == before
    assert left(engine.database) == {"kept", "kept:a"}


async def test_origin_of_a_fork_may_go(engine: Engine) -> None:
    """A fork stays when its origin goes, and still tells its ID; it can be forked again."""
    durable(Agent(scripted("end"), name="worker"))
    async with engine:
        await engine.run("worker", "go", "origin")
        assert (await engine.replay("origin"))["output"] == "end"
        (fork,) = left(engine.database) - {"origin"}
        engine.sql(
            "update dbos.workflow_status set completed_at = 1, created_at = 0"
            " where workflow_uuid = 'origin'"
        )
        assert prune_runs(engine.database, RETENTION).run_count == 1
        assert engine.sql("select run_id, forked_from from agent_app.run") == [(fork, "origin")]
        assert (await engine.replay(fork))["output"] == "end"


def test_rows_of_dead_processes_go_when_no_run_refers_to_them(database: Database) -> None:
    """A dead process's row goes with its last run; that of a living one stays without runs too."""
    for executor_id in ("pruned", "needed", "idle", "alive"):
        plant_executor(database, executor_id)
    plant(database, "old", executor_id="pruned")
    plant(database, "old too", executor_id="needed")
    plant(database, "young", YOUNG, executor_id="needed")
    with living(database, "alive"):
        assert plan_prune(database, RETENTION).executor_count == 2
        assert prune_runs(database, RETENTION).executor_count == 2
    with database.connect() as connection:
        rows = connection.execute("select executor_id from agent_app.executor").fetchall()
    assert {row["executor_id"] for row in rows} == {"needed", "alive"}


def test_plan_says_what_would_go_and_deletes_nothing(database: Database) -> None:
    """The plan counts runs by agent and status with their oldest and newest ends; all rows stay."""
    hour = 3_600_000
    plant(database, "a", OLD - 3 * hour)
    plant(database, "b", OLD - hour)
    plant(database, "c", OLD - 2 * hour, parent="a", name="child", status="CANCELLED")
    plant(database, "d", YOUNG)
    before = row_counts(database)
    plan = plan_prune(database, RETENTION)
    assert {
        (g.agent, g.status, g.run_count, g.oldest_ended_at, g.newest_ended_at)
        for g in plan.groups.values()
    } == {
        ("player", "SUCCESS", 2, moment(OLD - 3 * hour), moment(OLD - hour)),
        ("child", "CANCELLED", 1, moment(OLD - 2 * hour), moment(OLD - 2 * hour)),
    }
    assert plan.run_count == 3
    assert row_counts(database) == before
    assert prune_runs(database, RETENTION) == plan


def moment(milliseconds: int) -> datetime:
    """Return the moment of DBOS's milliseconds."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


# -- in the way of others


def test_run_that_is_executed_by_a_living_process_stays(database: Database) -> None:
    """A cancelled run whose body goes on keeps its family; a try of a dead process does not."""
    for run_id in ("busy", "left open"):
        plant(database, run_id, status="CANCELLED")
        plant(database, f"{run_id}:child", parent=run_id, status="CANCELLED")
    plant_attempt(database, "busy:child", executor_id="alive")
    plant_attempt(database, "left open:child", executor_id="dead")
    with living(database, "alive"):
        prune_runs(database, RETENTION)
    assert left(database) == {"busy", "busy:child"}


@contextmanager
def holding(database: Database, run_id: str) -> Iterator[None]:
    """Hold a run's row, as somebody does who goes on with it."""
    with database.connect() as connection, connection.transaction():
        connection.execute(
            "select from dbos.workflow_status where workflow_uuid = %s for update", (run_id,)
        )
        yield


def test_family_that_somebody_holds_is_left_out(database: Database) -> None:
    """A row that is locked is not waited for: its family stays whole, and goes the next time."""
    for root in ("held", "free"):
        plant(database, root)
        plant(database, f"{root}:child", parent=root)
    with holding(database, "held:child"):
        prune_runs(database, RETENTION)
        assert left(database) == {"held", "held:child"}
    prune_runs(database, RETENTION)
    assert left(database) == set()


@pytest.mark.parametrize(
    "change", ["status = 'ENQUEUED', completed_at = null", f"completed_at = {YOUNG}"]
)
def test_run_that_goes_on_at_the_last_moment_keeps_its_family(
    database: Database, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Somebody who resumes a child between the look and the deletion keeps the whole family."""
    plant(database, "r")
    plant(database, "r:child", parent="r")

    def resumed_meanwhile(database: Database, run_ids: object) -> list[object]:
        with database.connect() as connection:
            statement = "update dbos.workflow_status set {} where workflow_uuid = 'r:child'"
            connection.execute(statement.format(change).encode())
        return []

    monkeypatch.setattr(prune, "busy_steps", resumed_meanwhile)
    assert prune_runs(database, RETENTION).run_count == 0
    assert left(database) == {"r", "r:child"}


def test_two_who_prune_at_once_delete_each_run_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at the same time do not wait for each other; together they have deleted every run."""
    monkeypatch.setattr(prune, "_BATCH", 5)
    for number in range(60):
        plant(database, f"r{number}")
    gone: list[Pruned] = []
    threads = [
        threading.Thread(target=lambda: gone.append(prune_runs(database, RETENTION)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    prune_runs(database, RETENTION)
    assert left(database) == set()
    assert sum(pruned.run_count for pruned in gone) <= 60


def test_interrupted_prune_leaves_whole_families(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the midst of a transaction undoes that one alone; the next prune finishes."""
    monkeypatch.setattr(prune, "_BATCH", 2)
    for number in range(6):
        plant(database, f"r{number}")
        plant(database, f"r{number}:child", parent=f"r{number}")
        plant_step(database, f"r{number}", 1)
    batches: Counter[str] = Counter()

    def interrupted(*args: Any) -> None:
        drop_whole(*args)
        batches["begun"] += 1
        if batches["begun"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(prune, "drop_whole", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prune_runs(database, RETENTION)
    assert left(database) == {f"r{n}{end}" for n in range(2, 6) for end in ("", ":child")}
    assert row_counts(database)["dbos.operation_outputs"] == 4
    prune_runs(database, RETENTION)
    assert row_counts(database)["dbos.operation_outputs"] == 0


# -- by schedule


def scheduled(age: str | None = "1d", interval_s: float = 0.05) -> Settings:
    """Return settings with a schedule."""
    return Settings(_env_file=None, prune_older_than=age, prune_interval_s=interval_s)


def test_schedule_prunes_at_once_and_again(database: Database) -> None:
    """What is old goes when the schedule begins, and what has become old at a later turn."""
    told: list[Pruned] = []
    plant(database, "first")
    with prune_schedule(database, scheduled(), told.append):
        wait_until(lambda: told)
        plant(database, "second")
        plant(database, "young", int(datetime.now(UTC).timestamp() * 1000))
        wait_until(lambda: len(told) == 2)
    assert left(database) == {"young"}
    assert [pruned.run_count for pruned in told] == [1, 1]


def test_without_the_setting_nothing_is_pruned(database: Database) -> None:
    """Unset means off: no thread, and no run goes."""
    plant(database, "old")
    count = threading.active_count()
    with prune_schedule(database, scheduled(None), lambda pruned: None):
        assert threading.active_count() == count
    assert left(database) == {"old"}


def test_one_process_prunes_at_a_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process has the turn nothing is waited for; afterwards the turn is free."""
    told: list[Pruned] = []
    asked: Counter[bool] = Counter()

    @contextmanager
    def counted(database: Database) -> Iterator[PruneTurn]:
        with prune_turn(database) as turn:
            asked[turn.is_ours] += 1
            yield turn

    monkeypatch.setattr(retention_schedule, "prune_turn", counted)
    plant(database, "old")
    with prune_turn(database) as others:
        assert others.is_ours
        with prune_schedule(database, scheduled(), told.append):
            wait_until(lambda: asked[False] >= 2)
        assert (asked[True], left(database)) == (0, {"old"})
    with prune_schedule(database, scheduled(), told.append):
        wait_until(lambda: told)
    assert left(database) == set()


def test_schedule_goes_on_after_an_error(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """An error is logged with the time of the next try, and that one prunes."""
    told: list[Pruned] = []
    plant(database, "old")
    rename(database, "executor", "hidden")
    with prune_schedule(database, scheduled(), told.append):
        wait_until(lambda: caplog.messages)
        assert left(database) == set()
        plant(database, "old too")
        rename(database, "hidden", "executor")
        wait_until(lambda: told)
    assert caplog.messages[0].startswith("Pruning failed, next try in 0.05 s: Postgres at ")
    assert "agent_app.executor" in caplog.messages[0]


def rename(database: Database, table: str, name: str) -> None:
    """Rename one of our tables."""
    with database.connect() as connection:
        connection.execute(f"alter table agent_app.{table} rename to {name}".encode())


def test_schedule_without_a_server_goes_on(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that cannot be reached is logged, again and again, and ends nothing."""
    gone = replace(database, url=f"{database.url}&dbname=nowhere")
    with prune_schedule(gone, scheduled(), lambda pruned: None):
        wait_until(lambda: len(caplog.messages) >= 2)
    assert "refused the connection" in caplog.messages[0]


def test_end_does_not_wait_for_a_prune_that_hangs(database: Database) -> None:
    """Where another session holds a table, the schedule ends while that one still holds it."""
    plant(database, "old")
    with database.connect() as connection, connection.transaction():
        connection.execute("lock table dbos.workflow_output in access exclusive mode")
        with prune_schedule(database, scheduled(), lambda pruned: None):
            wait_until(lambda: waits_for_a_lock(database))
        assert waits_for_a_lock(database)


def waits_for_a_lock(database: Database) -> bool:
    """Say whether a session waits for another one's lock."""
    query = """
        select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
    """
    with database.connect() as connection:
        return connection.execute(query).fetchone() is not None
