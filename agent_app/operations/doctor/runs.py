"""Runs that do not go on by themselves, and the processes that could execute them."""

from collections.abc import Callable, Iterable

from agent_app.database.unfinished import (
    RunGroup,
    count_unfinished,
    read_given_up,
    read_living,
    read_orphaned,
    read_stranded,
    read_stuck,
    read_undecided,
    read_unserved_queues,
    read_waits,
)
from agent_app.operations.doctor.finding import Finding, bad, command, ok, warn
from agent_app.operations.doctor.subject import Subject


def examine_executors(subject: Subject) -> Iterable[Finding]:
    """Say who executes runs at this moment."""
    living = read_living(subject.database)
    unfinished_count = sum(count_unfinished(subject.database).values())
    for executor in living:
        yield ok(
            f"{executor.executor_id}: version {executor.application_version!r}, process "
            f"{executor.process_id} on {executor.host!r}, since "
            f"{executor.started_at:%Y-%m-%d %H:%M:%S} UTC."
        )
    if not living and unfinished_count:
        text = f"Nobody executes runs; of those that have not ended there are {unfinished_count}."
        yield warn(text, command("agent-app", "worker"))
    elif not living:
        yield ok("Nobody executes runs, and every run has ended.")


def examine_orphaned(subject: Subject) -> Iterable[Finding]:
    """Say which runs belong to processes that died."""
    own_version = subject.settings.application_version
    groups = [
        group
        for group in read_orphaned(subject.database)
        if group.is_served or group.application_version == own_version
    ]  # the others are stranded
    for group in groups:
        if group.is_served:
            text = "Runs whose process died; a living one of their version takes them over"
            yield warn(f"{text} within seconds: {_tell(group)}.", command("agent-app", "doctor"))
        else:
            text = f"Runs whose process died, with nobody to take them over: {_tell(group)}."
            worker = _of_version(group, own_version, "worker")
            yield bad(text, *_each(group, own_version, "resume"), worker)
    if not groups:
        yield ok("No run belongs to a process that died.")


def examine_stranded(subject: Subject) -> Iterable[Finding]:
    """Say which runs belong to an application version, or wait in a queue, that nobody serves."""
    own_version = subject.settings.application_version
    groups = [
        group
        for group in read_stranded(subject.database)
        if group.application_version != own_version
    ]
    for group in groups:
        text = (
            f"Runs of version {group.application_version!r}, which nobody serves: {_tell(group)}."
        )
        text = f"{text} Start a worker with the code of that version."
        yield bad(text, _of_version(group, own_version, "worker"))
    queues = read_unserved_queues(subject.database, own_version)
    for queue, group in queues.items():
        text = f"Runs in the queue {queue!r}, which no worker serves: {_tell(group)}."
        yield bad(text, command("agent-app", "worker", "--queue", queue))
    if not groups and not queues:
        yield ok("No run waits for another application version, or in a queue that nobody serves.")


def examine_stuck(subject: Subject) -> Iterable[Finding]:
    """Say which runs have made no progress, though their process lives."""
    yield from _about(
        read_stuck(subject.database),
        lambda group: [
            f"{command('agent-app', 'cancel', run_id)} && "
            + _of_version(group, subject.settings.application_version, "resume", run_id)
            for run_id in group.run_ids
        ],
        "Runs without progress for ten minutes, though their process lives",
        "No run hangs.",
    )


def examine_given_up(subject: Subject) -> Iterable[Finding]:
    """Say which runs were given up, since they were recovered too often."""
    yield from _about(
        read_given_up(subject.database),
        lambda group: _each(group, subject.settings.application_version, "resume"),
        "Runs given up after too many recoveries, each the death of their process",
        "No run was given up.",
    )


def _about(
    groups: list[RunGroup],
    remedies: Callable[[RunGroup], list[str]],
    trouble: str,
    silence: str,
) -> Iterable[Finding]:
    for group in groups:
        yield warn(f"{trouble}: {_tell(group)}.", *remedies(group))
    if not groups:
        yield ok(silence)


def examine_undecided(subject: Subject) -> Iterable[Finding]:
    """Say which external calls wait for a person."""
    count, calls = read_undecided(subject.database)
    if not calls:
        yield ok("No external call waits for a decision.")
        return
    oldest = calls[0]
    yield warn(
        f"External calls of unknown outcome: {count}, the oldest of {oldest.step_name!r} "
        f"since {oldest.unknown_since:%Y-%m-%d %H:%M} UTC. Find out whether it was made; then "
        "--retry makes it, --fail lets the step fail, --done JSON gives its result.",
        *(
            command("agent-app", "resolve", call.run_id, str(call.step_number), "--retry")
            for call in calls
        ),
    )


def examine_waits(subject: Subject) -> Iterable[Finding]:
    """Say what unfinished runs wait for, which is no trouble by itself."""
    waits = read_waits(subject.database)
    kinds = ", ".join(f"{count} for a {kind}" for kind, count in waits.items())
    yield ok(f"Runs that wait: {kinds}." if kinds else "No run waits for anything.")


def _tell(group: RunGroup) -> str:
    shown = ", ".join(repr(run_id) for run_id in group.run_ids)
    more = " …" if group.run_count > len(group.run_ids) else ""
    return f"{group.run_count} ({shown}{more})"


def _each(group: RunGroup, own_version: str, verb: str) -> list[str]:
    return [_of_version(group, own_version, verb, run_id) for run_id in group.run_ids]


def _of_version(group: RunGroup, own_version: str, *words: str) -> str:
    """Return the command as a process of the runs' own version executes it."""
    version = group.application_version
    if version is None or version == own_version:
        return command("agent-app", *words)
    return command("agent-app", *words, AGENT_APP_APPLICATION_VERSION=version)
