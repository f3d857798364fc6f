"""What an operator can turn: environment variables and .env in, one frozen object out."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from agent_app.errors import ConfigurationInvalid

OFFLINE_MODEL = "offline"
"""The model that needs no key: each shipped agent's own player, which is not a language model."""
_FIELD = re.compile(r'field "(\w+)"')
"""Where a SettingsError names the field; its value is in the cause alone."""


class Settings(BaseSettings):
    """Every knob, read once at a door, then passed by argument."""

    model_config = SettingsConfigDict(
        env_prefix="AGENT_APP_",
        env_file=".env",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: str | None = Field(default=None, repr=False)
    """Postgres for our tables and DBOS's; None starts the embedded server. It is never shown."""
    data_directory: Path | None = None
    """Where the embedded server keeps its data; None is the user's own data directory."""
    database_connect_timeout_s: float = Field(default=5.0, gt=0)
    """Seconds that a server has to answer before it counts as unreachable."""
    database_start_timeout_s: float = Field(default=600.0, gt=0)
    """Seconds that the embedded server has to start; recovery from a crash takes part of them."""
    database_pool_size: int = Field(default=20, ge=2, le=500)
    """Connections that one process opens for checkpoints; the executor's lock takes one more."""
    executor_thread_count: int = Field(default=8, ge=2, le=256)
    """Threads that write checkpoints; more are slower, since they contend for the interpreter."""
    agents: Annotated[tuple[str, ...], NoDecode] = ()
    """Modules that register agents of your own, separated by commas: `my_project.agents`."""
    model: str = Field(default=OFFLINE_MODEL, min_length=1)
    """Model of the shipped agents: any Pydantic AI model string, or `offline`."""
    models: dict[str, str] = Field(default_factory=dict)
    """Models by agent name; they go before `model`: `{"questioner": "openai:gpt-5.2"}`."""
    application_version: str = Field(default="1", min_length=1, max_length=64)
    """Recovery stays within it: a process goes on only with runs started under its own."""
    executor_lease_s: float = Field(default=5.0, ge=0.5, le=3600)
    """Seconds without a sign of life after which the server frees an executor's lock."""
    model_max_attempts: int = Field(default=4, ge=1, le=100)
    """Tries of one model request, the first included."""
    model_timeout_s: float = Field(default=600.0, gt=0)
    """Seconds that one try of a model request may take."""
    tool_max_attempts: int = Field(default=3, ge=1, le=100)
    """Tries of one tool call, the first included; only errors that can pass are tried again."""
    tool_timeout_s: float = Field(default=600.0, gt=0)
    """Seconds that one try of a tool call may take."""
    retry_backoff_s: float = Field(default=0.5, ge=0)
    """Seconds before the first retry, doubled for each further one, with full jitter."""
    retry_backoff_max_s: float = Field(default=30.0, ge=0)
    """Seconds between two tries, at most."""
    retry_after_max_s: float = Field(default=120.0, ge=0)
    """Seconds that a provider's `Retry-After` is obeyed for, at most."""
    sql_timeout_s: float = Field(default=30.0, gt=0, le=2_147_483)  # in ms it is an int of 32 bits
    """Seconds that a query of `agent-app sql` may take."""
    body_journal: Path | None = None
    """File that every event of a step's body is appended to; `agent-app chaos` counts with it."""

    @field_validator("database_url")
    @classmethod
    def _check_scheme(cls, value: str | None) -> str | None:
        """Accept every URL that libpq does: a socket's has no host, which PostgresDsn demands."""
        scheme, separator, _ = (value or "postgresql://").partition("://")
        if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
            found = f"; its scheme is {scheme!r}" if separator else ""
            raise ValueError(f"it must start with postgresql://{found}")
        if value is not None and "," not in value:  # libpq takes a list of hosts, urlsplit does not
            _ = urlsplit(value).port  # raises where it is no number
        return value

    @field_validator("agents", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


def read_settings(**overrides: object) -> Settings:
    """Read the environment and .env; `overrides` go first.

    Raises: ConfigurationInvalid, naming the variable and never its value.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = "__".join(str(part) for part in first["loc"]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigurationInvalid(f"AGENT_APP_{name} is not valid: {reason}.") from None
    except SettingsError as error:
        field = _FIELD.search(str(error))
        name = f"AGENT_APP_{field[1].upper()}" if field else "A setting"
        raise ConfigurationInvalid(f"{name} is not valid: it must be JSON.") from None
    except UnicodeDecodeError:
        raise ConfigurationInvalid("The file .env is not valid: it must be UTF-8.") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationInvalid(f"The file .env cannot be read: {reason}.") from None
