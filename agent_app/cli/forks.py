"""`fork`, `retry`: execute a part of a run once more, as another run or as itself."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent_app.application import Application
    from agent_app.cli.live import LiveLines
    from agent_app.operations.fork import Fork

_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")]
_Steps = Annotated[bool, typer.Option("--steps", help="Print every step as it starts and ends.")]
_RunId = Annotated[str, typer.Argument(help="The run's ID.")]


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("retry")(retry)
    app.command("fork")(fork)


def retry(run_id: _RunId, steps: _Steps = False, json: _Json = False) -> None:
    """Execute the failed step of a failed run again, and go on from there under the same ID."""
    from agent_app.cli.run import execute, live_lines

    execute(lambda app: _retry(app, run_id, live_lines(app, steps, json)))


def fork(
    run_id: _RunId,
    from_step: Annotated[
        int | None,
        typer.Option("--from", metavar="N", help="The first step that is executed anew."),
    ] = None,
    new_id: Annotated[str | None, typer.Option("--id", help="The new run's ID.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="MODEL for all shipped agents, or AGENT=MODEL; repeatable."),
    ] = None,
    instructions: Annotated[
        list[str] | None,
        typer.Option(metavar="AGENT=TEXT", help="Replace an agent's instructions; repeatable."),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="step.K=JSON", help="Result of tool step K; repeatable."),
    ] = None,
    steps: _Steps = False,
    json: _Json = False,
) -> None:
    """Copy a run up to a step, with changes, and execute the rest anew under another ID."""
    from agent_app.cli.run import execute, live_lines, parse_models
    from agent_app.cli.values import parse_instructions, parse_results
    from agent_app.operations.fork import Fork
    from agent_app.operations.start import new_run_id

    wanted = Fork(
        run_id,
        new_id or new_run_id(),
        from_step,
        models=parse_models(model or []),
        instructions=parse_instructions(run_id, instructions or []),
        results=parse_results(run_id, change or []),
    )
    execute(lambda app: _fork(app, wanted, live_lines(app, steps, json)))


async def _retry(app: "Application", run_id: str, lines: "LiveLines") -> int:
    from agent_app.cli.execute import execute_left_run
    from agent_app.cli.printing import notice
    from agent_app.operations.retry import retry_run

    async def begin() -> None:
        parts = await asyncio.to_thread(retry_run, app.database, run_id, app.executor)
        for part in parts:
            notice(f"Run {part.run_id} {_describe(part.redone)}.")

    return await execute_left_run(app, run_id, lines, begin)


def _describe(redone: tuple[int, ...]) -> str:
    if not redone:
        return "goes on from its last checkpoint"
    steps = "step" if len(redone) == 1 else "steps"
    return f"executes {steps} {', '.join(map(str, redone))} again"


async def _fork(app: "Application", wanted: "Fork", lines: "LiveLines") -> int:
    from agent_app.cli.execute import execute_left_run
    from agent_app.cli.printing import notice
    from agent_app.operations.fork import fork_run

    async def begin() -> None:
        start = await asyncio.to_thread(fork_run, app.database, app.catalog, wanted, app.executor)
        notice(f"Run {wanted.new_run_id}, forked from {wanted.run_id} at step {start}")

    return await execute_left_run(app, wanted.run_id, lines, begin, goes_on_as=wanted.new_run_id)
