"""Workers that are asked to stop: what they finish, what they hand over, and how fast."""

import signal
from collections import Counter

import pytest

from tests.crash.laboratory import Laboratory
from tests.crash.test_queues import counts, enqueue, start_worker, stop, wait_for_success
from tests.crash.test_retry_wait import waiting
from tests.doors.test_health import ask, free_port
from tests.helpers import wait_until

LEASE_S = "3600"
"""Nobody can have waited for this lease: what was taken over had been handed over."""


@pytest.fixture
def slow_to_notice(laboratory: Laboratory) -> Laboratory:
    """Return a laboratory whose executors count as alive for an hour after their last sign."""
    laboratory.environment["AGENT_APP_EXECUTOR_LEASE_S"] = LEASE_S
    return laboratory


def starts(laboratory: Laboratory) -> Counter[tuple[str, int]]:
    """Return how often each step's body has begun."""
    return Counter(e.step for e in laboratory.effects() if e.phase == "start")


def test_a_drained_worker_finishes_its_steps_and_hands_the_runs_over(
    slow_to_notice: Laboratory,
) -> None:
    """Steps in flight end here, the next ones begin in the other worker, and none begins twice.

    A parent that waits for its children holds up nothing, and neither is counted as a recovery.
    """
    slow_to_notice.query(
        "select agent_app.enqueue_run('three-diggers', to_jsonb('a b c'::text), run_id => 'p')"
    )
    first = start_worker(slow_to_notice, hold_from=1)
    slow_to_notice.wait_for_starts(3)  # the model of each child
    second = start_worker(slow_to_notice)
    first.send(signal.SIGTERM)
    wait_until(lambda: "Draining: 3 steps in flight" in first.stderr, 60)
    enqueue(slow_to_notice, 1)
    wait_until(lambda: second.process_id in {e.process_id for e in slow_to_notice.effects()}, 60)
    slow_to_notice.gate.touch()
    assert first.wait() == 0, first.stderr
    wait_for_success(slow_to_notice)
    stop(second)

    assert "Handed over 4 runs: p, " in first.stderr
    assert "Cut short" not in first.stderr
    assert set(starts(slow_to_notice).values()) == {1}
    assert len(starts(slow_to_notice)) == 4 * 4
    by_first = [e for e in slow_to_notice.effects() if e.process_id == first.process_id]
    assert len({e.step for e in by_first}) == 3
    counted = slow_to_notice.query("select recovery_attempts as count from dbos.workflow_status")
    assert {row["count"] for row in counted} == {1}


def test_a_step_over_the_limit_is_cut_and_executed_again(slow_to_notice: Laboratory) -> None:
    """What does not end within the limit is named, and nothing that had ended begins again."""
    slow_to_notice.environment["AGENT_APP_DRAIN_S"] = "0.5"
    enqueue(slow_to_notice, 1)
    first = start_worker(slow_to_notice, hold_from=2)
    slow_to_notice.wait_for_starts(3)
    mark = slow_to_notice.mark()
    assert first.kill(signal.SIGTERM) == 0, first.stderr
    assert counts(slow_to_notice) == (0, 1)  # nobody else lives: it waits for the next worker
    second = start_worker(slow_to_notice)
    wait_for_success(slow_to_notice)
    stop(second)
    assert first.stderr.count("Cut short: step ") == 2
    assert slow_to_notice.repeated(mark) == set()
    assert sorted(starts(slow_to_notice).values()) == [1, 1, 2, 2]


def test_a_second_signal_does_not_wait(slow_to_notice: Laboratory) -> None:
    """SIGTERM twice hands the run over without waiting for the step that is in flight.

    The worker's probes: alive until the end, ready until the first signal.
    """
    port = free_port()
    slow_to_notice.environment |= {"AGENT_APP_DRAIN_S": "3600", "AGENT_APP_HEALTH_PORT": str(port)}
    enqueue(slow_to_notice, 1)
    worker = start_worker(slow_to_notice, hold_from=2)
    slow_to_notice.wait_for_starts(2)
    assert (ask(port, "/healthz")[0], ask(port, "/readyz")[0]) == (200, 200)
    worker.send(signal.SIGTERM)
    wait_until(lambda: "Draining" in worker.stderr, 60)
    assert ask(port, "/healthz")[0] == 200
    status, told = ask(port, "/readyz")
    assert (status, told["reasons"]) == (503, ["it drains, and takes no runs any more"])
    assert worker.kill(signal.SIGTERM) == 0, worker.stderr
    assert "Cut short: step 2" in worker.stderr
    assert counts(slow_to_notice) == (0, 1)


def test_a_worker_that_is_killed_while_it_drains_loses_nothing(laboratory: Laboratory) -> None:
    """SIGKILL in the drain is SIGKILL: the next worker goes on, and repeats no finished step."""
    enqueue(laboratory, 1)
    worker = start_worker(laboratory, hold_from=2)
    laboratory.wait_for_starts(2)
    worker.send(signal.SIGTERM)
    wait_until(lambda: "Draining" in worker.stderr, 60)
    mark = laboratory.mark()
    worker.kill()
    second = start_worker(laboratory)
    wait_for_success(laboratory)
    stop(second)
    assert laboratory.repeated(mark) == set()


def test_a_wait_for_the_next_try_holds_up_no_drain(effect_laboratory: Laboratory) -> None:
    """A worker whose only step waits for its next try ends at once; the wait goes with the run."""
    effect_laboratory.environment["AGENT_APP_DRAIN_S"] = "3600"
    effect_laboratory.query("select agent_app.enqueue_run('patient', to_jsonb('60'::text))")
    worker = start_worker(effect_laboratory)
    wait_until(lambda: waiting(effect_laboratory, 1), 60)
    assert worker.kill(signal.SIGTERM) == 0, worker.stderr
    assert "Draining" not in worker.stderr
    assert "Handed over 1 run: " in worker.stderr
    assert counts(effect_laboratory) == (0, 1)
    assert waiting(effect_laboratory, 1)
