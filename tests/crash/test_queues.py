"""Workers on queues: killed with runs in flight and others waiting, and two that share the work."""

import signal
import time
from collections import Counter

import pytest

from tests.crash.conftest import Tell
from tests.crash.driver import Life
from tests.crash.laboratory import Laboratory
from tests.helpers import wait_until

PLACES = 3


def enqueue(laboratory: Laboratory, count: int, queue: str = "runs") -> None:
    """Enqueue so many runs of `digger`, in one transaction."""
    laboratory.query(
        "select agent_app.enqueue_run('digger', to_jsonb('hole ' || n),"
        " run_id => %(queue)s || '-' || n, queue => %(queue)s)"
        " from generate_series(1, %(count)s) as n",
        queue=queue,
        count=count,
    )


def start_worker(
    laboratory: Laboratory, *, hold_from: int | None = None, hold_bodies: tuple[str, ...] = ()
) -> Life:
    """Start a worker and wait until it is ready."""
    life = laboratory.command("worker", hold_from=hold_from, hold_bodies=hold_bodies)
    wait_until(lambda: "is ready" in life.stderr, 60)
    return life


def stop(life: Life) -> None:
    """Stop a worker as an operator does."""
    assert life.kill(signal.SIGTERM) == 0, life.stderr


def counts(laboratory: Laboratory, queue: str = "runs") -> tuple[int, int]:
    """Return how many runs of the queue run, and how many wait."""
    (row,) = laboratory.query(
        "select count(*) filter (where status = 'PENDING') as running,"
        " count(*) filter (where status = 'ENQUEUED') as waiting"
        " from dbos.workflow_status where queue_name = 'agent_app_' || %(queue)s",
        queue=queue,
    )
    return row["running"], row["waiting"]


def wait_for_success(laboratory: Laboratory) -> None:
    """Wait until every run has succeeded."""
    wait_until(lambda: set(laboratory.statuses().values()) == {"SUCCESS"}, 60)


@pytest.fixture
def limited(laboratory: Laboratory) -> Laboratory:
    """Return a laboratory whose workers have three places in `runs` and one in `slow`, for all."""
    laboratory.environment["AGENT_APP_QUEUES"] = (
        f'{{"runs": {{"max_running_per_worker": {PLACES}}}, "slow": {{"max_running": 1}}}}'
    )
    return laboratory


def test_another_worker_finishes_what_a_killed_one_had(limited: Laboratory, tell: Tell) -> None:
    """Runs in flight go back to their queue; all finish elsewhere, no finished step again."""
    enqueue(limited, 10)
    first = start_worker(limited, hold_bodies=("right",))
    limited.wait_for_starts(9)  # a model and two tools of each of its runs; three tools are held
    wait_until(lambda: len(limited.steps()) == 6, 60)
    held = {e.run_id for e in limited.effects()}
    assert len(held) == PLACES
    second = start_worker(limited)
    mark = limited.mark()

    assert first.kill() == -signal.SIGKILL
    killed_at = time.time()
    wait_for_success(limited)

    stop(second)
    taken = min(
        e.at for e in limited.effects() if e.run_id in held and e.process_id == second.process_id
    )
    print(f"\na killed worker's first run went on after {taken - killed_at:.2f} s")
    repeated = limited.repeated(mark)
    tell("agent-app worker, runs of a queue", 1, 0, len(repeated))
    assert repeated == set()
    assert len(limited.statuses()) == 10
    assert {step.run_id for step in limited.steps()} == {f"runs-{n}" for n in range(1, 11)}


def test_two_workers_share_the_runs(limited: Laboratory) -> None:
    """Of 50 runs each worker takes what it has places for, and each run is executed once."""
    workers = [start_worker(limited, hold_from=1) for _ in range(2)]
    enqueue(limited, 50)
    wait_until(lambda: counts(limited) == (2 * PLACES, 50 - 2 * PLACES), 60)
    limited.gate.touch()
    wait_for_success(limited)
    for worker in workers:
        stop(worker)
    starts = Counter(e.step for e in limited.effects() if e.phase == "start")
    assert set(starts.values()) == {1}
    assert len(starts) == 50 * 4
    processes = {e.run_id: e.process_id for e in limited.effects()}
    assert len(processes) == 50
    assert set(processes.values()) == {worker.process_id for worker in workers}


def test_a_limit_for_all_holds_over_two_workers(limited: Laboratory) -> None:
    """While one worker holds the only place, the other one takes nothing; then both go on."""
    enqueue(limited, 4, "slow")
    first = start_worker(limited, hold_from=1)
    wait_until(lambda: counts(limited, "slow") == (1, 3), 60)
    second = start_worker(limited)
    enqueue(limited, PLACES + 1)  # more than the first one takes: the second looks at its queues
    wait_until(lambda: second.process_id in {e.process_id for e in limited.effects()}, 60)
    assert counts(limited, "slow") == (1, 3)
    limited.gate.touch()
    wait_for_success(limited)
    stop(first)
    stop(second)


def test_a_run_that_nobody_serves_goes_on_by_its_name(limited: Laboratory) -> None:
    """A killed worker's run waits in its queue; `resume` says so, `resume RUN_ID` executes it."""
    enqueue(limited, 1)
    worker = start_worker(limited, hold_from=2)
    limited.wait_for_starts(3)
    assert worker.kill() == -signal.SIGKILL
    limited.wait_for_silence()
    mark = limited.mark()
    left = limited.command("resume")
    assert left.wait() == 0
    assert "1 of the runs that were left behind wait for a worker, in 'runs'." in left.stderr
    assert counts(limited) == (0, 1)
    assert limited.query("select run_id from agent_app.stranded_run") == [{"run_id": "runs-1"}]

    record = limited.command("resume", "runs-1", "--json").json()

    assert record["status"] == "SUCCESS"
    assert limited.repeated(mark) == set()
