"""A finished research whose model and sources try to break out of every format."""

from datetime import UTC, datetime
from decimal import Decimal

from agent_app.agents.deep_research.checking import check_draft, rates_of
from agent_app.agents.deep_research.models import (
    CitedSource,
    Claim,
    Draft,
    Quote,
    ResearchResult,
    SearchRecord,
)

WEB, PACKAGE, TOPIC, FILE, EVIL = (digit * 16 for digit in "abcde")
ATTESTED = "https://attested.example/page?q=1"
TEXTS = {
    WEB: 'Durable execution\n\nA workflow that is well-known, tested & "durable" resumes from its '
    "last checkpoint, so that no finished step runs again.\n\nIt was released in March 2021 by "
    "14 people.\n\n" + "More about it. " * 40,
    PACKAGE: "The package stores | pipes | and <b>tags</b> in its read-me file.",
    TOPIC: "The assert statement is a convenient way to insert debugging assertions.",
    FILE: "Notes: \u202eevil order\u202c and emoji 👩‍🚀 stay in the local file here.",
    EVIL: "<script>alert(1)</script> is what this page says about itself.\u2028And more.",
}  # fmt: skip
SCRIPT = "<script>alert('x')</script>"
LINK = "[click](javascript:alert(1))"
SOURCES = [
    CitedSource(
        source_id=WEB,
        url="https://example.org/a-b,c&d?x=1%202#part",
        title="Durable | execution: 100 % & more_of {it} #1 ~ \\ $5 @misc{x,",
        fetched_at=datetime(2026, 1, 31, 23, 30, tzinfo=UTC),
    ),
    CitedSource(
        source_id=PACKAGE,
        url="pkg:pypi/dbos@3.4.0/README.md",
        title="",
        fetched_at=datetime(2026, 2, 1, tzinfo=UTC),
    ),
    CitedSource(
        source_id=TOPIC,
        url="python:topics/assert",
        title="The assert statement",
        fetched_at=datetime(2026, 2, 1, tzinfo=UTC),
    ),
    CitedSource(
        source_id=FILE,
        url="file:///srv/notes%20of%20mine.txt",
        title="\u202eseton lacol\u202c",
        fetched_at=datetime(2026, 2, 1, tzinfo=UTC),
    ),
    CitedSource(
        source_id=EVIL,
        url="javascript:alert(document.domain)",
        title=f"{SCRIPT}<img src=x onerror=alert(1)> {LINK}",
        fetched_at=datetime(2026, 2, 1, tzinfo=UTC),
    ),
    CitedSource(source_id=ATTESTED, url=ATTESTED, title='"><svg onload=alert(2)>'),
    CitedSource(
        source_id="f" * 16,
        url='https://example.org/"onmouseover="alert(1)/)(<>`{}',
        title="Never\u2028cited\n# heading",
        fetched_at=datetime(2026, 2, 1, tzinfo=UTC),
    ),
]
DRAFT = Draft(
    summary=f"A run goes on from its **last checkpoint**; `code_is_kept`. {SCRIPT} {LINK}\n\n"
    "# no heading\n\n- one thing\n- another <b>thing</b>\n\n![i](https://evil.example/t.png)",
    claims=[
        Claim(
            text="A workflow resumes from its last checkpoint; it was released in March 2021.",
            quotes=[
                Quote(
                    source_id=WEB,
                    words="A workflow that is well-known, tested & 'durable' resumes from its last "
                    "checkpoint, so that no finished step runs again.",
                ),
                Quote(source_id=WEB, words="released in March 2021 by 14 people"),
            ],
        ),
        Claim(
            text=f"It took 15 people and 3.5 million dollars. {LINK} {SCRIPT} | a | b |",
            quotes=[
                Quote(source_id=WEB, words=f"released by 15 people {SCRIPT} {LINK}"),
                Quote(source_id=PACKAGE, words="stores | pipes | and <b>tags</b> in its read-me"),
            ],
        ),
        Claim(
            text="Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
            f"{'s' * 100} is \u202ereversed\u202c 👩‍🚀.",
            quotes=[
                Quote(source_id=TOPIC, words="a convenient way to insert debugging assertions"),
                Quote(source_id=FILE, words="evil order and emoji 👩‍🚀 stay in the local file"),
                Quote(source_id=EVIL, words="<script>alert(1)</script> is what this page says"),
            ],
        ),
        Claim(
            text="Attested only.",
            quotes=[
                Quote(source_id=ATTESTED, words="what the provider says of the page"),
                Quote(source_id=f"none](x) {SCRIPT}", words="words of a source that is not there"),
                Quote(source_id=WEB, words="so"),
            ],
        ),
        Claim(
            text="1. Nothing *at all* is quoted_for_this & that\u2028[q1-1]: javascript:alert(3)"
        ),
    ],
)


def awkward_research() -> ResearchResult:
    """Return the research, its quotes checked."""
    claims = check_draft(DRAFT, TEXTS, attested_urls=[ATTESTED])
    return ResearchResult(
        question=f"What is durable? {SCRIPT} {LINK}\n# two",
        summary=DRAFT.summary,
        claims=claims,
        sources=SOURCES,
        searches=[
            SearchRecord(query=f"durable {LINK}", round=1, source_ids=[WEB, TOPIC], reason="<b>"),
            SearchRecord(query="nothing", round=2, error=f"Timeout {SCRIPT}"),
        ],
        rates=rates_of(claims),
        provider="corpus",
        provider_reason="no key for a search engine is set",
        model="offline writer, no language model",
        stopped_by="no_new_source",
        input_tokens=1200,
        output_tokens=340,
        cost_usd=Decimal("0.0123"),
    )
