"""A provider's rate limit between processes: who is parked by it, and who is killed meanwhile."""

import signal
from collections.abc import Iterator

import pytest

from tests.crash.driver import Life
from tests.crash.laboratory import Laboratory
from tests.doors.openai_stub import openai_stub
from tests.doors.stub_server import Failure, Stub
from tests.helpers import wait_until

CLOSED = "its model's rate limit is closed, for"


@pytest.fixture
def stub(laboratory: Laboratory) -> Iterator[Stub]:
    """Yield a server in the place of a provider, which the questioner of each game asks."""
    with openai_stub() as stub:
        laboratory.environment |= {"OPENAI_BASE_URL": stub.url, "OPENAI_API_KEY": "not-a-key"}
        yield stub


def play(laboratory: Laboratory, run_id: str, hold_from: int | None = None) -> Life:
    """Start a process that plays a game; its bodies wait for the gate from one on."""
    words = ("run", "twenty-questions", "potato", "--model", "questioner=openai-chat:gpt-4o")
    return laboratory.command(*words, "--id", run_id, hold_from=hold_from)


def close_limit(laboratory: Laboratory, stub: Stub, for_s: int) -> tuple[Life, Life]:
    """Return a process that was refused for so long, and one that is parked for that."""
    parked = play(laboratory, "parked", hold_from=2)  # the model answers, its tool waits
    wait_until(lambda: stub.answered, 30)
    stub.faults[len(stub.requests) + 1] = Failure(429, {"Retry-After": str(for_s)})
    refused = play(laboratory, "refused")
    wait_until(lambda: laboratory.query("select true from agent_app.rate_limit"), 30)
    laboratory.gate.touch()
    wait_until(lambda: CLOSED in parked.stdout, 30)
    return refused, parked


def test_a_refusal_in_one_process_parks_another(laboratory: Laboratory, stub: Stub) -> None:
    """The other process sends nothing until the limit opens, and its run spends no try on it."""
    refused, parked = close_limit(laboratory, stub, for_s=3)
    assert len(stub.requests) == 2
    for life in (refused, parked):
        assert life.wait() == 0, life.stderr
    _, refused_at, *later = stub.asked_at
    assert min(later) - refused_at >= 3
    assert stub.most_often_answered() == 2  # two games alike
    assert "attempt 1 failed, the next in 3.0 s" in refused.stdout
    failed = (
        "select run_id, attempt_number, http_status from agent_app.attempt where error_type > ''"
    )
    assert laboratory.query(failed) == [
        {"run_id": "refused", "attempt_number": 1, "http_status": 429}
    ]
    tries = laboratory.query("select max(attempt_number) as of from agent_app.attempt")
    assert tries == [{"of": 2}]


def test_a_recovery_keeps_to_the_limit_that_the_dead_met(
    laboratory: Laboratory, stub: Stub
) -> None:
    """Killed in a request, in the wait after a refusal and parked: all go on when it opens."""
    stub.faults[1] = "hold"
    held = play(laboratory, "held")
    assert stub.holding.wait(30)
    refused, parked = close_limit(laboratory, stub, for_s=6)
    for life in (held, refused, parked):
        assert life.kill() == -signal.SIGKILL
    laboratory.wait_for_silence()
    assert len(stub.requests) == 3

    resumed = laboratory.command("resume", "--json")

    assert resumed.wait() == 0, resumed.stderr
    roots = {
        run_id: status for run_id, status in laboratory.statuses().items() if ":" not in run_id
    }
    assert roots == dict.fromkeys(("held", "refused", "parked"), "SUCCESS")
    _, _, refused_at, *later = stub.asked_at
    assert min(later) - refused_at >= 6
    failed = laboratory.query(
        "select run_id, attempt_number, outcome from agent_app.attempt"
        " where outcome <> 'success' order by run_id"
    )
    assert failed == [
        {"run_id": "held", "attempt_number": 1, "outcome": "lost"},
        {"run_id": "refused", "attempt_number": 1, "outcome": "error"},
    ]
