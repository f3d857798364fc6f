"""How a research begins: its search provider is chosen for good, its sources are made ready."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_ai.models import Model

from agent_app.agents.deep_research.models import Quote, Research, ResearchResult
from agent_app.agents.deep_research.recorded import recorded
from agent_app.database.connect import Database
from agent_app.database.read import read_run
from agent_app.durability.catalog import model_of
from agent_app.durability.clients import build_model
from agent_app.durability.scope import RunScope
from agent_app.durability.storage import storage
from agent_app.errors import RunNotFollowable
from agent_app.settings import OFFLINE_MODEL
from agent_app.sources.installed import ensure_installed
from agent_app.sources.retrieval import find_passages
from agent_app.sources.search import choose_provider
from agent_app.sources.store import copy_run_sources

_MAX_EARLIER = 8
"""Passages of an earlier research that a new one is told of."""


class Beginning(BaseModel):
    """What a research starts with; recorded, so that no later life chooses otherwise."""

    provider: str
    reason: str
    installed_count: int = 0
    """Documents of this machine that an empty corpus was filled with just now."""
    earlier: str = ""
    """Question and answer of the research that this one follows."""
    earlier_quotes: list[Quote] = Field(default_factory=list)
    """Its passages that are nearest to the new question."""
    earlier_source_ids: list[str] = Field(default_factory=list)


async def begin(wanted: Research, run: RunScope) -> Beginning:
    """Choose the provider and make the sources ready; durable, and safe to be done again.

    Raises: ConfigurationInvalid (no such provider, or it lacks what it needs); RunNotFollowable.
    """

    async def body() -> Any:
        asked = wanted.search if wanted.search != "auto" else storage().settings.search_provider
        choice = choose_provider(
            asked,
            tavily_key=os.environ.get("TAVILY_API_KEY"),
            model=searching_model(run.models),
        )
        start = Beginning(provider=choice.name, reason=choice.reason)
        if wanted.follow is not None:
            await _take_earlier(wanted, run.run_id, start)
        if choice.name == "corpus":
            start.installed_count = await ensure_installed(storage().pool)
        return start.model_dump(mode="json")

    subject = wanted.model_dump(mode="json")
    return Beginning.model_validate(await recorded("deep-research.begin", subject, body))


def searching_model(models: Mapping[str, str]) -> Model | None:
    """Return the model that would search by itself; None for the offline one.

    Raises: UserError, ValueError, ImportError (no such model, no key, no package).
    """
    name = model_of("research-native-searcher", models)
    return None if name == OFFLINE_MODEL else build_model(name)


def refuse_unfollowable(database: Database, wanted: Research) -> None:
    """Refuse a research that is to follow what it cannot; blocks.

    Raises: RunNotFollowable.
    """
    if wanted.follow is not None:
        _read_earlier(database, wanted.follow)


def _read_earlier(database: Database, run_id: str) -> ResearchResult:
    row = read_run(database, run_id)
    if row is None:
        raise RunNotFollowable(run_id, "it does not exist")
    if row.agent != "deep-research" or row.status != "SUCCESS":
        raise RunNotFollowable(run_id, f"it is a run of {row.agent!r} with {row.status}")
    try:
        return ResearchResult.model_validate(row.output)
    except ValidationError as error:
        raise RunNotFollowable(run_id, "its output is that of another version") from error


async def _take_earlier(wanted: Research, run_id: str, start: Beginning) -> None:
    """Copy the sources of the earlier research; note its answer, and what is near the question.

    Raises: RunNotFollowable.
    """
    assert wanted.follow is not None
    earlier = await asyncio.to_thread(_read_earlier, storage().database, wanted.follow)
    pool = storage().pool
    await copy_run_sources(pool, from_run_id=wanted.follow, to_run_id=run_id)
    own = [source.source_id for source in earlier.sources if source.fetched_at is not None]
    passages = await find_passages(pool, wanted.question, run_id=run_id, max_count=50)
    quotes = [
        Quote(source_id=passage.source_id, words=passage.text)
        for passage in passages
        if passage.source_id in own
    ]
    start.earlier = f"{earlier.question}\n{earlier.summary}"
    start.earlier_quotes, start.earlier_source_ids = quotes[:_MAX_EARLIER], own
