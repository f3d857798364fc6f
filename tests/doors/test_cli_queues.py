"""`run --detach`, `queues` and `worker --queue` as typed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

import agent_app.agents.twenty_questions.workflow  # noqa: F401 - registered before the catalog changes
from agent_app.database.connect import Database
from agent_app.durability.catalog import fresh_catalog, workflow
from tests.database.rows import column
from tests.doors.conftest import Command

DETACH = ("run", "--detach", "greeter")


@pytest.fixture(autouse=True)
def greeter() -> Iterator[list[str]]:
    """Define the workflow `greeter`, and yield whom it has greeted."""
    greeted: list[str] = []
    with fresh_catalog():

        @workflow("greeter", output=str)
        async def greet(name: str) -> str:
            greeted.append(name)
            return f"hello {name}"

        yield greeted


def test_a_detached_run_is_stored_and_not_executed(
    agent_app: Command, database: Database, greeter: list[str]
) -> None:
    """It prints the ID alone, says where the run waits and that nobody is there, and returns."""
    done = agent_app(*DETACH, "ann", "--id", "r", "--attribute", "customer=acme")
    assert (done.code, done.stdout) == (0, "r\n")
    assert done.stderr.splitlines() == [
        "Run r (greeter) waits in queue 'runs'; `agent-app follow r` shows how it goes on.",
        "No worker serves that queue at this moment; `agent-app worker` does.",
    ]
    assert greeter == []
    assert column(database, "select count(*) from agent_app.executor") == [0]
    shown = agent_app("show", "r", "--json").json()
    assert (shown["status"], shown["waiting_for"], shown["input"]) == ("ENQUEUED", "queue", "ann")
    assert shown["attributes"] == {"customer": "acme"}
    assert column(database, "select run_id from agent_app.stranded_run") == ["r"]


def test_a_place_is_given_by_options(
    agent_app: Command, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queue, priority, delay, key and deduplication ID reach the run; --json prints an object."""
    monkeypatch.setenv("AGENT_APP_QUEUES", '{"slow": {}}')
    place = ("--queue", "slow", "--priority", "3", "--delay", "10m", "--key", "ann")
    done = agent_app(*DETACH, "x", *place, "--deduplication-id", "d", "--json").json()
    assert {**done, "run_id": ""} == {
        "run_id": "",
        "agent": "greeter",
        "status": "DELAYED",
        "queue": "slow",
        "is_new": True,
        "worker_count": 0,
    }
    query = (
        "select row_to_json(r) from (select run_id, queue, priority, key, deduplication_id,"
        " round(extract(epoch from delayed_until - created_at) / 60) as delay_min"
        " from agent_app.queued_run) as r"
    )
    assert column(database, query) == [
        {
            "run_id": done["run_id"],
            "queue": "slow",
            "priority": 3,
            "key": "ann",
            "deduplication_id": "d",
            "delay_min": 10,
        }
    ]
    assert "DELAYED" in agent_app("list", "--status", "delayed").stdout
    again = agent_app(*DETACH, "y", "--queue", "slow", "--deduplication-id", "d")
    assert again.code == 1
    assert again.stderr.startswith(f"Run '{done['run_id']}' of queue 'slow' is unfinished and")


def test_the_same_run_again_attaches(agent_app: Command, database: Database) -> None:
    """The same input says that it is there; another one is refused; `run` knows where it waits."""
    agent_app(*DETACH, "ann", "--id", "r")
    again = agent_app(*DETACH, "ann", "--id", "r")
    assert (again.code, again.stdout) == (0, "r\n")
    assert again.stderr == "Run r (greeter) is there already: ENQUEUED.\n"
    assert agent_app(*DETACH, "ann", "--id", "r", "--json").json()["is_new"] is False
    other = agent_app(*DETACH, "bob", "--id", "r")
    assert other.code == 1
    assert other.stderr.startswith("Run 'r' exists, as 'greeter' with another input")
    assert column(database, "select count(*) from dbos.workflow_status") == [1]


def test_resume_goes_on_with_a_run_that_waits(
    agent_app: Command, greeter: list[str], database: Database
) -> None:
    """Named, it is executed at once and here; unnamed, what waits for workers is left to them."""
    agent_app(*DETACH, "ann", "--id", "r", "--delay", "9h")
    agent_app(*DETACH, "bob", "--id", "q")
    left = agent_app("resume")
    assert (left.code, left.stderr, greeter) == (0, "Nothing is left to go on with.\n", [])
    resumed = agent_app("resume", "r", "--json").json()
    assert (resumed["status"], resumed["output"], greeter) == ("SUCCESS", "hello ann", ["ann"])
    assert column(database, "select run_id from agent_app.queued_run") == ["q"]


def test_a_plain_run_leaves_queues_alone(agent_app: Command, greeter: list[str]) -> None:
    """It executes its own run, and neither takes nor waits for one that is queued."""
    agent_app(*DETACH, "queued", "--id", "q")
    done = agent_app("run", "greeter", "direct", "--json")
    assert done.json()["output"] == "hello direct"
    assert greeter == ["direct"]
    assert agent_app("show", "q", "--json").json()["status"] == "ENQUEUED"


def test_cancel_before_the_start(agent_app: Command) -> None:
    """A run that waits is cancelled like any other, and `follow` ends with it."""
    agent_app(*DETACH, "ann", "--id", "r")
    assert agent_app("cancel", "r").code == 0
    assert agent_app("show", "r", "--json").json()["status"] == "CANCELLED"
    followed = agent_app("follow", "r")
    assert followed.code == 1
    assert "Run 'r' was cancelled." in followed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "greeter", "x", "--queue", "runs"), 2, "--queue is for a run that waits"),
        (("run", "greeter", "x", "--delay", "1h"), 2, "--delay is for a run that waits"),
        (("run", "greeter", "x", "--deduplication-id", "d"), 2, "--deduplication-id is for"),
        ((*DETACH, "x", "--you-ask"), 2, "--you-ask shows a run as it is executed"),
        ((*DETACH, "x", "--steps"), 2, "--steps shows a run as it is executed"),
        ((*DETACH, "x", "--priority", "0"), 2, "--priority"),
        ((*DETACH, "x", "--priority", "soon"), 2, "--priority"),
        ((*DETACH, "x", "--delay", "soon"), 1, "--delay 'soon' is no time; a number with one of"),
        ((*DETACH, "x", "--queue", "fast"), 1, "Queue 'fast' does not exist; known are 'runs'."),
        ((*DETACH, "x", "--queue", ""), 1, "Queue '' does not exist"),
        ((*DETACH, "x", "--key", ""), 1, "Key '' is not valid"),
        ((*DETACH, "x", "--id", "a/b"), 1, "Run ID 'a/b'"),
        ((*DETACH, "x", "--attribute", "parent_run_id=y"), 1, "belongs to agent_app"),
        ((*DETACH, "x", "--model", "nope=offline"), 1, "nope"),
        (("run", "--detach", "greetr", "x"), 1, "'greeter'"),
        (("worker", "--queue", "fast"), 1, "Queue 'fast' does not exist"),
    ],
)
def test_bad_input_stores_nothing(
    agent_app: Command, database: Database, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """It is refused with a message that names the option or the value."""
    done = agent_app(*arguments)
    assert done.code == code
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert column(database, "select count(*) from dbos.workflow_status") == [0]


def test_an_agents_queue_is_checked(agent_app: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that give a queue to an agent that there is not are refused, not overlooked."""
    monkeypatch.setenv("AGENT_APP_AGENT_QUEUES", '{"greetr": "runs"}')
    done = agent_app(*DETACH, "x")
    assert done.code == 1
    assert "'greetr'" in done.stderr


def test_queues_are_listed(
    agent_app: Command, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue is listed with what waits in it, before any worker has served it."""
    assert [row["queue"] for row in agent_app("queues", "--json").json()] == ["recovery"]
    agent_app(*DETACH, "x")
    agent_app(*DETACH, "y", "--delay", "1h")
    _, row = agent_app("queues", "--json").json()
    counts = {name: value for name, value in row.items() if name.endswith("_count")}
    assert row["queue"] == "runs"
    assert counts == {
        "enqueued_count": 1,
        "delayed_count": 1,
        "running_count": 0,
        "started_last_minute_count": 0,
        "worker_count": 0,
    }
    lines = agent_app("queues").stdout.splitlines()
    assert lines[0].split()[:4] == ["QUEUE", "WAIT", "DELAYED", "RUN"]
    assert lines[2].split()[:4] == ["runs", "1", "1", "0"]


def test_the_registered_limits_are_listed(agent_app: Command, database: Database) -> None:
    """Limits are those that the last worker has stored."""
    limits: dict[str, Any] = {"worker_concurrency": 20, "concurrency": 30, "rate_limit_max": 5}
    limits |= {"rate_limit_period_sec": 60, "partition_concurrency": 2}
    with database.connect() as connection:
        connection.execute(
            "insert into dbos.queues (name, worker_concurrency, concurrency, rate_limit_max,"
            " rate_limit_period_sec, partition_concurrency) select 'agent_app_runs',"
            " (l ->> 'worker_concurrency')::int, (l ->> 'concurrency')::int,"
            " (l ->> 'rate_limit_max')::int, (l ->> 'rate_limit_period_sec')::float,"
            " (l ->> 'partition_concurrency')::int from (select %s::jsonb as l) as given",
            (json.dumps(limits),),
        )
    assert (
        agent_app("queues")
        .stdout.splitlines()[2]
        .endswith("20 running per worker, 30 running, 2 running per key, 5 starts in 60 s")
    )
