"""Agents that can be run here, the models that they would ask, and runs of agents unknown here."""

import re
from collections.abc import Iterable

from agent_app.database.unfinished import count_unfinished
from agent_app.operations.doctor.finding import Finding, bad, command, ok, warn
from agent_app.operations.doctor.modules import FoundModel, chosen_model, misnamed_models
from agent_app.operations.doctor.subject import Subject
from agent_app.settings import OFFLINE_MODEL

MAX_REASON_LENGTH = 300
"""Characters of a module's error: some hold whole files; the remedy shows all of it."""
_INSTALL = re.compile(r"`(pip install [^`]+)`")
"""How Pydantic AI names the package that it misses."""


def examine_imports(subject: Subject) -> Iterable[Finding]:
    """Say which modules of AGENT_APP_AGENTS do not import."""
    found = subject.modules
    for path, reason in found.problems.items():
        shown = reason if len(reason) <= MAX_REASON_LENGTH else f"{reason[:MAX_REASON_LENGTH]}…"
        text = f"AGENT_APP_AGENTS names {path!r}, which does not import: {shown.rstrip('.')}."
        paths = path.split(", ")
        yield bad(text, command("python", "-c", f"import {', '.join(paths)}"))
    if not found.problems:
        names = ", ".join(agent.name for agent in found.agents)
        yield ok(f"Every module imports: {names}.")


def examine_known(subject: Subject) -> Iterable[Finding]:
    """Say of which unfinished runs the agent is not known here."""
    known = {agent.name for agent in subject.modules.agents}
    unfinished = count_unfinished(subject.database)
    unknown = {agent: count for agent, count in unfinished.items() if agent not in known}
    for agent, count in unknown.items():
        text = f"Unfinished runs of {agent!r}: {count}. No module that is imported here defines it."
        yield warn(
            f"{text} Name the one that does in AGENT_APP_AGENTS.",
            command("grep", "-rn", "--include=*.py", "--", agent, "."),
            command("agent-app", "list", "--agent", agent),
        )
    if not unknown:
        yield ok("The agent of every unfinished run is known here.")


def examine_models(subject: Subject) -> Iterable[Finding]:
    """Say which model each shipped agent would ask and why, and whether it can be asked."""
    settings = subject.settings
    for agent in subject.modules.agents:
        if agent.kind != "agent" or not (
            agent.takes_default_model or agent.name in settings.models
        ):
            continue
        model, why = chosen_model(agent, settings)
        if model == OFFLINE_MODEL:
            text = f"{agent.name}: {model} ({why}), which is no language model and needs no key."
            yield ok(text)
            continue
        yield _judge(f"{agent.name}: {model} ({why})", subject.modules.models.get(model))
    if not subject.modules.problems:  # else the agent may be in the module that does not import
        for name in misnamed_models(subject.modules, settings):
            text = f"AGENT_APP_MODELS names a model for {name!r}, which is no agent."
            yield bad(text, command("agent-app", "agents"))


def _judge(name: str, found: FoundModel | None) -> Finding:
    if found is None:
        return warn(f"{name} was not examined.", command("agent-app", "doctor"))
    variable = found.key_variable
    if found.problem is None:
        return ok(f"{name}, " + (f"key in {variable}." if variable else "which needs no key."))
    if variable is not None:
        return bad(f"{name} cannot be asked: {variable} is not set.", f"export {variable}=…")
    reason = found.problem.split(". ")[0].rstrip(".")
    install = _INSTALL.search(found.problem)
    remedy = install[1] if install else "export AGENT_APP_MODEL=offline"
    return bad(f"{name} cannot be asked: {reason}.", remedy)
