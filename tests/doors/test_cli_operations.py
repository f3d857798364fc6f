"""`fork`, `retry`, `follow`, `cancel`, `delete`, `attribute`, `list`, `messages` as typed."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import agent_app.agents.twenty_questions.workflow  # noqa: F401 - registered before the catalog changes
from agent_app.cli.values import parse_labels, parse_moment
from agent_app.database.connect import Database
from agent_app.durability.catalog import durable, fresh_catalog
from agent_app.errors import FilterInvalid
from tests.doors.conftest import Command
from tests.durability.running import call
from tests.helpers import wait_until

ROOT = Path(__file__).parents[2]
EVERY_STATUS = (
    "ENQUEUED, DELAYED, PENDING, SUCCESS, ERROR, CANCELLED, MAX_RECOVERY_ATTEMPTS_EXCEEDED"
)


class World:
    """What the agent `adder` meets: it counts bodies and fails where it is told to."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.is_failing = False


@pytest.fixture
def known_sleeper() -> Iterator[None]:
    """Let this process know the agent that another one executes."""
    with fresh_catalog():
        durable(Agent("test", name="sleeper"))
        yield


@pytest.fixture
def world() -> Iterator[World]:
    """Define `adder`, which adds one by a tool and doubles by another, then says the results."""
    world = World()

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        world.calls["model"] += 1
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        if turn < 2:
            return ModelResponse([call(("add", "double")[turn], f"c{turn}")])
        last = messages[-1]
        assert isinstance(last, ModelRequest)
        results = [
            str(part.content)
            for message in messages
            for part in message.parts
            if isinstance(part, ToolReturnPart)
        ]
        return ModelResponse([TextPart(f"{last.instructions} {' '.join(results)}")])

    with fresh_catalog():
        agent = durable(
            Agent(FunctionModel(answer, model_name="m"), name="adder", instructions="Sum:")
        )

        @agent.tool_plain
        async def add() -> str:
            world.calls["add"] += 1
            return "1"

        @agent.tool_plain
        async def double() -> str:
            world.calls["double"] += 1
            if world.is_failing:
                raise ValueError("no sum")
            return "2"

        yield world


def test_fork_prints_like_run_and_says_where_it_comes_from(
    agent_app: Command, world: World
) -> None:
    """A result is set, the prefix is free, the output follows it, and `show` names the source."""
    agent_app("run", "adder", "go", "--id", "r")
    world.calls.clear()
    outcome = agent_app("fork", "r", "--set", 'step.2="5"', "--id", "f")
    assert outcome.code == 0
    assert outcome.stdout.splitlines()[-2] == "Sum: 5 2"
    assert "Run f, forked from r at step 3" in outcome.stderr
    assert world.calls == {"double": 1, "model": 2}
    assert agent_app("show", "f", "--json").json()["forked_from"] == "r"
    assert agent_app("show", "r", "--json").json()["output"] == "Sum: 1 2"


def test_fork_takes_instructions_and_prints_json(agent_app: Command, world: World) -> None:
    """--instructions replaces the agent's, --steps shows what was free, --json is one object."""
    agent_app("run", "adder", "go", "--id", "r")
    record = agent_app("fork", "r", "--from", "5", "--instructions", "adder=So:", "--json").json()
    assert record["output"] == "So: 1 2"
    assert record["status"] == "SUCCESS"
    shown = agent_app("fork", "r", "--from", "5", "--steps").stdout
    assert shown.count("from its checkpoint") == 4
    assert world.calls == {"model": 5, "add": 1, "double": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Run 'r' can fork from any of its steps; --from N or --set step.K=JSON is missing."),
        (["--from", "9"], "Run 'r' has 5 steps; it cannot fork from step 9."),
        (["--from", "0"], "Run 'r' has 5 steps; it cannot fork from step 0."),
        (["--from", "2", "--id", "a b"], "Run ID 'a b' is not one"),
        (["--from", "2", "--id", "r"], "cannot be forked as 'r': that ID is taken"),
        (["--set", "step.1=1"], "has 'adder.model' as its step 1; only the result of a tool call"),
        (["--set", "step.2=five"], "whose value is not JSON: Expecting value"),
        (["--set", "step.2=NaN"], "whose value is not JSON: JSON has no NaN"),
        (["--set", "two=5"], "cannot take --set 'two=5'; step.K=JSON was expected."),
        (["--from", "2", "--instructions", "adder"], "AGENT=TEXT was expected."),
        (["--from", "2", "--instructions", "ader=x"], "Did you mean 'adder'?"),
        (["--from", "2", "--model", "no:model"], "Model 'no:model' cannot be used"),
    ],
)
def test_bad_fork_is_refused(
    agent_app: Command, world: World, options: list[str], message: str
) -> None:
    """Each bad option gives one sentence and exit code 1; no run is made and no body runs."""
    agent_app("run", "adder", "go", "--id", "r")
    before = agent_app("list", "--json").stdout
    world.calls.clear()
    outcome = agent_app("fork", "r", *options)
    assert outcome.code == 1
    assert message in outcome.stderr
    assert outcome.stdout == ""
    assert agent_app("list", "--json").stdout == before
    assert world.calls == {}


def test_retry_goes_on_under_the_same_id(agent_app: Command, world: World) -> None:
    """The failed step runs again, what finished does not, and a second retry is refused."""
    world.is_failing = True
    failed = agent_app("run", "adder", "go", "--id", "r")
    assert failed.code == 1
    assert "Run 'r' failed: ValueError: no sum." in failed.stderr
    again = agent_app("retry", "r")
    assert again.code == 1
    assert "Run r executes step 4 again." in again.stderr
    world.is_failing = False
    world.calls.clear()
    record = agent_app("retry", "r", "--json").json()
    assert (record["run_id"], record["output"]) == ("r", "Sum: 1 2")
    assert world.calls == {"double": 1, "model": 1}
    refused = agent_app("retry", "r")
    assert refused.code == 1
    assert "cannot be retried: it is SUCCESS, and only a run that failed is." in refused.stderr
    assert len(agent_app("list", "--json").json()) == 1


def test_unknown_run_is_named(agent_app: Command, world: World) -> None:
    """Every command about a run names an ID that it does not know, and exits with 1."""
    for command in (
        ["fork", "nobody", "--from", "1"],
        ["retry", "nobody"],
        ["follow", "nobody"],
        ["messages", "nobody"],
        ["delete", "nobody", "--yes"],
        ["attribute", "nobody", "a=b"],
        ["cancel", "nobody"],
        ["list", "--after", "nobody"],
    ):
        outcome = agent_app(*command)
        assert outcome.code == 1, command
        assert "Run 'nobody' does not exist." in outcome.stderr
        assert outcome.stdout == ""


def test_attributes_find_runs(agent_app: Command, world: World) -> None:
    """Labels of the start and later ones are found by, shown, changed and removed."""
    agent_app("run", "adder", "go", "--id", "a", "--attribute", "team=red", "--attribute", "n=1")
    agent_app("run", "adder", "go", "--id", "b", "--attribute", "team=red")

    def found(*labels: str) -> list[str]:
        options = [word for label in labels for word in ("--attribute", label)]
        return [row["run_id"] for row in agent_app("list", "--json", *options).json()]

    assert found("team=red") == ["b", "a"]
    assert found("team=red", "n=1") == ["a"]
    assert agent_app("attribute", "a", "team=blue", "--remove", "n").stdout == "team  blue\n"
    assert found("team=red") == ["b"]
    changed = agent_app("attribute", "b", "equation=a=b", "--json").json()
    assert changed == {"run_id": "b", "attributes": {"team": "red", "equation": "a=b"}}
    for bad, message in (
        ("parent_run_id=a", "belongs to agent_app"),
        ("novalue", "KEY=VALUE was expected"),
    ):
        outcome = agent_app("attribute", "b", bad)
        assert outcome.code == 1
        assert message in outcome.stderr
        refused = agent_app("run", "adder", "go", "--id", "c", "--attribute", bad)
        assert refused.code == 1
        assert message in refused.stderr
    assert agent_app("show", "c").code == 1


def test_list_pages_and_prints_the_next_command(agent_app: Command, world: World) -> None:
    """The line about more is a command that shows the rest with the same filters."""
    for number in range(3):
        agent_app("run", "adder", f"item {number}", "--id", f"r{number}")
    first = agent_app("list", "--limit", "2", "--text", "ITEM", "--agent", "adder", "--json")
    assert [row["run_id"] for row in first.json()] == ["r2", "r1"]
    command = first.stderr.splitlines()[-1].removeprefix("There are more: agent-app ").split()
    rest = agent_app(*command)
    assert [row["run_id"] for row in rest.json()] == ["r0"]
    assert "There are more" not in rest.stderr
    assert [row["run_id"] for row in agent_app("list", "--text", "item 1", "--json").json()] == [
        "r1"
    ]
    assert agent_app("list", "--since", "1h", "--json").json() != []
    assert agent_app("list", "--until", "1h", "--json").json() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--status", "fine"], f"Status 'fine' does not exist; one of {EVERY_STATUS}"),
        (["--since", "soon"], "--since 'soon' is no time; a span such as"),
        (["--until", "2026-13-01"], "--until '2026-13-01' is no time"),
        (["--since", "1h", "--until", "2h"], "ends before it begins."),
        (["--attribute", "team"], "Attribute 'team' is not valid; KEY=VALUE was expected."),
    ],
)
def test_bad_filter_is_refused(agent_app: Command, options: list[str], message: str) -> None:
    """A filter that could find nothing is an error and no empty list."""
    outcome = agent_app("list", *options)
    assert outcome.code == 1
    assert message in outcome.stderr
    assert outcome.stdout == ""


def test_moments_are_spans_dates_and_times() -> None:
    """A span counts back from now, a date is the local midnight, a zone is respected."""
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    for text, expected in (
        ("30m", datetime(2026, 1, 31, 11, 30, tzinfo=UTC)),
        ("2H", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("1w", datetime(2026, 1, 24, 12, tzinfo=UTC)),
        ("2026-01-01", datetime(2026, 1, 1).astimezone(UTC)),
        ("2026-01-01T10:00+02:00", datetime(2026, 1, 1, 8, tzinfo=UTC)),
    ):
        assert parse_moment("--since", text, now) == expected
    assert parse_moment("--since", None, now) is None
    for text in ("", "2", "h", "999999w", "0001-01-01", "\udcff"):
        with pytest.raises(FilterInvalid):
            parse_moment("--since", text, now)
    assert parse_labels(["a=b", "c=", "a=d=e"]) == {"a": "d=e", "c": ""}


def test_messages_print_the_conversation(agent_app: Command, world: World) -> None:
    """Input, tool calls, results and the answer come in order, as a table and as JSON."""
    agent_app("run", "adder", "go on", "--id", "r")
    rows = agent_app("messages", "r", "--json").json()
    assert [(row["role"], row["tool"]) for row in rows] == [
        ("user", None),
        ("assistant", "add"),
        ("tool", "add"),
        ("assistant", "double"),
        ("tool", "double"),
        ("assistant", None),
    ]
    printed = agent_app("messages", "r").stdout
    assert "go on" in printed
    assert "Sum: 1 2" in printed


def test_follow_of_a_finished_run_prints_what_there_is(agent_app: Command, world: World) -> None:
    """Steps, the end and the result, with the exit code of `run`; --json is one object a line."""
    agent_app("run", "adder", "go", "--id", "r")
    outcome = agent_app("follow", "r")
    assert outcome.code == 0
    lines = outcome.stdout.splitlines()
    assert lines[0] == "Run r (adder)"
    assert lines[2].split()[:2] == ["2", "adder.tool.add"]
    assert "Run r (adder) has ended with SUCCESS" in lines
    assert "Sum: 1 2" in lines
    objects = [json.loads(line) for line in agent_app("follow", "r", "--json").stdout.splitlines()]
    assert [one["kind"] for one in objects] == [
        "run_seen",
        *["step_finished"] * 5,
        "run_ended",
        "result",
    ]
    assert objects[-1]["output"] == "Sum: 1 2"
    world.is_failing = True
    agent_app("run", "adder", "go", "--id", "bad")
    failed = agent_app("follow", "bad")
    assert failed.code == 1
    assert "attempt 1 failed: ValueError: no sum" in failed.stdout
    assert "Run 'bad' failed: ValueError: no sum." in failed.stderr


def test_delete_asks_or_needs_yes(agent_app: Command, world: World) -> None:
    """Without a person --yes is needed; with it every named run goes, or none."""
    for run_id in ("a", "b"):
        agent_app("run", "adder", "go", "--id", run_id)
    unasked = agent_app("delete", "a")
    assert unasked.code == 2
    assert "--yes deletes without a question" in unasked.stderr
    partly = agent_app("delete", "a", "nobody", "--yes")
    assert (partly.code, partly.stdout) == (1, "")
    assert len(agent_app("list", "--json").json()) == 2
    assert agent_app("delete", "a", "--yes").stdout == "Run a is deleted.\n"
    assert agent_app("delete", "b", "--yes", "--json").json() == {"deleted": ["b"]}
    assert agent_app("list", "--json").json() == []


@pytest.mark.usefixtures("known_sleeper")
def test_running_run_is_followed_cancelled_and_never_executed_twice(
    agent_app: Command, database: Database
) -> None:
    """While a process executes it, it can be followed and cancelled, and nothing else."""
    environment = {
        **os.environ,
        "AGENT_APP_DATABASE_URL": database.url,
        "AGENT_APP_AGENTS": "tests.doors.chaotic",
        "PYTHONPATH": str(ROOT),
    }

    def start(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "agent_app", *arguments],
            env=environment,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def executes() -> bool:
        with database.connect() as connection:
            query = "select 1 from agent_app.current_attempt where step_number = 2"
            return bool(connection.execute(query).fetchall())

    with start("run", "sleeper", "go", "--id", "s") as running:
        wait_until(executes, 30)
        with start("follow", "s") as following:
            assert following.stdout is not None
            assert following.stdout.readline() == "Run s (sleeper) is PENDING\n"
            for command, message in (
                (["resume", "s"], "a living process executes it"),
                (["retry", "s"], "it is PENDING, and only a run that failed is"),
                (["fork", "s", "--from", "2"], "is PENDING and cannot be forked"),
                (["delete", "s", "--yes"], "it is PENDING. `agent-app cancel s` stops it."),
            ):
                outcome = agent_app(*command)
                assert outcome.code == 1, command
                assert message in outcome.stderr
            cancelled = agent_app("cancel", "s")
            assert (cancelled.code, cancelled.stdout) == (0, "Run s is cancelled.\n")
            with database.connect() as connection:
                query = "select outcome from agent_app.attempt where step_number = 2"
                assert connection.execute(query).fetchall() == [{"outcome": "cancelled"}]
            output, errors = following.communicate(timeout=30)
        assert "Run s (sleeper) has ended with CANCELLED" in output
        assert "Run 's' was cancelled." in errors
        assert following.returncode == 1
        assert running.wait(timeout=30) == 1
    assert [row["run_id"] for row in agent_app("list", "--json").json()] == ["s"]
