"""Runs whose process keeps dying, and processes that lose their connections without dying."""

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.crash.driver import Life
from tests.crash.laboratory import Laboratory
from tests.crash.proxy import Proxy, proxied
from tests.crash.test_queues import enqueue, start_worker, stop, wait_for_success
from tests.helpers import wait_until

GIVEN_UP = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"


@pytest.fixture
def capped(laboratory: Laboratory) -> Laboratory:
    """Return a laboratory whose runs are given up after two recoveries."""
    laboratory.environment["AGENT_APP_MAX_RECOVERIES"] = "2"
    return laboratory


def kill_at(laboratory: Laboratory, action: str, place: tuple[str, int]) -> None:
    """Let one process start the run or go on with it, and die."""
    text = {"agent": "digger", "text": "hole"} if action == "start" else {}
    life = laboratory.zygote.start(laboratory.plan(action, "r", kill=place, **text))  # type: ignore[arg-type]
    assert life.wait() == -signal.SIGKILL, life.stderr
    laboratory.wait_for_silence()


def test_run_that_kills_its_processes_is_given_up(capped: Laboratory) -> None:
    """The third recovery does not execute it; everybody says so, and resuming goes on, twice."""
    kill_at(capped, "start", ("start", 1))
    for _ in range(2):
        kill_at(capped, "recover", ("start", 1))
    assert len(capped.effects()) == 3

    left = capped.command("resume")

    assert left.wait() == 1
    assert "Run r is given up: its process died too often. `agent-app resume r`" in left.stderr
    assert "DBOS Error" not in left.stderr
    assert len(capped.effects()) == 3
    (shown,) = capped.command("list", "--json").json()
    assert shown["status"] == GIVEN_UP
    assert shown["error"].startswith("RunGivenUp: its process died 3 times in a row")
    doctor = capped.command("doctor")
    doctor.wait()
    assert "Runs given up" in doctor.stdout
    assert "agent-app resume r" in doctor.stdout
    again = capped.command("resume", "r", kill=("start", 1))
    assert again.wait() == -signal.SIGKILL
    capped.wait_for_silence()
    assert capped.command("resume", "r", "--json").json()["status"] == "SUCCESS"


def test_run_that_goes_on_outlives_more_processes(effect_laboratory: Laboratory) -> None:
    """Each of its processes finishes two steps before it dies: that begins the count anew."""
    effect_laboratory.environment["AGENT_APP_MAX_RECOVERIES"] = "1"
    command = ["run", "walker", "town", "--id", "r", "--json"]
    for _ in range(3):
        life = effect_laboratory.command(*command, kill=("start", 3), pause_s=0.4)
        assert life.wait() == -signal.SIGKILL, life.stderr
        effect_laboratory.wait_for_silence()
    assert len(effect_laboratory.steps()) == 6
    assert effect_laboratory.command(*command).json()["status"] == "SUCCESS"


@pytest.fixture
def proxy(laboratory: Laboratory) -> Iterator[Proxy]:
    """Yield a proxy before the laboratory's database; processes that need it are told so."""
    laboratory.environment["AGENT_APP_EXECUTOR_LEASE_S"] = "0.5"
    laboratory.environment["AGENT_APP_QUEUES"] = '{"slow": {}}'
    with proxied(laboratory.database.url) as proxy:
        yield proxy


def start_behind(proxy: Proxy, laboratory: Laboratory) -> Life:
    """Start a worker that connects through the proxy only; its bodies wait from the 2nd on."""
    direct = laboratory.environment["AGENT_APP_DATABASE_URL"]
    laboratory.environment["AGENT_APP_DATABASE_URL"] = proxy.url
    life = start_worker(laboratory, hold_from=2)
    laboratory.environment["AGENT_APP_DATABASE_URL"] = direct
    return life


def begun_by(laboratory: Laboratory, life: Life, run_id: str) -> int:
    """Return how many of the run's bodies the process has begun."""
    return sum(
        e.phase == "start" and e.process_id == life.process_id and e.run_id == run_id
        for e in laboratory.effects()
    )


def test_half_open_connection_is_as_good_as_dead(laboratory: Laboratory, proxy: Proxy) -> None:
    """A survivor ends the run; the cut-off process begins nothing of it and goes on with others."""
    cut_off = start_behind(proxy, laboratory)
    enqueue(laboratory, 1)
    laboratory.wait_for_starts(3)  # a model, and two tools that are held
    wait_until(lambda: len(laboratory.steps()) == 1, 60)
    mark = laboratory.mark()
    proxy.pause()
    laboratory.gate.touch()

    survivor = start_worker(laboratory)
    wait_for_success(laboratory)
    stop(survivor)
    assert begun_by(laboratory, cut_off, "runs-1") == 3
    proxy.resume()
    enqueue(laboratory, 1, "slow")
    wait_for_success(laboratory)

    assert begun_by(laboratory, cut_off, "slow-1") == 4
    assert begun_by(laboratory, cut_off, "runs-1") == 3
    assert laboratory.repeated(mark) == set()
    assert len(laboratory.steps()) == 8
    stop(cut_off)


def terminate_all(laboratory: Laboratory, proxy: Proxy) -> None:
    """End every session on the database but our own, as an operator can."""
    laboratory.query(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )


def reset_all(laboratory: Laboratory, proxy: Proxy) -> None:
    """Reset every connection under way, as a firewall can."""
    proxy.cut()


@pytest.mark.parametrize("lose", [terminate_all, reset_all])
def test_lost_connections_cost_a_living_process_nothing(
    laboratory: Laboratory, proxy: Proxy, lose: Callable[[Laboratory, Proxy], None]
) -> None:
    """It ends the run itself: each body begins once, and its lock is there again."""
    worker = start_behind(proxy, laboratory)
    enqueue(laboratory, 1)
    laboratory.wait_for_starts(3)
    lost = laboratory.backends()

    lose(laboratory, proxy)

    wait_until(lambda: not (laboratory.backends() & lost), 30)
    laboratory.gate.touch()
    wait_for_success(laboratory)
    assert len(laboratory.effects()) == 2 * 4
    wait_until(lambda: len(laboratory.query("select from agent_app.living_executor")) == 1)
    stop(worker)
