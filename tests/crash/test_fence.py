"""A process that is stopped, loses its runs to another one, and wakes up."""

import signal

import pytest

from tests.crash.conftest import Tell
from tests.crash.driver import Life
from tests.crash.effects import count_starts
from tests.crash.laboratory import Laboratory
from tests.crash.test_external import resolve, undecided, wait_for_doubt
from tests.helpers import wait_until

LEASE_S = "0.5"


@pytest.fixture
def ward(effect_laboratory: Laboratory) -> Laboratory:
    """Return a laboratory whose executors are soon taken for dead."""
    effect_laboratory.environment["AGENT_APP_EXECUTOR_LEASE_S"] = LEASE_S
    with effect_laboratory.database.connect() as connection:
        connection.execute("create table public.entry (text text, number integer)")
    return effect_laboratory


def fall_asleep(laboratory: Laboratory, agent: str, text: str, place: tuple[str, int]) -> Life:
    """Start a run whose process stops at the place, without dying."""
    sleeper = laboratory.command("run", agent, text, "--id", "r", "--json", stop=place)
    wait_until(lambda: sleeper.is_stopped, 30)
    return sleeper


def take_over(laboratory: Laboratory, agent: str, text: str) -> Life:
    """Start the same command again: it waits, and goes on once the sleeper's lease has ended."""
    return laboratory.command("run", agent, text, "--id", "r", "--json")


def starts_of(laboratory: Laboratory, life: Life) -> int:
    """Return how many bodies the process has begun."""
    return sum(e.phase == "start" and e.process_id == life.process_id for e in laboratory.effects())


BETWEEN = {
    "after-a-checkpoint": ("commit", 3),
    "before-a-checkpoint": ("checkpoint", 2),
    "in-a-checkpoint-s-transaction": ("written", 2),
    "after-the-question-whose-run-it-is": ("asked", 3),
    "in-a-model-s-body": ("end", 3),
}


@pytest.mark.parametrize("place", BETWEEN.values(), ids=BETWEEN)
def test_a_sleeper_that_wakes_up_starts_no_body(
    ward: Laboratory, tell: Tell, place: tuple[str, int]
) -> None:
    """The other process ends the run; the sleeper begins nothing more and takes its result over."""
    sleeper = fall_asleep(ward, "walker", "town", place)
    begun = starts_of(ward, sleeper)
    record = take_over(ward, "walker", "town").json()

    sleeper.send(signal.SIGCONT)

    assert sleeper.json() == record
    assert record["output"] == " ".join(["on to town"] * 3)
    assert starts_of(ward, sleeper) == begun
    assert len(ward.steps()) == 7
    tell("stopped between two steps", 0, 0, 0)


def test_a_sleeper_that_wakes_up_in_a_wait_makes_no_try(ward: Laboratory, tell: Tell) -> None:
    """Stopped while it waits for a retry, it leaves the next try to who took the run over."""
    sleeper = ward.command("run", "patient", "1.5", "--id", "r", "--json")
    wait_until(lambda: waits(ward), 30)
    sleeper.send(signal.SIGSTOP)
    record = take_over(ward, "patient", "1.5").json()

    sleeper.send(signal.SIGCONT)

    assert sleeper.json() == record
    assert record["output"] == "fetched at try 2"
    assert count_starts(ward.effects(), ("r", 2), process_id=sleeper.process_id) == 1
    assert len(ward.calls("r")) == 2
    tell("stopped in a wait", 0, 0, 0)


def waits(laboratory: Laboratory) -> list[object]:
    """Return the tries that another one follows."""
    return [*laboratory.query("select from agent_app.attempt where retry_at is not null")]


@pytest.mark.parametrize("place", [("before intent", 1), ("asked", 2)], ids=lambda place: place[0])
def test_a_sleeper_does_not_make_a_call_that_was_made(
    ward: Laboratory, tell: Tell, place: tuple[str, int]
) -> None:
    """Stopped before its intent, it finds that the call is another's, and leaves it alone."""
    sleeper = fall_asleep(ward, "payer", "me", place)
    record = take_over(ward, "payer", "me").json()
    kept = ward.query("select * from agent_app.intent")

    sleeper.send(signal.SIGCONT)

    assert sleeper.json() == record
    assert record["output"] == "paid me"
    assert ward.calls("r") == ["r:pay-0"]
    assert ward.query("select * from agent_app.intent") == kept
    tell("stopped before an external call", 0, 0, 0)


@pytest.mark.parametrize(
    "place", [("before intent", 1), ("after intent", 1), ("after unknown", 1)], ids=lambda p: p[0]
)
def test_a_sleeper_does_not_touch_a_call_in_doubt(
    ward: Laboratory, tell: Tell, place: tuple[str, int]
) -> None:
    """The question stays open in the new owner's hands, and the decision is carried out once."""
    if place[0] == "after unknown":
        ward.zygote.start(
            ward.plan("start", "r", agent="payer", text="me", kill=("call", 1))
        ).wait()
        ward.wait_for_silence()
        sleeper = ward.command("resume", "r", "--json", stop=place)
        wait_until(lambda: sleeper.is_stopped, 30)
    else:
        sleeper = fall_asleep(ward, "payer", "me", place)
    if place[0] == "before intent":  # the next owner makes the call and dies of it
        dying = ward.command("run", "payer", "me", "--id", "r", kill=("call", 1))
        assert dying.wait() == -signal.SIGKILL
    calls, owner = ward.calls("r"), owner_of(ward)
    successor = take_over(ward, "payer", "me")
    wait_until(lambda: owner_of(ward) not in (owner, None), 30)
    wait_for_doubt(ward)
    kept = undecided(ward)

    sleeper.send(signal.SIGCONT)

    wait_for_looks(ward)
    assert undecided(ward) == kept
    assert resolve(ward, "r", "--retry").wait() == 0

    assert successor.json()["output"] == "paid me"
    assert sleeper.json()["output"] == "paid me"
    assert ward.calls("r") == [*calls, "r:pay-0"]
    tell("stopped around an external call", 0, 0, 0)


def owner_of(laboratory: Laboratory) -> object:
    """Return the token of who owns the run, None while it lies in a queue."""
    return laboratory.query("select owner_xid from dbos.workflow_status")[0]["owner_xid"]


def wait_for_looks(laboratory: Laboratory) -> None:
    """Wait for longer than anybody who waits for a decision takes to look again."""
    began = laboratory.query("select clock_timestamp() as at")[0]["at"]
    wait_until(
        lambda: laboratory.query(
            "select clock_timestamp() > %(at)s + interval '1 second' as is_over", at=began
        )[0]["is_over"]
    )


PLACES_IN_TRANSACTION = {
    "before-its-rows": ("before insert", 1),
    "between-its-rows": ("after insert", 2),
    "before-the-owner-s-lock": ("before owner", 1),
    "with-the-owner-s-lock": ("after owner", 1),
    "before-COMMIT": ("after result", 1),
}


@pytest.mark.parametrize("place", PLACES_IN_TRANSACTION.values(), ids=PLACES_IN_TRANSACTION)
def test_a_sleepers_transaction_is_undone(
    ward: Laboratory, tell: Tell, place: tuple[str, int]
) -> None:
    """Stopped inside a transaction, it holds nobody up; its rows are those of the new owner."""
    sleeper = fall_asleep(ward, "clerk", "x", place)
    record = take_over(ward, "clerk", "x").json()

    sleeper.send(signal.SIGCONT)

    assert sleeper.json() == record
    assert record["output"] == "3 rows of x"
    assert ward.query("select count(*) from public.entry") == [{"count": 3}]
    tell("stopped in a transaction", 0, 0, 0)


def test_a_sleeper_does_not_commit_beside_its_successor(ward: Laboratory, tell: Tell) -> None:
    """Awake again while the new owner writes the same rows, it undoes its own."""
    sleeper = fall_asleep(ward, "clerk", "x", ("before owner", 1))
    successor = ward.command("run", "clerk", "x", "--id", "r", "--json", hold_from=1)
    wait_until(lambda: count_starts(ward.effects(), ("r", 2)) == 2, 30)
    assert open_transactions(ward) == 2

    sleeper.send(signal.SIGCONT)

    wait_until(lambda: open_transactions(ward) == 1)
    ward.gate.touch()
    assert successor.json() == sleeper.json()
    assert ward.query("select count(*) from public.entry") == [{"count": 3}]
    tell("stopped in a transaction", 0, 0, 0)


def open_transactions(laboratory: Laboratory) -> int:
    """Return how many tools are inside their transactions."""
    (row,) = laboratory.query(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and application_name = 'agent_app' and state = 'idle in transaction'"
    )
    return int(row["count"])
