"""Export a run: everything that is stored of it and of its child runs, as one JSON document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from agent_app.database.archive import read_stored_family
from agent_app.database.archive_rows import SECTIONS, ArchivedRun
from agent_app.database.archive_sources import ArchivedSource
from agent_app.database.connect import Database
from agent_app.database.row_format import ArchivedRow
from agent_app.durability.delegation import PARENT
from agent_app.errors import RunNotExportable, RunNotFound
from agent_app.operations.archive import build_document, check_payloads, describe_validation
from agent_app.operations.cancel import UNFINISHED
from agent_app.operations.read import get_run
from agent_app.operations.redaction import Redaction


@dataclass(frozen=True)
class Export:
    """What is written to a file, and what a person wants to know of it."""

    document: dict[str, Any]
    run_count: int
    step_count: int
    redacted_count: int | None
    """None where nothing was to be redacted."""
    unfinished: Mapping[str, str]
    """Statuses of runs that had not ended, by ID: the file holds what there was."""
    left_out: Sequence[str] = ()
    """URLs of sources that are not in it: a text with a secret taken out is another text."""


def export_run(database: Database, run_id: str, *, redaction: Redaction | None) -> Export:
    """Return a run with its child runs as a document, as of one moment; it may be executing.

    Without `redaction` secrets stay in it.
    Raises: RunNotFound; PayloadRefused (somebody else wrote a value, and nothing could be found in
    it); RunNotExportable (a row is none of ours).
    """
    get_run(database, run_id)
    try:
        family = read_stored_family(database, run_id)
    except ValidationError as error:
        raise RunNotExportable(run_id, describe_validation(error)) from error
    if not family.runs:  # it was deleted at this moment
        raise RunNotFound(run_id)
    check_payloads(family.runs)
    try:
        kept = [source for source in family.sources if not _holds_secret(source, redaction)]
        runs = [_redacted(_with_sources(run, kept), redaction) for run in family.runs]
        document = build_document(
            runs,
            [source.model_dump(mode="json") for source in kept],
            exported_at=datetime.now(UTC),
            schema_versions=family.schema,
            redacted_count=redaction.count if redaction else None,
        )
    except RecursionError as error:
        raise RunNotExportable(run_id, "a value of it is nested too deeply") from error
    return Export(
        document,
        len(runs),
        sum(len(run.steps) for run in family.runs),
        redaction.count if redaction else None,
        {run.run_id: run.status.status for run in family.runs if run.status.status in UNFINISHED},
        [source.url for source in family.sources if source not in kept],
    )


def _holds_secret(source: ArchivedSource, redaction: Redaction | None) -> bool:
    row = source.model_dump(mode="json")
    return redaction is not None and redaction.redact(row) != row


def _with_sources(run: ArchivedRun, kept: Sequence[ArchivedSource]) -> ArchivedRun:
    source_ids = {source.source_id for source in kept}
    links = [link for link in run.sources if link.source_id in source_ids]
    return run.model_copy(update={"sources": links})


def _redacted(run: ArchivedRun, redaction: Redaction | None) -> dict[str, Any]:
    folded = run.folded()
    if redaction is None:
        return folded
    for section, rows in folded.items():
        for row in rows if isinstance(rows, list) else [rows]:
            _redact_row(row, SECTIONS[section], redaction)
    if (parent := run.status.labels.get(PARENT)) is not None:
        folded["status"]["attributes"][PARENT] = parent  # it ties the runs together
    return folded


def _redact_row(row: dict[str, Any], row_type: type[ArchivedRow], redaction: Redaction) -> None:
    """Redact what people, models and tools have said; names and IDs stay, or nothing would fit."""
    for field in (*row_type.payloads, *row_type.jsonb, *row_type.texts):
        for name in (field, f"{field}_text"):
            if name in row:
                row[name] = redaction.redact(row[name])
