"""What a person does to `agent-app`: kills, signals, two at once, cancel, and a planted run."""

import base64
import pickle
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import Tell
from tests.crash.effects import Effect
from tests.crash.laboratory import Laboratory
from tests.helpers import wait_until

GAME = ("run", "twenty-questions", "rabbit", "--json", "--id")
DIGGERS = ("run", "three-diggers", "here there yonder", "--json", "--id")
TOOLS = ("left", "right")
"""What each of the three does behind its first model call."""
KILLS = 10


def starts_of(effects: list[Effect], run_id: str) -> list[tuple[str, int]]:
    """Return the steps of a run and its children whose bodies began, each as often as it did."""
    return [e.step for e in effects if e.phase == "start" and e.step[0].startswith(run_id)]


@pytest.mark.slow
def test_game_survives_kills_at_random_moments(laboratory: Laboratory, tell: Tell) -> None:
    """The same command, killed ten times, ends the game at last and repeats nothing complete."""
    draw = random.Random(20)
    repeated: frozenset[tuple[str, int]] = frozenset()
    for _ in range(KILLS):
        mark = laboratory.mark()
        life = laboratory.command(*GAME, "game", pause_s=0.02)
        goal = mark.effect_count + draw.randint(1, 3)
        wait_until(lambda goal=goal: len(laboratory.effects()) >= goal, 60)  # type: ignore[misc]
        moment = time.monotonic() + draw.uniform(0, 0.03)
        wait_until(lambda moment=moment: time.monotonic() >= moment)  # type: ignore[misc]
        assert life.kill() == -signal.SIGKILL
        laboratory.wait_for_silence()
        repeated |= laboratory.repeated(mark)
    mark = laboratory.mark()

    record = laboratory.command(*GAME, "game").json()

    repeated |= laboratory.repeated(mark)
    undisturbed = laboratory.command(*GAME, "undisturbed").json()
    tell("agent-app run, random moments", KILLS, 0, len(repeated))
    assert repeated == set()
    assert {**record, "run_id": "undisturbed"} == undisturbed
    assert set(laboratory.statuses().values()) == {"SUCCESS"}


def test_two_processes_never_take_each_others_runs(laboratory: Laboratory) -> None:
    """Two games: each body once; after one is killed, `resume` finishes exactly that one."""
    first = laboratory.command(*GAME, "a", hold_from=6)
    laboratory.wait_for_starts(6, "a")
    backends = laboratory.backends()
    second = laboratory.command(*GAME, "b", hold_from=7)
    laboratory.wait_for_starts(7, "b")
    processes = {effect.step[0][0]: effect.process_id for effect in laboratory.effects()}
    assert processes == {"a": first.process_id, "b": second.process_id}
    assert first.kill() == -signal.SIGKILL
    laboratory.wait_for_silence(backends)
    mark = laboratory.mark()

    resumed = laboratory.command("resume", "--json").json()

    assert (resumed["run_id"], resumed["status"]) == ("a", "SUCCESS")
    assert laboratory.statuses()["b"] == "PENDING"
    assert second.is_alive
    laboratory.gate.touch()
    finished = second.json()
    assert finished["output"] == resumed["output"]
    assert laboratory.repeated(mark) == set()
    effects = laboratory.effects()
    own = starts_of(effects, "b")
    assert len(own) == len(set(own)) == len(starts_of(effects, "a")) - 2  # a model inside an ask
    assert {e.process_id for e in effects if e.step[0].startswith("b")} == {second.process_id}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_signal_leaves_the_run_to_be_resumed(
    laboratory: Laboratory, tell: Tell, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM end with code 1 and the way to go on; complete steps stay complete."""
    life = laboratory.command(*GAME, "game", hold_from=6)
    laboratory.wait_for_starts(6)
    assert life.kill(number) == 1
    assert life.stdout == ""
    assert life.stderr.splitlines()[-1] == (
        "Stopped. `agent-app resume` goes on from the last checkpoint."
    )
    assert laboratory.statuses()["game"] == "PENDING"
    assert laboratory.backends() == set()
    mark = laboratory.mark()

    record = laboratory.command("resume", "--json").json()

    assert record["output"]["found"] is True
    assert set(laboratory.statuses().values()) == {"SUCCESS"}
    repeated = laboratory.repeated(mark)
    tell(f"agent-app run, {number.name}", 0, 1, len(repeated))
    assert repeated == set()


def test_cancel_from_another_process_stops_the_tools_of_all_children(
    laboratory: Laboratory,
) -> None:
    """`cancel` ends a run whose children's tools sleep, and each of the children."""
    life = laboratory.command(*DIGGERS, "r", hold_bodies=TOOLS)
    laboratory.wait_for_starts(9)
    cancel = laboratory.command("cancel", "r")
    assert cancel.wait() == 0
    assert len(cancel.stdout.splitlines()) == 4
    assert life.wait() == 1
    assert "Run 'r' was cancelled." in life.stderr
    assert list(laboratory.statuses().values()) == ["CANCELLED"] * 4
    ends = [effect.body for effect in laboratory.effects() if effect.phase == "end"]
    assert ends == ["model"] * 3


def test_waiting_process_goes_on_when_the_executing_one_dies(laboratory: Laboratory) -> None:
    """The same command twice: the second waits, and takes the run over when the first dies."""
    first = laboratory.command(*DIGGERS, "r", hold_bodies=TOOLS)
    laboratory.wait_for_starts(9)
    second = laboratory.command(*DIGGERS, "r")
    wait_until(lambda: "Another process executes it" in second.stderr, 30)
    assert first.kill() == -signal.SIGKILL
    assert second.json()["status"] == "SUCCESS"
    assert set(laboratory.statuses().values()) == {"SUCCESS"}


class _Bomb:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return open, (str(self._path), "w")


WAYS_ON = pytest.mark.parametrize(
    ("words", "code"),
    [(["resume"], 0), (["resume", "r"], 1), (["run", "digger", "here", "--id", "r"], 1)],
    ids=["resume", "resume r", "run"],
)


def leave_behind(laboratory: Laboratory) -> None:
    """Kill a process in the first body of run `r`."""
    killed = laboratory.plan("start", "r", agent="digger", text="here", kill=("start", 1))
    assert laboratory.zygote.start(killed).wait() == -signal.SIGKILL
    laboratory.wait_for_silence()


@WAYS_ON
def test_pickled_run_of_a_dead_executor_is_left_alone(
    laboratory: Laboratory, tmp_path: Path, words: list[str], code: int
) -> None:
    """A run that is tagged as pickle is refused: its code does not run, its row does not change."""
    leave_behind(laboratory)
    trace = tmp_path / "executed"
    laboratory.query(
        "with tagged as (update dbos.workflow_status set serialization = 'py_pickle')"
        " update dbos.workflow_input set inputs = %(inputs)s returning 1",
        inputs=base64.b64encode(pickle.dumps(_Bomb(trace))).decode(),
    )
    whole = "select * from dbos.workflow_status join dbos.workflow_input using (workflow_uuid)"
    rows, effects = laboratory.query(whole), laboratory.effects()

    life = laboratory.command(*words)

    assert life.wait() == code
    assert "'py_pickle'" in life.stderr
    assert not trace.exists()
    assert laboratory.query(whole) == rows
    assert laboratory.effects() == effects


@WAYS_ON
@pytest.mark.parametrize("status", ["PENDING", "ENQUEUED"])
@pytest.mark.parametrize("tag", ["py_pickle", "agent_app_json"])
def test_nobody_waits_for_a_run_that_cannot_be_read(
    laboratory: Laboratory, words: list[str], code: int, status: str, tag: str
) -> None:
    """A run with a foreign or damaged input, queued or not, holds nobody up and never starts."""
    leave_behind(laboratory)
    laboratory.query(
        "with tagged as (update dbos.workflow_status set serialization = %(tag)s,"
        " status = %(status)s, queue_name = 'agent_app_recovery')"
        " update dbos.workflow_input set inputs = '{' returning 1",
        tag=tag,
        status=status,
    )
    effects = laboratory.effects()

    life = laboratory.command(*words)

    assert life.wait() == code, life.stderr
    assert laboratory.effects() == effects
