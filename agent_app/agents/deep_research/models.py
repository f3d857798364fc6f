"""What goes into a research, passes between its agents, and comes out."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_PLANNED = 5
"""Searches of one plan, and of one further round, at most."""


class Research(BaseModel):
    """A question to be researched, and what that may cost."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=3, max_length=4000)
    ]
    """What is to be found out."""
    max_searches: int = Field(default=12, ge=1, le=100)
    """Searches in all: planned ones, those of further rounds, and the analyst's extra ones."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Input and output tokens after which nothing more is searched; the report is still written."""
    max_cost_usd: Decimal | None = Field(default=None, gt=0)
    """US dollars after which nothing more is searched; a model without a price is refused then."""
    search: Literal["auto", "corpus", "tavily", "duckduckgo", "native"] = "auto"
    """Search provider; `auto` leaves it to AGENT_APP_SEARCH_PROVIDER, and that to what there is."""
    follow: str | None = None
    """Run whose stored sources this research starts from."""


class PlannedSearch(BaseModel):
    """One search that is worth doing."""

    query: str = Field(min_length=1, max_length=400)
    """Words for a search engine."""
    reason: str = Field(default="", max_length=1000)
    """What it is to find out."""


class Plan(BaseModel):
    """Searches that answer the question together."""

    searches: list[PlannedSearch] = Field(min_length=1, max_length=MAX_PLANNED)


class Reflection(BaseModel):
    """What is still missing after a round of searches."""

    missing: str = ""
    """Empty where nothing is missing."""
    searches: list[PlannedSearch] = Field(default_factory=list, max_length=MAX_PLANNED)
    """Searches for it; empty where the sources suffice."""


class Quote(BaseModel):
    """Words of a source, exactly as they stand there."""

    source_id: str = Field(max_length=2000)
    """ID of the source; its URL where the model's provider searched and nothing was fetched."""
    words: str = Field(max_length=4000)


class Claim(BaseModel):
    """One statement with its evidence."""

    text: str = Field(min_length=1, max_length=4000)
    quotes: list[Quote] = Field(default_factory=list, max_length=10)


class Finding(BaseModel):
    """What one search has brought."""

    summary: str = ""
    """A few sentences; empty where nothing was found."""
    quotes: list[Quote] = Field(default_factory=list, max_length=30)
    """What the summary rests on."""


class Draft(BaseModel):
    """A report before its quotes are checked."""

    summary: str = Field(min_length=1)
    """The answer in a few sentences."""
    claims: list[Claim] = Field(default_factory=list, max_length=100)
    """Empty where the sources say nothing about the question."""


class PlanTask(BaseModel):
    """What the planner is told."""

    question: str
    max_searches: int = Field(default=MAX_PLANNED, ge=1)
    earlier: str = ""
    """What an earlier research found that this one follows."""


class SearchTask(BaseModel):
    """One search, as the searcher is told of it."""

    question: str
    query: str = Field(min_length=1, max_length=400)
    reason: str = ""
    provider: str = "corpus"


class AttestedSource(BaseModel):
    """A page that the model's provider says it has found."""

    url: str
    title: str = ""


class SearchOutcome(BaseModel):
    """What one search has brought."""

    finding: Finding
    source_ids: list[str] = Field(default_factory=list)
    """Stored sources that were met, in the order in which they came."""
    attested: list[AttestedSource] = Field(default_factory=list)


class Progress(BaseModel):
    """One search that was made, as the agents are told of it."""

    query: str
    finding: Finding
    error: str | None = None


class ReviewTask(BaseModel):
    """What the reviewer is told."""

    question: str
    searches: list[Progress]
    max_searches: int
    """Searches that are left."""


class AnalysisTask(BaseModel):
    """What the analyst is told."""

    question: str
    searches: list[Progress]
    max_searches: int = 0
    """Searches that are left."""
    earlier: str = ""
    """What an earlier research found that this one follows."""
    provider: str = "corpus"
    source_ids: list[str] = Field(default_factory=list)
    """Stored sources that were met."""
    attested: list[AttestedSource] = Field(default_factory=list)


QuoteStatus = Literal["verified", "unverified", "attested"]
"""Found in the stored text; not found there; named by the model's provider and never fetched."""


class CheckedQuote(BaseModel):
    """A quote after it was looked up in the stored text."""

    source_id: str
    words: str
    status: QuoteStatus
    start: int | None = None
    """Where the words begin in the source's text, in characters; None unless verified."""
    stop: int | None = None
    reason: str = ""
    """Why it is not verified."""


class CheckedClaim(BaseModel):
    """A claim whose quotes were looked up."""

    text: str
    quotes: list[CheckedQuote]
    unsupported_numbers: list[str] = Field(default_factory=list)
    """Numbers and dates of the text that stand in no verified quote of it."""


class CitedSource(BaseModel):
    """A source of the research."""

    source_id: str
    url: str
    title: str
    fetched_at: datetime | None = None
    """None where the model's provider attests it and nothing was fetched."""


class SearchRecord(BaseModel):
    """One search that was done."""

    query: str
    reason: str = ""
    round: int
    """1 for the plan; 0 for the analyst's extra ones."""
    source_ids: list[str] = Field(default_factory=list)
    """Sources that it brought, new and known ones."""
    summary: str = ""
    error: str | None = None
    """Why it failed; the research went on without it."""


class Rates(BaseModel):
    """How well the report is supported, counted over its quotes and claims."""

    quote_count: int
    verified_count: int
    unverified_count: int
    attested_count: int
    claim_count: int
    supported_claim_count: int
    """Claims with at least one verified quote."""
    claims_with_unsupported_numbers: int


StopReason = Literal[
    "complete", "no_new_source", "max_rounds", "max_searches", "max_tokens", "max_cost"
]
"""Why no further search was made."""


class ResearchResult(BaseModel):
    """A finished research: all formats of the report are made from it."""

    question: str
    summary: str
    claims: list[CheckedClaim]
    sources: list[CitedSource]
    """Every source that was met, the cited ones first, in the order of their first citation."""
    searches: list[SearchRecord]
    rates: Rates
    provider: str
    """Search provider that was used throughout."""
    provider_reason: str = ""
    """Why it was that one."""
    model: str
    """The analyst's model, or what the offline one says of itself."""
    stopped_by: StopReason
    follow: str | None = None
    """Run whose sources this research started from."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = None
    """None where the price of a model is unknown, and for the offline model."""
