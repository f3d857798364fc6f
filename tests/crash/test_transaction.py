"""SIGKILL around each statement of a tool whose rows commit together with its result."""

import signal
from dataclasses import dataclass

import pytest

from tests.crash.conftest import Tell
from tests.crash.effects import count_starts
from tests.crash.laboratory import Laboratory

STEP = 2
"""Number of the tool's step: a model's request goes before it."""


@dataclass(frozen=True)
class Kill:
    """Where a process dies, and what must be there by then."""

    place: tuple[str, int]
    is_committed: bool


KILLS = {
    "before-the-first-row": Kill(("before insert", 1), is_committed=False),
    "after-the-first-row": Kill(("after insert", 1), is_committed=False),
    "after-the-second-row": Kill(("after insert", 2), is_committed=False),
    "after-the-third-row": Kill(("after insert", 3), is_committed=False),
    "as-the-body-ends": Kill(("end", 2), is_committed=False),
    "before-the-owner-s-lock": Kill(("before owner", 1), is_committed=False),
    "after-the-owner-s-lock": Kill(("after owner", 1), is_committed=False),
    "after-the-result": Kill(("after result", 1), is_committed=False),
    "after-COMMIT": Kill(("committed", 1), is_committed=True),
    "before-the-checkpoint": Kill(("checkpoint", 2), is_committed=True),
    "after-the-checkpoint": Kill(("commit", 3), is_committed=True),
}


@pytest.fixture
def shop(effect_laboratory: Laboratory) -> Laboratory:
    """Return a laboratory with a table that nothing keeps from holding a row twice."""
    with effect_laboratory.database.connect() as connection:
        connection.execute("create table public.entry (text text, number integer)")
    return effect_laboratory


def rows(laboratory: Laboratory) -> dict[str, int]:
    """Return how many rows each run has written."""
    found = laboratory.query("select text, count(*) from public.entry group by text")
    return {row["text"]: row["count"] for row in found}


def committed(laboratory: Laboratory) -> set[str]:
    """Return the runs whose result is committed together with its rows."""
    return {
        row["run_id"] for row in laboratory.query("select run_id from agent_app.committed_call")
    }


def kill_all(laboratory: Laboratory) -> None:
    """Start a run for each place, under its name, and let its process die there."""
    plans = [
        laboratory.plan("start", run_id, agent="clerk", text=run_id, kill=kill.place)
        for run_id, kill in KILLS.items()
    ]
    lives = laboratory.zygote.run_all(plans)
    assert {life.wait() for life in lives} == {-signal.SIGKILL}, lives[0].stderr
    laboratory.wait_for_silence()


@pytest.mark.parametrize("ways", [["recover"], ["recover", "recover"]], ids=["once", "twice"])
def test_rows_are_there_once_wherever_the_process_died(
    shop: Laboratory, tell: Tell, ways: list[str]
) -> None:
    """Three rows for each run, the right result, and no second body once the first has committed.

    Twice: the first recovery dies too, in its own transaction.
    """
    kill_all(shop)
    done = {run_id for run_id, kill in KILLS.items() if kill.is_committed}
    assert (rows(shop), committed(shop)) == (dict.fromkeys(done, 3), done)
    for _ in ways[1:]:
        dying = shop.zygote.start(shop.plan("recover", *KILLS, kill=("after result", 4)))
        assert dying.wait() == -signal.SIGKILL
        shop.wait_for_silence()
        assert rows(shop) == dict.fromkeys(committed(shop), 3)
    mark, already = shop.mark(), committed(shop)

    last = shop.zygote.start(shop.plan("recover", *KILLS))
    records = last.json()["records"]

    assert {run_id: record["output"] for run_id, record in records.items()} == {
        run_id: f"3 rows of {run_id}" for run_id in KILLS
    }
    assert rows(shop) == dict.fromkeys(KILLS, 3)
    assert committed(shop) == set(KILLS)
    again = {
        run_id
        for run_id in KILLS
        if count_starts(shop.effects(), (run_id, STEP), process_id=last.process_id)
    }
    assert again == set(KILLS) - already
    tell("transactional tool", len(KILLS) - 5, 5, len(shop.repeated(mark)))
    assert shop.repeated(mark) == set()


def test_a_committed_result_becomes_the_same_checkpoint(shop: Laboratory) -> None:
    """A recovery that takes the result from the rows' transaction records what the tool did."""
    killed = shop.plan("start", "r", agent="clerk", text="x", kill=("committed", 1))
    assert shop.zygote.start(killed).wait() == -signal.SIGKILL
    shop.wait_for_silence()
    shop.command("resume", "r", "--json").json()
    same = shop.query(
        "select step.output = committed.result as is_same"
        " from dbos.operation_outputs as step join agent_app.committed_call as committed"
        " on workflow_uuid = run_id and function_id = step_number"
    )
    assert same == [{"is_same": True}]
