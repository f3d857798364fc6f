"""`run`, `resume`, `worker`: the commands that execute runs."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent_app.errors import ConfigurationInvalid

if TYPE_CHECKING:
    from agent_app.application import Application
    from agent_app.cli.live import LiveLines
    from agent_app.database.connect import Database

Action = Callable[["Application"], Awaitable[int]]

_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")]
_Steps = Annotated[bool, typer.Option("--steps", help="Print every step as it starts and ends.")]
_YouAsk = Annotated[
    bool, typer.Option("--you-ask", help="Take the part that asks; the agent answers you.")
]
_Chaos = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Share of tries that meet a fault on purpose."),
]
_Seed = Annotated[int | None, typer.Option(help="Chooses the faults of --chaos.")]
_Search = Annotated[
    str | None,
    typer.Option(help="Where a research searches: auto, corpus, tavily, duckduckgo, native."),
]
_MaxSearches = Annotated[int | None, typer.Option(help="Searches of a research, in all.")]
_MaxTokens = Annotated[
    int | None, typer.Option(help="Tokens after which a research searches no further.")
]
_MaxCost = Annotated[
    float | None, typer.Option(help="US dollars after which a research searches no further.")
]
_Follow = Annotated[
    str | None, typer.Option(metavar="RUN_ID", help="Start from the sources of that research.")
]
_Detach = Annotated[
    bool, typer.Option("--detach", help="Put the run into a queue for the workers, and return.")
]
_Queue = Annotated[str | None, typer.Option(help="With --detach: the queue that it waits in.")]
_Priority = Annotated[
    int | None, typer.Option(min=1, max=2**31 - 1, help="With --detach: 1 goes first; else 100.")
]
_Delay = Annotated[
    str | None, typer.Option(help="With --detach: how long it may not start yet: 10m.")
]
_Key = Annotated[
    str | None, typer.Option(help="With --detach: what the queue's limits per key count together.")
]
_DeduplicationId = Annotated[
    str | None,
    typer.Option(help="With --detach: no second unfinished run of the queue gets it."),
]
_Queues = Annotated[
    list[str] | None, typer.Option("--queue", help="Serve this queue, not all; repeatable.")
]
_Attribute = Annotated[
    list[str] | None, typer.Option(help="Label the run with KEY=VALUE; repeatable.")
]


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("run")(run)
    app.command("resume")(resume)
    app.command("worker")(worker)


def run(
    agent: Annotated[str, typer.Argument(help="Name of an agent or a workflow.")],
    input: Annotated[
        str | None, typer.Argument(help="Text, or a JSON object; - reads standard input.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--id", help="The run's ID; the same one again attaches to it.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="MODEL for all shipped agents, or AGENT=MODEL; repeatable."),
    ] = None,
    attribute: _Attribute = None,
    search: _Search = None,
    max_searches: _MaxSearches = None,
    max_tokens: _MaxTokens = None,
    max_cost: _MaxCost = None,
    follow: _Follow = None,
    you_ask: _YouAsk = False,
    chaos: _Chaos = None,
    seed: _Seed = None,
    detach: _Detach = False,
    queue: _Queue = None,
    priority: _Priority = None,
    delay: _Delay = None,
    key: _Key = None,
    deduplication_id: _DeduplicationId = None,
    steps: _Steps = False,
    json: _Json = False,
) -> None:
    """Run an agent to its end; go on with runs of processes that died, too."""
    from agent_app.cli.dialogue import execute_dialogue
    from agent_app.cli.execute import NewRun, execute_new_run
    from agent_app.cli.queues import enqueue, read_placement
    from agent_app.cli.values import parse_labels

    place = {
        "queue": queue,
        "priority": priority,
        "delay": delay,
        "key": key,
        "deduplication_id": deduplication_id,
    }
    _check_detached(detach, place, {"--you-ask": you_ask, "--steps": steps})
    text = sys.stdin.read() if input == "-" else input
    labels = parse_labels(attribute or [])
    options = {
        "search": search,
        "max_searches": max_searches,
        "max_tokens": max_tokens,
        "max_cost_usd": max_cost,
        "follow": follow,
    }
    fields = {name: value for name, value in options.items() if value is not None}
    wanted = NewRun(agent, text, run_id, parse_models(model or []), chaos, seed, labels, fields)
    if detach:
        enqueue(wanted, read_placement(place), json)
        return
    action = execute_dialogue if you_ask else execute_new_run
    execute(lambda app: action(app, wanted, live_lines(app, steps, json)), takes_over=False)


def _check_detached(detach: bool, place: Mapping[str, object], at_once: Mapping[str, bool]) -> None:
    """Refuse options of a run that is detached for one that is not, and the other way round."""
    for name, value in place.items():
        if value is not None and not detach:
            option = f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"{option} is for a run that waits in a queue; add --detach")
    for option, is_set in at_once.items():
        if is_set and detach:
            raise typer.BadParameter(f"{option} shows a run as it is executed, --detach leaves it")


def resume(
    run_id: Annotated[
        str | None, typer.Argument(help="One run; without it, all that were left behind.")
    ] = None,
    steps: _Steps = False,
    json: _Json = False,
) -> None:
    """Go on with runs that a crash, Ctrl-C or a cancel left unfinished."""
    from agent_app.cli.execute import execute_left_run, execute_left_runs

    if run_id is None:
        execute(lambda app: execute_left_runs(app, live_lines(app, steps, json)))
    else:
        execute(lambda app: execute_left_run(app, run_id, live_lines(app, steps, json)))


def worker(queue: _Queues = None) -> None:
    """Execute the runs of queues, and what others leave behind, until SIGINT or SIGTERM."""
    from agent_app.cli.execute import execute_forever

    execute(execute_forever, queues=queue or [])


def live_lines(app: "Application", is_detailed: bool, is_silent: bool) -> "LiveLines":
    """Return what prints the events of watched runs."""
    from agent_app.cli.live import LiveLines

    return LiveLines(app.catalog, is_detailed=is_detailed, is_silent=is_silent)


def parse_models(options: list[str]) -> dict[str, str]:
    """Turn `MODEL` and `AGENT=MODEL` into model strings by agent, `*` for all shipped ones.

    Raises: ConfigurationInvalid.
    """
    models: dict[str, str] = {}
    for option in options:
        agent, is_for_one, model = option.rpartition("=")
        if not model or (is_for_one and not agent):
            raise ConfigurationInvalid(
                f"--model {option!r} is not valid; MODEL or AGENT=MODEL was expected."
            )
        models[agent or "*"] = model
    return models


def execute(
    action: Action, *, takes_over: bool = True, queues: Sequence[str] | None = None
) -> None:
    """Open the application, do `action` until a signal comes, and end with its exit code.

    It takes new runs from `queues`: from all where that is empty, from none where it is None.
    The database is opened outside of the event loop, where Ctrl-C ends a long wait at once.
    """
    from agent_app.application import open_executor, open_reader, read_catalog
    from agent_app.cli.printing import notice
    from agent_app.durability.queues import check_queues
    from agent_app.observability import observe
    from agent_app.settings import read_settings

    settings = read_settings()
    served = [] if queues is None else check_queues(settings, queues)
    observe()
    catalog = read_catalog(settings)

    async def main(database: "Database") -> int:
        async with open_executor(
            settings, database, catalog, takes_over=takes_over, queues=served
        ) as application:
            return await _until_signalled(action(application))

    with (
        open_reader(settings, notice) as database,
        asyncio.Runner(loop_factory=_loop_factory()) as runner,
    ):
        code = runner.run(main(database))
    if code:
        raise typer.Exit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, which makes a step about a fifth faster; None where it does not exist."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _until_signalled(work: Awaitable[int]) -> int:
    """Wait for the work; a signal stops the waiting, and the runs stay resumable."""
    task: asyncio.Future[int] = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # A handler of our own: a KeyboardInterrupt could strike inside a step's body.
        loop.add_signal_handler(number, _stop, task)
    try:
        return await task
    except asyncio.CancelledError:
        from agent_app.cli.printing import notice

        notice("Stopped. `agent-app resume` goes on from the last checkpoint.")
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _stop(task: "asyncio.Future[Any]") -> None:
    task.cancel()
