"""A draft's quotes looked up in the stored texts, as a step of the research."""

from collections.abc import Collection, Mapping, Sequence

from pydantic import BaseModel

from agent_app.agents.deep_research.checking import check_draft, complaint
from agent_app.agents.deep_research.evidence import by_source_id
from agent_app.agents.deep_research.models import AttestedSource, CheckedClaim, Claim, Draft
from agent_app.agents.deep_research.recorded import recorded
from agent_app.durability.storage import storage
from agent_app.sources.document import canonical_url
from agent_app.sources.store import read_sources


class CheckedDraft(BaseModel):
    """A draft with its quotes looked up."""

    summary: str
    claims: list[CheckedClaim]
    complaint: str | None = None
    """What its author is told of quotes that were not found; None where all were."""


async def check(
    draft: Draft,
    *,
    met_ids: Collection[str],
    pages: Mapping[str, str],
    attested: Sequence[AttestedSource],
) -> CheckedDraft:
    """Look every quote of the draft up in the stored texts that the research has met; durable.

    `pages` has IDs of stored sources by URLs under which their author met them.
    """

    async def body() -> object:
        stored = await read_sources(storage().pool, _wanted(draft, met_ids))
        ids = {canonical_url(page.url): page.url for page in attested}
        ids |= {source.url: source_id for source_id, source in stored.items()} | dict(pages)
        named = Draft(
            summary=draft.summary,
            claims=[
                Claim(text=claim.text, quotes=by_source_id(claim.quotes, ids))
                for claim in draft.claims
            ],
        )
        texts = {source_id: source.text for source_id, source in stored.items()}
        claims = check_draft(named, texts, attested_urls=[page.url for page in attested])
        checked = CheckedDraft(
            summary=draft.summary, claims=claims, complaint=complaint(claims, texts)
        )
        return checked.model_dump(mode="json")

    subject = {"draft": draft.model_dump(mode="json")}
    return CheckedDraft.model_validate(await recorded("deep-research.check", subject, body))


def _wanted(draft: Draft, met_ids: Collection[str]) -> list[str]:
    """Return the cited sources; all that were met where something else is cited: a URL, say."""
    cited = {quote.source_id for claim in draft.claims for quote in claim.quotes}
    return sorted(cited if cited.issubset(met_ids) else met_ids)
