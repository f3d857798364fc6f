"""How a row stands in a file: its columns, and JSON that comes back to the byte.

A column that holds JSON stands under its name where the text can be made again from the value, and
under `{name}_text` where it cannot. A column that is null is left out.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_COMPACT = (",", ":")
"""As our serializer writes."""
_SPACED = (", ", ": ")
"""As Postgres writes jsonb."""
_YEAR_9999_MS = 253_402_300_799_999


def _storable(text: str) -> str:
    if _UNSTORABLE.search(text):
        raise ValueError("it holds a character that Postgres cannot store")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds a control character")
    return text


Text = Annotated[str, AfterValidator(_storable)]
RunId = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_printable)]
StepNumber = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Milliseconds = Annotated[int, Field(ge=0, le=_YEAR_9999_MS)]
"""Since 1970. A later moment would break the views, and every list of runs with them."""
Moment = Annotated[AwareDatetime, Field(strict=False)]
Usd = Annotated[Decimal, Field(strict=False, allow_inf_nan=False)]


class ArchivedRow(BaseModel):
    """One row of a table; the run that it belongs to is known from where it stands."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)
    table: ClassVar[str]
    run_column: ClassVar[str] = "workflow_uuid"
    """The table's column with the run's ID."""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Columns whose fields have other names, by field."""
    key: ClassVar[tuple[str, ...]] = ()
    """Fields that no two rows of one run have in common."""
    payloads: ClassVar[tuple[str, ...]] = ()
    """Fields that hold JSON as text; some tables have the name of its serializer beside them."""
    jsonb: ClassVar[tuple[str, ...]] = ()
    """Fields whose column has the type jsonb; here they are text too."""
    texts: ClassVar[tuple[str, ...]] = ()
    """Other fields that hold what people, models and tools have said."""

    @classmethod
    def column(cls, field: str) -> str:
        """Return the name of the field's column."""
        return cls.renamed.get(field, field)

    @classmethod
    def _separators(cls, field: str) -> tuple[str, str]:
        return _SPACED if field in cls.jsonb else _COMPACT

    @model_validator(mode="before")
    @classmethod
    def _unfold(cls, row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        plain = dict(row)
        for name in (*cls.payloads, *cls.jsonb):
            text = plain.pop(f"{name}_text", None)
            if name in plain:
                if text is not None:
                    raise ValueError(f"it holds {name} twice")
                text = _write_json(plain[name], cls._separators(name))
            plain[name] = text
        return plain

    def folded(self) -> dict[str, Any]:
        """Return the row as JSON; `_unfold` makes it again, text by text."""
        row: dict[str, Any] = {}
        for name, value in self:
            if value is None:
                continue
            if name in self.payloads or name in self.jsonb:
                _fold(row, name, value, self._separators(name))
            else:
                row[name] = _plain(value)
        return row


def _write_json(value: Any, separators: tuple[str, str]) -> str:
    return json.dumps(value, separators=separators, ensure_ascii=False, allow_nan=False)


def _fold(row: dict[str, Any], name: str, text: str, separators: tuple[str, str]) -> None:
    try:
        value = json.loads(text)
        if _write_json(value, separators) == text:
            row[name] = value
            return
    except (ValueError, RecursionError):
        pass
    row[f"{name}_text"] = text


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
