"""The agents of a research: planner, two searchers, reviewer and analyst."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic_ai import Agent, ModelRetry, RunContext, ToolFailed
from pydantic_ai.capabilities import WebSearch
from pydantic_ai.messages import ModelMessage, ToolReturnPart

from agent_app.agents.conversation import parts_of
from agent_app.agents.deep_research.checked_draft import CheckedDraft, check
from agent_app.agents.deep_research.evidence import (
    EXTRA_SEARCH,
    extra_searches,
    met_sources,
    stored_pages,
)
from agent_app.agents.deep_research.models import (
    AnalysisTask,
    Draft,
    Finding,
    Plan,
    PlanTask,
    Reflection,
    ReviewTask,
    SearchOutcome,
    SearchTask,
)
from agent_app.agents.deep_research.offline import (
    ANALYST_MODEL,
    PLANNER_MODEL,
    REVIEWER_MODEL,
    SEARCHER_MODEL,
)
from agent_app.agents.deep_research.prompts import (
    ANALYST,
    NATIVE_SEARCHER,
    PLANNER,
    REVIEWER,
    SEARCHER,
)
from agent_app.agents.deep_research.searching import attempt_search
from agent_app.agents.deep_research.tools import earlier_calls, read, search
from agent_app.durability.catalog import durable

if TYPE_CHECKING:  # half a second of imports, for a key's name
    from pydantic_ai.models.openai import OpenAIResponsesModelSettings

_RETRIES = 3
"""How often a model may mend a malformed call or answer, one after another."""
_NOT_FOUND = "Not every quote stands in its source."
"""How the complaint about a draft's quotes begins; it is made once."""
_NAME_SOURCES: "OpenAIResponsesModelSettings" = {"openai_include_web_search_sources": True}
"""Without it OpenAI names no page that it has found; other providers do not know it."""

planner = durable(
    Agent(
        PLANNER_MODEL,
        name="research-planner",
        description="Plans the searches of a research.",
        output_type=Plan,
        instructions=PLANNER,
        retries=_RETRIES,
    ),
    input=PlanTask,
    takes_default_model=True,
)

reviewer = durable(
    Agent(
        REVIEWER_MODEL,
        name="research-reviewer",
        description="Says what a research has not found yet.",
        output_type=Reflection,
        instructions=REVIEWER,
        retries=_RETRIES,
    ),
    input=ReviewTask,
    takes_default_model=True,
)

searcher: Agent[SearchTask, Finding] = Agent(
    SEARCHER_MODEL,
    name="research-searcher",
    description="Makes one search of a research and reads what it finds.",
    deps_type=SearchTask,
    output_type=Finding,
    instructions=SEARCHER,
    retries=_RETRIES,
)
searcher.tool(search)
searcher.tool(read)

native_searcher: Agent[SearchTask, Finding] = Agent(
    SEARCHER_MODEL,
    name="research-native-searcher",
    description="Makes one search of a research by the model's own search engine.",
    deps_type=SearchTask,
    output_type=Finding,
    instructions=NATIVE_SEARCHER,
    retries=_RETRIES,
    capabilities=[WebSearch()],
    model_settings=_NAME_SOURCES,
)
native_searcher.tool(read)

for _agent in (searcher, native_searcher):
    durable(_agent, input=SearchTask, deps=lambda task: task, takes_default_model=True)


@dataclass
class Analysis:
    """What the analyst works with; made anew in every life of the run."""

    task: AnalysisTask
    checked: CheckedDraft | None = None
    """The last draft, with its quotes looked up."""


analyst: Agent[Analysis, Draft] = Agent(
    ANALYST_MODEL,
    name="research-analyst",
    description="Writes the report of a research, each claim with quotes.",
    deps_type=Analysis,
    output_type=Draft,
    instructions=ANALYST,
    retries=_RETRIES,
)
analyst.tool(read)


@analyst.tool
async def extra_search(ctx: RunContext[Analysis], query: str) -> SearchOutcome:
    """Let one more search be made, and return what it has found."""
    task = ctx.deps.task
    if earlier_calls(ctx, EXTRA_SEARCH) >= task.max_searches:
        raise ToolFailed("No search is left. Answer with what there is.")
    wanted = SearchTask(
        question=task.question,
        query=query[:400],
        provider=task.provider,
    )
    outcome = await attempt_search(wanted)
    if isinstance(outcome, str):
        raise ToolFailed(f"The search has failed: {outcome}")
    return outcome


@analyst.output_validator
async def check_quotes(ctx: RunContext[Analysis], draft: Draft) -> Draft:
    """Look every quote up; what is not found goes back to the model, once."""
    task, extra = ctx.deps.task, extra_searches(ctx.messages)
    attested = [*task.attested, *(page for each in extra for page in each.outcome.attested)]
    found_ids = [source_id for each in extra for source_id in each.outcome.source_ids]
    met_ids = [*task.source_ids, *found_ids, *met_sources(ctx.messages)]
    pages = stored_pages(ctx.messages)
    checked = await check(draft, met_ids=met_ids, pages=pages, attested=attested)
    ctx.deps.checked = checked
    if checked.complaint and not _has_complained(ctx.messages):
        raise ModelRetry(f"{_NOT_FOUND} {checked.complaint}")
    return draft


def _has_complained(messages: list[ModelMessage]) -> bool:
    return any(
        part.outcome == "retried" and _NOT_FOUND in str(part.content)
        for part in parts_of(messages, ToolReturnPart)
    )


durable(analyst, input=AnalysisTask, deps=Analysis, takes_default_model=True)
