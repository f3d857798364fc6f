"""Where researches of this deployment search, and why there."""

import os
from collections.abc import Iterable

from agent_app.agents.deep_research.beginning import searching_model
from agent_app.durability.catalog import EVERY_SHIPPED_AGENT
from agent_app.errors import ConfigurationInvalid
from agent_app.operations.doctor.finding import Finding, bad, ok, warn
from agent_app.operations.doctor.subject import Subject
from agent_app.sources.search import choose_provider


def examine_provider(subject: Subject) -> Iterable[Finding]:
    """Say which search provider a research would use, and why; nothing is searched."""
    settings = subject.settings
    models = {EVERY_SHIPPED_AGENT: settings.model, **settings.models}
    try:
        model = searching_model(models)
    except Exception as error:  # the check of the models says what is wrong with it
        reason = str(error).split(". ")[0].rstrip(".")
        yield warn(f"Not examined: the searcher's model cannot be asked: {reason}.")
        return
    try:
        choice = choose_provider(
            settings.search_provider, tavily_key=os.environ.get("TAVILY_API_KEY"), model=model
        )
    except ConfigurationInvalid as error:
        yield bad(str(error), "export AGENT_APP_SEARCH_PROVIDER=auto")
        return
    yield ok(f"Researches search by {choice.name!r}: {choice.reason}.")
