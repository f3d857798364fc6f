"""The report's sources as BibTeX, for biblatex and BibTeX alike."""

import hashlib
import re
import unicodedata

from agent_app.agents.deep_research.models import ResearchResult
from agent_app.agents.deep_research.rendering.outline import Source, in_line, make_outline

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}


def as_bibtex(result: ResearchResult) -> str:
    """Return an entry for each source, the cited ones first; `@online` where it is a web page."""
    outline = make_outline(result)
    # What stands outside of an entry is a comment, unless it has an at sign.
    head = f"Sources of: {in_line(result.question)}\n{in_line(outline.origin)}".replace("@", "(at)")
    lines = "\n".join(f"% {line}" for line in head.splitlines())
    return "\n\n".join([lines, *map(_entry, outline.sources)]) + "\n"


def _entry(source: Source) -> str:
    fetched_at = source.source.fetched_at
    fields = {
        "title": f"{{{_escape(source.title)}}}",  # braces keep its capitals
        "url": source.link,
        "howpublished": None if source.link else _escape(source.source.url),
        "urldate": f"{fetched_at:%Y-%m-%d}" if fetched_at else None,
        "note": "" if fetched_at else "Named by the model's search provider; not fetched",
        "keywords": "cited" if source.is_cited else "found",
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    kind = "online" if source.link else "misc"
    return "\n".join([f"@{kind}{{{_key(source)},", *lines, "}"])


def _key(source: Source) -> str:
    """Return a name that stays the same in every report: the first words, and the source's ID."""
    plain = unicodedata.normalize("NFKD", source.title).encode("ascii", "ignore").decode().lower()
    words = re.findall("[a-z0-9]+", plain)[:3]
    source_id = source.source.source_id
    is_plain = re.fullmatch("[0-9a-f]{16}", source_id)
    digest = source_id if is_plain else hashlib.sha256(source_id.encode()).hexdigest()[:16]
    return "-".join([*(word[:20] for word in words), digest])


def _escape(text: str) -> str:
    return "".join(_ESCAPES.get(sign, sign) for sign in in_line(text))
