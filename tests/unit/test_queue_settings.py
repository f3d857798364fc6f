"""AGENT_APP_QUEUES and AGENT_APP_AGENT_QUEUES: what they mean, and what is refused."""

import os
from pathlib import Path

import pytest

from agent_app.durability.queues import check_queues, known_queues
from agent_app.errors import ConfigurationInvalid, QueueNotFound
from agent_app.settings import QueueLimits, read_settings


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AGENT_APP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_without_settings_there_is_one_queue() -> None:
    """It is `runs`, with a limit per worker and no other."""
    assert known_queues(read_settings()) == {"runs": QueueLimits()}
    assert QueueLimits().max_running_per_worker == 20
    limits = QueueLimits().model_dump(exclude={"max_running_per_worker", "period_s", "poll_s"})
    assert set(limits.values()) == {None}


def test_queues_are_read_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further queues stand beside `runs`, whose limits may be set too; agents are given to them."""
    monkeypatch.setenv(
        "AGENT_APP_QUEUES", '{"slow": {"max_running": 5}, "runs": {"max_starts_per_key": 3}}'
    )
    monkeypatch.setenv("AGENT_APP_AGENT_QUEUES", '{"digger": "slow", "writer": "runs"}')
    settings = read_settings()
    known = known_queues(settings)
    assert list(known) == ["runs", "slow"]
    assert (known["runs"].max_starts_per_key, known["slow"].max_running) == (3, 5)
    assert settings.agent_queues == {"digger": "slow", "writer": "runs"}


def test_a_worker_serves_all_queues_or_the_named_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is named once; one that there is not is an error that names those that there are."""
    monkeypatch.setenv("AGENT_APP_QUEUES", '{"slow": {}}')
    settings = read_settings()
    assert check_queues(settings, []) == ["runs", "slow"]
    assert check_queues(settings, ["slow", "slow"]) == ["slow"]
    with pytest.raises(QueueNotFound) as caught:
        check_queues(settings, ["slow", "fast"])
    assert str(caught.value) == (
        "Queue 'fast' does not exist; known are 'runs', 'slow'. AGENT_APP_QUEUES adds further ones."
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "Input should be a valid dictionary"),
        ("{", "must be JSON"),
        ('{"slow": 3}', "AGENT_APP_QUEUES__SLOW is not valid"),
        ('{"slow": {"max_runing": 3}}', "queue 'slow' has the limit 'max_runing'; one of max_run"),
        ('{"slow": {"max_running": -1}}', "__MAX_RUNNING is not valid: Input should be greater"),
        ('{"slow": {"max_running": 0}}', "__MAX_RUNNING is not valid: Input should be greater"),
        ('{"slow": {"max_running": 2000000}}', "less than or equal to 1000000"),
        ('{"slow": {"max_running": 1.5}}', "valid integer"),
        ('{"slow": {"max_running": true}}', "a number was expected"),
        ('{"slow": {"max_running_per_worker": null}}', "valid integer"),
        ('{"slow": {"period_s": 0}}', "__PERIOD_S is not valid: Input should be greater than 0"),
        ('{"slow": {"poll_s": 0.001}}', "__POLL_S is not valid"),
        ('{"slow": {"poll_s": NaN}}', "__POLL_S is not valid"),
        ('{"Slow one": {}}', "'Slow one' cannot be a queue: up to 50 small letters"),
        ('{"recovery": {}}', "'recovery' cannot be a queue"),
        ('{"search": {}}', "not recovery or search, which are agent_app's own"),
    ],
)
def test_bad_queues_are_refused(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    """The message names the variable, the queue or the limit, and what was expected."""
    monkeypatch.setenv("AGENT_APP_QUEUES", value)
    with pytest.raises(ConfigurationInvalid) as caught:
        read_settings()
    assert message in str(caught.value)
    assert str(caught.value).startswith("AGENT_APP_QUEUES")


def test_an_agents_queue_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that AGENT_APP_QUEUES does not name is refused."""
    monkeypatch.setenv("AGENT_APP_QUEUES", '{"slow": {}}')
    monkeypatch.setenv("AGENT_APP_AGENT_QUEUES", '{"digger": "slwo"}')
    with pytest.raises(ConfigurationInvalid) as caught:
        read_settings()
    assert str(caught.value) == (
        "AGENT_APP_AGENT_QUEUES is not valid: 'digger' has the queue 'slwo'; one of runs, slow was "
        "expected, or another one that AGENT_APP_QUEUES names."
    )
