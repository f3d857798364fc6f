"""The texts that archived runs have: each once, with every URL that it was met under."""

from collections.abc import Sequence
from typing import Annotated, Literal, LiteralString

import psycopg
from psycopg.rows import DictRow
from pydantic import BaseModel, ConfigDict, Field

from agent_app.database.row_format import Moment, Text

_SOURCES: LiteralString = """
select source_id, sha256, url, title, text, media_type, origin, fetched_at, fetched_by, array(
    select met.url from agent_app.source_url as met where met.source_id = source.source_id
    order by met_at, url) as urls
from agent_app.source where source_id in (
    select source_id from agent_app.run_source where run_id = any(%(run_ids)s))
order by source_id
"""


class ArchivedSource(BaseModel):
    """A text; whether it is the corpus's is a matter of the database that it is in."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    source_id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    url: Text
    title: Text
    text: Text
    media_type: Text
    origin: Literal["corpus", "web"]
    fetched_at: Moment
    fetched_by: Text
    urls: list[Text]


def read_archived_sources(
    connection: psycopg.Connection[DictRow], run_ids: Sequence[str]
) -> list[ArchivedSource]:
    """Return what these runs have, as the connection's transaction sees it.

    Raises: ValidationError (a row is none of ours).
    """
    rows = connection.execute(_SOURCES, {"run_ids": list(run_ids)})
    return [ArchivedSource.model_validate(row) for row in rows]
