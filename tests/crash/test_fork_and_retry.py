"""SIGKILL at every statement of a fork, a retry and a delete: whole as before or as after."""

import json
import signal
from itertools import count

import pytest

from tests.crash.conftest import Tell
from tests.crash.driver import Life
from tests.crash.laboratory import Laboratory

FORK = ("fork", "r", "--set", 'step.2="changed"', "--from", "7", "--json", "--id")
RETRY = ("retry", "r", "--json")
DELETE = ("delete", "r", "--yes")


def kill_everywhere(laboratory: Laboratory, command: tuple[str, ...]) -> tuple[Life, int]:
    """Kill the command at each statement of its transaction; return the life that survived it.

    After each kill everything is as before. Beside it: how many were killed.
    """
    before = laboratory.tables()
    for number in count(1):
        life = laboratory.command(*command, kill=("joint", number))
        if life.wait() != -signal.SIGKILL:
            return life, number - 1
        laboratory.wait_for_silence()
        assert laboratory.tables() == before
    raise AssertionError


def kill_after_commit(laboratory: Laboratory, command: tuple[str, ...]) -> None:
    """Kill the command when its transaction has just committed."""
    life = laboratory.command(*command, kill=("joined", 1))
    assert life.wait() == -signal.SIGKILL, life.stderr
    laboratory.wait_for_silence()


@pytest.fixture
def source(laboratory: Laboratory) -> Laboratory:
    """Return a laboratory with the run `r`, which has ended well."""
    start(laboratory, "five-tools")
    return laboratory


@pytest.fixture
def failed(laboratory: Laboratory) -> Laboratory:
    """Return a laboratory with the run `r`, which has failed with its child."""
    laboratory.environment["AGENT_APP_AGENTS"] = "tests.crash.failing_subjects"
    start(laboratory, "owner")
    assert laboratory.statuses() == {"r": "ERROR", "r:a": "ERROR"}
    return laboratory


def start(laboratory: Laboratory, agent: str, run_id: str = "r", text: str = "go") -> None:
    """Execute a run to its end."""
    laboratory.zygote.start(laboratory.plan("start", run_id, agent=agent, text=text)).json()
    laboratory.wait_for_silence()


@pytest.mark.slow
def test_killed_fork_has_left_nothing(source: Laboratory, tell: Tell) -> None:
    """A fork that is killed at any of its statements is not there; repeated, it runs to its end."""
    mark = source.mark()
    life, killed = kill_everywhere(source, (*FORK, "f"))
    assert killed > 5
    record = life.json()
    assert json.loads(record["output"])["fetch-a"] == "changed"
    assert json.loads(record["output"])["fetch-b"] == "what b brought"
    assert source.statuses() == {"r": "SUCCESS", "f": "SUCCESS"}
    repeated = source.repeated(mark)
    tell("agent-app fork", killed, 0, len(repeated))
    assert repeated == set()
    assert min(effect.step[1] for effect in source.effects()[mark.effect_count :]) == 7


def test_fork_that_is_killed_behind_its_commit_is_there_whole(
    source: Laboratory, tell: Tell
) -> None:
    """The copy has all its changes, the command says that it is there, and `resume` executes it."""
    mark = source.mark()
    kill_after_commit(source, (*FORK, "f"))
    assert source.statuses() == {"r": "SUCCESS", "f": "ENQUEUED"}
    again = source.command(*FORK, "f")
    assert again.wait() == 1
    assert "that ID is taken" in again.stderr
    record = source.command("resume", "f", "--json").json()
    undisturbed = source.command(*FORK, "g").json()
    tell("agent-app fork", 1, 0, len(source.repeated(mark)))
    assert record["output"] == undisturbed["output"]
    assert source.repeated(mark) == set()
    assert source.statuses() == {"r": "SUCCESS", "f": "SUCCESS", "g": "SUCCESS"}


def failed_steps(laboratory: Laboratory) -> set[tuple[str, int]]:
    """Return the steps whose checkpoints hold errors."""
    rows = laboratory.query(
        "select run_id, step_number from agent_app.step where error is not null"
    )
    return {(row["run_id"], row["step_number"]) for row in rows}


@pytest.mark.slow
def test_killed_retry_has_changed_nothing(failed: Laboratory, tell: Tell) -> None:
    """A retry that is killed at any statement has touched neither run; repeated, it ends both."""
    mark, redone = failed.mark(), failed_steps(failed)
    life, killed = kill_everywhere(failed, RETRY)
    assert killed > 5
    assert life.json()["output"] == "end"
    assert failed.statuses() == {"r": "SUCCESS", "r:a": "SUCCESS"}
    repeated = failed.repeated(mark)
    tell("agent-app retry", killed, 0, len(repeated - redone))
    assert repeated == redone
    assert len(redone) == 2


def test_retry_that_is_killed_behind_its_commit_is_there_whole(
    failed: Laboratory, tell: Tell
) -> None:
    """Run and child wait to go on, the command says so, and `resume` ends them."""
    mark, redone = failed.mark(), failed_steps(failed)
    kill_after_commit(failed, RETRY)
    assert failed.statuses() == {"r": "ENQUEUED", "r:a": "ENQUEUED"}
    assert failed_steps(failed) == set()
    again = failed.command(*RETRY)
    assert again.wait() == 1
    assert "and only a run that failed is" in again.stderr  # it may have begun to execute it
    assert failed.command("resume", "r", "--json").json()["output"] == "end"
    assert failed.statuses() == {"r": "SUCCESS", "r:a": "SUCCESS"}
    tell("agent-app retry", 1, 0, len(failed.repeated(mark) - redone))
    assert failed.repeated(mark) == redone


@pytest.mark.slow
def test_killed_delete_has_deleted_nothing(laboratory: Laboratory, tell: Tell) -> None:
    """A delete that is killed at any statement leaves every row; repeated, it leaves none."""
    start(laboratory, "three-diggers", "kept", "here there")
    before = laboratory.tables()
    start(laboratory, "three-diggers", "r", "here there")
    life, killed = kill_everywhere(laboratory, DELETE)
    assert killed > 5
    assert life.wait() == 0
    assert laboratory.tables() == before
    tell("agent-app delete", killed, 0, 0)


def test_delete_that_is_killed_behind_its_commit_is_done(laboratory: Laboratory) -> None:
    """Nothing of the run is left, and the command says that it does not exist."""
    start(laboratory, "three-diggers", "kept", "here there")
    before = laboratory.tables()
    start(laboratory, "three-diggers", "r", "here there")
    kill_after_commit(laboratory, DELETE)
    assert laboratory.tables() == before
    again = laboratory.command(*DELETE)
    assert again.wait() == 1
    assert "Run 'r' does not exist" in again.stderr
