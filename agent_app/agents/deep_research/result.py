"""The result of a research: the checked draft with its sources, searches and costs."""

from collections.abc import Sequence

from agent_app.agents.deep_research.beginning import Beginning
from agent_app.agents.deep_research.checked_draft import CheckedDraft
from agent_app.agents.deep_research.checking import rates_of
from agent_app.agents.deep_research.models import (
    CheckedClaim,
    CitedSource,
    Research,
    ResearchResult,
    StopReason,
)
from agent_app.agents.deep_research.notebook import Notebook
from agent_app.agents.deep_research.offline import WRITER
from agent_app.agents.deep_research.recorded import recorded
from agent_app.durability.catalog import model_of
from agent_app.durability.scope import RunScope
from agent_app.durability.storage import storage
from agent_app.settings import OFFLINE_MODEL
from agent_app.sources.store import add_to_run, read_sources


async def make_result(
    wanted: Research,
    start: Beginning,
    run: RunScope,
    book: Notebook,
    checked: CheckedDraft,
    stopped_by: StopReason,
) -> ResearchResult:
    """Return the result; its list of sources is a step, all else was recorded before."""
    stored = await _stored_sources(run.run_id, book.source_ids)
    model = model_of("research-analyst", run.models)
    return ResearchResult(
        question=wanted.question,
        summary=checked.summary,
        claims=checked.claims,
        sources=_cited_first(checked.claims, [*stored, *_attested(book, stored)]),
        searches=book.records,
        rates=rates_of(checked.claims),
        provider=start.provider,
        provider_reason=start.reason,
        model=WRITER if model == OFFLINE_MODEL else model,
        stopped_by=stopped_by,
        follow=wanted.follow,
        input_tokens=run.usage.input_tokens,
        output_tokens=run.usage.output_tokens,
        cost_usd=run.usage.cost,
    )


def nothing_found(start: Beginning) -> CheckedDraft:
    """Return the draft of a research that met no source; no model is asked to write it."""
    return CheckedDraft(
        summary=f"No source was found by the search provider {start.provider!r}, so nothing is "
        "claimed. Ask in other words, add documents with `agent-app corpus add`, or choose "
        "another --search.",
        claims=[],
    )


async def _stored_sources(run_id: str, source_ids: Sequence[str]) -> list[CitedSource]:
    """Return the sources in this order; durable, and they are this run's from now on.

    Those of a fork were met by the run that it was made from, which may be deleted.
    """

    async def body() -> object:
        pool = storage().pool
        await add_to_run(pool, run_id, source_ids)
        stored = await read_sources(pool, source_ids)
        return [
            CitedSource(
                source_id=source_id,
                url=stored[source_id].url,
                title=stored[source_id].title,
                fetched_at=stored[source_id].fetched_at,
            ).model_dump(mode="json")
            for source_id in source_ids
            if source_id in stored
        ]

    entries = await recorded("deep-research.sources", source_ids, body)
    return [CitedSource.model_validate(entry) for entry in entries]


def _attested(book: Notebook, stored: Sequence[CitedSource]) -> list[CitedSource]:
    """Return the pages that a provider attests and nobody has read."""
    urls = {source.url for source in stored}
    return [
        CitedSource(source_id=page.url, url=page.url, title=page.title)
        for url, page in book.attested.items()
        if url not in urls
    ]


def _cited_first(
    claims: Sequence[CheckedClaim], sources: Sequence[CitedSource]
) -> list[CitedSource]:
    """Return the sources, those that are cited first, in the order of their first citation."""
    order = [quote.source_id for claim in claims for quote in claim.quotes]
    rank = {source_id: number for number, source_id in reversed(list(enumerate(order)))}
    return sorted(sources, key=lambda source: rank.get(source.source_id, len(order)))
