"""`agent-app report`: what is printed of a finished research, and what a file gets."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent_app.agents.deep_research.models import ResearchResult
from agent_app.database.connect import Database
from agent_app.durability.catalog import fresh_catalog
from agent_app.settings import Settings
from tests.database.rows import input_json, output_json, plant_run
from tests.doors.conftest import Command
from tests.durability.researching import fill, seat
from tests.durability.running import Engine

BEFORE = "The potato is the tuber of a plant."
WORDS = "It was first grown in the Andes about 8,000 years ago"
TEXT = f"{BEFORE} {WORDS}. Spanish ships brought it to Europe."


@pytest.fixture
async def result(database: Database) -> ResearchResult:
    """Return the result of the run `r`, a research over one document without a language model."""
    settings = Settings(_env_file=None)
    with fresh_catalog() as catalog:
        seat(catalog)
        async with Engine(database, catalog, settings) as engine:
            await fill({"potato": TEXT})
            question = "Where was the potato first grown in the Andes?"
            value = {"question": question, "search": "corpus", "max_searches": 1}
            return ResearchResult.model_validate(await engine.run("deep-research", value))


def test_report_is_printed_in_each_format(agent_app: Command, result: ResearchResult) -> None:
    """All four are made of the stored run; quotes stand among what is around them."""
    assert result.rates.verified_count > 0
    markdown = agent_app("report", "r")
    assert (markdown.code, markdown.stderr) == (0, "")
    assert markdown.stdout.startswith(f"# {result.question}\n")
    assert "offline writer: extractive, no language model" in markdown.stdout
    page = agent_app("report", "r", "--format", "html").stdout
    assert page.startswith("<!doctype html>")
    assert BEFORE in page
    assert f"<mark>{WORDS}" in page
    assert (
        ResearchResult.model_validate(agent_app("report", "r", "--format", "json").json()) == result
    )
    assert (
        "howpublished = {file:potato.txt}" in agent_app("report", "r", "--format", "bibtex").stdout
    )


def test_pruned_sources_leave_the_quotes(
    agent_app: Command, result: ResearchResult, database: Database
) -> None:
    """Without the texts the report is there all the same."""
    with database.connect() as connection:
        connection.execute("delete from agent_app.run_source")
        connection.execute("delete from agent_app.source")
    page = agent_app("report", "r", "--format", "html").stdout
    assert WORDS in page
    assert BEFORE not in page


def test_file_gets_the_whole_report(
    agent_app: Command, result: ResearchResult, tmp_path: Path
) -> None:
    """A file is made or replaced, through a link too, with its permissions; nothing else stays."""
    page, link = tmp_path / "report.html", tmp_path / "link.html"
    page.write_text("old")
    page.chmod(0o640)
    link.symlink_to(page)
    outcome = agent_app("report", "r", "--format", "html", "--output", str(link))
    assert (outcome.code, outcome.stdout) == (0, "")
    assert outcome.stderr == f"The report of run r is in {link}.\n"
    assert page.read_text(encoding="utf-8").endswith("</html>\n")
    assert link.is_symlink()
    assert stat.S_IMODE(page.stat().st_mode) == 0o640
    new = tmp_path / "new.md"
    assert agent_app("report", "r", "--output", str(new)).code == 0
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~mask
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "link.html", "new.md"}


@pytest.mark.parametrize("name", ["", "missing/report.md", ".", "a\0b", "x" * 300])
def test_file_that_cannot_be_written(
    agent_app: Command,
    result: ResearchResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """The error names the file, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    outcome = agent_app("report", "r", "--output", name)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("The report cannot be written to ")
    assert list(tmp_path.iterdir()) == []


def test_runs_without_a_report(agent_app: Command, database: Database) -> None:
    """An unknown run, another agent's, an unfinished, failed or cancelled one is an error."""
    attributes = '{"agent": "deep-research"}'
    runs = {
        "other": {"name": "player", "output": output_json("x")},
        "pending": {"name": "deep-research", "status": "PENDING"},
        "waiting": {"name": "deep-research", "status": "ENQUEUED"},
        "failed": {"name": "deep-research", "status": "ERROR"},
        "cancelled": {"name": "deep-research", "status": "CANCELLED"},
        "older": {"name": "deep-research", "output": output_json({"question": "?"})},
    }
    for run_id, values in runs.items():
        plant_run(database, run_id, inputs=input_json({}), attributes=attributes, **values)
    for run_id, words in {
        "unknown": "does not exist",
        "other": "has no report: it is a run of 'player'",
        "pending": "has no report: it is PENDING",
        "waiting": "has no report: it is ENQUEUED",
        "failed": "failed",
        "cancelled": "was cancelled",
        "older": "has no report: its output is that of another version",
    }.items():
        outcome = agent_app("report", run_id)
        assert (outcome.code, outcome.stdout) == (1, "")
        assert f"Run {run_id!r} {words}" in outcome.stderr
    assert agent_app("report", "other", "--format", "pdf").code == 2


def test_what_standard_output_leads_to(database: Database, result: ResearchResult) -> None:
    """`agent-app report … | head -1` prints one line; a full disk is an error of one line."""
    command = f"{sys.executable} -m agent_app report r --format html | head -1"
    environment = {**os.environ, "AGENT_APP_DATABASE_URL": database.url}
    done = subprocess.run(
        command, shell=True, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "<!doctype html>\n"
    assert done.stderr == ""
    command = f"{sys.executable} -m agent_app report r > /dev/full"
    full = subprocess.run(
        command, shell=True, env=environment, stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert full.returncode == 1
    assert "written to 'standard output': No space left on device." in full.stderr
    assert "Traceback" not in full.stderr
