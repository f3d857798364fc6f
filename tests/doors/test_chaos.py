"""`agent-app run --chaos`: tries meet faults on purpose, and the game ends right all the same."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from agent_app.database.connect import Database
from agent_app.durability import faults
from agent_app.durability.chaos import PLACES
from agent_app.durability.events import RunEvent, observed_by
from tests.doors.conftest import Command

GAME = ("run", "twenty-questions", "potato")
MODEL_ATTEMPTS, TOOL_ATTEMPTS = 4, 3
Fault = tuple[str | None, str, int | None, int | None, str]
"""Name, path below the run, step, attempt, place."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for next to nothing, between tries and for one that hangs."""
    monkeypatch.setenv("AGENT_APP_RETRY_BACKOFF_S", "0.001")
    monkeypatch.setattr(faults, "HUNG_LIMIT_S", 0.05)


@pytest.fixture
def events() -> Iterator[list[RunEvent]]:
    """Yield what happens in the runs of this process, in order."""
    happened: list[RunEvent] = []
    with observed_by(happened.append):
        yield happened


def faults_of(events: Sequence[RunEvent]) -> list[Fault]:
    """Return the faults, sorted, without what differs between two runs of one seed."""
    return sorted(
        (e.name, e.run_id.partition(":")[2], e.step_number, e.attempt, e.value)
        for e in events
        if e.kind == "fault_injected"
    )


def told_lines(stdout: str) -> list[str]:
    """Return what the game's narrator told: no line of a failed try, nor the last one."""
    return [line for line in stdout.splitlines()[:-1] if " failed, the next in " not in line]


def test_a_fault_in_five_leaves_the_game_as_it_was(
    agent_app: Command, events: list[RunEvent]
) -> None:
    """With five seeds the result is the untroubled one, after faults of every kind."""
    told = told_lines(agent_app(*GAME).stdout)
    for seed in ("1", "2", "3", "4", "5"):
        outcome = agent_app(*GAME, "--chaos", "0.2", "--seed", seed)
        assert outcome.code == 0
        assert told_lines(outcome.stdout) == told
        assert f"faults in 20% of the tries, seed {seed}" in outcome.stderr
    places = Counter(place for *_, place in faults_of(events))
    assert all(places[place] > 0 for place in PLACES)
    assert 8 <= places.total() <= 40


def test_a_fault_is_seen_as_what_it_does(agent_app: Command, events: list[RunEvent]) -> None:
    """Tries that fail say so, those that hang are over their limit, slow ones have no line."""
    outcome = agent_app(*GAME, "--chaos", "0.5", "--seed", "3")
    places = Counter(place for *_, place in faults_of(events))
    assert all(places[place] > 0 for place in PLACES)
    troubles = {
        "before": "InjectedFault: made to fail on purpose, before attempt",
        "after": "InjectedFault: made to fail on purpose, after attempt",
        "hung": "did not end within 0.05 s",
    }
    lines = [line for line in outcome.stdout.splitlines() if " failed, the next in " in line]
    for place, trouble in troubles.items():
        assert len([line for line in lines if trouble in line]) == places[place], lines
    assert len(lines) == places.total() - places["slow"]


def test_the_seed_alone_decides_the_faults(agent_app: Command, events: list[RunEvent]) -> None:
    """The same seed gives the same faults in another run and its children; another does not."""
    drawn: list[list[Fault]] = []
    for seed in "775":
        events.clear()
        agent_app(*GAME, "--chaos", "0.5", "--seed", seed)
        drawn.append(faults_of(events))
    first, second, other = drawn
    assert first == second != other
    names = {name for name, *_ in first}
    assert {"answerer.model", "questioner.model", "questioner.tool.ask"} <= names


def test_every_try_but_the_last_may_fail(agent_app: Command, events: list[RunEvent]) -> None:
    """Even where each try meets a fault, the last one that the policy allows does not fail."""
    outcome = agent_app(*GAME, "--chaos", "1", "--seed", "1")
    assert outcome.code == 0
    assert "Found in 5 turns: potato" in outcome.stdout
    tries = {_try_of(event) for event in events if event.kind == "attempt_started"}
    met = {_try_of(event): event.value for event in events if event.kind == "fault_injected"}
    last = {found for found in tries if found[2] == _max_attempts(found[3])}
    assert last
    assert tries - last <= met.keys()
    assert {met.get(found, "slow") for found in last} == {"slow"}


def _try_of(event: RunEvent) -> tuple[str, int | None, int | None, str]:
    return event.run_id, event.step_number, event.attempt, event.name or ""


def _max_attempts(step_name: str) -> int:
    return MODEL_ATTEMPTS if step_name.endswith(".model") else TOOL_ATTEMPTS


def test_faults_come_to_a_person_s_game_too(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch, events: list[RunEvent]
) -> None:
    """--chaos and --you-ask go together: the answer is right after its retries."""
    monkeypatch.setattr("sys.stdin", io.StringIO("Is it alive?\n"))
    outcome = agent_app(*GAME, "--you-ask", "--chaos", "1", "--seed", "1")
    failed = [fault for fault in faults_of(events) if fault[-1] != "slow"]
    assert outcome.stdout.count(" failed, the next in ") == len(failed) > 0
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
    outcome = agent_app(*GAME, *arguments)
    assert (outcome.code, message in outcome.stderr) == (code, True)


def test_a_run_keeps_its_faults_in_another_life(
    agent_app: Command, database: Database, events: list[RunEvent]
) -> None:
    """A resumed run meets the same faults again, though `resume` says nothing of them."""
    game = (*GAME, "--id", "game", "--chaos", "0.6")
    agent_app(*game)
    first = faults_of(events)
    assert agent_app(*game).code == 0  # the same command attaches: its seed is the ID's
    with database.connect() as connection:
        for table in ("operation_outputs", "workflow_output"):
            connection.execute(f"delete from dbos.{table} where workflow_uuid = 'game'")  # noqa: S608
        connection.execute("delete from agent_app.attempt where run_id = 'game'")
        connection.execute(
            "update dbos.workflow_status set status = 'PENDING', executor_id = 'dead',"
            " completed_at = null where workflow_uuid = 'game'"
        )
    events.clear()
    agent_app("resume", "game")
    again = faults_of(events)
    assert again == [fault for fault in first if fault[1] == ""]
    assert len(again) > 3
