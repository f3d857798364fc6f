"""The process that imports modules of agents for the doctor, and writes down what it met."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model

from agent_app.durability.catalog import Runnable, load_agents
from agent_app.durability.clients import build_model
from agent_app.errors import AgentAppError, AgentsNotImportable

_KEY = re.compile(r"`([A-Z][A-Z0-9_]*)`")
"""How Pydantic AI names the variable that it misses."""
_KEY_LIKE = re.compile(r"KEY|TOKEN|SECRET|CREDENTIAL")


def main() -> None:
    """Answer the request in the first argument, and end whatever threads a module has started."""
    request = json.loads(sys.argv[1])
    sys.path.insert(0, os.getcwd())  # where a command looks for modules too
    answer = json.dumps(_answer(request["modules"], request["models"]))
    unfinished = Path(request["answer"]).with_suffix(".new")
    unfinished.write_text(answer)
    unfinished.rename(request["answer"])
    os._exit(0)


def _answer(modules: list[str], models: list[str]) -> dict[str, Any]:
    built = {name: _build(name) for name in models}
    try:
        catalog = load_agents(tuple(modules))
    except AgentsNotImportable as error:
        return {"problem": error.reason, "models": built}
    except AgentAppError as error:
        return {"problem": str(error), "models": built}
    return {"agents": [_describe(runnable) for runnable in catalog], "models": built}


def _describe(runnable: Runnable) -> dict[str, Any]:
    model = runnable.agent.model if runnable.agent is not None else None
    return {
        "name": runnable.name,
        "kind": runnable.kind,
        "takes_default_model": runnable.takes_default_model,
        "own_model": model.model_name if isinstance(model, Model) else model,
    }


def _build(name: str) -> dict[str, str | None]:
    """Say whether the model can be built, and which variable its provider takes the key from."""
    problem = _try_to_build(name)
    if problem is not None:
        return {"problem": problem, "key_variable": _find_variable(problem)}
    # Built once more without keys, the provider says which one it would miss.
    kept = {key: os.environ.pop(key) for key in list(os.environ) if _KEY_LIKE.search(key)}
    missed = _try_to_build(name)
    os.environ.update(kept)
    return {"problem": None, "key_variable": _find_variable(missed or "")}


def _try_to_build(name: str) -> str | None:
    try:
        build_model(name)
    except (UserError, ValueError, ImportError) as error:
        return str(error)
    return None


def _find_variable(problem: str) -> str | None:
    found = _KEY.search(problem)
    return found[1] if found else None
