"""`agent-app chaos`: processes are killed, nothing complete is lost or repeated, and it is told."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_app.database.connect import Database
from agent_app.database.read import read_run, read_runs, read_steps
from agent_app.operations.chaos.moments import draw_moment
from tests.doors.conftest import Command
from tests.helpers import wait_until

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for next to nothing between tries, and start processes quickly."""
    monkeypatch.setenv("AGENT_APP_RETRY_BACKOFF_S", "0.001")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)


@pytest.fixture
def start(database: Database) -> Start:
    """Return a function that starts `agent-app chaos` with the agents that come to no good end."""
    environment = {
        **os.environ,
        "AGENT_APP_DATABASE_URL": database.url,
        "AGENT_APP_AGENTS": "tests.doors.chaotic",
    }

    def start(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "agent_app", "chaos", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def seed_of(line_count: int) -> int:
    """Return a seed whose first kill comes after so many lines of work."""
    moments = (draw_moment(random.Random(seed), [], None) for seed in range(1000))
    return [moment.line_count for moment in moments].index(line_count)


def report_of(process: "subprocess.Popen[str]") -> tuple[int, Any, str]:
    """Return the exit code, the report and stderr of a command that ends."""
    stdout, stderr = process.communicate(timeout=120)
    assert stdout, stderr
    return process.returncode, json.loads(stdout), stderr


@pytest.mark.slow
def test_a_game_survives_faults_and_kills(agent_app: Command, database: Database) -> None:
    """Kills come and are told, the game ends well, and nothing complete is executed again."""
    game = ("chaos", "twenty-questions", "potato", "--rate", "0.3", "--kills", "3", "--seed", "3")
    outcome = agent_app(*game, "--json")
    report = outcome.json()
    assert outcome.code == 0, outcome.stderr
    assert (report["status"], report["problem"]) == ("SUCCESS", None)
    assert (report["repeated_steps"], report["lost_steps"]) == ([], [])
    assert re.findall(r"^Kill (\d) of 3 after \d+ steps?; it goes on\.$", outcome.stderr, re.M) == [
        str(number + 1) for number in range(report["kill_count"])
    ]
    assert report["kill_count"] == 3
    assert report["attempt_count"] > report["step_count"] >= 14
    assert sum(report["fault_counts"].values()) > 0
    assert 0 < report["lost_s"] < report["duration_s"]
    assert report["restart"]["call_count"] > 0
    assert report["restart"]["cost_usd"] is None
    record = read_run(database, report["run_id"])
    assert record is not None
    assert record.output["found"] is True
    assert record.application_version == "1"


def test_without_faults_and_kills_it_is_a_run(agent_app: Command) -> None:
    """The report is a table; nothing was lost, no call was made twice, and the run is listed."""
    outcome = agent_app(
        "chaos", "twenty-questions", "potato", "--rate", "0", "--kills", "0", "--model", "offline"
    )
    assert outcome.code == 0, outcome.stderr
    lines = dict(re.split(r"  +", line, maxsplit=1) for line in outcome.stdout.splitlines()[:-1])
    run_id, rest = lines.pop("run").split(" ", 1)
    assert rest == "(twenty-questions), SUCCESS"
    assert lines.pop("time").endswith(" s, 0.0 s of it lost by the kills")
    assert lines == {
        "steps": "15",
        "attempts": "15",
        "faults": "0 (0 before, 0 after, 0 slow, 0 hung)",
        "kills": "0 of 0",
        "completed steps executed again": "0",
        "completed steps lost": "0",
        "calls in flight sent again": "0",
    }
    assert "0 calls behind checkpoints would have been made again: 0 tokens in" in outcome.stdout
    assert agent_app("show", run_id, "--json").json()["status"] == "SUCCESS"


def test_a_run_that_fails_by_itself_is_told_and_costs_the_exit_code(start: Start) -> None:
    """The run's own error is the report's problem; nothing was lost or repeated."""
    code, report, _ = report_of(start("stumbler", "go", "--kills", "0", "--rate", "0", "--json"))
    assert code == 1
    assert report["status"] == "ERROR"
    assert report["problem"] == f"Run '{report['run_id']}' failed: ValueError: the carpet"
    assert (report["repeated_steps"], report["lost_steps"]) == ([], [])


def test_a_process_that_ends_by_itself_is_told(start: Start) -> None:
    """A tool that takes its process along is no kill of ours: the chaos is over."""
    code, report, _ = report_of(start("quitter", "go", "--kills", "0", "--rate", "0", "--json"))
    assert (code, report["kill_count"], report["status"]) == (1, 0, "PENDING")
    run_id = report["run_id"]
    assert report["problem"].startswith(
        f"The process of run '{run_id}' ended by itself with exit code 3. It said: Run {run_id}"
    )


def test_a_process_that_does_nothing_is_ended(start: Start, database: Database) -> None:
    """A tool that outlasts the patience costs the exit code; the run stays to be resumed."""
    code, report, _ = report_of(
        start("sleeper", "go", "--kills", "0", "--rate", "0", "--patience", "1", "--json")
    )
    assert code == 1
    assert report["problem"].startswith(f"The process of run '{report['run_id']}' did nothing for ")
    assert f"`agent-app resume {report['run_id']}` goes on." in report["problem"]
    row = read_run(database, report["run_id"])
    assert row is not None
    assert (row.status, row.application_version) == ("PENDING", "1")


def test_an_external_call_that_may_have_been_made_is_left_to_a_person(start: Start) -> None:
    """A kill in the middle of an external call ends the chaos: it is not made a second time."""
    seed = str(seed_of(3))
    code, report, stderr = report_of(
        start("payer", "go", "--kills", "3", "--rate", "1", "--seed", seed, "--json")
    )
    assert code == 1
    assert "Kill 1 of 3 after 1 step; it goes on." in stderr
    assert (
        "waits for a person: nobody knows whether its step 2 (payer.tool.act)"
        in (report["problem"])
    )
    assert report["kill_count"] == 1
    assert report["sent_again_count"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_ctrl_c_leaves_no_process_and_a_run_to_be_resumed(
    start: Start, database: Database, number: signal.Signals
) -> None:
    """An interrupt ends the child too, and says how to go on."""
    process = start("sleeper", "go", "--kills", "0", "--rate", "0")
    wait_until(lambda: [read_steps(database, run.run_id) for run in read_runs(database)] > [[]], 60)
    (child_id,) = children_of(process.pid)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    (run,) = read_runs(database)
    assert process.returncode == 1
    assert stderr.splitlines()[-1] == f"Stopped. `agent-app resume {run.run_id}` goes on."
    assert not Path(f"/proc/{child_id}").exists()
    assert (run.status, run.application_version) == ("PENDING", "1")


def children_of(process_id: int) -> list[str]:
    """Return the process IDs of its children."""
    return Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["twenty-question", "potato"], 1, "Did you mean 'twenty-questions'?"),
        (["twenty-questions"], 1, "secret: Field required"),
        (["twenty-questions", "qqqqqq"], 1, "does not know 'qqqqqq'"),
        (["twenty-questions", "potato", "--model", "=x"], 1, "--model '=x' is not valid"),
        (["twenty-questions", "potato", "--model", "nothing:real"], 1, "Model 'nothing:real'"),
        (["twenty-questions", "potato", "--rate", "nan"], 2, "--rate"),
        (["twenty-questions", "potato", "--rate", "1.5"], 2, "--rate"),
        (["twenty-questions", "potato", "--kills", "-1"], 2, "--kills"),
        (["twenty-questions", "potato", "--kills", "91"], 2, "--kills"),
        (
            ["twenty-questions", "potato", "--rate", "0", "--kills", "0", "--seed", "1"],
            1,
            "with --rate 0 and --kills 0 there are none",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_process_is_started(
    agent_app: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    """Each bad input gives one clear sentence, and no child process."""
    monkeypatch.setattr("agent_app.operations.chaos.lives.subprocess.Popen", None)
    outcome = agent_app("chaos", *arguments)
    assert (outcome.code, outcome.stdout) == (code, "")
    assert message in outcome.stderr
    assert agent_app("list", "--json").json() == []
