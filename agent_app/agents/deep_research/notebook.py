"""What a research has found so far: searches, their findings and their sources."""

from collections.abc import Iterable, Sequence

from pydantic_ai.messages import ModelMessage

from agent_app.agents.deep_research.evidence import (
    extra_searches,
    met_sources,
    stored_pages,
)
from agent_app.agents.deep_research.models import (
    AttestedSource,
    Finding,
    PlannedSearch,
    Progress,
    SearchOutcome,
    SearchRecord,
)
from agent_app.sources.document import canonical_url


class Notebook:
    """The searches of one research, in order; made anew in every life of the run."""

    def __init__(self, source_ids: Iterable[str] = ()) -> None:
        self.records: list[SearchRecord] = []
        self.progress: list[Progress] = []
        self.attested: dict[str, AttestedSource] = {}
        self._met = dict.fromkeys(source_ids)

    @property
    def source_ids(self) -> list[str]:
        """Return the stored sources that were met, in the order in which they came."""
        return list(self._met)

    @property
    def has_sources(self) -> bool:
        """Say whether anything was met that can be cited."""
        return bool(self._met or self.attested)

    @property
    def last_error(self) -> str:
        """Return why the last search that failed did; empty where none has."""
        return next((record.error for record in reversed(self.records) if record.error), "")

    def add(self, planned: PlannedSearch, outcome: SearchOutcome | str, *, round: int) -> int:
        """Note a search, or why it failed; return the number of sources that are new."""
        error = outcome if isinstance(outcome, str) else None
        result = SearchOutcome(finding=Finding()) if isinstance(outcome, str) else outcome
        self.records.append(
            SearchRecord(
                query=planned.query,
                reason=planned.reason,
                round=round,
                source_ids=[*result.source_ids, *(page.url for page in result.attested)],
                summary=result.finding.summary,
                error=error,
            )
        )
        self.progress.append(Progress(query=planned.query, finding=result.finding, error=error))
        known_count = len(self._met) + len(self.attested)
        self._met |= dict.fromkeys(result.source_ids)
        self.attested |= {canonical_url(page.url): page for page in result.attested}
        return len(self._met) + len(self.attested) - known_count

    def add_extra(self, messages: Sequence[ModelMessage]) -> None:
        """Note what the analyst has searched and read by itself."""
        self._met |= dict.fromkeys(met_sources(messages))
        for url in stored_pages(messages):
            self.attested.pop(url, None)
        for search in extra_searches(messages):
            outcome = search.error if search.error is not None else search.outcome
            self.add(PlannedSearch(query=search.query or "?"), outcome, round=0)
