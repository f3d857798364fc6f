"""The report as plain text, for the terminal that the research was started at."""

from collections.abc import Iterator

from agent_app.agents.deep_research.models import ResearchResult
from agent_app.agents.deep_research.rendering.outline import ClaimEntry, clean, make_outline


def as_plain_text(result: ResearchResult) -> str:
    """Return summary, claims with what is wrong with them, and the cited sources."""
    outline = make_outline(result)
    lines = [clean(result.summary), ""]
    for claim in outline.claims:
        lines += _claim(claim)
    lines += ["", *(_source(s.number, s.title, s.place) for s in outline.sources if s.is_cited)]
    return "\n".join([*lines, "", outline.origin, outline.rates, outline.effort])


def _claim(claim: ClaimEntry) -> Iterator[str]:
    labels = "".join(dict.fromkeys(f" [{citation.label}]" for citation in claim.citations))
    yield f"{claim.number:>3}  {' '.join(claim.text.split())}{labels}"
    if not claim.citations:
        yield "     ! no quote"
    for citation in claim.citations:
        if not citation.is_verified:
            words = " ".join(citation.words.split())
            yield f"     ! {citation.quote.status}: “{words}” {citation.quote.reason}"
    if claim.unsupported_numbers:
        yield f"     ! in no quote: {', '.join(claim.unsupported_numbers)}"


def _source(number: int, title: str, place: str) -> str:
    return f"[{number}] {title}" if place == title else f"[{number}] {title.rstrip('.')}. {place}"
