"""What an operator can turn: environment variables and .env in, one frozen object out."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from agent_app.errors import ConfigurationInvalid

OFFLINE_MODEL = "offline"
"""The model that needs no key: each shipped agent's own player, which is not a language model."""
_FIELD = re.compile(r'field "(\w+)"')
"""Where a SettingsError names the field; its value is in the cause alone."""
_SPAN = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST_SPAN = timedelta(days=36_500)
_QUEUE = re.compile(r"[a-z][a-z0-9_-]{0,49}")
DEFAULT_QUEUE = "runs"
"""The queue of every run that is given to none."""
_RESERVED_QUEUES = ("recovery", "search")
_MAX_LIMIT = 1_000_000


def parse_span(text: str) -> timedelta:
    """Return how long a time is that a person wrote: `90s`, `30m`, `2h`, `7d` or `4w`.

    Raises: ValueError (it is none, or is longer than 100 years).
    """
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None or (span := timedelta(**{_UNITS[found[2]]: int(found[1])})) > _LONGEST_SPAN:
        raise ValueError("a number with one of the units s, m, h, d and w was expected, as in 30d")
    return span


class QueueLimits(BaseModel):
    """How many runs of one queue execute and start; None is no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_running_per_worker: int = Field(default=20, ge=1, le=_MAX_LIMIT)
    """Runs that one worker executes at a time; a run that waits for something counts."""
    max_running: int | None = Field(default=None, ge=1, le=_MAX_LIMIT)
    """Runs that all workers together execute at a time."""
    max_running_per_key: int | None = Field(default=None, ge=1, le=_MAX_LIMIT)
    """The same of one key: a tenant, a user, a provider."""
    max_starts: int | None = Field(default=None, ge=1, le=_MAX_LIMIT)
    """Runs that start within any `period_s`."""
    max_starts_per_key: int | None = Field(default=None, ge=1, le=_MAX_LIMIT)
    """The same of one key."""
    period_s: float = Field(default=60.0, gt=0, le=86_400)
    """Seconds that starts are counted over."""
    poll_s: float = Field(default=0.1, ge=0.01, le=60)
    """Seconds between two looks of a worker for a run that may start."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("a number was expected")
        return value


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
    drain_s: float = Field(default=20.0, ge=0, le=86_400)
    """Seconds that a worker's steps in flight have to end after SIGTERM."""
    health_port: int | None = Field(default=None, ge=1, le=65535)
    """Port on which a worker answers `/healthz` and `/readyz`; None is no port."""
    health_host: str = Field(default="127.0.0.1", min_length=1)
    """Address that it listens on: loopback, unless another machine is to ask."""
    max_recoveries: int = Field(default=20, ge=1, le=1_000_000)
    """Deaths of its process in a row, without a finished step, that a run is recovered from."""
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
    queues: dict[str, QueueLimits] = Field(default_factory=dict)
    """Queues beside `runs`, or other limits for that one: `{"slow": {"max_running": 5}}`."""
    agent_queues: dict[str, str] = Field(default_factory=dict)
    """Queues by agent name; other agents' runs wait in `runs`: `{"deep-research": "slow"}`."""
    search_provider: Literal["auto", "corpus", "tavily", "duckduckgo", "native"] = "auto"
    """Where researches look that name no provider: auto, corpus, tavily, duckduckgo or native."""
    search_concurrency: int = Field(default=5, ge=1, le=100)
    """Searches of researches that one process makes at a time."""
    sql_timeout_s: float = Field(default=30.0, gt=0, le=2_147_483)  # in ms it is an int of 32 bits
    """Seconds that a query of `agent-app sql` may take."""
    prune_older_than: timedelta | None = None
    """How long ago a run must have ended that a worker deletes: `30d`; None keeps them all."""
    prune_interval_s: float = Field(default=3600.0, gt=0, le=31_536_000)
    """Seconds between two times that a worker deletes them; the first is when it starts."""
    redact: tuple[str, ...] = Field(default=(), repr=False)
    """Regular expressions of secrets that `agent-app export` does not know: `["acme-[0-9]{8}"]`."""
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

    @field_validator("queues", mode="before")
    @classmethod
    def _check_queues(cls, value: object) -> object:
        limits = ", ".join(QueueLimits.model_fields)
        for name, wanted in value.items() if isinstance(value, dict) else ():
            if not _QUEUE.fullmatch(name) or name in _RESERVED_QUEUES:
                raise ValueError(
                    f"{name!r} cannot be a queue: up to 50 small letters, digits, '-' and '_' were "
                    f"expected, and not {' or '.join(_RESERVED_QUEUES)}, which are agent_app's own"
                )
            odd = set(wanted) - set(QueueLimits.model_fields) if isinstance(wanted, dict) else ()
            if odd:
                raise ValueError(
                    f"queue {name!r} has the limit {min(odd)!r}; one of {limits} was expected"
                )
        return value

    @field_validator("agent_queues")
    @classmethod
    def _check_agent_queues(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        known = {DEFAULT_QUEUE, *info.data.get("queues", ())}
        for agent, queue in value.items():
            if queue not in known and "queues" in info.data:  # without: that error is told first
                raise ValueError(
                    f"{agent!r} has the queue {queue!r}; one of {', '.join(sorted(known))} was "
                    "expected, or another one that AGENT_APP_QUEUES names"
                )
        return value

    @field_validator("prune_older_than", mode="before")
    @classmethod
    def _read_age(cls, value: object) -> object:
        age = parse_span(value) if isinstance(value, str) else value
        if age == timedelta(0):
            raise ValueError("it would delete a run as it ends; unset, nothing is deleted")
        return age

    @field_validator("redact")
    @classmethod
    def _check_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for number, pattern in enumerate(value, start=1):
            try:
                matches_nothing = re.compile(pattern).search("")
            except (re.error, OverflowError, RecursionError) as error:
                reason = f"pattern {number} is no regular expression: {error}"
                raise ValueError(reason) from error
            if matches_nothing:
                raise ValueError(f"pattern {number} matches the empty text, and so everywhere")
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
