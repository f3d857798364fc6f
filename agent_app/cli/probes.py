"""A small HTTP server for those who watch a worker; it answers from a thread of its own."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agent_app.errors import ConfigurationInvalid

_SILENCE_S = 5.0
"""Seconds after which a client that sends nothing is hung up on."""


@contextmanager
def probes(
    host: str, port: int | None, checks: Mapping[str, Callable[[], list[str]]]
) -> Iterator[None]:
    """Answer GET on the paths of `checks` while the block lasts; without a port, do nothing.

    200 where a check gives no reason against it, else 503; the body is JSON with the reasons.
    Raises: ConfigurationInvalid (the port cannot be had).
    """
    if port is None:
        yield
        return
    handler = type("Handler", (_Handler,), {"checks": checks})
    try:
        server = ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        raise ConfigurationInvalid(
            f"AGENT_APP_HEALTH_PORT {port} cannot be had on {host!r}: {error.strerror}. Name "
            "another one, or unset it."
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="probes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    checks: Mapping[str, Callable[[], list[str]]]
    timeout = _SILENCE_S

    def do_GET(self) -> None:
        check = self.checks.get(self.path.partition("?")[0])
        if check is None:
            self._answer(HTTPStatus.NOT_FOUND, [f"one of {', '.join(self.checks)} was expected"])
            return
        reasons = check()
        self._answer(HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK, reasons)

    def refuse(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, ["GET was expected"])

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = refuse

    def _answer(self, status: HTTPStatus, reasons: list[str]) -> None:
        body = json.dumps({"status": status.phrase, "reasons": reasons}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no line for each request."""
