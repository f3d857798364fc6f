"""Settings: what is read, what is refused, and what is never shown."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from agent_app.errors import ConfigurationInvalid
from agent_app.settings import OFFLINE_MODEL, read_settings

URL = "postgresql://ann:s3cret@db.example:5432/agents"


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AGENT_APP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_need_nothing() -> None:
    """Without any variable the embedded server and the offline model are used."""
    settings = read_settings()
    assert settings.database_url is None
    assert settings.model == OFFLINE_MODEL
    assert settings.agents == ()


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables with our prefix set what they name, lists by commas, models as JSON."""
    monkeypatch.setenv("AGENT_APP_AGENTS", "one.agents, two.agents,")
    monkeypatch.setenv("AGENT_APP_MODELS", '{"questioner": "openai:gpt-5.2"}')
    monkeypatch.setenv("AGENT_APP_DATA_DIRECTORY", "/srv/agents")
    settings = read_settings()
    assert settings.agents == ("one.agents", "two.agents")
    assert settings.models == {"questioner": "openai:gpt-5.2"}
    assert settings.data_directory == Path("/srv/agents")


def test_dot_env_is_read_and_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A .env in the working directory counts, unless the environment says otherwise."""
    Path(".env").write_text("AGENT_APP_MODEL=from-file\nAGENT_APP_APPLICATION_VERSION=7\n")
    monkeypatch.setenv("AGENT_APP_MODEL", "from-environment")
    settings = read_settings()
    assert (settings.model, settings.application_version) == ("from-environment", "7")


def test_overrides_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a door is told goes before the environment."""
    monkeypatch.setenv("AGENT_APP_MODEL", "from-environment")
    assert read_settings(model="from-door").model == "from-door"


def test_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither `repr` nor `str` of the settings hold the database's password."""
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", URL)
    settings = read_settings()
    assert str(settings.database_url) == URL
    assert "s3cret" not in f"{settings!r} {settings!s}"


@pytest.mark.parametrize(
    "url", ["mysql://ann:s3cret@db/agents", "postgresql://ann:s3cret@db:notaport/agents", "s3cret"]
)
def test_bad_url_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A URL that cannot work is an error that names the variable, and not the password."""
    monkeypatch.setenv("AGENT_APP_DATABASE_URL", url)
    with pytest.raises(ConfigurationInvalid, match="AGENT_APP_DATABASE_URL") as caught:
        read_settings()
    assert "s3cret" not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_CONNECT_TIMEOUT_S", "0"),
        ("DATABASE_POOL_SIZE", "1"),
        ("EXECUTOR_LEASE_S", "0.1"),
        ("MODEL_MAX_ATTEMPTS", "many"),
        ("MODEL", ""),
        ("SQL_TIMEOUT_S", "-1"),
        ("SQL_TIMEOUT_S", "inf"),
        ("MODELS", "{questioner: no JSON}"),
    ],
)
def test_bad_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value out of its limits is an error that names its variable."""
    monkeypatch.setenv(f"AGENT_APP_{name}", value)
    with pytest.raises(ConfigurationInvalid, match=f"AGENT_APP_{name} is not valid: "):
        read_settings()


def test_file_that_is_no_text_is_refused() -> None:
    """A .env in another encoding is an error that names it."""
    Path(".env").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationInvalid, match=r"The file \.env is not valid"):
        read_settings()


def test_settings_are_frozen() -> None:
    """Nobody changes a setting behind another's back."""
    settings = read_settings()
    with pytest.raises(ValidationError):
        settings.model = "other"  # type: ignore[misc]
