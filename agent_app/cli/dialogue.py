"""`run … --you-ask`: a person at the terminal takes one side of what agents otherwise do alone."""

from itertools import count
from typing import Any

from rich.text import Text

from agent_app.application import Application
from agent_app.cli.execute import NewRun
from agent_app.cli.input_lines import InputLines
from agent_app.cli.live import LiveLines
from agent_app.cli.printing import console, notice, print_json, printable
from agent_app.durability.catalog import Runnable
from agent_app.durability.dialogue import Dialogue, RunAgent
from agent_app.errors import InputInvalid
from agent_app.operations.start import (
    choose_chaos,
    choose_models,
    new_run_id,
    start_run,
    wait_for_run,
)


async def execute_dialogue(app: Application, wanted: NewRun, lines: LiveLines) -> int:
    """Talk with the person until either side ends it, and print how it ended."""
    runnable = app.catalog.find(wanted.agent)
    chosen = choose_models(app.catalog, app.settings, wanted.models)
    run_id = wanted.run_id or new_run_id()
    chaos = choose_chaos(wanted.chaos, wanted.seed, run_id)
    dialogue = _open(runnable, wanted.text, run_id, chosen)
    lines.watch(run_id, runnable.name)
    notice(dialogue.opening)
    asked = count(1)

    async def run_agent(name: str, value: Any) -> dict[str, Any]:
        child_id = f"{run_id}:question-{next(asked)}"
        with lines.showing():
            await start_run(
                app.catalog,
                name,
                value,
                run_id=child_id,
                models=chosen,
                chaos=chaos,
                attributes=wanted.attributes,
            )
            return await wait_for_run(child_id)

    await _talk(dialogue, run_agent, lines)
    sentence, result = dialogue.close()
    if lines.is_silent:
        print_json({"run_id": run_id, "agent": runnable.name, "output": result})
    else:
        _say(sentence)
    return 0


def _open(runnable: Runnable, text: str | None, run_id: str, models: dict[str, str]) -> Dialogue:
    if runnable.you_ask is None:
        raise InputInvalid(runnable.name, "it has no part that a person can take by --you-ask.")
    value = None if text is None else runnable.parse(runnable.read_text(text), models)
    return runnable.you_ask(value, run_id, models)


async def _talk(dialogue: Dialogue, run_agent: RunAgent, lines: LiveLines) -> None:
    """Take lines until the dialogue is over, the person gives an empty one, or the input ends."""
    typed = InputLines()
    while not dialogue.is_over:
        prompt = dialogue.prompt
        if typed.is_terminal:
            print(prompt, end="", flush=True)
        line = await typed.next()
        if not line or not line.strip():
            break
        answer = await dialogue.reply(line.strip(), run_agent)
        if not lines.is_silent:
            # A terminal shows what was typed; what came through a pipe is repeated.
            _say(" " * len(prompt) + answer if typed.is_terminal else f"{prompt}{line}  {answer}")


def _say(text: str) -> None:
    console().print(Text(printable(text)))
