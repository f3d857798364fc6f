"""The probes' HTTP, asked as a container's platform does."""

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from agent_app.cli.probes import probes
from agent_app.errors import ConfigurationInvalid

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as asking:
        asking.bind((HOST, 0))
        return int(asking.getsockname()[1])


def ask(port: int, path: str, method: str = "GET") -> tuple[int, Any]:
    """Return the status and the JSON of an answer, None for an empty one."""
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


@pytest.fixture
def port() -> Iterator[int]:
    """Yield the port of a server of which one path is well and another one is not."""
    port = free_port()
    with probes(HOST, port, {"/healthz": list, "/readyz": lambda: ["no database"]}):
        yield port


def test_a_check_decides_the_status(port: int) -> None:
    """A check without reasons is 200, one with reasons is 503 and tells them."""
    assert ask(port, "/healthz") == (200, {"status": "OK", "reasons": []})
    assert ask(port, "/readyz?verbose=1") == (
        503,
        {"status": "Service Unavailable", "reasons": ["no database"]},
    )


def test_what_is_no_probe_is_refused(port: int) -> None:
    """Another path is 404 and names those that there are; another method is 405."""
    status, told = ask(port, "/metrics")
    assert (status, told["reasons"]) == (404, ["one of /healthz, /readyz was expected"])
    assert ask(port, "/healthz", "POST")[0] == 405
    assert ask(port, "/healthz", "HEAD") == (405, None)


def test_a_silent_client_holds_up_nobody(port: int) -> None:
    """While one connection says nothing, another one is answered."""
    with socket.create_connection((HOST, port)):
        assert ask(port, "/healthz")[0] == 200


def test_a_port_in_use_is_told(port: int) -> None:
    """A port that somebody listens on is an error that names it and the way out."""
    with (
        pytest.raises(ConfigurationInvalid, match=rf"AGENT_APP_HEALTH_PORT {port} .* in use"),
        probes(HOST, port, {}),
    ):
        pass
