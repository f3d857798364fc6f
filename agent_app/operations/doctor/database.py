"""The database as a place to work in: who it is, what is applied, who may do what, who is there."""

from collections.abc import Iterable

from dbos._migration import get_dbos_migrations

from agent_app.database.health import (
    ConnectionState,
    SchemaState,
    changes_session,
    is_pooled,
    measure_clock_skew,
    read_connections,
    read_idle_transactions,
    read_privileges,
    read_server,
    read_server_settings,
)
from agent_app.database.migrate import schema_is_current
from agent_app.database.remedies import (
    PROMOTE,
    SESSIONS,
    allow_connections,
    end_session,
    grant_creation,
    grant_use,
    rebuild,
    set_again,
)
from agent_app.errors import SchemaAhead
from agent_app.operations.doctor.finding import Finding, bad, command, ok, warn
from agent_app.operations.doctor.subject import Subject

MAX_CLOCK_SKEW_S = 5.0
"""Times of a run come from several processes; the default lease of an executor is as long."""
MAX_IDLE_TRANSACTION_S = 300.0
"""Ours are open for milliseconds. A forgotten one keeps dead rows of every table from vacuum."""
CONNECTIONS_BESIDE_POOL = 11
"""The lock, the ledger, DBOS's notifications, and eight for transactional and external tools."""
_POOLER_TRIES = 3
_UPGRADE = command("pip", "install", "--upgrade", "agent-app")


def examine_server(subject: Subject) -> Iterable[Finding]:
    """Say which server it is, and whether it can be written to."""
    state = read_server(subject.database)
    name = f"{subject.database.address}, PostgreSQL {state.version.split()[0]}"
    if state.is_standby:
        text = f"{name} is a standby: it takes no writes, so no run can go on."
        yield bad(text, subject.psql(PROMOTE, role=subject.superuser))
    elif state.is_read_only:
        setting = "default_transaction_read_only"
        found = read_server_settings(subject.database, setting)[setting]
        text = f"{name} refuses writes: {setting} is on ({found.source})."
        yield bad(text, *subject.mend(set_again(found, "off"), role=subject.superuser))
    else:
        yield ok(f"{name}.")


def examine_schema(subject: Subject) -> Iterable[Finding]:
    """Say whether both schemas are this build's, and their indexes serve."""
    state = subject.schema
    findings = [*_judge_versions(subject, state)]
    if state.invalid_indexes:
        text = f"Indexes are not valid, and serve no query: {', '.join(state.invalid_indexes)}."
        findings.append(warn(text, *subject.mend(rebuild(state.invalid_indexes))))
    yield from findings or [ok(f"agent_app {state.number:04d}, dbos {state.dbos_number}.")]


def _judge_versions(subject: Subject, state: SchemaState) -> Iterable[Finding]:
    migrate = command("agent-app", "migrate")
    if state.number is None or state.dbos_number is None:
        text = "The schema is not there yet; the first command that needs it makes it."
        yield warn(text, migrate)
        return
    try:
        is_behind = not schema_is_current(subject.database)
    except SchemaAhead as error:
        is_behind = False
        yield bad(str(error), _UPGRADE)
    newest = len(get_dbos_migrations("dbos", True))
    versions = f"The schema dbos is at {state.dbos_number}, the installed dbos at {newest}."
    if is_behind:  # mends DBOS's too
        text = f"The schema agent_app, at {state.number:04d}, is not the one of this build."
        yield warn(text, migrate)
    elif state.dbos_number < newest:
        yield bad(versions, 'DBOS_SYSTEM_DATABASE_URL="$AGENT_APP_DATABASE_URL" dbos migrate')
    elif state.dbos_number > newest:
        yield warn(versions, _UPGRADE)


def examine_privileges(subject: Subject) -> Iterable[Finding]:
    """Say whether the role can make the schemas, or use them."""
    state = read_privileges(subject.database)
    if not state.is_complete and not state.may_create:
        text = f"Role {state.role!r} may not create the schemas dbos and agent_app."
        grants = grant_creation(state.database, state.role)
        yield bad(text, *subject.mend(grants, role=subject.superuser))
    if state.closed:
        shown = ", ".join(state.closed[:5]) + (" …" if len(state.closed) > 5 else "")
        text = f"Role {state.role!r} may not use {shown} as runs need it."
        yield bad(text, *subject.mend(grant_use(state.role), role=subject.superuser))
    elif state.is_complete or state.may_create:
        yield ok(f"Role {state.role!r} may do all that runs need.")


def examine_connections(subject: Subject) -> Iterable[Finding]:
    """Say whether another process would get the connections that it opens."""
    state = read_connections(subject.database)
    needed_count = subject.settings.database_pool_size + CONNECTIONS_BESIDE_POOL
    text = f"{state.left_count} of {state.max_count} connections are left"
    if state.left_count >= needed_count:
        yield ok(f"{text}; one process opens up to {needed_count}.")
    else:
        limit = "" if state.limited_by == "max_connections" else f" to this {state.limited_by}"
        text = f"{text}{limit}, and one process opens up to {needed_count}."
        yield warn(text, *_connection_remedies(subject, state, needed_count))


def _connection_remedies(
    subject: Subject, state: ConnectionState, needed_count: int
) -> Iterable[str]:
    yield subject.psql(SESSIONS)
    fitting = state.left_count - CONNECTIONS_BESIDE_POOL
    if fitting >= 2:
        yield command("export", f"AGENT_APP_DATABASE_POOL_SIZE={fitting}")
    elif not subject.is_embedded:  # which has its limit on its command line
        count = max(state.max_count, state.used_count + 2 * needed_count)
        statement = allow_connections(state.database, state.role, state.limited_by, count)
        yield subject.psql(statement, role=subject.superuser)


def examine_sessions(subject: Subject) -> Iterable[Finding]:
    """Say whether somebody has forgotten a transaction."""
    idle = read_idle_transactions(subject.database, MAX_IDLE_TRANSACTION_S)
    for session in idle:
        yield warn(
            f"A session of {session['role']!r} ({session['program'] or 'no name'}) has done "
            f"nothing in a transaction for {session['idle_s'] / 60:.0f} min; it keeps locks, and "
            "dead rows from vacuum.",
            subject.psql(end_session(session["pid"]), role=subject.superuser),
        )
    if not idle:
        yield ok("No session sleeps inside a transaction.")


def examine_pooler(subject: Subject) -> Iterable[Finding]:
    """Say whether a connection stays one session, which an executor's lock needs."""
    if not is_pooled(subject.database):
        yield ok("Connections lead to the server itself.")
    elif any(changes_session(subject.database) for _ in range(_POOLER_TRIES)):
        yield bad(
            "A pooler in transaction mode stands before the server: an executor's lock would be "
            "lost, and its runs be executed twice. Name the server itself, or a port in session "
            "mode, in AGENT_APP_DATABASE_URL.",
            command("grep", "-rn", "pool_mode", "/etc/pgbouncer"),
        )
    else:
        yield ok("A pooler stands before the server, and a connection stays one session.")


def examine_clock(subject: Subject) -> Iterable[Finding]:
    """Say whether this machine and the server agree on the time."""
    skew_s = measure_clock_skew(subject.database)
    if abs(skew_s) > MAX_CLOCK_SKEW_S:
        side = "ahead of" if skew_s > 0 else "behind"
        text = f"The server's clock is {abs(skew_s):.1f} s {side} this machine's."
        yield warn(f"{text} Delays and retries come at wrong times.", "timedatectl set-ntp true")
    else:
        yield ok(f"The server's clock is within {MAX_CLOCK_SKEW_S:g} s of this machine's.")
