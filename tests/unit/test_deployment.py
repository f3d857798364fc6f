"""What starts and stops workers outside of Python agrees with what workers do."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from agent_app.settings import Settings

_ROOT = Path(__file__).parents[2]
_LIMIT_S = Settings.model_fields["drain_s"].default


def manifests() -> list[Any]:
    """Return the objects that Kubernetes is given."""
    return list(yaml.safe_load_all((_ROOT / "docs/kubernetes.yaml").read_text()))


def compose_worker() -> dict[str, Any]:
    """Return the service `worker` of docker-compose.yml."""
    service = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())["services"]["worker"]
    assert isinstance(service, dict)
    return service


def test_docker_and_systemd_kill_only_after_the_drain() -> None:
    """SIGKILL comes later than the drain's default limit."""
    (stop_s,) = re.findall(
        r"^TimeoutStopSec=(\d+)$", (_ROOT / "docs/operate.md").read_text(), re.MULTILINE
    )
    assert int(stop_s) > _LIMIT_S
    assert int(compose_worker()["stop_grace_period"].removesuffix("s")) > _LIMIT_S


def test_kubernetes_kills_only_after_the_drain() -> None:
    """The grace is longer than the limit that the manifest itself sets."""
    pod = manifests()[0]["spec"]["template"]["spec"]
    settings = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    assert pod["terminationGracePeriodSeconds"] > float(settings["AGENT_APP_DRAIN_S"])


def test_probes_ask_where_a_worker_answers() -> None:
    """Every probe's path is one that a worker knows, on the port that it is given."""
    container = manifests()[0]["spec"]["template"]["spec"]["containers"][0]
    settings = {entry["name"]: entry["value"] for entry in container["env"]}
    assert container["ports"] == [
        {"name": "health", "containerPort": int(settings["AGENT_APP_HEALTH_PORT"])}
    ]
    paths = {
        probe: container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    worker = compose_worker()
    port = worker["environment"]["AGENT_APP_HEALTH_PORT"]
    assert f"http://127.0.0.1:{port}/readyz" in worker["healthcheck"]["test"]


@pytest.mark.parametrize("name", ["docs/kubernetes.yaml", "docker-compose.yml"])
def test_every_setting_that_is_named_exists(name: str) -> None:
    """A setting that was renamed would be ignored without a word."""
    named = set(re.findall(r"AGENT_APP_([A-Z_]+)", (_ROOT / name).read_text()))
    assert named
    assert {setting.lower() for setting in named} <= set(Settings.model_fields)


def test_the_disruption_budget_is_that_of_the_workers() -> None:
    """Deployment and budget select the same pods."""
    deployment, budget = manifests()
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
