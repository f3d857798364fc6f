"""One search of a research: a child run of its own, which may fail without ending the research."""

from agent_app.agents.deep_research.models import SearchOutcome, SearchTask
from agent_app.durability.delegation import delegate
from agent_app.durability.events import describe_error
from agent_app.durability.queues import SEARCH_QUEUE
from agent_app.errors import PayloadRefused, ReplayDiverged

SEARCH = "research-search"
"""Name of the workflow that makes one search; stored with every run of it."""


async def attempt_search(task: SearchTask) -> SearchOutcome | str:
    """Return what a search has brought, or why it failed.

    Durable: the child's ID comes from the caller's, so a recovery attaches to the same search. It
    waits in a queue until one of the places for searches is free.
    """
    try:
        outcome: SearchOutcome = await delegate(SEARCH, task, queue=SEARCH_QUEUE)
    except (ReplayDiverged, PayloadRefused):
        raise  # the code or the stored data is not what it was: no search has failed
    except Exception as error:
        return describe_error(error)
    return outcome
