"""Settings as far as they are valid: one bad value hides neither the others nor the database."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from agent_app.errors import ConfigurationInvalid
from agent_app.settings import Settings, read_settings

_PLACES = frozenset({"database_url", "data_directory"})
"""Without them nobody knows which database is meant."""


@dataclass(frozen=True)
class ReadSettings:
    """What the environment and .env come to."""

    settings: Settings
    """Valid ones: a default stands where a value is not valid."""
    problems: tuple[str, ...]
    """One sentence for each value that is not valid; no value is in it."""
    names_database: bool
    """Whether it is certain which database is meant."""


class _AllAtOnce(Settings):
    """The same settings, where a value that is no JSON is one error among others."""

    model_config = SettingsConfigDict(enable_decoding=False)

    @field_validator("models", mode="before")
    @classmethod
    def _decode(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("it must be JSON") from None


def read_valid_settings() -> ReadSettings:
    """Return the settings with defaults in the place of what is not valid; it raises nothing."""
    try:
        return ReadSettings(read_settings(), (), names_database=True)
    except ConfigurationInvalid as error:
        if not str(error).startswith("The file .env"):
            return _read_the_rest(Path(".env"), ())
        read = _read_the_rest(None, (str(error),))
        is_named = read.names_database and "database_url" in read.settings.model_fields_set
        return ReadSettings(read.settings, read.problems, is_named)


def _read_the_rest(env_file: Path | None, problems: tuple[str, ...]) -> ReadSettings:
    try:
        settings: Settings = _AllAtOnce(_env_file=env_file)
    except ValidationError as error:
        invalid = {str(problem["loc"][0]): problem["msg"] for problem in error.errors()}
    else:
        return ReadSettings(settings, problems, names_database=True)
    fields = Settings.model_fields
    defaults = {name: fields[name].get_default(call_default_factory=True) for name in invalid}
    settings = _AllAtOnce(_env_file=env_file, **defaults)
    told = (
        f"AGENT_APP_{name.upper()} is not valid: {message.removeprefix('Value error, ')}."
        for name, message in invalid.items()
    )
    return ReadSettings(settings, (*problems, *told), not _PLACES & set(invalid))
