"""Random schedules of faults and SIGKILLs of real processes, against a model of what may follow."""

import json
import re
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.conftest import execute_on_server, name_test_database
from tests.crash import life
from tests.crash.conftest import Tell
from tests.crash.driver import Zygote
from tests.crash.effects import Effect
from tests.crash.laboratory import Laboratory
from tests.crash.schedule_model import (
    ACTED,
    ACTIONS,
    BEGAN,
    Action,
    Call,
    Checkpoint,
    History,
    Life,
    Passage,
    Row,
    Schedule,
    Try,
    find_violations,
)

_AGENT, _RUN = "follower", "r"
_PLACES = ["start", "call", "end", "checkpoint", "commit"]
_ATTEMPT = re.compile(r"attempt (\d+): (\w+)")
_AFTER = re.compile(r" \(after (\d+) attempts\)$")
OpenLaboratory = Callable[[], AbstractContextManager[Laboratory]]


def _in_turns(calls: list[tuple[tuple[Action, ...], bool]]) -> tuple[tuple[Call, ...], ...]:
    """Return the calls in turns; a flag says that a call is executed beside the one before it."""
    turns: list[tuple[Call, ...]] = []
    for number, (script, is_parallel) in enumerate(calls, start=1):
        earlier = turns.pop() if turns and is_parallel else ()
        turns.append((*earlier, Call(f"call-{number}", script)))
    return tuple(turns)


_actions = st.sampled_from((*ACTIONS, "lose", "lose_late", "hang"))  # what is tried again, often
_scripts = st.lists(_actions, min_size=1, max_size=5).map(tuple)
_calls = st.lists(st.tuples(_scripts, st.booleans()), min_size=1, max_size=4)
_kills = st.lists(st.tuples(st.sampled_from(_PLACES), st.integers(1, 5)), min_size=1, max_size=3)
_schedules = st.builds(Schedule, _calls.map(_in_turns), _kills.map(tuple))
_HANGING = Call("hanging", ("hang", "hang"))
_LONG = Schedule(tuple((replace(_HANGING, key=f"call-{n}"),) for n in range(2)), (("end", 5),))
"""Its first rows are old enough that they must be there when it is killed."""
_FAILING = Schedule(
    ((Call("call", ("lose", "hang", "lose_late", "lose")),),),
    (("checkpoint", 2), ("checkpoint", 1)),
)
"""Its last failure is known, and the checkpoint with it is lost, twice: each gives one more try."""
_PARALLEL = Schedule(
    ((Call("slow", ("slow",)), Call("hanging", ("hang",) * 5), Call("rude", ("refuse",))),),
    (("end", 3),),
)
"""Two of three parallel calls fail, one of them late, and before that it is lost in mid-try."""

_quick = settings(
    derandomize=True,
    deadline=None,
    max_examples=12,
    # A failing schedule is shown as it was found: to shrink it takes minutes, and timing varies.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def open_laboratory(
    zygote: Zygote,
    server_url: str,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> OpenLaboratory:
    """Return what makes a database and a file of effects for one schedule."""

    @contextmanager
    def open_one() -> Iterator[Laboratory]:
        name = f"schedule_{uuid.uuid4().hex[:12]}"
        execute_on_server(server_url, "create database {} template {}", name, template_database)
        database = name_test_database(server_url, name)
        laboratory = Laboratory(zygote, database, tmp_path_factory.mktemp("schedule"))
        laboratory.environment["AGENT_APP_AGENTS"] = "tests.crash.schedule_subjects"
        try:
            yield laboratory
        finally:
            execute_on_server(server_url, "drop database {} with (force)", name)

    return open_one


@pytest.mark.timeout(300)
@_quick
@given(_schedules)
@example(_LONG)
@example(_FAILING)
@example(_PARALLEL)
def test_every_schedule_leaves_what_the_model_allows(
    open_laboratory: OpenLaboratory, tell: Tell, schedule: Schedule
) -> None:
    """Whatever fails and dies when, tries, ledger, checkpoints and outcome are the model's."""
    assert _violations(open_laboratory, tell, schedule) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(_quick, max_examples=25)
@given(_schedules)
def test_many_schedules_leave_what_the_model_allows(
    open_laboratory: OpenLaboratory, tell: Tell, schedule: Schedule
) -> None:
    """The same for many more of them."""
    assert _violations(open_laboratory, tell, schedule) == []


def _violations(open_laboratory: OpenLaboratory, tell: Tell, schedule: Schedule) -> list[str]:
    """Live through the schedule and return what the model forbids, the history at its end."""
    with open_laboratory() as laboratory:
        history, repeated = _live_through(laboratory, schedule)
    violations = find_violations(schedule, history)
    violations += [f"step {step} of run {run} was repeated" for run, step in sorted(repeated)]
    killed = [place for (place, _), _ in zip(schedule.kills, history.lives[:-1], strict=False)]
    boundary_count = sum(place in ("checkpoint", "commit") for place in killed)
    tell("random schedules", boundary_count, len(killed) - boundary_count, len(repeated))
    return [*violations, repr(history)] if violations else []


def _live_through(
    laboratory: Laboratory, schedule: Schedule
) -> tuple[History, frozenset[tuple[str, int]]]:
    """Start the run and recover it until a life is not killed; return what was seen."""
    text = json.dumps([[asdict(call) for call in turn] for turn in schedule.turns])
    lives: list[Life] = []
    repeated: frozenset[tuple[str, int]] = frozenset()
    while not lives or lives[-1].is_killed:
        kill = schedule.kills[len(lives)] if len(lives) < len(schedule.kills) else None
        action: life.Action = "recover" if lives else "start"
        plan = laboratory.plan(action, _RUN, agent=_AGENT, text=text, kill=kill)
        mark = laboratory.mark()
        process = laboratory.zygote.start(plan)
        code = process.wait()
        assert code in (0, -signal.SIGKILL), process.stderr
        laboratory.wait_for_silence()
        repeated |= laboratory.repeated(mark)
        lives.append(_look(laboratory, process.process_id, is_killed=code != 0))
    return _conclude(laboratory, tuple(lives)), repeated


def _conclude(laboratory: Laboratory, lives: tuple[Life, ...]) -> History:
    (run,) = laboratory.query("select status, output, error from agent_app.run")
    if (text := run["error"]) is None:
        return History(lives, run["status"], json.loads(run["output"]))
    after = _AFTER.search(text)
    error = text.partition(":")[0], int(after[1]) if after else 1
    return History(lives, run["status"], None, error)


def _look(laboratory: Laboratory, process_id: int, *, is_killed: bool) -> Life:
    """Return what a life did and left behind."""
    effects = laboratory.effects()
    tries, rows = _tries(effects, process_id), _rows(laboratory)
    checkpoints = _checkpoints(laboratory)
    steps = {
        number: Passage(tries.get(number, ()), rows.get(number, ()), checkpoints.get(number))
        for number in sorted({*tries, *rows, *checkpoints})
    }
    own = [effect.at for effect in effects if effect.process_id == process_id]
    return Life(steps, is_killed, max(own, default=0.0))


def _tries(effects: list[Effect], process_id: int) -> dict[int, tuple[Try, ...]]:
    """Return the process's tries by step: a start, and what was called out until the next one."""
    found: dict[int, list[Try]] = {}
    for effect in effects:
        if effect.process_id != process_id:
            continue
        tries = found.setdefault(effect.step[1], [])
        if effect.phase == "start":
            tries.append(Try(effect.at, has_begun=False))
        elif effect.phase == "call":
            has_acted = effect.note == ACTED
            assert has_acted or effect.note == BEGAN
            tries[-1] = Try(tries[-1].at, has_begun=True, has_acted=has_acted)
    return {number: tuple(tries) for number, tries in found.items()}


def _rows(laboratory: Laboratory) -> dict[int, tuple[Row, ...]]:
    found: dict[int, tuple[Row, ...]] = {}
    for row in laboratory.query(
        "select step_number, attempt_number as number, outcome, error_type"
        " from agent_app.attempt order by 1, 2"
    ):
        number = row.pop("step_number")
        found[number] = (*found.get(number, ()), Row(**row))
    return found


def _checkpoints(laboratory: Laboratory) -> dict[int, Checkpoint]:
    rows = laboratory.query("select function_id, error from dbos.operation_outputs")
    return {row["function_id"]: _checkpoint(row["error"]) for row in rows}


def _checkpoint(stored: str | None) -> Checkpoint:
    if stored is None:
        return Checkpoint()
    error: Mapping[str, Any] = json.loads(stored)["$error"]
    texts = error["state"].get("step_attempts", ())
    found = [_ATTEMPT.match(text) for text in texts]
    attempts = tuple((int(match[1]), match[2]) for match in found if match is not None)
    return Checkpoint(error["type"].partition(":")[2], attempts)
