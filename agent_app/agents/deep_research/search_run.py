"""The workflow of one search: a searcher's conversation goes in, what it has met comes out."""

from pydantic_ai.usage import UsageLimits

from agent_app.agents.deep_research.agents import native_searcher, searcher
from agent_app.agents.deep_research.evidence import make_outcome
from agent_app.agents.deep_research.models import SearchOutcome, SearchTask
from agent_app.agents.deep_research.searching import SEARCH
from agent_app.durability.catalog import workflow

_LIMITS = UsageLimits(request_limit=12)
"""Against a searcher that reads for ever."""


@workflow(SEARCH, input=SearchTask, output=SearchOutcome)
async def make_search(task: SearchTask) -> SearchOutcome:
    """Make one search of a research; its sources are stored for the research."""
    agent = native_searcher if task.provider == "native" else searcher
    prompt = task.model_dump_json(include={"question", "query", "reason"})
    result = await agent.run(prompt, deps=task, usage_limits=_LIMITS)
    return make_outcome(result.output, result.all_messages())
