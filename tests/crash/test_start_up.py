"""SIGKILL while a process starts, before it has executed anything."""

import json
import signal

import pytest

from tests.crash.conftest import Tell
from tests.crash.laboratory import Laboratory

PLACES = {
    "before the executor's lock": ("lock", 1),
    "after the lock": ("locked", 1),
    "before DBOS starts": ("launch", 1),
    "after DBOS has started": ("launched", 1),
    "before the run's row": ("row", 1),
    "after the run's row": ("commit", 1),
}


@pytest.mark.parametrize("place", PLACES)
def test_kill_during_start_up_leaves_a_run_that_the_same_command_starts(
    laboratory: Laboratory, tell: Tell, place: str
) -> None:
    """Wherever the start was cut short, the same command gives the result, each body once."""
    run = laboratory.plan("start", "r", agent="digger", text="here", kill=PLACES[place])
    assert laboratory.zygote.start(run).wait() == -signal.SIGKILL
    laboratory.wait_for_silence()
    assert laboratory.statuses() == ({"r": "PENDING"} if "after the run's" in place else {})

    record = laboratory.command("run", "digger", "here", "--id", "r", "--json").json()

    found = json.loads(record["output"])
    assert found == {"left-hand": "left of here", "right-hand": "right of here"}
    assert laboratory.statuses() == {"r": "SUCCESS"}
    assert len(laboratory.effects()) == 2 * len(laboratory.steps())
    tell("start-up", 1, 0, 0)
