"""SIGKILL while a step waits for its next try: the wait goes on, and nothing is forgotten."""

import signal
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.crash.conftest import Tell
from tests.crash.driver import Life
from tests.crash.laboratory import Laboratory
from tests.helpers import wait_until

EARLY_S = 0.2
"""How much earlier than promised a try may begin: two clocks are compared."""
LATE_S = 8.0
"""How much later, with the start of a process on a machine that has other things to do."""


def tries(laboratory: Laboratory) -> list[dict[str, Any]]:
    """Return the tries of the tool, oldest first."""
    return laboratory.query(
        "select attempt_number, outcome, started_at, retry_at, error_type, http_status,"
        " retry_after_s from agent_app.attempt where step_number = 2 order by attempt_number"
    )


def outcomes(laboratory: Laboratory) -> list[tuple[int, str | None]]:
    """Return the number and the outcome of each try."""
    return [(row["attempt_number"], row["outcome"]) for row in tries(laboratory)]


def calls_at(laboratory: Laboratory) -> list[datetime]:
    """Return when each of the tool's bodies has called out."""
    return [
        datetime.fromtimestamp(effect.at, UTC)
        for effect in laboratory.effects()
        if effect.phase == "call"
    ]


def kill_in_wait(laboratory: Laboratory, life: Life, number: int) -> datetime:
    """Kill the process once try `number` has failed and the next one is due; return when it is."""
    wait_until(lambda: waiting(laboratory, number), 30)
    (retry_at,) = waiting(laboratory, number)
    assert life.kill() == -signal.SIGKILL
    assert datetime.now(UTC) < retry_at, "the wait was over before the kill"
    laboratory.wait_for_silence()
    return retry_at


def waiting(laboratory: Laboratory, number: int) -> list[datetime]:
    """Return when the try after this one is due; empty while none is."""
    rows = tries(laboratory)
    return [row["retry_at"] for row in rows if row["attempt_number"] == number and row["retry_at"]]


@pytest.mark.parametrize("kill_count", [1, 2])
def test_a_wait_goes_on_for_its_rest(
    effect_laboratory: Laboratory, tell: Tell, kill_count: int
) -> None:
    """The next try comes when the other side asked for it, whichever process is alive by then."""
    laboratory = effect_laboratory
    seconds = 4 * kill_count
    life = laboratory.command("run", "patient", str(seconds), "--id", "r")
    retry_at = kill_in_wait(laboratory, life, 1)
    (called_at,) = calls_at(laboratory)
    assert -0.5 <= (retry_at - called_at).total_seconds() - seconds <= 0.5
    for _ in range(kill_count - 1):
        known = (None, owner(laboratory))
        life = laboratory.command("resume", "r")
        wait_until(lambda known=known: owner(laboratory) not in known, 30)  # type: ignore[misc]
        assert kill_in_wait(laboratory, life, 1) == retry_at

    record = laboratory.command("resume", "r", "--json").json()

    assert record["output"] == "fetched at try 2"
    _, second_at = calls_at(laboratory)
    assert -EARLY_S <= (second_at - retry_at).total_seconds() <= LATE_S
    first, second = tries(laboratory)
    assert (first["attempt_number"], first["outcome"]) == (1, "error")
    assert (first["error_type"], first["http_status"]) == ("HTTPStatusError", 503)
    assert (first["retry_after_s"], first["retry_at"]) == (seconds, retry_at)
    assert (second["attempt_number"], second["outcome"]) == (2, "success")
    tell("wait for a retry", 0, kill_count, 0)


def owner(laboratory: Laboratory) -> object:
    """Return the token of who executes the run, None while it lies in a queue."""
    return laboratory.query("select owner_xid from dbos.workflow_status")[0]["owner_xid"]


def test_a_wait_that_is_over_is_not_waited_for(effect_laboratory: Laboratory, tell: Tell) -> None:
    """A process that comes late tries at once."""
    laboratory = effect_laboratory
    life = laboratory.command("run", "patient", "60", "--id", "r")
    kill_in_wait(laboratory, life, 1)
    with laboratory.database.connect() as connection:
        connection.execute("update agent_app.attempt set retry_at = now() where retry_at > now()")
    began = datetime.now(UTC)

    assert laboratory.command("resume", "r", "--json").json()["output"] == "fetched at try 2"

    assert (calls_at(laboratory)[1] - began).total_seconds() <= LATE_S
    tell("wait for a retry", 0, 1, 0)


def test_failures_of_all_lives_count(effect_laboratory: Laboratory, tell: Tell) -> None:
    """Two failures before the kill and one after it are the three that the policy allows."""
    laboratory = effect_laboratory
    life = laboratory.command("run", "patient", "0 3 0 0", "--id", "r")
    retry_at = kill_in_wait(laboratory, life, 2)

    last = laboratory.command("resume", "r", "--json")

    assert last.wait() == 1
    assert "HTTPStatusError: busy 3 (after 3 attempts)" in last.stderr
    assert outcomes(laboratory) == [(1, "error"), (2, "error"), (3, "error")]
    assert (calls_at(laboratory)[2] - retry_at).total_seconds() >= -EARLY_S
    (step,) = laboratory.query("select error from dbos.operation_outputs where function_id = 2")
    for number in (1, 2, 3):
        assert f"attempt {number}: " in step["error"]
        assert f"HTTPStatusError: busy {number}" in step["error"]
    assert "attempt 4" not in step["error"]
    assert laboratory.statuses() == {"r": "ERROR"}
    tell("failures of several lives", 0, 1, 0)


def test_a_try_that_a_crash_cut_short_does_not_count(
    effect_laboratory: Laboratory, tell: Tell
) -> None:
    """It is `lost` in the ledger; the policy's three tries are three that have failed."""
    laboratory = effect_laboratory
    first = laboratory.command("run", "patient", "0 0 0 0 0", "--id", "r", hold_from=3)
    wait_until(lambda: outcomes(laboratory) == [(1, "error"), (2, None)], 30)
    assert first.kill() == -signal.SIGKILL
    laboratory.wait_for_silence()
    assert outcomes(laboratory) == [(1, "error"), (2, None)]

    last = laboratory.command("resume", "r", "--json")

    assert last.wait() == 1
    assert "(after 3 attempts)" in last.stderr
    assert outcomes(laboratory) == [(1, "error"), (2, "lost"), (3, "error"), (4, "error")]
    tell("try cut short", 0, 1, 0)


@pytest.mark.parametrize("place", ["checkpoint", "written"])
def test_the_last_failure_is_made_once_more_if_its_checkpoint_is_lost(
    effect_laboratory: Laboratory, tell: Tell, place: str
) -> None:
    """A kill between the last failure and its checkpoint costs one more try, no more."""
    laboratory = effect_laboratory
    laboratory.environment["AGENT_APP_RETRY_BACKOFF_S"] = "0"
    first = laboratory.command("run", "patient", "0 0 0 0 0 0 0", "--id", "r", kill=(place, 2))
    assert first.wait() == -signal.SIGKILL
    laboratory.wait_for_silence()
    made = len(calls_at(laboratory))

    last = laboratory.command("resume", "r", "--json")

    assert last.wait() == 1
    assert made == 3
    assert 4 <= len(calls_at(laboratory)) <= 6  # the ledger may have lost its last rows
    assert laboratory.statuses() == {"r": "ERROR"}
    tell("last failure, no checkpoint", 1, 0, 0)
