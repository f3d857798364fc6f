"""Modules of agents, imported in processes of their own: one that exits or hangs ends no other."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_app.settings import OFFLINE_MODEL, Settings

IMPORT_TIMEOUT_S = 60.0
"""Pydantic AI and DBOS take about 2 s, on a busy machine ten times that; modules bring more."""
_PROBE = "from agent_app.operations.doctor.probe import main; main()"


@dataclass(frozen=True)
class FoundAgent:
    """An agent or a workflow that a module registers."""

    name: str
    kind: str
    takes_default_model: bool
    own_model: str | None
    """The model that its code names; None for a workflow and for an agent without one."""


@dataclass(frozen=True)
class FoundModel:
    """What came of building a model by its string, without a request."""

    problem: str | None
    """Why it cannot be used; None if it can."""
    key_variable: str | None = None
    """The variable that holds its provider's key, where the provider asks for one."""


@dataclass(frozen=True)
class Modules:
    """What can be run, and what could not be imported."""

    agents: tuple[FoundAgent, ...]
    problems: dict[str, str] = field(default_factory=dict)
    """Why a module does not import, by its path."""
    models: dict[str, FoundModel] = field(default_factory=dict)
    """By the string that names the model."""


def inspect_modules(shipped: Sequence[str], settings: Settings) -> Modules:
    """Import the modules, and build the models that the settings name, without any request.

    All at once as every command does it, and each by itself where that does not work.
    """
    strings = {settings.model, *settings.models.values()} - {OFFLINE_MODEL}
    models = sorted(strings)
    together = probe([*shipped, *settings.agents], models)
    if "problem" not in together:
        return _merge([together], {})
    names = list(dict.fromkeys(settings.agents))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(probe, list(shipped), models)
        singly = list(pool.map(lambda name: probe([name], []), names))
    base = first.result()
    problems = {
        name: found["problem"]
        for name, found in [(", ".join(shipped), base), *zip(names, singly, strict=True)]
        if "problem" in found
    }
    # Each imports by itself, and not all together: two have an agent of the same name, say.
    return _merge([base, *singly], problems or {", ".join(names): together["problem"]})


def chosen_model(agent: FoundAgent, settings: Settings) -> tuple[str, str]:
    """Return the model string that a new run of the agent gets, and where it comes from."""
    keys = (agent.name, _every_shipped_agent()) if agent.takes_default_model else (agent.name,)
    for key in keys:
        if key in settings.models:
            return settings.models[key], "AGENT_APP_MODELS"
    if not agent.takes_default_model:
        return agent.own_model or "", "its own code"
    is_default = settings.model == OFFLINE_MODEL and "model" not in settings.model_fields_set
    return settings.model, "the default" if is_default else "AGENT_APP_MODEL"


def _merge(answers: Sequence[dict[str, Any]], problems: dict[str, str]) -> Modules:
    agents = {agent["name"]: agent for answer in answers for agent in answer.get("agents", ())}
    models = {name: model for answer in answers for name, model in answer.get("models", {}).items()}
    return Modules(
        tuple(FoundAgent(**agents[name]) for name in sorted(agents)),
        problems,
        {name: FoundModel(**model) for name, model in models.items()},
    )


def probe(modules: list[str], models: list[str]) -> dict[str, Any]:
    """Import the modules in a process of their own; an answer with `problem` is that they fail."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        request = json.dumps({"modules": modules, "models": models, "answer": str(answer)})
        # No pipe: a process that a module leaves behind would hold it, and us.
        process = subprocess.Popen(
            [sys.executable, "-c", _PROBE, request],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = process.wait(IMPORT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return {"problem": f"its import did not end within {IMPORT_TIMEOUT_S:g} s"}
        finally:
            _end(process)
        try:
            return dict(json.loads(answer.read_text()))
        except (FileNotFoundError, ValueError):
            end = f"signal {-code}" if code < 0 else f"exit code {code}"
            return {"problem": f"its import ended the process with {end}"}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process with all that it started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def misnamed_models(modules: Modules, settings: Settings) -> list[str]:
    """Return the keys of AGENT_APP_MODELS that are no agent's name."""
    known = {agent.name for agent in modules.agents} | {_every_shipped_agent()}
    return sorted(set(settings.models) - known)


def _every_shipped_agent() -> str:
    from agent_app.durability.catalog import EVERY_SHIPPED_AGENT  # imports Pydantic AI: late

    return EVERY_SHIPPED_AGENT
