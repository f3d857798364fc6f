"""`prune` as typed: what is printed, what is refused, and what a schedule's settings may be."""

from datetime import UTC, datetime, timedelta

import pytest

from agent_app.database.connect import Database
from agent_app.errors import ConfigurationInvalid
from agent_app.settings import read_settings
from tests.database.rows import plant_executor, plant_run
from tests.doors.conftest import Command
from tests.durability.test_operations import row_counts, statuses

ENDS = "SUCCESS, ERROR, CANCELLED, MAX_RECOVERY_ATTEMPTS_EXCEEDED"


def plant(database: Database, run_id: str, days: float, status: str = "SUCCESS") -> datetime:
    """Store a run that ended so many days ago, and return when."""
    ended_at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=days)
    plant_run(
        database, run_id, status=status, completed_at=int(ended_at.timestamp() * 1000), name="poet"
    )
    return ended_at


@pytest.fixture
def aged(database: Database) -> Database:
    """Return a database with four runs, two of them older than a month, and a dead process."""
    for run_id, days in (("ancient", 60), ("old", 31), ("younger", 29), ("new", 0)):
        plant(database, run_id, days)
    plant_executor(database, "dead")
    return database


def test_dry_run_says_what_prune_does(agent_app: Command, aged: Database) -> None:
    """A table by agent and status, and a sentence; the second command deletes the same numbers."""
    before = row_counts(aged)
    planned = agent_app("prune", "--older-than", "30d", "--dry-run")
    assert planned.code == 0
    assert row_counts(aged) == before
    header, row, sentence = planned.stdout.splitlines()
    assert header.split() == ["AGENT", "STATUS", "RUNS", "OLDEST", "END", "NEWEST", "END"]
    assert row.split()[:3] == ["poet", "SUCCESS", "2"]
    assert sentence.startswith("2 runs that ended before ")
    assert sentence.endswith(", 1 row of a dead process and 0 uncited sources would be deleted.")
    done = agent_app("prune", "--older-than", "30d")
    assert done.stdout.splitlines()[:2] == [header, row]
    assert done.stdout.endswith(", 1 row of a dead process and 0 uncited sources were deleted.\n")
    assert set(statuses(aged)) == {"younger", "new"}
    again = agent_app("prune", "--older-than", "30d").stdout
    assert again.startswith("0 runs that ended before ")
    assert again.endswith(", 0 rows of dead processes and 0 uncited sources were deleted.\n")


@pytest.mark.parametrize("options", [["--dry-run"], []])
def test_json(agent_app: Command, database: Database, options: list[str]) -> None:
    """--json prints numbers, groups and moments; of `--status`, repeated and in any case."""
    plant(database, "a", 3)
    oldest = plant(database, "b", 2, "ERROR")
    newest = plant(database, "c", 1, "ERROR")
    plant(database, "d", 1, "CANCELLED")
    command = ("--status", "error", "--status", "CANCELLED", "--json", *options)
    printed = agent_app("prune", "--older-than", "1h", *command).json()
    cancelled, failed = printed["groups"]
    assert (printed["run_count"], printed["executor_count"]) == (3, 0)
    assert printed["is_dry_run"] is bool(options)
    assert (cancelled["status"], cancelled["run_count"]) == ("CANCELLED", 1)
    assert failed == {
        "agent": "poet",
        "status": "ERROR",
        "run_count": 2,
        "oldest_ended_at": oldest.isoformat(),
        "newest_ended_at": newest.isoformat(),
    }
    assert set(statuses(database)) == ({"a", "b", "c", "d"} if options else {"a"})


@pytest.mark.parametrize(
    ("age", "left"),
    [
        ("120s", {"s"}),
        ("61 m", {"s", "m"}),
        ("25H", {"s", "m", "h"}),
        ("8d", {"s", "m", "h", "d"}),
        ("2w", {"s", "m", "h", "d", "w"}),
        ("5214w", {"s", "m", "h", "d", "w"}),
    ],
)
def test_every_unit(agent_app: Command, database: Database, age: str, left: set[str]) -> None:
    """Seconds, minutes, hours, days and weeks, in either case; a century is the longest."""
    ages = {"s": 60, "m": 3600, "h": 86_400, "d": 7 * 86_400, "w": 13 * 86_400}
    for run_id, seconds in ages.items():
        plant(database, run_id, seconds / 86_400)
    assert agent_app("prune", "--older-than", age).code == 0
    assert set(statuses(database)) == left


@pytest.mark.parametrize(
    "age", ["", "30", "d", "soon", "-1d", "1.5d", "30x", "1d2h", "2026-01-01", "999999w", "1" * 99]
)
def test_bad_age_is_refused(agent_app: Command, aged: Database, age: str) -> None:
    """What is no age is shown, with what was expected; nothing goes."""
    refused = agent_app("prune", f"--older-than={age}")
    assert refused.code == 1
    assert refused.stderr == (
        f"--older-than {age[:80]!r} is no age; a number with one of the units s, m, h, d and w was "
        "expected, as in 30d.\n"
    )
    assert len(statuses(aged)) == 4


@pytest.mark.parametrize("status", ["PENDING", "enqueued", "DELAYED", "FINISHED"])
def test_status_of_a_run_that_has_not_ended_is_refused(
    agent_app: Command, aged: Database, status: str
) -> None:
    """A status that no run ends with is shown, with those that there are; nothing goes."""
    refused = agent_app("prune", "--older-than", "1d", "--status", "SUCCESS", "--status", status)
    assert refused.code == 1
    assert refused.stderr == (
        f"Status {status!r} is none that a run ends with; one of {ENDS} was expected.\n"
    )
    assert len(statuses(aged)) == 4


def test_age_must_be_given(agent_app: Command, aged: Database) -> None:
    """Without an age nothing goes: it is bad usage."""
    assert agent_app("prune").code == 2
    assert len(statuses(aged)) == 4


def test_run_id_is_free_again(agent_app: Command, aged: Database) -> None:
    """A pruned run does not exist any more, for no command."""
    agent_app("prune", "--older-than", "30d")
    shown = agent_app("show", "old")
    assert (shown.code, shown.stdout) == (1, "")
    assert "Run 'old' does not exist" in shown.stderr


def test_settings_of_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The age is written as on the command line; unset, nothing is pruned."""
    monkeypatch.delenv("AGENT_APP_PRUNE_OLDER_THAN", raising=False)
    assert read_settings().prune_older_than is None
    monkeypatch.setenv("AGENT_APP_PRUNE_OLDER_THAN", "4w")
    assert read_settings().prune_older_than == timedelta(days=28)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PRUNE_OLDER_THAN", "", "a number with one of the units s, m, h, d and w was expected"),
        ("PRUNE_OLDER_THAN", "30", "a number with one of the units s, m, h, d and w was expected"),
        ("PRUNE_OLDER_THAN", "0d", "it would delete a run as it ends; unset, nothing is deleted"),
        ("PRUNE_INTERVAL_S", "0", "Input should be greater than 0"),
        ("PRUNE_INTERVAL_S", "inf", "Input should be less than or equal to 31536000"),
    ],
)
def test_bad_setting_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    """A setting that cannot work is an error that names its variable and says what is wrong."""
    monkeypatch.setenv(f"AGENT_APP_{name}", value)
    with pytest.raises(ConfigurationInvalid, match=f"AGENT_APP_{name} is not valid: {reason}"):
        read_settings()
