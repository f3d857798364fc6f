"""The journal of bodies: what is written, and what is read while others write."""

import os
from pathlib import Path

import pytest

from agent_app.durability.events import emit
from agent_app.durability.journal import Journal, JournalLine, journal_to
from agent_app.errors import ConfigurationInvalid


def tell(path: Path, *kinds: str) -> None:
    """Emit events of one step while a journal is open."""
    with journal_to(path):
        for kind in kinds:
            emit(
                kind,  # type: ignore[arg-type]
                run_id="run",
                agent="agent",
                step_number=2,
                name="agent.model",
                attempt=1,
                value="slow",
            )


def test_events_come_back_as_lines(tmp_path: Path) -> None:
    """Each event of a body is a line with its step, try, process and, for a fault, its place."""
    path = tmp_path / "journal"
    tell(path, "attempt_started", "step_started", "fault_injected")
    started, fault = Journal(path).read_on()
    assert started == JournalLine(
        started.at, "attempt_started", "run", os.getpid(), 2, "agent.model", 1, None
    )
    assert (fault.kind, fault.place, fault.step) == ("fault_injected", "slow", ("run", 2))
    assert 1.7e9 < started.at <= fault.at


def test_lines_of_several_lives_are_read_once_each(tmp_path: Path) -> None:
    """A reader takes what has come since it last read; `lines` keeps it all."""
    path = tmp_path / "journal"
    journal = Journal(path)
    assert journal.read_on() == []
    tell(path, "attempt_started")
    assert [line.kind for line in journal.read_on()] == ["attempt_started"]
    tell(path, "step_finished")
    assert [line.kind for line in journal.read_on()] == ["step_finished"]
    assert journal.read_on() == []
    assert [line.kind for line in journal.lines] == ["attempt_started", "step_finished"]


def test_a_line_that_its_process_died_in_is_passed_over(tmp_path: Path) -> None:
    """Half a line is not read, and does not spoil the first line of the next process."""
    path = tmp_path / "journal"
    tell(path, "attempt_started")
    with path.open("ab") as file:
        file.write(b'{"at": 1.0, "kind": "step_fin')
    journal = Journal(path)
    assert [line.kind for line in journal.read_on()] == ["attempt_started"]
    tell(path, "attempt_started")
    assert [line.kind for line in journal.read_on()] == ["attempt_started"]


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, no file."""
    monkeypatch.chdir(tmp_path)
    with journal_to(None):
        emit("attempt_started", run_id="run", agent="agent")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A directory in the journal's place is a setting that cannot work."""
    with (
        pytest.raises(ConfigurationInvalid, match=r"_BODY_JOURNAL names .*Is a directory"),
        journal_to(tmp_path),
    ):
        pass
