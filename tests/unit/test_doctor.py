"""The doctor without a database: settings, modules, models, and the words of its commands."""

import inspect
import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from dbos._migration import get_dbos_migrations

from agent_app.database.connect import Database
from agent_app.operations.doctor import agents, examination, machine, modules, sources
from agent_app.operations.doctor.examination import CHECKS, Check, make_checks
from agent_app.operations.doctor.finding import Finding, bad, command, ok, warn, worst
from agent_app.operations.doctor.modules import (
    FoundAgent,
    FoundModel,
    Modules,
    inspect_modules,
    probe,
)
from agent_app.operations.doctor.settings import examine_names, examine_values
from agent_app.operations.doctor.subject import Subject
from agent_app.operations.doctor.valid_settings import ReadSettings, read_valid_settings
from agent_app.settings import Settings

ROOT = Path(__file__).parents[2]
SHIPPED = ("agent_app.agents.twenty_questions.workflow",)


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.upper().startswith("AGENT_APP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def subject_of(found: Modules | None = None, **changes: object) -> Subject:
    """Return what is examined without a database, with modules that were looked at already."""
    settings = Settings(_env_file=None, **changes)  # type: ignore[arg-type]
    subject = Subject(ReadSettings(settings, (), names_database=True), SHIPPED)
    if found is not None:
        vars(subject)["modules"] = found
    return subject


def read_subject() -> Subject:
    """Return what is examined with the settings of the test."""
    return Subject(read_valid_settings(), SHIPPED)


def statuses(findings: list[Finding]) -> list[str]:
    """Return the statuses, in order."""
    return [finding.status for finding in findings]


def test_valid_settings_are_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What every command would accept is ok, whatever the case of its name and its parts."""
    Path(".env").write_text("agent_app_model=offline\nOTHER=1\n")
    monkeypatch.setenv("AGENT_APP_MODELS__QUESTIONER", "offline")
    assert statuses([*examine_values(read_subject()), *examine_names(read_subject())]) == [
        "ok",
        "ok",
    ]


def test_every_bad_value_is_a_finding_and_the_others_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Several bad values are all named, none is shown, and what is valid stays in force."""
    Path(".env").write_text("AGENT_APP_MODEL_MAX_ATTEMPTS=s3cret\nAGENT_APP_SQL_TIMEOUT_S=-1\n")
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", "postgresql://ann:s3cret@db/agents")
    findings = list(examine_values(read_subject()))
    assert statuses(findings) == ["bad", "bad"]
    text = " ".join(finding.text for finding in findings)
    assert "AGENT_APP_MODEL_MAX_ATTEMPTS" in text
    assert "AGENT_APP_SQL_TIMEOUT_S" in text
    assert "s3cret" not in repr(findings)
    read = read_valid_settings()
    assert read.names_database
    assert str(read.settings.database_url) == "postgresql://ann:s3cret@db/agents"
    assert read.settings.sql_timeout_s == 30


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_models_that_are_no_json_hide_nothing(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """One bad finding; the database, in .env too, and other models' agents are still known."""
    lines = "AGENT_APP_DATABASE_URL=postgresql://ann@db/agents\nAGENT_APP_POOL=1\n"
    Path(".env").write_text(lines + ("AGENT_APP_MODELS={oops\n" if place == ".env" else ""))
    if place == "environment":
        monkeypatch.setenv("AGENT_APP_MODELS", "{oops")
    read = read_valid_settings()
    assert read.problems == ("AGENT_APP_MODELS is not valid: it must be JSON.",)
    assert read.names_database
    assert read.settings.database_url == "postgresql://ann@db/agents"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENT_APP_DATABASE_URL", "sqlite:///x"),
        ("AGENT_APP_DATABASE_URL", "postgresql://ann@db:port/x"),
    ],
)
def test_unclear_database_is_not_replaced_by_the_embedded_one(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A URL that is not valid names no database: no other one may be looked at for it."""
    monkeypatch.setenv(name, value)
    read = read_valid_settings()
    assert len(read.problems) == 1
    assert not read.names_database


@pytest.mark.parametrize("url", [None, "postgresql://ann@db/agents"])
def test_unreadable_file_hides_the_database_only(
    monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    """With a .env that is no text, the environment counts; without a URL there, nobody knows."""
    Path(".env").write_bytes(b"AGENT_APP_MODEL=\xff\xfe\n")
    if url:
        monkeypatch.setenv("AGENT_APP_DATABASE_URL", url)
    read = read_valid_settings()
    assert read.problems == ("The file .env is not valid: it must be UTF-8.",)
    assert read.names_database is bool(url)
    assert statuses(list(examine_names(read_subject()))) == ["ok"]


def test_misspelt_variables_are_told_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each unknown variable of ours is a warning; the remedy renames it, or takes it away."""
    monkeypatch.setenv("AGENT_APP_DATABSE_URL", "postgresql://ann:s3cret@db/agents")
    Path(".env").write_text("AGENT_APP_AGENT=my_agents\nAGENT_APP_XYZZY=1\nOTHER_MODEL=1\n")
    one, two, three = examine_names(read_subject())
    assert statuses([one, two, three]) == ["warn"] * 3
    assert "AGENT_APP_AGENTS" in one.text
    assert "AGENT_APP_DATABASE_URL" in two.text
    assert "s3cret" not in repr((one, two, three))
    assert three.text == "AGENT_APP_XYZZY names no setting and has no effect."
    for remedy in (*one.remedies, *three.remedies):
        subprocess.run(["bash", "-c", remedy], check=True)
    assert Path(".env").read_text() == "AGENT_APP_AGENTS=my_agents\nOTHER_MODEL=1\n"
    script = f"{two.remedies[0]}; echo $AGENT_APP_DATABASE_URL $AGENT_APP_DATABSE_URL"
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "postgresql://ann:s3cret@db/agents\n"


GOOD = """
from pydantic_ai import Agent
from agent_app import durable
print("a module may print")
durable(Agent("test", name="good_agent"))
"""
BAD = {
    "raises": ("raise RuntimeError('not today')", "RuntimeError: not today"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "vanishes": ("import os; os._exit(7)", "its import ended the process with exit code 7"),
    "kills": ("import os; os.kill(os.getpid(), 11)", "its import ended the process with signal 11"),
    "unfinished": ("def (", "SyntaxError"),
}


@pytest.mark.slow
def test_modules_that_do_not_import_hide_no_other(tmp_path: Path) -> None:
    """Each bad module is named with its reason, the good ones and the models are examined."""
    (tmp_path / "good.py").write_text(GOOD)
    for name, (text, _) in BAD.items():
        (tmp_path / f"{name}.py").write_text(text)
    paths = ("good", *BAD, "nowhere.at_all")
    found = inspect_modules(SHIPPED, Settings(_env_file=None, agents=paths, model="nope:model"))
    assert {"good_agent", "questioner"} <= {agent.name for agent in found.agents}
    assert set(found.problems) == {*BAD, "nowhere.at_all"}
    for name, (_, reason) in BAD.items():
        assert reason in found.problems[name]
    assert "ModuleNotFoundError" in found.problems["nowhere.at_all"]
    assert found.models["nope:model"].problem is not None


def test_module_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that never ends is given up within its limit, and its process is gone."""
    (tmp_path / "hangs.py").write_text(
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    )
    monkeypatch.setattr(modules, "IMPORT_TIMEOUT_S", 1.0)
    while not Path("pid").exists():  # a loaded machine takes longer to come so far
        modules.IMPORT_TIMEOUT_S *= 2
        answer = probe(["hangs"], [])
    assert "its import did not end within" in answer["problem"]
    assert not Path(f"/proc/{Path('pid').read_text()}").exists()


@pytest.mark.slow
def test_two_modules_that_do_not_go_together(tmp_path: Path) -> None:
    """Modules that import alone and not with each other are one finding that says why."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(GOOD)
    found = inspect_modules(SHIPPED, Settings(_env_file=None, agents=("one", "two")))
    assert list(found.problems) == ["one, two"]
    assert "'good_agent'" in found.problems["one, two"]
    (finding,) = agents.examine_imports(subject_of(found))
    assert (finding.status, finding.remedies) == ("bad", ("python -c 'import one, two'",))


@pytest.mark.slow
def test_models_are_built_and_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is there, a key that is missing, no package, no model; no value is shown."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-s3cret")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    strings = ["openai:gpt-5.2", "anthropic:claude-sonnet-4-5", "groq:llama", "nope:model", "test"]
    answer = probe(list(SHIPPED), strings)
    found = Modules(
        tuple(FoundAgent(**agent) for agent in answer["agents"]),
        models={name: FoundModel(**model) for name, model in answer["models"].items()},
    )
    assert "s3cret" not in repr(answer)

    def say(model: str) -> Finding:
        subject = subject_of(found, models={"questioner": model})
        answerer, questioner = agents.examine_models(subject)
        assert answerer.status == "ok"
        assert "offline (the default), which is no language model" in answerer.text
        assert f"questioner: {model} (AGENT_APP_MODELS)" in questioner.text
        return questioner

    assert say("openai:gpt-5.2").text.endswith("key in OPENAI_API_KEY.")
    missing = say("anthropic:claude-sonnet-4-5")
    assert (missing.status, missing.remedies) == ("bad", ("export ANTHROPIC_API_KEY=…",))
    assert say("groq:llama").remedies == ('pip install "pydantic-ai-slim[groq]"',)
    assert say("nope:model").status == "bad"
    assert say("test").status == "ok"


def test_model_for_an_agent_that_does_not_exist() -> None:
    """A key of AGENT_APP_MODELS that names no agent is bad; where it comes from is said."""
    found = Modules((FoundAgent("questioner", "agent", True, "offline"),))
    subject = subject_of(found, models={"qestioner": "offline"}, model="offline")
    chosen, misnamed = agents.examine_models(subject)
    assert chosen.text.startswith("questioner: offline (AGENT_APP_MODEL)")
    assert misnamed.status == "bad"
    assert "'qestioner'" in misnamed.text
    everyone = subject_of(found, models={"*": "offline"})
    assert "(AGENT_APP_MODELS)" in next(iter(agents.examine_models(everyone))).text


def test_long_reason_is_cut() -> None:
    """An error as long as a file does not push the rest of the checklist out of sight."""
    found = Modules((), {"boom": "RuntimeError: " + "x" * 5000})
    (finding,) = agents.examine_imports(subject_of(found))
    assert finding.text.endswith("x….")
    assert len(finding.text) < 400


def test_check_that_hangs_or_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets its finding: a fault, a time limit; a silent database is asked nothing more."""
    never = threading.Event()

    def hang(subject: Subject) -> list[Finding]:
        never.wait()
        return []

    def fail(subject: Subject) -> list[Finding]:
        raise ZeroDivisionError("by nought")

    def slow(subject: Subject) -> list[Finding]:
        raise TimeoutError("a query did not end within 5 s")

    checks = (
        Check("a.hangs", hang, timeout_s=0.05),
        Check("a.fails", fail),
        Check("d.slow", slow, "database"),
        Check("d.hangs", hang, "database", timeout_s=0.05),
        Check("d.never", fail, "database"),
        Check("a.works", lambda subject: [ok("well")]),
    )
    monkeypatch.setattr(examination, "CHECKS", checks)
    database = Database("postgresql://ann:s3cret@db/agents", "db:5432/agents")
    findings = make_checks(replace(subject_of(database_url=database.url), found=database))
    never.set()
    assert [(finding.check, finding.status) for finding in findings] == [
        ("a.hangs", "warn"),
        ("a.fails", "bad"),
        ("d.slow", "warn"),
        ("d.hangs", "bad"),
        ("a.works", "ok"),
    ]
    assert "ZeroDivisionError: by nought" in findings[1].text
    assert findings[3].remedies[0] == "pg_isready --host=db --port=5432"
    assert "s3cret" not in repr(findings)


def test_room_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Little room is a warning, next to none is bad; a server of the user's is not looked at."""
    subject = subject_of(data_directory=tmp_path / "not" / "yet")
    monkeypatch.setattr(machine, "MIN_FREE_BYTES", 0)
    assert statuses(list(machine.examine_disk(subject))) == ["ok"]
    monkeypatch.setattr(machine, "MIN_FREE_BYTES", 2**62)
    assert statuses(list(machine.examine_disk(subject))) == ["warn"]
    monkeypatch.setattr(machine, "FATAL_FREE_BYTES", 2**62)
    (finding,) = machine.examine_disk(subject)
    assert finding.status == "bad"
    assert f"du -xh --max-depth=1 {tmp_path}" in finding.remedies
    assert list(machine.examine_disk(subject_of(database_url="postgresql://db/x"))) == []


def test_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit below what a process needs is a warning with the command that raises it."""
    assert statuses(list(machine.examine_open_files(subject_of()))) in (["ok"], ["warn"])
    monkeypatch.setattr(machine, "FILES_BESIDE_POOL", 2**40)
    (finding,) = machine.examine_open_files(subject_of())
    assert finding.status == "warn"
    assert finding.remedies[0].startswith("ulimit -n ")


def test_worst_status_is_that_of_all() -> None:
    """One bad finding outweighs any number of others; no finding at all is ok."""
    assert worst([]) == "ok"
    assert worst([ok("a"), warn("b"), ok("c")]) == "warn"
    assert worst([warn("b"), bad("c"), ok("a")]) == "bad"


def test_command_keeps_words_whole() -> None:
    """Whatever a word holds, a shell reads it as one word."""
    line = command("echo", "it's; $(id)", "-n", X="a b")
    assert line == "X='a b' echo 'it'\"'\"'s; $(id)' -n"


def test_checks_are_documented() -> None:
    """Every check has a line in commands.md, and no two have the same name."""
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    text = (ROOT / "docs" / "commands.md").read_text()
    assert [name for name in names if f"| `{name}` |" not in text] == []


def test_private_name_of_dbos_is_as_we_call_it() -> None:
    """DBOS still lists its migrations by this function, one entry for each number."""
    assert list(inspect.signature(get_dbos_migrations).parameters)[:2] == [
        "schema",
        "use_listen_notify",
    ]
    assert len(get_dbos_migrations("dbos", True)) >= 125


def test_the_search_provider_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus without a key, Tavily with one; one that lacks what it needs is bad."""
    monkeypatch.delenv("TAVILY_API_KEY", raising=False)
    (plain,) = sources.examine_provider(subject_of())
    assert plain == ok(
        "Researches search by 'corpus': no key and no model that searches by itself."
    )
    (lacking,) = sources.examine_provider(subject_of(search_provider="tavily"))
    assert (lacking.status, "TAVILY_API_KEY" in lacking.text) == ("bad", True)
    assert lacking.remedies == ("export AGENT_APP_SEARCH_PROVIDER=auto",)
    monkeypatch.setenv("TAVILY_API_KEY", "tvly-secret")
    (keyed,) = sources.examine_provider(subject_of())
    assert keyed == ok("Researches search by 'tavily': TAVILY_API_KEY is set.")


def test_a_searcher_without_a_key_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the models says what is missing; this one says that it could not look."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (finding,) = sources.examine_provider(subject_of(model="openai:gpt-5"))
    assert (finding.status, "OPENAI_API_KEY" in finding.text) == ("warn", True)
