"""What the database stores: on disk at once, in a size that fits, without what is dead."""

from collections.abc import Iterable

from agent_app.database.health import (
    TableState,
    measure_commits,
    read_oldest_transaction,
    read_server_settings,
    read_tables,
)
from agent_app.database.remedies import COMMIT_SETTINGS, locate_server, set_again, vacuum
from agent_app.operations.doctor.finding import Finding, bad, command, ok, warn
from agent_app.operations.doctor.subject import Subject

MAX_COMMIT_MS = 10.0
"""Without the way. A step waits for several commits; any disk but a spinning one is below it."""
MAX_ROUND_TRIP_MS = 10.0
"""A step makes about ten round trips: beyond it they are a tenth of a second for each."""
MAX_DATABASE_BYTES = 10 * 1024**3
"""About 10 kB a step makes it a million steps; dumps and lists of runs take minutes from there."""
MIN_DEAD_COUNT = 10_000
"""Below it, dead rows cost nothing that anybody would notice."""
MAX_DEAD_SHARE = 0.5
"""Of the live rows. Autovacuum comes at 0.2: it is off, or held up, where there are more."""
MAX_TRANSACTION_AGE = 1_000_000_000
"""Autovacuum freezes at 200 million, and Postgres refuses writes at 2.1 thousand million."""

_LOSSES = {
    "fsync": "a power cut can corrupt the database and lose checkpoints",
    "full_page_writes": "a power cut can corrupt pages of the database",
    "synchronous_commit": "a crash of the server loses its last commits, whose steps run again",
}


def examine_durability(subject: Subject) -> Iterable[Finding]:
    """Say whether what is committed survives a crash of the server."""
    found = read_server_settings(subject.database, *_LOSSES)
    lost = [found[name] for name in _LOSSES if found[name].value == "off"]
    for setting in lost:
        text = f"{setting.name} is off ({setting.source}): {_LOSSES[setting.name]}."
        remedies = subject.mend(set_again(setting, "on"), role=subject.superuser)
        # With it off nothing is corrupt, and at most the last 0.6 s of commits are lost.
        finding = warn if setting.name == "synchronous_commit" else bad
        yield finding(text, *remedies)
    if not lost:
        yield ok("What is committed is on disk.")


def examine_commits(subject: Subject) -> Iterable[Finding]:
    """Say how long a commit takes, and the way to the server."""
    times = measure_commits(subject.database)
    disk_ms = max(0.0, times.commit_ms - times.round_trip_ms)
    text = f"A commit takes {disk_ms:.1f} ms, and the way to the server {times.round_trip_ms:.1f}."
    if disk_ms > MAX_COMMIT_MS:
        why = f"Every step waits for several; below {MAX_COMMIT_MS:g} ms were expected"
        text = f"{text} {why} of its disk, or of the standby that is waited for."
        yield warn(text, subject.psql(COMMIT_SETTINGS))
    elif times.round_trip_ms > MAX_ROUND_TRIP_MS:
        text = f"{text} A step goes it about ten times: run the processes nearer to the server."
        yield warn(text, command("ping", "-c", "5", locate_server(subject.database)[0]))
    else:
        yield ok(text)


def examine_size(subject: Subject) -> Iterable[Finding]:
    """Say how large the database is, and which tables make it so."""
    size_bytes, tables = read_tables(subject.database)
    largest = ", ".join(f"{table.name} {_size(table.size_bytes)}" for table in tables[:3])
    text = f"The database has {_size(size_bytes)}" + (f": {largest}." if largest else ".")
    if size_bytes > MAX_DATABASE_BYTES:
        yield warn(text, command("agent-app", "prune", "--older-than", "30d"))
    else:
        yield ok(text)


def examine_dead_rows(subject: Subject) -> Iterable[Finding]:
    """Say which tables carry more dead rows than autovacuum would leave."""
    name = "autovacuum"
    setting = read_server_settings(subject.database, name)[name]
    _, tables = read_tables(subject.database)
    bloated = [table for table in tables if _is_bloated(table)]
    if setting.value == "off":
        text = f"{name} is off ({setting.source}): dead rows are never freed."
        yield warn(text, *subject.mend(set_again(setting, "on"), role=subject.superuser))
    for table in bloated:
        last = f"{table.vacuumed_at:%Y-%m-%d %H:%M} UTC" if table.vacuumed_at else "never"
        text = f"{table.name} has {table.dead_count} dead rows beside {table.live_count} live ones"
        yield warn(f"{text}; last vacuum: {last}.", *subject.mend(vacuum([table.name])))
    if not bloated and setting.value != "off":
        yield ok("No table carries many dead rows.")


def _is_bloated(table: TableState) -> bool:
    return table.dead_count >= max(MIN_DEAD_COUNT, MAX_DEAD_SHARE * table.live_count)


def examine_wraparound(subject: Subject) -> Iterable[Finding]:
    """Say how far the server is from running out of transaction IDs."""
    name, age = read_oldest_transaction(subject.database)
    text = f"The oldest transaction ID is {age / 1e6:.0f} million old, in database {name!r}."
    if age > MAX_TRANSACTION_AGE:
        text = f"{text} At 2100 million the server refuses writes."
        host, port = locate_server(subject.database)
        place = f"--host={host}", f"--port={port}", f"--username={subject.superuser}"
        yield warn(text, command("vacuumdb", *place, "--freeze", "--echo", name))
    else:
        yield ok(text)


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 1024**3), ("MB", 1024**2)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 1024:.0f} kB"
