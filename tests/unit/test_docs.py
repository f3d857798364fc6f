"""The documents: complete, linked, and compilable."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer.main

from agent_app import errors
from agent_app.cli import app
from agent_app.database.read import RunRow, StepRow
from agent_app.errors import AgentAppError
from agent_app.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md")
DOCUMENTS = [*PAGES, *sorted(DOCS.rglob("*.md"))]
VIEWS = "\n".join(path.read_text() for path in (ROOT / "agent_app/database/views").glob("*.sql"))
COMMANDS: dict[str, Any] = getattr(typer.main.get_command(app), "commands")  # noqa: B009 - no stub


def errors_below(root: type[AgentAppError]) -> list[type[AgentAppError]]:
    """Return the class and everything below it in errors.py."""
    children = [c for c in root.__subclasses__() if c.__module__ == errors.__name__]
    return [root, *(found for child in children for found in errors_below(child))]


def section(name: str, heading: str) -> str:
    """Return what stands below the heading that begins so, up to the next one of its level."""
    level = heading.split()[0]
    text = (DOCS / name).read_text()
    found = re.search(
        rf"^{re.escape(heading)}(?!\w).*?(?=^#{{1,{len(level)}}} |\Z)", text, re.M | re.S
    )
    assert found, f"{name} has no heading that begins with {heading!r}"
    return found.group()


def anchors(document: Path) -> set[str]:
    """Return what a link into the document can name, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named(path: Path) -> str:
    """Return how a document is called in a test's name."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("field", list(Settings.model_fields))
def test_setting_is_described(field: str) -> None:
    """Every setting has a line in settings.md, with its default, and one in .env.example."""
    variable = f"AGENT_APP_{field.upper()}"
    (line,) = re.findall(rf"^\| `{variable}` \|.*$", (DOCS / "settings.md").read_text(), re.M)
    (example,) = re.findall(rf"^# {variable}=(.+)$", (ROOT / ".env.example").read_text(), re.M)
    default = Settings.model_fields[field].default
    if isinstance(default, int | float | str):
        text = default if isinstance(default, str) else f"{default:g}"
        assert line.split("|")[2].strip().strip("`") == text
        assert example == text


def test_no_setting_is_described_that_does_not_exist() -> None:
    """Variables of ours that the documents name are settings, but for the tests' own."""
    known = {f"AGENT_APP_{field.upper()}" for field in Settings.model_fields}
    texts = [path.read_text() for path in (*DOCUMENTS, ROOT / ".env.example")]
    assert set(re.findall(r"AGENT_APP_[A-Z_]+", "\n".join(texts))) - known == {
        "AGENT_APP_TEST_EVERY_POINT",
        "AGENT_APP_TEST_SERVER_URL",
    }


@pytest.mark.parametrize("error", errors_below(AgentAppError), ids=lambda error: error.code)
def test_error_is_described(error: type[AgentAppError]) -> None:
    """Every error has a line with its class, code and HTTP status."""
    line = f"| `{error.__name__}` | `{error.code}` | {error.http_status} |"
    assert line in (DOCS / "errors.md").read_text()


@pytest.mark.parametrize(("view", "row"), [("run", RunRow), ("step", StepRow)])
def test_view_is_described(view: str, row: type[RunRow] | type[StepRow]) -> None:
    """Every column of a view has a line, and no line is of a column that does not exist."""
    described = re.findall(
        r"^\| `(\w+)` \|", section("sql.md", f"## The view `agent_app.{view}`"), re.M
    )
    assert described == [column.name for column in fields(row)]


def test_everything_in_our_schema_is_described() -> None:
    """Every view, function and commented column that our SQL creates is in sql.md."""
    text = (DOCS / "sql.md").read_text()
    created = re.findall(r"create or replace (?:view|function) (agent_app\.\w+)", VIEWS)
    assert created
    assert [name for name in created if f"`{name}" not in text] == []
    for view, column in re.findall(r"comment on column agent_app\.(\w+)\.(\w+)", VIEWS):
        assert f"| `{column}` |" in section("sql.md", f"## The view `agent_app.{view}`")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_command_is_described(name: str) -> None:
    """Every command has a section, and every option of it is in that section."""
    text = section("commands.md", f"### `agent-app {name}")
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "option" and parameter.name != "help":
            assert f"`{max(parameter.opts, key=len)}" in text
        elif parameter.param_type_name == "argument":
            assert parameter.name.upper() in text


def test_no_command_is_described_that_does_not_exist() -> None:
    """Every section of commands.md about a command is about one that exists."""
    text = (DOCS / "commands.md").read_text()
    assert set(re.findall(r"^### `agent-app (\w+)", text, re.M)) == set(COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names a file that exists, and a heading in it if it names one."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.S)
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_python_compiles(document: Path) -> None:
    """Every Python block is a module that compiles."""
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", document.read_text(), re.S)):
        assert compile(block, f"{named(document)}, block {number}", "exec")


def test_decisions_are_listed() -> None:
    """Every decision has a link in the list of decisions."""
    decisions = DOCS / "decisions"
    text = (decisions / "README.md").read_text()
    assert [p.name for p in decisions.glob("0*.md") if f"({p.name})" not in text] == []
