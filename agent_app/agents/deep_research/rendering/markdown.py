"""The report as Markdown: readable as it is, and safe to render."""

import re
from collections.abc import Iterator, Mapping

from agent_app.agents.deep_research.models import ResearchResult
from agent_app.agents.deep_research.rendering.outline import (
    Citation,
    ClaimEntry,
    Outline,
    Source,
    count,
    in_line,
    make_outline,
)
from agent_app.agents.deep_research.rendering.prose import (
    at_line_start,
    escape_markdown,
    prose_to_markdown,
)


def as_markdown(result: ResearchResult, texts: Mapping[str, str] | None = None) -> str:
    """Return the report; everything of the model's and the web's is escaped."""
    outline = make_outline(result, texts)
    blocks = [
        f"# {_line(result.question)}",
        *(escape_markdown(text) for text in (outline.origin, outline.effort)),
        f"**{escape_markdown(outline.rates)}**",
        "## Summary",
        prose_to_markdown(result.summary),
        "## Claims",
        *map(_claim, outline.claims),
        *_faults(outline),
        *_sources(outline),
        *_searches(outline),
        *_passages(outline),
        "\n".join(_targets(outline)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _claim(claim: ClaimEntry) -> str:
    """Return the claim as an item of a list, with what is wrong with it in its place."""
    number = f"{claim.number}. "
    text = prose_to_markdown(claim.text).replace("\n\n", "\n\n" + " " * len(number))
    marks = [_reference(citation) for citation in claim.citations]
    if not claim.is_supported:
        marks.append("**(no verified quote)**")
    if claim.unsupported_numbers:
        numbers = escape_markdown(", ".join(claim.unsupported_numbers))
        marks.append(f"**(in no quote: {numbers})**")
    return number + " ".join([text, *marks])


def _mark(citation: Citation) -> str:
    return f" *({citation.mark})*" if citation.mark else ""


def _reference(citation: Citation) -> str:
    """Return a link to the words in their source and, where that is elsewhere, one to ours."""
    passage = f"[↓](#{citation.anchor})" if citation.link else ""
    return f"[[{citation.label}]][{citation.anchor}]{passage}{_mark(citation)}"


def _faults(outline: Outline) -> Iterator[str]:
    if outline.unverified or outline.unsupported:
        yield "## Not verified"
        yield "\n".join(
            [
                *(
                    f"- Claim {claim.number} has no verified quote."
                    for claim in outline.unsupported
                ),
                *map(_unverified, outline.unverified),
            ]
        )
    if outline.flagged:
        yield "## Numbers that no quote says"
        yield "\n".join(
            f"- Claim {claim.number}: {escape_markdown(', '.join(claim.unsupported_numbers))}"
            for claim in outline.flagged
        )


def _unverified(citation: Citation) -> str:
    named = citation.source.title if citation.source else in_line(citation.quote.source_id)
    return (
        f"- Claim {citation.claim_number}, [[{citation.label}]][{citation.anchor}] "
        f"{escape_markdown(named)}, {citation.mark}: “{_line(citation.words)}” "
        f"{_line(citation.quote.reason)}"
    )


def _sources(outline: Outline) -> Iterator[str]:
    for heading, is_cited in (("## Sources", True), ("## Found and not cited", False)):
        if found := [source for source in outline.sources if source.is_cited == is_cited]:
            yield heading
            yield "\n".join(map(_source, found))


def _source(source: Source) -> str:
    title = at_line_start(escape_markdown(source.title))
    named = f"[{title}][s{source.number}]" if source.link else title
    fetched_at = source.source.fetched_at
    when = f"fetched {fetched_at:%Y-%m-%d}" if fetched_at else "not fetched"
    place = "" if source.place == source.title else f" {escape_markdown(source.place)},"
    source_id = _line(source.source.source_id)
    dot = "" if title.endswith((".", "!", "?")) else "."
    return f"{source.number}. {named}{dot}{place} {when}, {source_id}"


def _searches(outline: Outline) -> Iterator[str]:
    if outline.result.searches:
        yield "## Searches"
        yield "\n".join(
            f"- {_line(search.query)}: "
            + (
                f"failed, {_line(search.error)}"
                if search.error
                else count(search.source_ids, "source")
            )
            for search in outline.result.searches
        )


def _passages(outline: Outline) -> Iterator[str]:
    if outline.citations:
        yield "## Quoted passages"
    for citation in outline.citations:
        source = citation.source
        title = escape_markdown(source.title if source else in_line(citation.quote.source_id))
        opened = f" [open at this place][{citation.anchor}]" if source and citation.link else ""
        yield (
            f'<a id="{citation.anchor}"></a>Claim {citation.claim_number}, source '
            f"{citation.label}: {title}{_mark(citation)}{opened}"
        )
        yield f"> {_passage(citation)}"


def _passage(citation: Citation) -> str:
    before, after = (
        escape_markdown(re.sub(r"\s+", " ", text)) for text in (citation.before, citation.after)
    )
    return at_line_start(f"{before}**{_line(citation.words)}**{after}".strip())


def _targets(outline: Outline) -> Iterator[str]:
    """Yield what the names of links stand for: the web where it can be, else our own passages."""
    for citation in outline.citations:
        yield f"[{citation.anchor}]: {citation.link or '#' + citation.anchor}"
    for source in outline.sources:
        if source.link:
            yield f"[s{source.number}]: {source.link}"


def _line(text: str) -> str:
    return escape_markdown(in_line(text))
