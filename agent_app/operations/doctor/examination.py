"""One examination: every check by itself, within a time limit, whatever became of the others."""

import re
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from threading import Thread
from typing import Literal, TypeVar

from agent_app.database.binaries import find_installation
from agent_app.database.connect import Database, name_database, open_database
from agent_app.database.data_directory import locate
from agent_app.database.patience import Notify
from agent_app.database.remedies import SESSIONS, SUPERUSER, grant_use, locate_server, psql_command
from agent_app.errors import (
    AgentAppError,
    ConfigurationInvalid,
    DatabaseRefused,
    DatabaseUnreachable,
    EmbeddedServerMissing,
    PrivilegeMissing,
)
from agent_app.operations.doctor import (
    agents,
    database,
    machine,
    runs,
    settings,
    sources,
    storage,
)
from agent_app.operations.doctor.finding import Finding, bad, command, ok, warn
from agent_app.operations.doctor.modules import IMPORT_TIMEOUT_S
from agent_app.operations.doctor.subject import Subject
from agent_app.operations.doctor.valid_settings import ReadSettings, read_valid_settings
from agent_app.settings import Settings

CHECK_TIMEOUT_S = 10.0
"""For one check: a server that stops answering obeys no limit of a query."""
_FULL = re.compile("too many|connection slots")
"""How Postgres says that its connections are used up; for a superuser it keeps some."""
START_TIMEOUT_S = 60.0
"""For the embedded server; a longer start goes on without us."""

Examine = Callable[[Subject], Iterable[Finding]]
T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One line of what is examined; its name is a contract with whoever reads the JSON."""

    name: str
    examine: Examine
    needs: Literal["nothing", "database", "schema"] = "nothing"
    timeout_s: float = CHECK_TIMEOUT_S


CHECKS = (
    Check("settings.values", settings.examine_values),
    Check("settings.names", settings.examine_names),
    Check("database.server", database.examine_server, "database"),
    Check("database.schema", database.examine_schema, "database"),
    Check("database.privileges", database.examine_privileges, "database"),
    Check("database.connections", database.examine_connections, "database"),
    Check("database.pooler", database.examine_pooler, "database"),
    Check("database.sessions", database.examine_sessions, "database"),
    Check("database.clock", database.examine_clock, "database"),
    Check("storage.durability", storage.examine_durability, "database"),
    Check("storage.commits", storage.examine_commits, "database"),
    Check("storage.size", storage.examine_size, "database"),
    Check("storage.dead_rows", storage.examine_dead_rows, "database"),
    Check("storage.wraparound", storage.examine_wraparound, "database"),
    Check("executors.living", runs.examine_executors, "schema"),
    Check("runs.orphaned", runs.examine_orphaned, "schema"),
    Check("runs.stranded", runs.examine_stranded, "schema"),
    Check("runs.stuck", runs.examine_stuck, "schema"),
    Check("runs.given_up", runs.examine_given_up, "schema"),
    Check("runs.undecided", runs.examine_undecided, "schema"),
    Check("runs.waiting", runs.examine_waits, "schema"),
    Check("agents.imports", agents.examine_imports, timeout_s=3 * IMPORT_TIMEOUT_S),
    Check("agents.known", agents.examine_known, "schema", timeout_s=3 * IMPORT_TIMEOUT_S),
    Check("agents.models", agents.examine_models, timeout_s=3 * IMPORT_TIMEOUT_S),
    Check("sources.provider", sources.examine_provider, timeout_s=3 * IMPORT_TIMEOUT_S),
    Check("machine.disk", machine.examine_disk),
    Check("machine.open_files", machine.examine_open_files),
)
"""In the order in which they are told."""


def examine(shipped_agents: tuple[str, ...], *, notify: Notify) -> list[Finding]:
    """Return what was found, one finding or more for each check that could be made.

    It ends, since each check has a time limit; it raises nothing, since one that fails is a
    finding; it changes nothing, but that a server's log of transactions grows by a few lines, and
    that an embedded server which does not run is started, and stopped at the end.
    """
    read = read_valid_settings()
    with ExitStack() as stack:
        opened = _open(read, stack, notify)
        found = opened if isinstance(opened, Database) else None
        findings = [replace(opened, check="database.server")] if isinstance(opened, Finding) else []
        return findings + make_checks(Subject(read, shipped_agents, found))


def make_checks(subject: Subject) -> list[Finding]:
    """Return what all checks say that can be made; a check that needs what is missing says nothing.

    A database that stops answering is one finding: further questions would each take as long.
    """
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += _make(check, subject) if _can_make(check, subject) else []
        except _Silent as error:
            findings.append(bad(str(error), *_ways(subject.settings), check=check.name))
            subject = replace(subject, found=None)
    return findings


class _Silent(Exception):
    """The database does not answer any more."""


def _can_make(check: Check, subject: Subject) -> bool:
    if check.needs == "nothing":
        return True
    if subject.found is None:
        return False
    try:
        return check.needs == "database" or _within(
            CHECK_TIMEOUT_S, lambda: subject.schema.has_views
        )
    except (_Unfinished, TimeoutError, AgentAppError):
        return False  # another check says why


def _make(check: Check, subject: Subject) -> list[Finding]:
    """Make one check; what it raises becomes its finding.

    Raises: _Silent.
    """
    try:
        made = _within(check.timeout_s, lambda: list(check.examine(subject)))
    except (_Unfinished, DatabaseUnreachable) as error:
        if check.needs != "nothing":
            raise _Silent(f"The database stopped answering: {error}") from error
        made = [warn(f"Not examined: {error}", "agent-app doctor")]
    except TimeoutError as error:
        made = [warn(f"Not examined: {error}.", command("agent-app", "doctor"))]
    except PrivilegeMissing as error:
        made = [bad(str(error), *_grants(subject, error.role))]
    except AgentAppError as error:
        made = [bad(str(error), command("agent-app", "doctor"))]
    except Exception as error:  # a fault of ours, or a database in a state that nobody thought of
        made = [bad(f"Not examined: {type(error).__name__}: {error}.", "agent-app doctor --json")]
    return [replace(finding, check=check.name) for finding in made]


def _grants(subject: Subject, role: str) -> list[str]:
    return subject.mend(grant_use(role), role=SUPERUSER)


def _within(timeout_s: float, action: Callable[[], T]) -> T:
    """Return what the action does, in a thread that is left to itself beyond the time limit.

    Raises: _Unfinished; whatever the action raises.
    """
    future: Future[T] = Future()

    def act() -> None:
        try:
            future.set_result(action())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=act, daemon=True).start()
    wait([future], timeout_s)
    if not future.done():
        raise _Unfinished(f"it did not end within {timeout_s:g} s.")
    return future.result()


class _Unfinished(Exception):
    """An action was left to itself."""


def _open(read: ReadSettings, stack: ExitStack, notify: Notify) -> Database | Finding:
    """Return the database, or why there is none; the stack closes it."""
    if not read.names_database:
        text = "No database was looked at: settings that are not valid leave open which is meant."
        return bad(text, command("agent-app", "doctor"))
    settings = read.settings
    if (
        settings.database_url is None
        and not (locate(settings.data_directory) / "postgres").exists()
    ):
        return _describe_missing()
    start_s = min(START_TIMEOUT_S, settings.database_start_timeout_s)
    limited = settings.model_copy(update={"database_start_timeout_s": start_s})
    try:
        opened = open_database(limited, notify=notify)
        return _within(start_s + CHECK_TIMEOUT_S, lambda: stack.enter_context(opened))
    except _Unfinished as error:
        return bad(f"The database did not answer: {error}", *_ways(settings))
    except (AgentAppError, OSError) as error:
        is_full = isinstance(error, DatabaseRefused) and _FULL.search(error.reason) is not None
        return bad(str(error), *_ways(settings, SUPERUSER if is_full else None))


def _describe_missing() -> Finding:
    """Say whether the embedded server could be made, which the doctor does not."""
    try:
        find_installation()
    except EmbeddedServerMissing as error:
        return bad(str(error), command("pip", "install", "agent-app[embedded]"))
    return ok("There is no embedded server yet; the first command that needs it makes it.")


def _ways(settings: Settings, role: str | None = None) -> list[str]:
    """Return commands that show why the database cannot be used; a role is one that still can."""
    if settings.database_url is None:
        home = locate(settings.data_directory)
        return [
            command("tail", "-n", "50", str(home / "server.log")),
            command("ls", "-la", str(home)),
        ]
    try:
        database = name_database(settings.database_url)
    except ConfigurationInvalid:
        return ["export AGENT_APP_DATABASE_URL=postgresql://USER:PASSWORD@HOST:5432/NAME"]
    host, port = locate_server(database)
    return [
        command("pg_isready", f"--host={host}", f"--port={port}"),
        command(*psql_command(database, [SESSIONS], role=role)),
    ]
