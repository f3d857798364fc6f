"""`agent-app run --chaos`: tries fail on purpose, and the game ends right all the same."""

import io
import re
from collections import Counter

import pytest

from agent_app.database.connect import Database
from tests.doors.conftest import Command

FAULT = re.compile(
    r"attempt \d failed, .* InjectedFault: made to fail on purpose, (before|after) attempt \d"
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for next to nothing between tries."""
    monkeypatch.setenv("AGENT_APP_RETRY_BACKOFF_S", "0.001")


def faults_of(stdout: str) -> list[str]:
    """Return the lines of faults, as places and steps without times."""
    found = (line.partition("InjectedFault: ")[2] for line in stdout.splitlines())
    return sorted(text for text in found if text)


def test_a_fault_in_five_leaves_the_game_as_it_was(agent_app: Command) -> None:
    """With five seeds the result is the untroubled one, after faults before and after bodies."""
    told = agent_app("run", "twenty-questions", "potato").stdout.splitlines()[:-1]
    places: Counter[str] = Counter()
    for seed in ("1", "2", "3", "4", "5"):
        outcome = agent_app("run", "twenty-questions", "potato", "--chaos", "0.2", "--seed", seed)
        lines = [line for line in outcome.stdout.splitlines() if "InjectedFault" not in line]
        assert outcome.code == 0
        assert lines[:-1] == told
        assert f"faults in 20% of the tries, seed {seed}" in outcome.stderr
        places.update(FAULT.findall(outcome.stdout))
    assert places["before"] > 0
    assert places["after"] > 0
    assert 5 <= places.total() <= 40


def test_the_seed_alone_decides_the_faults(agent_app: Command) -> None:
    """The same seed gives the same faults in another run and its children; another does not."""
    game = ("run", "twenty-questions", "potato", "--chaos", "0.5", "--seed")
    first, second, other = (faults_of(agent_app(*game, seed).stdout) for seed in "775")
    assert first == second != other
    assert any("answerer.model" in fault for fault in first)
    assert any("questioner.tool.ask" in fault for fault in first)


def test_every_try_but_the_last_may_fail(agent_app: Command) -> None:
    """Even where each try is made to fail, the last one that the policy allows is not."""
    outcome = agent_app("run", "twenty-questions", "potato", "--chaos", "1")
    assert outcome.code == 0
    assert "Found in 5 turns: potato" in outcome.stdout
    by_attempt = Counter(re.findall(r"(?:before|after) attempt (\d)", outcome.stdout))
    assert by_attempt["1"] == by_attempt["2"] > by_attempt["3"] > 0
    assert by_attempt["4"] == 0


def test_faults_come_to_a_person_s_game_too(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--chaos and --you-ask go together: the answer is right after its retries."""
    monkeypatch.setattr("sys.stdin", io.StringIO("Is it alive?\n"))
    outcome = agent_app("run", "twenty-questions", "potato", "--you-ask", "--chaos", "1")
    assert outcome.stdout.count("InjectedFault") == 3
    assert " 1  Is it alive?  no" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--seed", "1"], 1, "--chaos with their share is missing"),
        (["--chaos", "1.5"], 2, "--chaos"),
    ],
)
def test_chaos_that_makes_no_sense_is_refused(
    agent_app: Command, arguments: list[str], code: int, message: str
) -> None:
    """A seed for no faults and a share above one are errors, and nothing is started."""
    outcome = agent_app("run", "twenty-questions", "potato", *arguments)
    assert (outcome.code, message in outcome.stderr) == (code, True)


def test_a_run_keeps_its_faults_in_another_life(agent_app: Command, database: Database) -> None:
    """A resumed run meets the same faults again, though `resume` says nothing of them."""
    game = ("run", "twenty-questions", "potato", "--id", "game", "--chaos", "0.6")
    first = faults_of(agent_app(*game).stdout)
    assert agent_app(*game).code == 0  # the same command attaches: its seed is the ID's
    with database.connect() as connection:
        for table in ("operation_outputs", "workflow_output"):
            connection.execute(f"delete from dbos.{table} where workflow_uuid = 'game'")  # noqa: S608
        connection.execute(
            "update dbos.workflow_status set status = 'PENDING', executor_id = 'dead',"
            " completed_at = null where workflow_uuid = 'game'"
        )
    again = faults_of(agent_app("resume", "game").stdout)
    assert again == [fault for fault in first if "'questioner." in fault]
    assert len(again) > 3
