"""`run`, `resume`, `worker`: the commands that execute runs."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
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
    you_ask: _YouAsk = False,
    chaos: _Chaos = None,
    seed: _Seed = None,
    steps: _Steps = False,
    json: _Json = False,
) -> None:
    """Run an agent to its end; go on with runs of processes that died, too."""
    from agent_app.cli.dialogue import execute_dialogue
    from agent_app.cli.execute import NewRun, execute_new_run
    from agent_app.cli.values import parse_labels

    text = sys.stdin.read() if input == "-" else input
    labels = parse_labels(attribute or [])
    wanted = NewRun(agent, text, run_id, parse_models(model or []), chaos, seed, labels)
    action = execute_dialogue if you_ask else execute_new_run
    execute(lambda app: action(app, wanted, live_lines(app, steps, json)), takes_over=False)


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


def worker() -> None:
    """Execute what other processes leave behind, until SIGINT or SIGTERM."""
    from agent_app.cli.execute import execute_forever

    execute(execute_forever)


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


def execute(action: Action, *, takes_over: bool = True) -> None:
    """Open the application, do `action` until a signal comes, and end with its exit code.

    The database is opened outside of the event loop, where Ctrl-C ends a long wait at once.
    """
    from agent_app.application import open_executor, open_reader, read_catalog
    from agent_app.cli.printing import notice
    from agent_app.observability import observe
    from agent_app.settings import read_settings

    settings = read_settings()
    observe()
    catalog = read_catalog(settings)

    async def main(database: "Database") -> int:
        async with open_executor(settings, database, catalog, takes_over=takes_over) as application:
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
