"""The replay check decides rightly about changed code; runs are recorded by executing the old."""

import asyncio
import multiprocessing.util
import os
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
from dbos import DBOS
from pydantic_ai import Agent

from agent_app.database.no_connection import no_connection
from agent_app.database.recording import Recording, read_recording
from agent_app.durability.catalog import Catalog, durable, fresh_catalog, workflow
from agent_app.durability.delegation import delegate
from agent_app.durability.replay import ReplayLoop, replaying
from agent_app.durability.scope import current_run
from agent_app.durability.seal import ActRefused, sealed
from agent_app.operations.replay.check import ReplayLimits, check_runs
from agent_app.operations.replay.child import check_recording
from agent_app.operations.replay.verdict import RunCheck
from agent_app.settings import Settings
from tests.conftest import execute_on_server, name_test_database
from tests.durability import replayed_code
from tests.durability.running import Engine, call, echoing

SETTINGS = Settings(_env_file=None, retry_backoff_s=0.001, retry_backoff_max_s=0.002)
Calls = list[tuple[str, int]]
Check = Callable[..., RunCheck]
ABC: Calls = [("alpha", 1), ("beta", 2), ("gamma", 3)]
bodies: list[str] = []
"""What was executed; a replay must add nothing."""


def define_parts() -> None:
    """Define what the jobs call; a part of its own for each name."""
    for name in ("alpha", "beta", "gamma", "delta"):

        @workflow(name, input=int, output=str)
        async def part(number: int, name: str = name) -> str:
            bodies.append(name)
            return f"{name}{number}"


def job(*calls: tuple[str, int], end: Callable[[str], Any] = str, at_once: bool = False) -> None:
    """Define a job that makes these calls and ends with what `end` makes of their results."""
    define_parts()

    @workflow("job")
    async def make(question: str) -> Any:
        waiting = [delegate(name, number) for name, number in calls] if at_once else []
        said = [await delegate(name, number) for name, number in calls if not at_once]
        return end(" ".join([*said, *await asyncio.gather(*waiting)]))


def failing(text: str) -> Any:
    """Fail as code of the user's does."""
    raise ValueError(f"no good: {text}")


def measurer(
    instructions: str = "Measure.", tool: str = "measure", answer: str = "", output: str = ""
) -> None:
    """Define an agent that measures twice at once."""
    calls = call("measure", "a", x=1), call("measure", "b", x=2)
    agent = durable(Agent(echoing(*calls), name="worker", instructions=instructions))

    async def measure(x: int) -> str:
        bodies.append("measure")
        return answer or f"m{x}"

    agent.tool_plain(name=tool)(measure)
    if output:
        agent.output_validator(lambda text: text + output)


def patient(seconds: float) -> None:
    """Define a job that sleeps durably between two calls."""
    define_parts()

    @workflow("sleeper")
    async def sleep(question: str) -> str:
        first = await delegate("alpha", 1)
        await DBOS.sleep_async(seconds)
        return f"{first} {await delegate('beta', 2)}"


def racer() -> None:
    """Define a job that makes two calls at once, and gives one up when the other fails."""

    @workflow("slow")
    async def slow(question: str) -> None:
        await asyncio.Event().wait()

    @workflow("bad")
    async def bad(question: str) -> None:
        raise ValueError("first")

    @workflow("racer")
    async def race(question: str) -> None:
        async with asyncio.TaskGroup() as group:
            for name in ("slow", "bad"):
                group.create_task(delegate(name, "go"))


def listener() -> None:
    """Define a job that waits for a message which does not come, between two calls."""
    define_parts()

    @workflow("listener")
    async def listen(question: str) -> str:
        first = await delegate("alpha", 1)
        message = await DBOS.recv_async("topic", timeout_seconds=0.01)
        return f"{first} {message} {await delegate('beta', 2)}"


OLD: Mapping[str, Callable[[], None]] = {
    "job": lambda: job(*ABC),
    "twice": lambda: job(("alpha", 1), ("alpha", 2)),
    "parallel": lambda: job(*ABC, at_once=True),
    "failed": lambda: job(*ABC, end=failing),
    "worker": measurer,
    "sleeper": lambda: patient(0.01),
    "racer": racer,
    "listener": listener,
}
NAMES = ("job", "worker", "sleeper", "racer", "listener")
"""The code that each recording is made by, by its run ID."""


@pytest.fixture(scope="module")
def recordings(server_url: str, template_database: str) -> Iterator[dict[str, Recording]]:
    """Yield a recording of each, made by a launched engine."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    execute_on_server(server_url, "create database {} template {}", name, template_database)
    database = name_test_database(server_url, name)

    async def record(run_id: str, catalog: Catalog) -> None:
        agent = next(r.name for r in catalog if r.name in NAMES)
        async with Engine(database, catalog, SETTINGS) as engine:
            handle = await engine.start(agent, "go", run_id)
            await asyncio.wait([asyncio.ensure_future(handle.get_result())])

    found = {}
    for run_id, define in OLD.items():
        with fresh_catalog() as catalog:
            define()
            asyncio.run(record(run_id, catalog))
        recording = read_recording(database, run_id)
        assert recording is not None
        found[run_id] = recording
    yield found
    execute_on_server(server_url, "drop database {} with (force)", name)


@pytest.fixture
def check_all(catalog: Catalog, tmp_path: Path) -> Callable[..., list[RunCheck]]:
    """Return what replays recordings with the code that the test has defined."""

    async def replay(recordings: Sequence[Recording], timeout_s: float) -> list[RunCheck]:
        async with replaying(catalog, SETTINGS, tmp_path) as replayer:

            def refuse() -> NoReturn:
                replayer.tell_act("connect to Postgres")
                raise ActRefused

            with sealed(tmp_path, replayer.tell_act), no_connection(refuse):
                return [await check_recording(replayer, r, timeout_s) for r in recordings]

    def execute(*recordings: Recording, timeout_s: float = 60) -> list[RunCheck]:
        bodies.clear()
        with asyncio.Runner(loop_factory=ReplayLoop) as runner:
            found = runner.run(replay(recordings, timeout_s))
        assert bodies == []
        return found

    return execute


@pytest.fixture
def check(check_all: Callable[..., list[RunCheck]]) -> Check:
    """Return the same for one recording."""

    def execute(recording: Recording, timeout_s: float = 60) -> RunCheck:
        (found,) = check_all(recording, timeout_s=timeout_s)
        return found

    return execute


def cut(recording: Recording, *kept: int, status: str = "PENDING") -> Recording:
    """Return the recording as it was when only these steps had their checkpoints."""
    steps = tuple(step for step in recording.steps if step.step_number in kept)
    return replace(recording, status=status, output=None, error=None, steps=steps)


SAME: Mapping[str, tuple[str, Callable[[], None]]] = {
    "unchanged": ("job", lambda: job(*ABC)),
    "parallel calls": ("parallel", lambda: job(*ABC, at_once=True)),
    "the same error": ("failed", lambda: job(*ABC, end=failing)),
    "an agent": ("worker", measurer),
    "another body of a tool": ("worker", lambda: measurer(answer="another")),
    "other instructions": ("worker", lambda: measurer("Weigh.")),
    "a sleep that is over": ("sleeper", lambda: patient(0.01)),
    "a failure under a call that never ended": ("racer", racer),
    "a wait for a message": ("listener", listener),
    "another length of a sleep": ("sleeper", lambda: patient(3600)),
}


@pytest.mark.parametrize("case", list(SAME))
def test_code_that_changed_nothing_recorded_is_the_same(
    case: str, recordings: dict[str, Recording], check: Check
) -> None:
    """Code that asks for the recorded steps and comes to the recorded end passes."""
    name, define = SAME[case]
    define()
    found = check(recordings[name])
    assert (found.verdict, found.finding, found.next_step) == ("same", None, None)
    assert found.step_count == len(recordings[name].steps) > 0


DIVERGES: Mapping[str, tuple[str, Callable[[], None], tuple[str, int | None, str]]] = {
    "renamed": (
        "job",
        lambda: job(("alpha", 1), ("delta", 2), ("gamma", 3)),
        ("another_step", 2, "'job.delegate.delta', which is new there, or renamed."),
    ),
    "inserted at the start": (
        "job",
        lambda: job(("delta", 0), *ABC),
        ("another_step", 1, "recorded as 'job.delegate.alpha'; the code now asks for"),
    ),
    "inserted in the middle": (
        "job",
        lambda: job(*ABC[:2], ("delta", 0), *ABC[2:]),
        ("another_step", 3, "'job.delegate.delta', which is new there"),
    ),
    "inserted at the end": (
        "job",
        lambda: job(*ABC, ("delta", 0)),
        ("unrecorded_step", 4, "'job.delegate.delta' as step 4: the run had ended without it."),
    ),
    "removed at the start": (
        "job",
        lambda: job(*ABC[1:]),
        ("another_step", 1, "'job.delegate.beta', which is recorded as step 2"),
    ),
    "removed in the middle": (
        "job",
        lambda: job(ABC[0], ABC[2]),
        ("another_step", 2, "'job.delegate.gamma', which is recorded as step 3"),
    ),
    "removed at the end": (
        "job",
        lambda: job(*ABC[:2]),
        ("missing_step", 3, "no longer asks for step 3, 'job.delegate.gamma'."),
    ),
    "several removed at the end": (
        "job",
        lambda: job(ABC[0]),
        ("missing_step", 2, "'job.delegate.beta' and 1 more after it."),
    ),
    "swapped": (
        "job",
        lambda: job(ABC[1], ABC[0], ABC[2]),
        ("another_step", 1, "recorded as step 2: what stood before it is gone, or comes later"),
    ),
    "swapped calls of one name": (
        "twice",
        lambda: job(("alpha", 2), ("alpha", 1)),
        ("another_call", 1, "which is recorded as step 2."),
    ),
    "other arguments": (
        "job",
        lambda: job(("alpha", 1), ("beta", 7), ("gamma", 3)),
        ("another_call", 2, "is recorded for 'delegate beta"),
    ),
    "parallel calls in another order": (
        "parallel",
        lambda: job(ABC[0], ABC[2], ABC[1], at_once=True),
        ("another_step", 2, "'job.delegate.gamma', which is recorded as step 3"),
    ),
    "another output": (
        "job",
        lambda: job(*ABC, end=str.upper),
        ("other_output", None, 'output was "alpha1 beta2 gamma3", and is now "ALPHA1'),
    ),
    "an output of another shape": (
        "job",
        lambda: job(*ABC, end=lambda text: {"said": text}),
        ("other_output", None, 'and is now {"said"'),
    ),
    "raises now": (
        "job",
        lambda: job(*ABC, end=failing),
        ("raised", None, "now raises ValueError: no good: alpha1 beta2 gamma3"),
    ),
    "raises no longer": (
        "failed",
        lambda: job(*ABC),
        ("not_raised", None, "no longer raises ValueError: no good"),
    ),
    "raises something else": (
        "failed",
        lambda: job(*ABC, end=lambda text: 1 / 0),
        ("other_error", None, "now raises ZeroDivisionError"),
    ),
    "a renamed tool": (
        "worker",
        lambda: measurer(tool="weigh"),
        ("another_step", 2, "'worker.tool.measure'; the code now asks for 'worker.model'"),
    ),
    "another output of an agent": (
        "worker",
        lambda: measurer(output="!"),
        ("other_output", None, 'is now "a=m1 b=m2!"'),
    ),
}


@pytest.mark.parametrize("case", list(DIVERGES))
def test_the_first_difference_is_named(
    case: str, recordings: dict[str, Recording], check: Check
) -> None:
    """Code that asks for something else, or ends otherwise, diverges at the right step."""
    name, define, (kind, number, text) = DIVERGES[case]
    define()
    found = check(recordings[name])
    assert found.verdict == "diverges"
    assert found.finding is not None
    assert (found.finding.kind, found.finding.step_number) == (kind, number)
    assert text in found.finding.text


@pytest.mark.parametrize("status", ["PENDING", "CANCELLED", "ENQUEUED"])
def test_an_unfinished_run_goes_on_after_its_prefix(
    status: str, recordings: dict[str, Recording], check: Check
) -> None:
    """Where all that is recorded fits, the check says at which step the run would go on."""
    job(*ABC[:2], ("delta", 0))  # the third call is not recorded, so it may be any
    found = check(cut(recordings["job"], 1, 2, status=status))
    assert (found.verdict, found.next_step, found.next_name) == ("same", 3, "job.delegate.delta")


def test_a_run_that_has_not_begun_goes_on_at_its_first_step(
    recordings: dict[str, Recording], check: Check
) -> None:
    """A run without a checkpoint fits every code."""
    job(("delta", 0))
    found = check(cut(recordings["job"], status="ENQUEUED"))
    assert (found.verdict, found.next_step) == ("same", 1)


def test_a_gap_that_a_crash_left_among_parallel_calls_fits(
    recordings: dict[str, Recording], check: Check
) -> None:
    """A sibling that finished is asked for, though the call before it never did."""
    job(*ABC, at_once=True)
    found = check(cut(recordings["parallel"], 1, 3))
    assert (found.verdict, found.next_step, found.next_name) == ("same", 2, "job.delegate.beta")


def test_an_unfinished_run_diverges_within_its_prefix(
    recordings: dict[str, Recording], check: Check
) -> None:
    """A recorded step that comes after an unrecorded one is missed by code that waits for that."""
    job(*ABC)  # one after the other now
    found = check(cut(recordings["parallel"], 1, 3))
    assert found.finding is not None
    assert (found.finding.kind, found.finding.step_number) == ("unrecorded_step", 2)
    assert "not recorded, though step 3, 'job.delegate.gamma', is" in found.finding.text


@pytest.mark.parametrize("is_new", [False, True])
def test_an_unfinished_run_that_would_fail_now_diverges(
    is_new: bool, recordings: dict[str, Recording], check: Check
) -> None:
    """An unfinished run with all of its steps ends well, unless the code fails it."""
    job(*ABC, end=failing if is_new else str)
    found = check(cut(recordings["job"], 1, 2, 3))
    assert found.next_step is None
    assert (found.finding.kind if found.finding else None) == ("raised" if is_new else None)


def test_a_sleep_under_way_is_not_waited_for(
    recordings: dict[str, Recording], check: Check
) -> None:
    """A run that sleeps for another hour goes on at the step after it."""
    patient(3600)
    sleeping = cut(recordings["sleeper"], 1, 2)
    (first, second) = sleeping.steps
    late = replace(second, output="99999999999.0")
    found = check(replace(sleeping, steps=(first, late)), timeout_s=20)
    assert (found.verdict, found.next_step, found.next_name) == ("same", 3, "sleeper.delegate.beta")


def test_a_run_that_waits_for_a_message_goes_on_waiting(
    recordings: dict[str, Recording], check: Check
) -> None:
    """The deadline of the wait is recorded before its message, and is no step that is missed."""
    listener()
    found = check(cut(recordings["listener"], 1, 3))
    assert (found.verdict, found.next_step, found.next_name) == ("same", 2, "DBOS.recv")


def acts(path: Path) -> dict[str, Callable[[], Any]]:
    """Return what code might do to the world, by what the check says of it."""
    return {
        f"open {os.fspath(path / 'new')!r} for writing": lambda: (path / "new").write_text("x"),
        f"make the directory {os.fspath(path / 'd')!r}": (path / "d").mkdir,
        f"remove {os.fspath(path / 'old')!r}": (path / "old").unlink,
        f"rename {os.fspath(path / 'old')!r}": lambda: (path / "old").rename(path / "older"),
        "connect to ('127.0.0.1', 9)": lambda: socket.socket().connect(("127.0.0.1", 9)),
        "send to ('127.0.0.1', 9)": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(
            b"x", ("127.0.0.1", 9)
        ),
        "execute ['true']": lambda: subprocess.run(["true"], check=True),
        "execute b'true'": lambda: os.system("true"),
        "fork the process": os.fork,
        "execute [b'true']": lambda: multiprocessing.util.spawnv_passfds(b"true", [b"true"], []),
        "open the database ':memory:'": lambda: __import__("sqlite3").connect(":memory:"),
        "connect to Postgres": lambda: psycopg.connect("host=127.0.0.1 port=9"),
    }


@pytest.mark.parametrize("is_caught", [False, True])
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_workflow_code_that_touches_the_world_is_refused_and_named(
    is_caught: bool,
    recordings: dict[str, Recording],
    check_all: Callable[..., list[RunCheck]],
    tmp_path: Path,
) -> None:
    """Nothing is done to the world, and the act is the finding, even if the code goes on."""
    (tmp_path / "old").write_text("kept")
    known = acts(tmp_path)

    def end(said: str) -> str:
        run = current_run()
        assert run is not None
        try:
            known[run.run_id]()
        except OSError:
            if not is_caught:
                raise
        return said

    job(*ABC, end=end)
    found = check_all(*(replace(recordings["job"], run_id=act) for act in known))
    assert [check.verdict for check in found] == ["diverges"] * len(known)
    findings = [check.finding for check in found if check.finding]
    assert [finding.kind for finding in findings] == ["side_effect"] * len(known)
    assert [finding.asked for finding in findings] == list(known)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "scratch.sqlite"]


def test_acts_in_threads_and_on_the_loop_are_refused(
    recordings: dict[str, Recording], check: Check
) -> None:
    """Code that hands a connection to a thread, or opens one on the loop, gets none either."""
    define_parts()

    @workflow("job")
    async def make(question: str) -> str:
        first = await delegate("alpha", 1)
        await asyncio.to_thread(lambda: None)
        await asyncio.open_connection("127.0.0.1", 9)
        return str(first)

    found = check(recordings["job"])
    assert found.finding is not None
    assert (found.finding.kind, found.finding.asked) == (
        "side_effect",
        "connect to ('127.0.0.1', 9)",
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write on exit, as a context manager of the user's might."""
    try:
        yield
    finally:
        path.write_text("left")


def test_cleaning_up_of_a_stopped_run_does_no_harm(
    recordings: dict[str, Recording], check: Check, tmp_path: Path
) -> None:
    """A run that is stopped at its next step runs its `finally`; it is refused, and no finding."""
    define_parts()

    @workflow("job")
    async def make(question: str) -> str:
        with writing(tmp_path / "new"):
            return f"{await delegate('alpha', 1)} {await delegate('beta', 2)}"

    found = check(cut(recordings["job"], 1))
    assert (found.verdict, found.next_step) == ("same", 2)
    assert not (tmp_path / "new").exists()


def test_an_unknown_agent_is_not_checked(recordings: dict[str, Recording], check: Check) -> None:
    """A run whose agent this code does not have says so."""
    define_parts()
    found = check(recordings["job"])
    assert found.finding is not None
    assert (found.verdict, found.finding.kind) == ("unchecked", "unknown_agent")


@pytest.mark.parametrize("place", ["step", "request"])
def test_foreign_payloads_are_not_decoded(
    place: str, recordings: dict[str, Recording], check: Check
) -> None:
    """A run with a row that is tagged as pickle is left alone."""
    job(*ABC)
    recording = recordings["job"]
    if place == "step":
        steps = (replace(recording.steps[0], serialization="py_pickle"), *recording.steps[1:])
        recording = replace(recording, steps=steps)
    else:
        recording = replace(recording, serialization="py_pickle")
    found = check(recording)
    assert found.finding is not None
    assert (found.verdict, found.finding.kind) == ("unchecked", "payload_refused")
    assert "'py_pickle'" in found.finding.text


def test_code_that_waits_for_ever_is_not_checked(
    recordings: dict[str, Recording], check: Check
) -> None:
    """A workflow that awaits what never comes is given up after its time."""

    @workflow("job")
    async def make(question: str) -> None:
        await asyncio.Event().wait()

    found = check(recordings["job"], timeout_s=0.2)
    assert found.finding is not None
    assert (found.verdict, found.finding.kind) == ("unchecked", "not_over")


async def test_a_run_that_executes_at_this_moment_is_checked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of it is replayed by a process of its own; the run goes on and ends well."""
    is_held, is_checked = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        is_held.set()
        await is_checked.wait()

    replayed_code.define(wait)
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", engine.database.url)

    def check() -> list[RunCheck]:
        modules = [replayed_code.__name__]
        return list(check_runs(engine.database, ["r"], modules, ReplayLimits()))

    async with engine:
        handle = await engine.start("holder", "go")
        await is_held.wait()
        (found,) = await asyncio.to_thread(check)
        is_checked.set()
        assert (await handle.get_result())["output"] == "a=True"
    assert (found.verdict, found.status, found.next_step) == ("same", "PENDING", 2)
    assert found.next_name == "holder.tool.hold"
