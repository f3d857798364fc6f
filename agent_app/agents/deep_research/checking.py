"""A draft's quotes looked up in the texts of their sources, and what its author is told of them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from agent_app.agents.deep_research.models import (
    CheckedClaim,
    CheckedQuote,
    Claim,
    Draft,
    Quote,
    Rates,
)
from agent_app.sources.document import canonical_url
from agent_app.sources.folding import Folded, fold
from agent_app.sources.quotes import (
    find_folded,
    is_too_short,
    nearest_passage,
    unsupported_numbers,
)

MAX_COMPLAINTS = 20
"""Faults that an author is told of at once."""
_MAX_SHOWN = 500
"""Characters of a quote or a passage in a complaint."""


def check_draft(
    draft: Draft, texts: Mapping[str, str], *, attested_urls: Collection[str] = ()
) -> list[CheckedClaim]:
    """Return the draft's claims with each quote looked up in the text of its source.

    `texts` has what the run has stored, by source ID; `attested_urls` are pages that the model's
    provider names and nobody fetched.
    """
    desk = _Desk(texts, attested_urls)
    return [desk.check_claim(claim) for claim in draft.claims]


class _Desk:
    """The texts of a run; each is folded once, however often it is quoted."""

    def __init__(self, texts: Mapping[str, str], attested_urls: Collection[str]) -> None:
        self._texts = texts
        self._folded: dict[str, Folded] = {}
        self._attested = set(map(canonical_url, attested_urls))

    def check_claim(self, claim: Claim) -> CheckedClaim:
        quotes = [self._check_quote(quote) for quote in claim.quotes]
        verified = [
            self._texts[quote.source_id][quote.start : quote.stop]
            for quote in quotes
            if quote.status == "verified"
        ]
        return CheckedClaim(
            text=claim.text,
            quotes=quotes,
            unsupported_numbers=unsupported_numbers(claim.text, verified),
        )

    def _check_quote(self, quote: Quote) -> CheckedQuote:
        checked = CheckedQuote(source_id=quote.source_id, words=quote.words, status="unverified")
        if is_too_short(quote.words):
            checked.reason = "It is too short to be evidence; three words or more were expected."
        elif quote.source_id in self._texts:
            span = find_folded(self._fold(quote.source_id), quote.words)
            if span is None:
                checked.reason = "The words do not stand in the source."
            else:
                checked.status, checked.start, checked.stop = "verified", span.start, span.stop
        elif canonical_url(quote.source_id) in self._attested:
            checked.status = "attested"
            checked.reason = "The model's provider names the page; its text was not fetched."
        else:
            checked.reason = f"The run has no source {quote.source_id[:200]!r}."
        return checked

    def faults(self, claim: CheckedClaim) -> Iterator[str]:
        """Yield what is wrong with a claim, each as the end of a sentence about it."""
        if not claim.quotes:
            yield " has no quote."
        for number, quote in enumerate(claim.quotes, 1):
            if quote.status == "unverified":
                words, hint = _shown(quote.words), self._hint(quote)
                yield f", quote {number}, {words}: {quote.reason}{hint}"
        is_attested = any(quote.status == "attested" for quote in claim.quotes)
        if claim.unsupported_numbers and not is_attested:
            numbers = _shortened(", ".join(claim.unsupported_numbers))
            yield f": no verified quote of it says {numbers}."

    def _hint(self, quote: CheckedQuote) -> str:
        """Return where the words were found instead, or what comes near them; else nothing."""
        if is_too_short(quote.words):
            return ""
        for source_id in self._texts:
            if find_folded(self._fold(source_id), quote.words):
                return f" They stand in the source {source_id!r}."
        near = nearest_passage(self._texts.get(quote.source_id, ""), quote.words)
        return f" Nearest in it is {_shown(near)}." if near else ""

    def _fold(self, source_id: str) -> Folded:
        if source_id not in self._folded:
            self._folded[source_id] = fold(self._texts[source_id])
        return self._folded[source_id]


def rates_of(claims: Sequence[CheckedClaim]) -> Rates:
    """Return how many quotes and claims are supported."""
    statuses = [quote.status for claim in claims for quote in claim.quotes]
    return Rates(
        quote_count=len(statuses),
        verified_count=statuses.count("verified"),
        unverified_count=statuses.count("unverified"),
        attested_count=statuses.count("attested"),
        claim_count=len(claims),
        supported_claim_count=sum(
            any(quote.status == "verified" for quote in claim.quotes) for claim in claims
        ),
        claims_with_unsupported_numbers=sum(bool(claim.unsupported_numbers) for claim in claims),
    )


def complaint(claims: Sequence[CheckedClaim], texts: Mapping[str, str]) -> str | None:
    """Return what the author is to mend: quotes not found, with what is near; None if nothing.

    Quotes that the provider attests are not complained of: nothing can be looked up for them.
    """
    desk = _Desk(texts, ())
    faults = (
        f"- Claim {number}{fault}"
        for number, claim in enumerate(claims, 1)
        for fault in desk.faults(claim)
    )
    told = list(islice(faults, MAX_COMPLAINTS + 1))
    if not told:
        return None
    if len(told) > MAX_COMPLAINTS:
        told[-1] = "- and so on"
    return "\n".join(
        [
            "Not everything stands in the sources. Copy each quote exactly from the text of the "
            "source that it names, change the claim to what the source says, or leave it out; "
            "then return the whole report again.",
            *told,
        ]
    )


def _shown(words: str) -> str:
    """Return the words in quotation marks that are none of theirs, in one line."""
    return f"«{_shortened(' '.join(words.split()))}»"


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"
