"""Hand a run to the workers: one transaction puts it into a queue, and nothing executes here."""

import re
from dataclasses import dataclass

from dbos import EnqueueOptions
from dbos import error as dbos_error

from agent_app.database.connect import Database
from agent_app.database.queue import QueueRow, read_holder, read_queues, read_worker_count
from agent_app.durability.catalog import Catalog
from agent_app.durability.joint_commit import joint_commit
from agent_app.durability.queues import (
    DEFAULT_KEY,
    DEFAULT_PRIORITY,
    check_queues,
    stored_name,
)
from agent_app.errors import PlacementInvalid, RunDuplicated, RunNotFound
from agent_app.operations.start import RunOrder, refuse_other_run
from agent_app.settings import DEFAULT_QUEUE, Settings

_NAME = re.compile("[^\0-\x1f\x7f\ud800-\udfff]{1,200}")
MAX_PRIORITY = 2**31 - 1


@dataclass(frozen=True)
class Placement:
    """Where a run waits, and what for."""

    queue: str | None = None
    """None is the queue of its agent, else `runs`."""
    priority: int = DEFAULT_PRIORITY
    """1 goes first; of equals the oldest."""
    delay_s: float | None = None
    """Seconds before it may start."""
    key: str = DEFAULT_KEY
    """What the queue's limits per key count together."""
    deduplication_id: str | None = None
    """No second unfinished run of the queue gets it."""


@dataclass(frozen=True)
class Enqueued:
    """A run that is stored."""

    run_id: str
    agent: str
    status: str
    queue: str
    """Where it was to be put."""
    is_new: bool
    """False where the same run was there before, in whatever queue."""
    worker_count: int
    """Living workers that take runs of its version from the queue."""


def enqueue_run(
    database: Database, settings: Settings, order: RunOrder, placement: Placement
) -> Enqueued:
    """Put the run into a queue, durably and at once; with the same ID and input again, attach.

    A run that is there keeps its place, and one that has ended is not started again.
    Raises: QueueNotFound; PlacementInvalid; RunDuplicated (an unfinished run of the queue holds the
    deduplication ID); RunInputConflict; PayloadRefused; what `RunOrder.check_stored` does.
    """
    (queue,) = check_queues(settings, [_choose_queue(settings, order.agent, placement.queue)])
    order.check_stored(database)
    status, is_new = "ENQUEUED" if placement.delay_s is None else "DELAYED", True
    try:
        with joint_commit(database) as commit:
            commit.client.enqueue(_options(settings, order, placement, queue), order.request)
    except dbos_error.DBOSWorkflowIDInUseError:
        status, is_new = _attach(database, order), False
    except dbos_error.DBOSQueueDeduplicatedError as error:
        held = placement.deduplication_id or ""
        holder = read_holder(database, stored_name(queue), held)
        raise RunDuplicated(held, queue, holder or "which has ended by now") from error
    count = read_worker_count(database, queue, settings.application_version)
    return Enqueued(order.run_id, order.agent, status, queue, is_new, count)


def _choose_queue(settings: Settings, agent: str, wanted: str | None) -> str:
    return settings.agent_queues.get(agent, DEFAULT_QUEUE) if wanted is None else wanted


def check_agent_queues(catalog: Catalog, settings: Settings) -> None:
    """Refuse settings that give a queue to an agent that there is not.

    Raises: AgentNotFound.
    """
    for agent in settings.agent_queues:
        catalog.find(agent)


def _options(
    settings: Settings, order: RunOrder, placement: Placement, queue: str
) -> EnqueueOptions:
    _check(placement)
    options = EnqueueOptions(
        workflow_name=order.agent,
        queue_name=stored_name(queue),
        workflow_id=order.run_id,
        workflow_id_reuse_policy="reject",
        app_version=settings.application_version,
        priority=placement.priority,
        # Always one: a queue may get limits per key while the run waits, and takes none without.
        queue_partition_key=placement.key,
    )
    if placement.delay_s is not None:
        options["delay_seconds"] = placement.delay_s
    if placement.deduplication_id is not None:
        options["deduplication_id"] = placement.deduplication_id
    if order.attributes:
        options["attributes"] = order.attributes
    return options


def _check(placement: Placement) -> None:
    if not 1 <= placement.priority <= MAX_PRIORITY:
        raise PlacementInvalid(
            f"Priority {placement.priority} is none; a number from 1, the first, to {MAX_PRIORITY} "
            "was expected."
        )
    if placement.delay_s is not None and placement.delay_s < 0:
        raise PlacementInvalid(
            f"A delay of {placement.delay_s:g} s is none; 0 or more was expected."
        )
    for what, value in (("Key", placement.key), ("Deduplication ID", placement.deduplication_id)):
        if value is not None and not _NAME.fullmatch(value):
            raise PlacementInvalid(
                f"{what} {value[:80]!r} is not valid; 1 to 200 characters, none of them a control "
                "character, were expected."
            )


def _attach(database: Database, order: RunOrder) -> str:
    """Return the status of the run that has the ID."""
    with joint_commit(database) as commit:
        found = commit.client.list_workflows(workflow_ids=[order.run_id])
    if not found:
        raise RunNotFound(order.run_id)  # deleted at this moment
    refuse_other_run(found[0], order)
    return found[0].status


def list_queues(database: Database) -> list[QueueRow]:
    """Return every queue that a worker has served, or that holds runs, by name."""
    return read_queues(database)
