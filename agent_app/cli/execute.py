"""What the executing commands do once the application is open."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from agent_app.application import Application
from agent_app.cli.live import LiveLines, describe_undecided
from agent_app.cli.printing import console, count_of, notice, print_json, print_record
from agent_app.cli.probes import probes
from agent_app.cli.prune import describe_pruned
from agent_app.database.read import RunRow
from agent_app.durability.chaos import Chaos
from agent_app.durability.events import RunEvent, observed_by
from agent_app.errors import AgentAppError, DatabaseError, PayloadRefused
from agent_app.failover.orphans import Recovery
from agent_app.operations.control import (
    executed_roots,
    queues_waited_in,
    recover_all,
    recover_run,
    resume_run,
    waiting_roots,
)
from agent_app.operations.drain import begin_drain, drain_runs
from agent_app.operations.read import get_run
from agent_app.operations.readiness import executor_checks
from agent_app.operations.retention_schedule import prune_schedule
from agent_app.operations.start import (
    choose_chaos,
    choose_models,
    new_run_id,
    start_run,
    wait_for_run,
)

_LOOK_S = 0.5
"""Seconds between two looks for runs that were left behind."""


@dataclass(frozen=True)
class NewRun:
    """What a person wants to be run."""

    agent: str
    text: str | None
    """The input as typed, None for none."""
    run_id: str | None
    models: Mapping[str, str]
    chaos: float | None = None
    """Share of tries that are to fail."""
    seed: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the input, from options of their own."""


async def execute_new_run(app: Application, wanted: NewRun, lines: LiveLines) -> int:
    """Start a run, show it, print its result; then wait for runs that were taken over besides."""
    agent = wanted.agent
    runnable = app.catalog.find(agent)
    value = runnable.with_fields(runnable.read_text(wanted.text), wanted.fields)
    chosen = choose_models(app.catalog, app.settings, wanted.models)
    run_id = wanted.run_id or new_run_id()
    chaos = choose_chaos(wanted.chaos, wanted.seed, run_id)
    left = await _take_over(app)
    lines.watch(run_id, agent)
    with lines.showing():
        await start_run(
            app.catalog,
            agent,
            value,
            run_id=run_id,
            models=chosen,
            chaos=chaos,
            attributes=wanted.attributes,
        )
        notice(f"Run {run_id} ({agent})" + describe_chaos(chaos))
        await _tell_of_other_executor(app, run_id)
        code = await _finish(app, run_id, lines)
    await _wait_for_others(app, [row for row in left if row.run_id != run_id])
    return code


def describe_chaos(chaos: Chaos | None) -> str:
    """Return what a person is told of faults on purpose, the seed in particular."""
    return "" if chaos is None else f", faults in {chaos.share:.0%} of the tries, seed {chaos.seed}"


async def execute_left_runs(app: Application, lines: LiveLines) -> int:
    """Go on with every run that a dead process left, and print each result."""
    rows = await _take_over(app, lines)
    if not rows:
        notice("Nothing is left to go on with.")
    with lines.showing():
        codes = [await _finish(app, row.run_id, lines) for row in rows]
    await _wait_for_others(app, [])
    return max(codes, default=0)


async def execute_left_run(
    app: Application,
    run_id: str,
    lines: LiveLines,
    begin: Callable[[], Awaitable[None]] | None = None,
    *,
    goes_on_as: str | None = None,
) -> int:
    """Go on with one run, and print its result; `begin` does it, where it is no mere resuming."""
    row = await asyncio.to_thread(get_run, app.database, run_id)
    app.catalog.find(row.agent)
    new_id = goes_on_as or run_id
    lines.watch(new_id, row.agent)
    with lines.showing():
        await (begin() if begin else resume_run(app.database, run_id, app.executor))
        code = await _finish(app, new_id, lines)
    await _wait_for_others(app, [])
    return code


async def execute_forever(app: Application) -> int:
    """Take over what others leave behind, until a signal comes; answer probes to the very end."""
    checks = executor_checks(app.database, app.executor, asyncio.get_running_loop())
    with probes(app.settings.health_host, app.settings.health_port, checks):
        await _take_over_forever(app)
        await _drain(app)
    notice("Stopped; what was under way goes on in the next worker.")
    return 0


async def _take_over_forever(app: Application) -> None:
    notice(f"Executor {app.executor.executor_id} is ready. It serves {_name_queues(app.queues)}.")
    with (
        observed_by(_tell_undecided),
        prune_schedule(app.database, app.settings, lambda gone: notice(describe_pruned(gone))),
        suppress(asyncio.CancelledError),
    ):  # to be stopped is how a worker ends well
        while True:
            with suppress(DatabaseError):  # a server that restarts is looked for again
                recovery = await asyncio.to_thread(recover_all, app.database, app.executor)
                queues = await _queues_waited_in(app, recovery.recovered)
                for run_id in recovery.recovered:
                    queue = queues.get(run_id)
                    place = "goes on here" if queue is None else f"is back in queue {queue!r}"
                    notice(f"Run {run_id} {place}.")
            await asyncio.sleep(_LOOK_S)


async def _drain(app: Application) -> None:
    """Let steps in flight end and hand the runs over, and say so; one more signal shortens it."""
    limit_s = app.settings.drain_s
    if steps := begin_drain():
        notice(
            f"Draining: {count_of(len(steps), 'step')} in flight may take {limit_s:g} s to end; "
            "a second signal ends them now."
        )
    try:
        drained = await drain_runs(app.database, app.executor, limit_s=limit_s)
    except DatabaseError as error:
        notice(f"No run could be handed over; other workers find them once this one ends. {error}")
        return
    for step in drained.cut:
        notice(f"Cut short: {step}; whoever takes the run executes it again.")
    if runs := drained.handed_over:
        notice(f"Handed over {count_of(len(runs), 'run')}: {', '.join(runs)}.")


def _name_queues(queues: Sequence[str]) -> str:
    return f"{'queue' if len(queues) == 1 else 'queues'} {', '.join(map(repr, queues))}"


def _tell_undecided(event: RunEvent) -> None:
    if event.kind == "step_undecided":
        notice(describe_undecided(event))


async def _tell_of_other_executor(app: Application, run_id: str) -> None:
    row = await asyncio.to_thread(get_run, app.database, run_id)
    if row.status == "PENDING" and row.executor_id != app.executor.executor_id:
        notice("Another process executes it; waiting for its end.")
    queues = await _queues_waited_in(app, [run_id]) if row.status != "PENDING" else {}
    for queue in queues.values():
        notice(
            f"It waits in queue {queue!r} for a worker; `agent-app resume {run_id}` goes on "
            "with it at once."
        )


async def _queues_waited_in(app: Application, run_ids: Sequence[str]) -> dict[str, str]:
    return await asyncio.to_thread(queues_waited_in, app.database, run_ids)


async def _take_over(app: Application, lines: LiveLines | None = None) -> list[RunRow]:
    recovery: Recovery = await asyncio.to_thread(recover_all, app.database, app.executor)
    if recovery.held:
        notice(f"Living processes execute {len(recovery.held)} other runs; they are left to them.")
    for run_id, tag in recovery.refused:
        notice(f"Run {run_id} is left alone. {PayloadRefused(tag)}")
    if queues := await _queues_waited_in(app, recovery.recovered):
        notice(
            f"{len(queues)} of the runs that were left behind wait for a worker, in "
            f"{', '.join(map(repr, sorted(set(queues.values()))))}."
        )
    rows = await asyncio.to_thread(waiting_roots, app.database, recovery, app.executor)
    for row in rows:
        notice(f"Run {row.run_id} ({row.agent}) goes on from its last checkpoint.")
        if lines is not None:
            lines.watch(row.run_id, row.agent)
    return rows


async def _finish(app: Application, run_id: str, lines: LiveLines) -> int:
    """Wait for the run's end and print it; an error is printed and makes the code 1."""
    try:
        record = await _wait(app, run_id)
    except AgentAppError as error:
        notice(str(error))
        return 1
    row = await asyncio.to_thread(get_run, app.database, run_id)
    lines.stop()
    if lines.is_silent:
        print_json({"run_id": run_id, "agent": row.agent, "status": row.status, **record})
    else:
        print_record(run_id, record, console(), is_told=lines.has_told(run_id))
    return 0


async def _wait(app: Application, run_id: str) -> dict[str, Any]:
    """Wait for the run's end; go on with it here if the process that executes it dies."""
    watch = asyncio.create_task(_watch(app, run_id))
    try:
        return await wait_for_run(run_id)
    finally:
        watch.cancel()


async def _watch(app: Application, run_id: str) -> None:
    while True:
        await asyncio.sleep(_LOOK_S)
        with suppress(DatabaseError):  # a server that restarts is looked for again
            recovery = await asyncio.to_thread(recover_run, app.database, run_id, app.executor)
            if run_id in recovery.recovered:
                queue = (await _queues_waited_in(app, [run_id])).get(run_id)
                place = "here" if queue is None else f"with the next worker of queue {queue!r}"
                notice(f"The process that executed run {run_id} has died; it goes on {place}.")


async def _wait_for_others(app: Application, rows: Sequence[RunRow]) -> None:
    """Wait for runs that were taken over: to leave them now would send their calls once more.

    Those are the given ones, and those that were found by others and are executed here.
    """
    left = list(rows)
    while left or (left := await asyncio.to_thread(executed_roots, app.database)):
        row = left.pop(0)
        notice(
            f"Waiting for run {row.run_id} ({row.agent}), which was taken over; Ctrl-C leaves it."
        )
        try:
            await _wait(app, row.run_id)
        except AgentAppError as error:
            notice(str(error))
