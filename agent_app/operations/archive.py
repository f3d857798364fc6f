"""A run as a file: the document, what holds it together, and what may be in it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from agent_app.database.archive_rows import (
    ArchivedEvent,
    ArchivedEventChange,
    ArchivedMessage,
    ArchivedRun,
    ArchivedStep,
    ArchivedStreamEntry,
)
from agent_app.database.archive_sources import ArchivedSource
from agent_app.database.row_format import ArchivedRow, RunId
from agent_app.durability.serializer import JsonSerializer
from agent_app.errors import ArchiveInvalid, PayloadRefused
from agent_app.sources.document import sha256_of, source_id_of

FORMAT = "agent_app.run"
FORMAT_VERSION = 1
MAX_BYTES = 1 << 28
"""Of a file that is read: 256 MiB, which take some gigabytes of memory. Backups are `pg_dump`'s."""
_JSON = JsonSerializer()
_PLAIN = "portable_json"
"""What DBOS 3.4 calls JSON of its own."""
_PLAIN_ROWS = (ArchivedEvent, ArchivedEventChange, ArchivedStreamEntry, ArchivedMessage)


class Archive(BaseModel):
    """What a file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    format: Literal["agent_app.run"]
    format_version: Literal[1]
    run_id: RunId
    exported_at: AwareDatetime
    """A run that was unfinished ends here."""
    schema_versions: dict[str, int]
    redacted_count: Annotated[int, Field(ge=0)] | None
    """None where nothing was to be redacted."""
    runs: list[ArchivedRun]
    """The run itself first, then those that it delegated to, at any depth."""
    sources: list[ArchivedSource]
    """Texts that the runs have."""


def build_document(
    runs: Sequence[Mapping[str, Any]],
    sources: Sequence[Mapping[str, Any]],
    *,
    exported_at: datetime,
    schema_versions: Mapping[str, int],
    redacted_count: int | None,
) -> dict[str, Any]:
    """Return the document of these folded runs and texts, with the digest that ties it together."""
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "run_id": runs[0]["status"]["run_id"],
        "exported_at": exported_at.isoformat(),
        "schema_versions": dict(schema_versions),
        "redacted_count": redacted_count,
        "runs": list(runs),
        "sources": list(sources),
    }
    return {**document, "digest": digest_document(document)}


def digest_document(document: Mapping[str, Any]) -> str:
    """Return a digest of everything but the digest itself, whatever blanks stand between.

    It tells damage and careless edits, and stops nobody who computes it anew.
    Raises: ValueError (NaN, which is no JSON); RecursionError.
    """
    content = {name: value for name, value in document.items() if name != "digest"}
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def read_document(content: bytes, known_schema: Mapping[str, int]) -> Archive:
    """Return what a file holds, checked against itself and against what this build knows.

    Raises: ArchiveInvalid; PayloadRefused (a value has another format than our JSON).
    """
    try:
        document = _load(content)
        _check_head(document, known_schema)
        archive = Archive.model_validate(
            {name: value for name, value in document.items() if name != "digest"}
        )
        check_payloads(archive.runs)
    except ValidationError as error:
        raise ArchiveInvalid(describe_validation(error)) from error
    except RecursionError as error:
        raise ArchiveInvalid("it is nested too deeply") from error
    _check_family(archive)
    _check_sources(archive)
    return archive


def _load(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise ArchiveInvalid(f"it has more than {MAX_BYTES >> 20} MiB")
    try:
        document = json.loads(content, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ArchiveInvalid(f"it is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ArchiveInvalid("it was not made by `agent-app export`")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def _check_head(document: Mapping[str, Any], known_schema: Mapping[str, int]) -> None:
    """Refuse other versions first: their digest may be another one."""
    version = document.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ArchiveInvalid(
            f"its format has version {version!r:.40}, and this build knows {FORMAT_VERSION}"
        )
    try:
        digest = digest_document(document)
    except ValueError as error:
        raise ArchiveInvalid(f"it holds a number that is none: {error}") from error
    if document.get("digest") != digest:
        raise ArchiveInvalid("its content does not fit its digest: it was damaged or edited")
    schema = document.get("schema_versions")
    for name, number in schema.items() if isinstance(schema, dict) else ():
        if not isinstance(number, int) or number > known_schema.get(name, 0):
            raise ArchiveInvalid(
                f"it comes from schema {name!r:.40} at {number!r:.40}, and this build knows up to "
                f"{known_schema.get(name, 0)}; a newer agent_app imports it"
            )


def describe_validation(error: ValidationError) -> str:
    """Return the first thing that is wrong, and where."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the document"
    return f"{place[:200]}: {first['msg'].removeprefix('Value error, ').rstrip('.')}"


def check_payloads(runs: Sequence[ArchivedRun]) -> None:
    """Refuse values that we would not decode where they are read; nothing is executed.

    Raises: PayloadRefused.
    """
    for run in runs:
        for row in run.rows():
            tag = getattr(row, "serialization", run.status.serialization)
            for name in row.payloads:
                if (text := getattr(row, name)) is not None:
                    _check_payload(text, tag, takes_plain=_takes_plain(row))


def _check_payload(text: str, tag: str | None, *, takes_plain: bool) -> None:
    if tag not in (None, _JSON.name()) and not (takes_plain and tag == _PLAIN):
        raise PayloadRefused(str(tag))
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise PayloadRefused("JSON, but damaged") from error
    if tag != _PLAIN:
        _JSON.deserialize(text)


def _takes_plain(row: ArchivedRow) -> bool:
    """Say whether DBOS 3.4 may have written the row in its own JSON."""
    if isinstance(row, ArchivedStep):
        return row.name.startswith("DBOS.")
    return isinstance(row, _PLAIN_ROWS)


def _check_family(archive: Archive) -> None:
    """Refuse runs that do not hang together: each is below the first one, and there once."""
    parents = {run.run_id: run.status.parent_run_id for run in archive.runs}
    if next(iter(parents), None) != archive.run_id:
        raise ArchiveInvalid(f"its first run is not {archive.run_id!r}")
    if len(parents) < len(archive.runs):
        raise ArchiveInvalid("it holds a run twice")
    known = {archive.run_id}
    for _ in parents:  # a level of children at a time
        known |= {run_id for run_id, parent in parents.items() if parent in known}
    for run_id in parents:
        if run_id not in known:
            raise ArchiveInvalid(f"run {run_id!r} is not below {archive.run_id!r}")


def _check_sources(archive: Archive) -> None:
    """Refuse a text that is not what its ID says: quotes are looked up in it."""
    for source in archive.sources:
        found = source_id_of(source.text), sha256_of(source.text)
        if found != (source.source_id, source.sha256):
            raise ArchiveInvalid(f"the text of source {source.source_id!r} is another one")
    held = {source.source_id for source in archive.sources}
    if len(held) < len(archive.sources):
        raise ArchiveInvalid("it holds a source twice")
    for run in archive.runs:
        for link in run.sources:
            if link.source_id not in held:
                raise ArchiveInvalid(f"it has no text of source {link.source_id!r}")
