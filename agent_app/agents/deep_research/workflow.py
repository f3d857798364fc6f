"""A research from its question to its report: plan, rounds of searches, analysis."""

import asyncio
from collections.abc import Sequence

from pydantic_ai.usage import UsageLimits

from agent_app.agents.deep_research import search_run  # noqa: F401  (it registers the search)
from agent_app.agents.deep_research.agents import Analysis, analyst, planner, reviewer
from agent_app.agents.deep_research.beginning import Beginning, begin, refuse_unfollowable
from agent_app.agents.deep_research.budget import Budget, refuse_unpriced
from agent_app.agents.deep_research.models import (
    MAX_PLANNED,
    AnalysisTask,
    Finding,
    PlannedSearch,
    PlanTask,
    Progress,
    Reflection,
    Research,
    ResearchResult,
    ReviewTask,
    SearchTask,
    StopReason,
)
from agent_app.agents.deep_research.narrator import ResearchNarrator
from agent_app.agents.deep_research.notebook import Notebook
from agent_app.agents.deep_research.recorded import noted
from agent_app.agents.deep_research.result import make_result, nothing_found
from agent_app.agents.deep_research.searching import attempt_search
from agent_app.durability.catalog import workflow
from agent_app.durability.scope import RunScope, current_run
from agent_app.errors import NothingFound

NAME = "deep-research"
MAX_ROUNDS = 3
"""Rounds of searches, that of the plan included."""
_LIMITS = UsageLimits(request_limit=10)
_ANALYST_LIMITS = UsageLimits(request_limit=40)
"""Against a model that never comes to an end."""


@workflow(
    NAME,
    input=Research,
    output=ResearchResult,
    narrator=ResearchNarrator,
    check=refuse_unpriced,
    check_stored=refuse_unfollowable,
)
async def research(wanted: Research) -> ResearchResult:
    """Research a question: plan, parallel searches, analysis, and a report with checked quotes."""
    run = current_run()
    assert run is not None
    start = await begin(wanted, run)
    book, budget = Notebook(start.earlier_source_ids), Budget(wanted)
    stopped_by = await _Rounds(wanted, start, run).search(book, budget)
    if not book.has_sources:
        if book.last_error:
            raise NothingFound(wanted.question, start.provider, book.last_error)
        return await make_result(wanted, start, run, book, nothing_found(start), stopped_by)
    analysis = Analysis(_analysis_task(wanted, start, run, book, budget))
    written = await analyst.run(
        analysis.task.model_dump_json(exclude={"provider", "source_ids"}),
        deps=analysis,
        usage_limits=_ANALYST_LIMITS,
    )
    book.add_extra(written.all_messages())
    assert analysis.checked is not None
    return await make_result(wanted, start, run, book, analysis.checked, stopped_by)


class _Rounds:
    """The rounds of searches of one research."""

    def __init__(self, wanted: Research, start: Beginning, run: RunScope) -> None:
        self._wanted = wanted
        self._start = start
        self._run = run

    async def search(self, book: Notebook, budget: Budget) -> StopReason:
        """Make rounds of searches, and return why there is no further one."""
        searches = await self._plan(budget)
        for number in range(1, MAX_ROUNDS + 1):
            chosen = searches[: min(MAX_PLANNED, budget.searches_left)]
            new_count = await self._search_all(chosen, book, number)
            budget.spend_searches(len(chosen))
            reached = budget.reached(self._run.usage)
            if reached is not None:
                return reached
            if not new_count:
                return "no_new_source"
            if number < MAX_ROUNDS:
                searches = (await self._review(book, budget)).searches
                if not searches:
                    return "complete"
        return "max_rounds"

    async def _plan(self, budget: Budget) -> list[PlannedSearch]:
        task = PlanTask(
            question=self._wanted.question,
            max_searches=min(MAX_PLANNED, budget.searches_left),
            earlier=self._start.earlier,
        )
        plan = (await planner.run(task.model_dump_json(), usage_limits=_LIMITS)).output
        await noted("deep-research.plan", plan.model_dump(mode="json"))
        return plan.searches

    async def _search_all(
        self, searches: Sequence[PlannedSearch], book: Notebook, number: int
    ) -> int:
        """Make the searches side by side; return how many sources are new."""
        tasks = [
            SearchTask(
                question=self._wanted.question,
                query=planned.query,
                reason=planned.reason,
                provider=self._start.provider,
            )
            for planned in searches
        ]
        outcomes = await asyncio.gather(*(attempt_search(task) for task in tasks))
        return sum(
            book.add(planned, outcome, round=number)
            for planned, outcome in zip(searches, outcomes, strict=True)
        )

    async def _review(self, book: Notebook, budget: Budget) -> Reflection:
        task = ReviewTask(
            question=self._wanted.question,
            searches=book.progress,
            max_searches=min(MAX_PLANNED, budget.searches_left),
        )
        reflection = (await reviewer.run(task.model_dump_json(), usage_limits=_LIMITS)).output
        await noted("deep-research.review", reflection.model_dump(mode="json"))
        return reflection


def _analysis_task(
    wanted: Research, start: Beginning, run: RunScope, book: Notebook, budget: Budget
) -> AnalysisTask:
    searches = list(book.progress)
    if start.earlier_quotes:
        earlier = Finding(summary=start.earlier, quotes=start.earlier_quotes)
        searches.insert(0, Progress(query="(sources of the earlier research)", finding=earlier))
    is_spent = budget.reached(run.usage) is not None
    return AnalysisTask(
        question=wanted.question,
        searches=searches,
        max_searches=0 if is_spent else budget.searches_left,
        earlier=start.earlier,
        provider=start.provider,
        source_ids=book.source_ids,
        attested=list(book.attested.values()),
    )
