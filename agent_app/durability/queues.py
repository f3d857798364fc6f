"""Queues that runs wait in: names, limits, and who listens to them."""

from collections.abc import Mapping, Sequence
from typing import Any

from dbos import DBOS
from dbos._dbos import _get_dbos_instance

from agent_app.errors import QueueNotFound
from agent_app.settings import DEFAULT_QUEUE, QueueLimits, Settings

RECOVERY_QUEUE = "agent_app_recovery"
"""Where recovered runs wait to be taken; polled ten times a second, DBOS's own once."""
SEARCH_QUEUE = "agent_app_search"
"""Where the searches of a research wait for a free place."""
POLL_S = 0.1
DEFAULT_KEY = "default"
"""Key of a run that was given none: where keys have limits, DBOS takes no run without one."""
DEFAULT_PRIORITY = 100
"""Between the urgent and the rest; DBOS's own default, 0, would go before every other one."""


def stored_name(queue: str) -> str:
    """Return the name under which DBOS stores a queue of the settings."""
    return f"agent_app_{queue}"


def workers_queue(stored: str) -> str | None:
    """Return the name of a queue that workers alone take runs from; None for any other queue."""
    queue = stored.removeprefix("agent_app_")
    is_ours = queue != stored and stored not in (RECOVERY_QUEUE, SEARCH_QUEUE)
    return queue if is_ours else None


def known_queues(settings: Settings) -> Mapping[str, QueueLimits]:
    """Return the limits of every queue that runs can be given to, by its name, `runs` first."""
    return {DEFAULT_QUEUE: QueueLimits(), **settings.queues}


def check_queues(settings: Settings, queues: Sequence[str]) -> list[str]:
    """Return the queues, each of them known and named once; without any, all that are known.

    Raises: QueueNotFound.
    """
    known = known_queues(settings)
    for queue in queues:
        if queue not in known:
            raise QueueNotFound(queue, ", ".join(map(repr, known)))
    return list(dict.fromkeys(queues or known))


async def register_queues(settings: Settings, served: Sequence[str]) -> None:
    """Store our own queues and the served ones, with their limits; only after the launch.

    The limits that were stored last count in every process, within one poll. Whoever serves a queue
    stores them, and nobody else: DBOS's "only the newest version" would let a single `agent-app
    chaos`, which has a version of its own, keep all later changes out.
    """
    await DBOS.register_queue_async(
        RECOVERY_QUEUE, polling_interval_sec=POLL_S, on_conflict="never_update"
    )
    await DBOS.register_queue_async(
        SEARCH_QUEUE,
        worker_concurrency=settings.search_concurrency,
        polling_interval_sec=POLL_S,
        on_conflict="always_update",
    )
    known = known_queues(settings)
    for queue in served:
        await DBOS.register_queue_async(
            stored_name(queue), **_as_stored(known[queue]), on_conflict="always_update"
        )


def _as_stored(limits: QueueLimits) -> dict[str, Any]:
    """Return what DBOS calls the limits; it refuses one that is wider than the one for all."""
    whole = limits.max_running
    return {
        "global_concurrency": whole,
        "worker_concurrency": _at_most(limits.max_running_per_worker, whole),
        "partition_concurrency": _at_most(limits.max_running_per_key, whole),
        "limiter": _rate(limits.max_starts, limits.period_s),
        "partition_limiter": _rate(limits.max_starts_per_key, limits.period_s),
        "polling_interval_sec": limits.poll_s,
    }


def _at_most(limit: int | None, whole: int | None) -> int | None:
    return limit if limit is None or whole is None else min(limit, whole)


def _rate(max_starts: int | None, period_s: float) -> dict[str, float] | None:
    return None if max_starts is None else {"limit": max_starts, "period": period_s}


def listen_to(queue_name: str) -> None:
    """Take runs from the queue from now on, within about a second; idempotent.

    A process that needs nothing of a queue must not take what lies there: it would drop it at its
    own end. A private name of DBOS 3.4, which fixes before the launch what is listened to.
    """
    listened = _get_dbos_instance()._listening_queues
    if listened is not None and queue_name not in listened:
        listened.append(queue_name)
