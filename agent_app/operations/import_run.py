"""Import a run from a file: it is there with all its rows afterwards, and nobody executes it."""

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from agent_app.database.archive import (
    find_waiting_parent,
    read_schema,
    read_stored_family,
    write_runs,
)
from agent_app.database.archive_rows import ArchivedRun, ArchivedStatus
from agent_app.database.archive_sources import ArchivedSource
from agent_app.database.connect import Database
from agent_app.database.pool import open_pool
from agent_app.durability.delegation import PARENT
from agent_app.errors import ArchiveInvalid, RunExists
from agent_app.operations.archive import Archive, read_document
from agent_app.operations.attributes import IMPORTED
from agent_app.operations.cancel import UNFINISHED
from agent_app.operations.start import check_run_id
from agent_app.sources.imported import store_imported


@dataclass(frozen=True)
class Imported:
    """What is there now."""

    run_ids: list[str]
    """The run itself first."""
    cancelled: Mapping[str, str]
    """Statuses that unfinished runs had in the file, by ID; they were written as CANCELLED."""
    is_new: bool
    """False where the very same content was there already."""


def import_run(database: Database, content: bytes, *, new_id: str | None = None) -> Imported:
    """Write the runs of a file under their IDs, or with the first one as `new_id`.

    Durable: all rows are there, or none. A run that was unfinished is CANCELLED, so that nobody
    goes on with it unasked.
    Raises: ArchiveInvalid; PayloadRefused; RunIdInvalid; RunExists (the ID belongs to another run,
    or to one that has changed since; it is untouched); SourceUnreadable (another text has the ID).
    """
    archive = read_document(content, read_schema(database))
    if new_id is not None:
        check_run_id(new_id)
    runs = [
        _as_imported(run, archive.exported_at)
        for run in (archive.runs if new_id is None else _renamed(archive, new_id))
    ]
    run_ids = [run.run_id for run in runs]
    parent = find_waiting_parent(database, run_ids)
    if parent is not None:
        raise ArchiveInvalid(f"run {parent!r} is unfinished here and would take it for its child")
    if archive.sources:
        _store_sources(database, archive.sources)
    is_new = write_runs(database, runs)
    if not is_new:
        _refuse_other(database, runs, archive.exported_at)
    cancelled = {
        run_id: run.status.status
        for run_id, run in zip(run_ids, archive.runs, strict=True)
        if is_new and run.status.status in UNFINISHED
    }
    return Imported(run_ids, cancelled, is_new)


def _store_sources(database: Database, sources: Sequence[ArchivedSource]) -> None:
    """Store the texts before the runs that have them; those of a run that is refused are pruned."""

    async def store() -> None:
        async with open_pool(database, max_size=1) as pool:
            await store_imported(pool, sources)

    with ThreadPoolExecutor(max_workers=1) as thread:  # the caller may be on an event loop
        thread.submit(asyncio.run, store()).result()


def _as_imported(run: ArchivedRun, exported_at: datetime) -> ArchivedRun:
    """Return the run with its mark; an unfinished one as DBOS 3.4 leaves a run that it cancels."""
    status = run.status
    change: dict[str, Any] = {
        "attributes": json.dumps(status.labels | {IMPORTED: "true"}, ensure_ascii=False),
        "deduplication_id": None,
    }
    if status.status in UNFINISHED:
        ended_ms = int(exported_at.timestamp() * 1000)
        change |= dict.fromkeys(("owner_xid", "queue_name", "started_at_epoch_ms"))
        change |= {"status": "CANCELLED", "updated_at": ended_ms, "completed_at": ended_ms}
    return run.model_copy(update={"status": status.model_copy(update=change)})


def _refuse_other(database: Database, runs: list[ArchivedRun], exported_at: datetime) -> None:
    """Refuse a file whose runs are not what is stored here under their IDs."""
    try:
        stored = read_stored_family(database, runs[0].run_id).runs
    except ValidationError:
        stored = []
    found = [_as_imported(run, exported_at).folded() for run in stored]
    if found != [run.folded() for run in runs]:
        raise RunExists(runs[0].run_id)


def _renamed(archive: Archive, new_id: str) -> list[ArchivedRun]:
    """Return the runs under new IDs; what they have said of the old ones stays as it is."""
    ids = {run.run_id: _rename(run.run_id, archive.run_id, new_id) for run in archive.runs}
    if len(set(ids.values())) < len(ids):
        raise ArchiveInvalid(f"two of its runs would have one ID below {new_id!r}")
    return [_with_ids(run, ids, is_root=run.run_id == archive.run_id) for run in archive.runs]


def _rename(run_id: str, old_root: str, new_root: str) -> str:
    is_below = run_id.startswith(old_root)
    return new_root + run_id[len(old_root) :] if is_below else f"{new_root}:{run_id}"


def _with_ids(run: ArchivedRun, ids: Mapping[str, str], *, is_root: bool) -> ArchivedRun:
    run_id = ids[run.run_id]
    steps = [
        step.model_copy(update={"child_run_id": ids.get(step.child_run_id, step.child_run_id)})
        if step.child_run_id
        else step
        for step in run.steps
    ]
    messages = [  # their IDs are unique in the whole table
        message.model_copy(
            update={
                "message_uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, run_id + message.message_uuid))
            }
        )
        for message in run.messages
    ]
    status = _linked(run.status, ids, is_root=is_root).model_copy(update={"run_id": run_id})
    return run.model_copy(update={"status": status, "steps": steps, "messages": messages})


def _linked(status: ArchivedStatus, ids: Mapping[str, str], *, is_root: bool) -> ArchivedStatus:
    """Return the run with the new ID of its parent; the first one becomes a run of its own."""
    labels = status.labels
    if is_root:
        labels.pop(PARENT, None)
    elif PARENT in labels:
        labels[PARENT] = ids.get(labels[PARENT], labels[PARENT])
    parent = status.parent_workflow_id
    return status.model_copy(
        update={
            "attributes": json.dumps(labels, ensure_ascii=False),
            "parent_workflow_id": ids.get(parent, parent) if parent and not is_root else None,
        }
    )
