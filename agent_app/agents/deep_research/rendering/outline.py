"""What every format shows of a research: numbered sources, claims with citations, their faults."""

import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass

from agent_app.agents.deep_research.models import (
    CheckedClaim,
    CheckedQuote,
    CitedSource,
    ResearchResult,
)
from agent_app.agents.deep_research.rendering.links import describe_place, web_link

_AROUND = 240
"""Characters that are shown before a quote, and after it."""
_INVISIBLE = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""What is no text, steers a terminal, or turns the line around."""


@dataclass(frozen=True)
class Source:
    """A source with its number."""

    number: int
    source: CitedSource
    title: str
    place: str
    link: str | None
    """None where a browser cannot open it."""
    is_cited: bool


@dataclass(frozen=True)
class Citation:
    """A quote of a claim, and where it is to be seen."""

    anchor: str
    """Name of its place in the report."""
    claim_number: int
    quote: CheckedQuote
    source: Source | None
    """None where the run has no such source."""
    link: str | None
    """The source at these words; None where a browser cannot open it."""
    before: str
    words: str
    after: str

    @property
    def is_verified(self) -> bool:
        """Say whether the words were found in the stored text."""
        return self.quote.status == "verified"

    @property
    def mark(self) -> str:
        """Return what stands beside it where it is not verified; empty where it is."""
        return {"unverified": "not verified", "attested": "attested only"}.get(
            self.quote.status, ""
        )

    @property
    def label(self) -> str:
        """Return the number of its source, or a question mark."""
        return str(self.source.number) if self.source else "?"


@dataclass(frozen=True)
class ClaimEntry:
    """A claim with its number."""

    number: int
    text: str
    unsupported_numbers: list[str]
    citations: list[Citation]

    @property
    def is_supported(self) -> bool:
        """Say whether a quote of it was verified."""
        return any(citation.is_verified for citation in self.citations)


@dataclass(frozen=True)
class Outline:
    """A report without its form."""

    result: ResearchResult
    claims: list[ClaimEntry]
    sources: list[Source]

    @property
    def citations(self) -> list[Citation]:
        """Return all citations, in order."""
        return [citation for claim in self.claims for citation in claim.citations]

    @property
    def unverified(self) -> list[Citation]:
        """Return those whose words were not found, or could not be looked up."""
        return [citation for citation in self.citations if not citation.is_verified]

    @property
    def unsupported(self) -> list[ClaimEntry]:
        """Return claims without a verified quote."""
        return [claim for claim in self.claims if not claim.is_supported]

    @property
    def flagged(self) -> list[ClaimEntry]:
        """Return claims with numbers that no verified quote says."""
        return [claim for claim in self.claims if claim.unsupported_numbers]

    @property
    def origin(self) -> str:
        """Return who wrote it, and by which search."""
        result = self.result
        reason = f" ({clean(result.provider_reason)})" if result.provider_reason else ""
        return f"Written by {clean(result.model)}. Search: {clean(result.provider)}{reason}."

    @property
    def rates(self) -> str:
        """Return how well it is supported, in two sentences."""
        rates = self.result.rates
        quotes = f"{rates.verified_count} of {rates.quote_count} quotes verified"
        if rates.unverified_count:
            quotes += f", {rates.unverified_count} not verified"
        if rates.attested_count:
            quotes += f", {rates.attested_count} attested by the provider only"
        claims = f"{rates.supported_claim_count} of {rates.claim_count} claims supported"
        if rates.claims_with_unsupported_numbers:
            claims += f", {rates.claims_with_unsupported_numbers} with numbers that no quote says"
        return f"{quotes}. {claims}."

    @property
    def effort(self) -> str:
        """Return what was searched and what it cost."""
        result = self.result
        cost = f", {result.cost_usd} USD" if result.cost_usd is not None else ""
        reason = STOP_REASONS[result.stopped_by]
        follow = f" It follows the run {clean(result.follow)}." if result.follow else ""
        return (
            f"{count(result.searches, 'search', 'searches')}, {count(result.sources, 'source')}, "
            f"{result.input_tokens} tokens in, {result.output_tokens} out{cost}. "
            f"No more was searched, because {reason}.{follow}"
        )


STOP_REASONS = {
    "complete": "nothing was missing",
    "no_new_source": "a search brought nothing new",
    "max_rounds": "the rounds were used up",
    "max_searches": "the searches were used up",
    "max_tokens": "the tokens were used up",
    "max_cost": "the money was used up",
}


def make_outline(result: ResearchResult, texts: Mapping[str, str] | None = None) -> Outline:
    """Return what is shown; `texts` has the sources' texts by ID, as far as they are there."""
    cited = {quote.source_id for claim in result.claims for quote in claim.quotes}
    sources = {
        source.source_id: _number(number, source, source.source_id in cited)
        for number, source in enumerate(result.sources, 1)
    }
    claims = [
        _make_claim(number, claim, sources, texts or {})
        for number, claim in enumerate(result.claims, 1)
    ]
    return Outline(result, claims, list(sources.values()))


def _number(number: int, source: CitedSource, is_cited: bool) -> Source:
    place = in_line(describe_place(source.url))
    return Source(
        number, source, in_line(source.title) or place, place, web_link(source.url), is_cited
    )


def _make_claim(
    number: int, claim: CheckedClaim, sources: Mapping[str, Source], texts: Mapping[str, str]
) -> ClaimEntry:
    citations = [
        _cite(number, position, quote, sources.get(quote.source_id), texts.get(quote.source_id))
        for position, quote in enumerate(claim.quotes, 1)
    ]
    numbers = [in_line(text) for text in claim.unsupported_numbers]
    return ClaimEntry(number, clean(claim.text), numbers, citations)


def _cite(
    claim_number: int, position: int, quote: CheckedQuote, source: Source | None, text: str | None
) -> Citation:
    before, words, after = _passage(quote, text)
    shown = words if quote.status == "verified" else ""
    link = web_link(source.source.url, shown) if source else None
    return Citation(
        f"q{claim_number}-{position}",
        claim_number,
        quote,
        source,
        link,
        *map(clean, (before, words, after)),
    )


def _passage(quote: CheckedQuote, text: str | None) -> tuple[str, str, str]:
    """Return the quote with what stands around it in its paragraphs, cut at words."""
    if text is None or quote.start is None or quote.stop is None or quote.stop > len(text):
        return "", quote.words, ""
    before, after = text[max(quote.start - _AROUND, 0) : quote.start], text[quote.stop :][:_AROUND]
    if quote.start > _AROUND:
        before = "…" + (before.partition(" ")[2] or before)
    if len(text) - quote.stop > _AROUND:
        after = (after.rpartition(" ")[0] or after) + "…"
    return before, text[quote.start : quote.stop], after


def count(things: Sized, noun: str, nouns: str = "") -> str:
    """Return how many there are, in words."""
    return f"1 {noun}" if len(things) == 1 else f"{len(things)} {nouns or noun + 's'}"


def clean(text: str) -> str:
    """Return the text without signs that cannot be seen; lines end as usual."""
    return _INVISIBLE.sub("", re.sub("\r\n?|[\u0085\u2028\u2029]", "\n", text))


def in_line(text: str) -> str:
    """Return the text cleaned, in one line."""
    return " ".join(clean(text).split())
