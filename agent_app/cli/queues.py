"""`queues`, and what `run --detach` does: runs that are handed to the workers."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from agent_app.cli.execute import NewRun
    from agent_app.operations.enqueue import Enqueued, Placement


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("queues")(queues)


def queues(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the queues: what waits, what runs, who serves them, and their limits."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import print_json, print_table
    from agent_app.operations.enqueue import list_queues

    with reading() as database:
        rows = list_queues(database)
    if json:
        print_json(rows)
        return
    now = datetime.now(UTC)
    titles = ("QUEUE", "WAIT", "DELAYED", "RUN", "OLDEST", "STARTS/MIN", "WORKERS", "LIMITS")
    cells = (
        (
            row.queue,
            row.enqueued_count,
            row.delayed_count,
            row.running_count,
            _age(row.oldest_enqueued_at, now),
            row.started_last_minute_count,
            "" if row.takes_care_of_itself else row.worker_count,
            _limits(row),
        )
        for row in rows
    )
    print_table(titles, cells)


def _age(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else f"{max((now - moment).total_seconds(), 0):.0f} s"


def _limits(row: Any) -> str:
    period = f" in {row.period_s:g} s" if row.period_s is not None else ""
    limits = (
        (row.max_running_per_worker, "running per worker"),
        (row.max_running, "running"),
        (row.max_running_per_key, "running per key"),
        (row.max_starts, f"starts{period}"),
        (row.max_starts_per_key, f"starts per key{period}"),
    )
    return ", ".join(f"{number} {what}" for number, what in limits if number is not None)


def read_placement(options: dict[str, Any]) -> "Placement":
    """Turn the options of `run --detach` into a place; those that were not given are None.

    Raises: PlacementInvalid.
    """
    from agent_app.errors import PlacementInvalid
    from agent_app.operations.enqueue import Placement
    from agent_app.settings import parse_span

    given = {name: value for name, value in options.items() if value is not None}
    delay = given.pop("delay", None)
    try:
        delay_s = None if delay is None else parse_span(delay).total_seconds()
    except ValueError as error:
        raise PlacementInvalid(f"--delay {delay[:80]!r} is no time; {error}.") from error
    return Placement(delay_s=delay_s, **given)


def enqueue(wanted: "NewRun", placement: "Placement", as_json: bool) -> None:
    """Put a run into a queue and print its ID; nothing is executed here."""
    from agent_app.application import read_catalog
    from agent_app.cli.opening import reading
    from agent_app.operations.enqueue import check_agent_queues, enqueue_run
    from agent_app.operations.start import choose_chaos, choose_models, new_run_id, order_run
    from agent_app.settings import read_settings

    settings = read_settings()
    catalog = read_catalog(settings)
    check_agent_queues(catalog, settings)
    runnable = catalog.find(wanted.agent)
    run_id = wanted.run_id or new_run_id()
    order = order_run(
        catalog,
        wanted.agent,
        runnable.with_fields(runnable.read_text(wanted.text), wanted.fields),
        run_id=run_id,
        models=choose_models(catalog, settings, wanted.models),
        chaos=choose_chaos(wanted.chaos, wanted.seed, run_id),
        attributes=wanted.attributes,
    )
    with reading(settings) as database:
        enqueued = enqueue_run(database, settings, order, placement)
    _print(enqueued, as_json)


def _print(enqueued: "Enqueued", as_json: bool) -> None:
    from agent_app.cli.printing import notice, print_json

    run_id = enqueued.run_id
    if as_json:
        print_json(enqueued)
    else:
        print(run_id)
    if not enqueued.is_new:
        notice(f"Run {run_id} ({enqueued.agent}) is there already: {enqueued.status}.")
        return
    notice(
        f"Run {run_id} ({enqueued.agent}) waits in queue {enqueued.queue!r}; "
        f"`agent-app follow {run_id}` shows how it goes on."
    )
    if not enqueued.worker_count:
        notice("No worker serves that queue at this moment; `agent-app worker` does.")
