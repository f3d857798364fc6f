"""One life of a process: it opens the application, starts or goes on with runs, prints JSON."""

import asyncio
import json
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from agent_app.application import Application, open_application
from agent_app.database.read import read_run
from agent_app.errors import AgentAppError
from agent_app.operations.control import recover_all, resume_run
from agent_app.operations.start import choose_models, start_run, wait_for_run
from agent_app.settings import read_settings
from tests.crash.hooks import Hooks, counts, install

Action = Literal["start", "recover", "resume", "finish", "command"]
"""`finish` resumes what has not ended yet; `recover` takes over whatever was left behind."""


@dataclass(frozen=True)
class Plan:
    """What a process is to do."""

    action: Action
    hooks: Hooks
    environment: dict[str, str]
    run_ids: list[str] = field(default_factory=list)
    agent: str = ""
    text: str = ""
    command: list[str] = field(default_factory=list)
    """Arguments of `agent-app`, for the action of that name."""


def live(plan: Plan) -> int:
    """Do what is planned and return the exit code."""
    os.environ.update(plan.environment)
    install(plan.hooks)
    if plan.action == "command":
        from agent_app.cli import command_line

        return command_line(plan.command)
    records = asyncio.run(_execute(plan))
    print(json.dumps({"records": records, "counts": counts}))
    return 0


async def _execute(plan: Plan) -> dict[str, Any]:
    async with open_application(read_settings(), lambda text: None) as app:
        if plan.action == "recover":
            await asyncio.to_thread(recover_all, app.database, app.executor)
        for run_id in plan.run_ids:
            if plan.action == "resume" or (plan.action == "finish" and _is_left(app, run_id)):
                await resume_run(app.database, run_id, app.executor)
            elif plan.action == "start":
                await _start(app, plan, run_id)
        return {run_id: await _record(run_id) for run_id in plan.run_ids}


def _is_left(app: Application, run_id: str) -> bool:
    run = read_run(app.database, run_id)
    return run is not None and run.status != "SUCCESS"


async def _start(app: Application, plan: Plan, run_id: str) -> None:
    value = app.catalog.find(plan.agent).read_text(plan.text)
    models = choose_models(app.catalog, app.settings, {})
    await start_run(app.catalog, plan.agent, value, run_id=run_id, models=models)


async def _record(run_id: str) -> Any:
    try:
        return await wait_for_run(run_id)
    except AgentAppError as error:
        return str(error)
