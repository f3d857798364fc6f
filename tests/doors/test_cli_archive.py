"""`export` and `import` as typed: what is printed, and what a pipe or a file can do to it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent_app.database.connect import Database
from agent_app.database.read import read_run
from tests.database.rows import column, input_json, output_json, plant_run, plant_step
from tests.doors.conftest import Command

KEY = "ghp" + "_" + "Ab3dEf9Gh2" * 4


@pytest.fixture
def file(database: Database, agent_app: Command, tmp_path: Path) -> Path:
    """Store a run with a child run, export it, and delete it."""
    plant_run(database, "g", inputs=input_json({"text": KEY}), output=output_json("done"))
    plant_run(database, "g:c", inputs=input_json("x"), attributes='{"parent_run_id": "g"}')
    plant_step(database, "g", 1, output=json.dumps({"$checkpoint": "c", "value": "acme-12345678"}))
    path = tmp_path / "run.json"
    path.write_text(agent_app("export", "g").stdout)
    assert agent_app("delete", "--yes", "g").code == 0
    return path


def test_run_goes_to_a_file_and_back(database: Database, agent_app: Command, file: Path) -> None:
    """An exported run is imported, is shown with its label, and is there already the next time."""
    imported = agent_app("import", str(file))
    assert (imported.code, imported.stdout) == (0, "Run g is imported, with 1 child run.\n")
    again = agent_app("import", str(file))
    assert again.code == 0
    assert again.stdout == "Run g is there already, with the same content, with 1 child run.\n"
    shown = agent_app("show", "g", "--json").json()
    assert shown["attributes"] == {"imported": "true"}
    assert shown["input"] == {"text": "[redacted]"}
    listed = agent_app("list", "--attribute", "imported=true", "--json").json()
    assert {run["run_id"] for run in listed} == {"g", "g:c"}
    assert agent_app("steps", "g").code == agent_app("messages", "g").code == 0


def test_secrets_are_counted(
    database: Database, agent_app: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export says what it took out: by own patterns count, `--no-redact` keeps all."""
    plant_run(database, "g", inputs=input_json({"text": f"{KEY} acme-12345678"}))
    done = agent_app("export", "g")
    assert KEY not in done.stdout
    assert done.stderr == "Exported 1 run with 0 steps; 1 secret redacted.\n"
    monkeypatch.setenv("AGENT_APP_REDACT", r'["acme-\\d+"]')
    assert agent_app("export", "g").json()["redacted_count"] == 2
    whole = agent_app("export", "g", "--no-redact")
    assert KEY in whole.stdout
    assert whole.stderr == "Exported 1 run with 0 steps; secrets are left in it.\n"
    assert whole.json()["redacted_count"] is None
    monkeypatch.setenv("AGENT_APP_REDACT", '["("]')
    refused = agent_app("export", "g")
    assert (refused.code, refused.stdout) == (1, "")
    assert "AGENT_APP_REDACT is not valid: pattern 1 is no regular expression" in refused.stderr


def test_unfinished_run_is_told(database: Database, agent_app: Command, tmp_path: Path) -> None:
    """Who exports or imports a run that had not ended is told what that means."""
    plant_run(database, "g", status="PENDING", inputs=input_json("x"))
    exported = agent_app("export", "g")
    assert "Run g is PENDING: the file holds what it had done at this moment.\n" in exported.stderr
    path = tmp_path / "run.json"
    path.write_text(exported.stdout)
    imported = agent_app("import", str(path), "--id", "n", "--json").json()
    assert imported == {"run_ids": ["n"], "cancelled": {"n": "PENDING"}, "is_new": True}
    told = agent_app("import", str(path), "--id", "m").stdout
    assert "Run m was PENDING and is CANCELLED here, so that nobody executes it.\n" in told


def test_what_cannot_be_exported_or_imported(
    database: Database, agent_app: Command, file: Path, tmp_path: Path
) -> None:
    """A run or a file that does not exist or does not fit is told, and changes nothing."""
    unknown = agent_app("export", "nope")
    assert (unknown.code, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("Run 'nope' does not exist.")
    (tmp_path / "other.json").write_text("{}")
    for path, reason in (
        (tmp_path / "missing.json", "missing.json' cannot be read: No such file or directory."),
        (tmp_path, "cannot be read: Is a directory."),
        (tmp_path / "other.json", "it was not made by `agent-app export`."),
    ):
        refused = agent_app("import", str(path))
        assert (refused.code, refused.stdout) == (1, "")
        assert refused.stderr.startswith("The file cannot be imported, and nothing was changed: ")
        assert refused.stderr.endswith(f"{reason}\n")
    plant_run(database, "g")
    taken = agent_app("import", str(file))
    assert taken.code == 1
    assert "--id NEW` imports it under another ID." in taken.stderr
    assert agent_app("import").code == agent_app("export").code == 2
    assert column(database, "select count(*) from dbos.workflow_status") == [1]


def test_file_comes_from_standard_input(database: Database, file: Path) -> None:
    """With - as file, what another process exports is imported through a pipe."""
    done = in_a_shell(database, "cat {} | {} import -", str(file))
    assert (done.returncode, done.stdout) == (0, "Run g is imported, with 1 child run.\n")
    row = read_run(database, "g")
    assert row is not None
    empty = in_a_shell(database, "{1} import - < /dev/null", "")
    assert empty.returncode == 1
    assert "it is not JSON" in empty.stderr


def test_closed_pipe_and_full_disk_end_quietly(database: Database) -> None:
    """Who reads one line gets it without a traceback; a disk without space is told."""
    plant_run(database, "g", inputs=input_json("x" * 300_000))
    closed = in_a_shell(database, "{1} export g | head -1", "")
    assert closed.stdout == "{\n"
    assert "Traceback" not in closed.stderr
    full = in_a_shell(database, "{1} export g > /dev/full", "")
    assert full.returncode == 1
    assert "its file cannot be written: No space left on device." in full.stderr
    assert "Traceback" not in full.stderr


def in_a_shell(database: Database, command: str, file: str) -> subprocess.CompletedProcess[str]:
    """Return what a shell makes of the command; {} are the file and `agent-app`."""
    return subprocess.run(
        command.format(file, f"{sys.executable} -m agent_app"),
        shell=True,
        env={**os.environ, "AGENT_APP_DATABASE_URL": database.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
