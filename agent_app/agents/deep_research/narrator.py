"""A research told to people while it goes on: the plan as a tree, each search with its state."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent_app.agents.deep_research.models import ResearchResult
from agent_app.agents.deep_research.rendering.plain import as_plain_text
from agent_app.agents.deep_research.searching import SEARCH
from agent_app.durability.events import RunEvent

_ENDS = ("step_finished", "step_replayed")
_DELEGATE = f"deep-research.delegate.{SEARCH}"
_EXTRA = "research-analyst.tool.extra_search"


class ResearchNarrator:
    """Tells one research; made anew for each run that is watched."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._tellers: Mapping[str, Callable[[RunEvent], str | None]] = {
            "deep-research.begin": lambda event: _tell_beginning(event.value),
            "deep-research.plan": lambda event: _tell_searches("Plan", event.value["searches"]),
            "deep-research.review": lambda event: _tell_review(event.value),
            "deep-research.check": lambda event: _tell_check(event.value),
            _EXTRA: self._tell_search,
            _DELEGATE: self._tell_search,
        }

    def __call__(self, event: RunEvent) -> str | None:
        """Return what has just been decided, searched or checked, or the report at the end."""
        if event.kind == "run_finished" and event.error is None:
            return _tell_end(event)
        if event.kind == "step_failed" and event.name in (_DELEGATE, _EXTRA):
            return f"    failed   {event.subject['query']}: {event.error}"
        teller = self._tellers.get(event.name or "")
        if teller is None or event.kind not in _ENDS:
            return None
        source = "  (from its checkpoint)" if event.kind == "step_replayed" else ""
        told = teller(event)
        return told and told + source

    def _tell_search(self, event: RunEvent) -> str:
        """Return a search with the number of sources that it brought."""
        value, subject = event.value, event.subject
        outcome = value.get("result", value) if isinstance(value, dict) else {}
        if not isinstance(outcome, dict) or "source_ids" not in outcome:
            return f"    refused  {subject['query']}: {value.get('message', '')}"
        met = {*outcome["source_ids"], *(page["url"] for page in outcome["attested"])}
        new, self._known = met - self._known, self._known | met
        mark = "done " if event.name == _DELEGATE else "extra"
        return f"    {mark}    {subject['query']}: {_sources(len(met))}, {len(new)} new"


def _sources(count: int) -> str:
    return "1 source" if count == 1 else f"{count} sources"


def _tell_beginning(value: Mapping[str, Any]) -> str:
    told = f"Sources: {value['provider']} ({value['reason']})"
    if value["installed_count"]:
        told = (
            f"The corpus was empty: {value['installed_count']} documents that lie on this machine "
            f"were taken in, as by `agent-app corpus add --installed`.\n{told}"
        )
    return told


def _tell_searches(title: str, searches: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"{'└──' if number == len(searches) else '├──'} {each['query']}"
        + (f"  ({each['reason']})" if each["reason"] else "")
        for number, each in enumerate(searches, 1)
    ]
    return "\n".join([title, *lines])


def _tell_review(value: Mapping[str, Any]) -> str:
    if not value["searches"]:
        return "Review: nothing is missing that a search could bring"
    return _tell_searches(f"Missing: {value['missing']}", value["searches"])


def _tell_check(value: Mapping[str, Any]) -> str:
    statuses = [quote["status"] for claim in value["claims"] for quote in claim["quotes"]]
    told = f"Quotes: {statuses.count('verified')} of {len(statuses)} stand in their sources"
    if attested_count := statuses.count("attested"):
        told += f", {attested_count} are of pages that nobody has fetched"
    return f"{told}; the analyst is told which do not" if value["complaint"] else told


def _tell_end(event: RunEvent) -> str:
    report = as_plain_text(ResearchResult.model_validate(event.value))
    page = f"agent-app report {event.run_id} --format html --output report.html"
    return f"\n{report}\nAs a page: `{page}`"
