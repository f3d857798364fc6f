"""A local HTTP server in the place of a provider: it plays, fails when told to, and keeps count."""

import json
import os
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from tests.doors.stub_player import Heard, Said, reply

Message = dict[str, Any]
Event = tuple[str | None, Message | str]
"""Name, if the API names its events, and data."""
_HOLD_S = 60.0


class Api(Protocol):
    """How one API writes what is heard and said."""

    def hear(self, body: Message) -> Heard:
        """Read a request."""

    def say(self, said: Said, body: Message, number: int) -> Message:
        """Write an answer."""

    def stream(self, said: Said, body: Message, number: int) -> list[Event]:
        """Write an answer in pieces."""

    def malformed(self, said: Said) -> Said:
        """Spoil the arguments of a tool call."""

    def fail(self, status: int) -> Message:
        """Write an error."""


@dataclass(frozen=True)
class Failure:
    """An answer that is an error."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Message | None = None
    """What it says; None leaves that to the API."""


Fault = Failure | str
"""A failure, or one of these:

- `malformed`: the arguments of a tool call are spoilt;
- `hold`: no answer, until `released` is set or the client leaves;
- `reset`: the connection is reset before an answer;
- `drop`: the connection is closed before an answer;
- `cut`: the connection is closed in the middle of an answer;
- `short`: a streamed answer lacks its last events, though its connection ends well.
"""


@dataclass
class Stub:
    """A running server; requests are numbered from 1."""

    url: str = ""
    text: str | None = None
    """What every request is answered with; None lets the player say it."""
    player: Callable[[Heard], Said] = reply
    """Who plays; the game, if nobody else is named."""
    faults: dict[int, Fault] = field(default_factory=dict)
    requests: list[Message] = field(default_factory=list)
    answered: list[Message] = field(default_factory=list)
    """Requests that got a whole answer without an error."""
    connections: set[Any] = field(default_factory=set)
    """Addresses of clients; a client that keeps its connection has one."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)
    """When each request came, by the monotonic clock."""
    left_at: dict[int, float] = field(default_factory=dict)
    """When the client gave up a request that was held back, by its number."""
    holding: threading.Event = field(default_factory=threading.Event)
    """Set when a request is held back."""
    released: threading.Event = field(default_factory=threading.Event)
    """To be set when what is held back may end."""

    def most_often_answered(self) -> int:
        """Return how often the same request was answered at most; 1 is once each."""
        return max(Counter(json.dumps(body, sort_keys=True) for body in self.answered).values())


class _Server(ThreadingHTTPServer):
    def __init__(self, api: Api) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api
        self.stub = Stub()
        self._lock = threading.Lock()

    def note(self, body: Message, headers: Mapping[str, str], client: Any) -> int:
        """Return the request's number."""
        with self._lock:
            self.stub.requests.append(body)
            self.stub.asked_at.append(time.monotonic())
            self.stub.headers.append(headers)
            self.stub.connections.add(client)
            return len(self.stub.requests)


@contextmanager
def serving(api: Api, path: str = "") -> Iterator[Stub]:
    """Yield a stub that speaks `api` on a port of its own."""
    server = _Server(api)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.stub.url = f"http://127.0.0.1:{server.server_port}{path}"
    try:
        yield server.stub
    finally:
        server.stub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # one packet an answer, or each waits 40 ms for an acknowledgement
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = self.server.note(body, dict(self.headers), self.client_address)
        with suppress(ConnectionError):  # the client was killed
            self._answer(body, number, self.server.stub.faults.get(number))

    def _answer(self, body: Message, number: int, fault: Fault | None) -> None:
        match fault:
            case Failure():
                said = fault.body or self.server.api.fail(fault.status)
                self._send_json(said, fault.status, fault.headers)
            case "hold":
                self._hold(number)
            case "reset":
                self._reset()
            case "drop":
                self.close_connection = True
            case _:
                self._send_answer(body, number, fault)

    def _send_answer(self, body: Message, number: int, fault: str | None) -> None:
        api, stub = self.server.api, self.server.stub
        said = stub.player(api.hear(body)) if stub.text is None else Said(stub.text)
        said = api.malformed(said) if fault == "malformed" else said
        is_cut = fault == "cut"
        self.close_connection |= is_cut
        if body.get("stream"):
            events = api.stream(said, body, number)
            events = events[: len(events) // 2] if fault in ("cut", "short") else events
            self._send_events(events, is_cut=is_cut)
        else:
            self._send_json(api.say(said, body, number), is_cut=is_cut)
        if not is_cut:
            stub.answered.append(body)

    def _hold(self, number: int) -> None:
        stub = self.server.stub
        stub.holding.set()
        self.close_connection = True
        until = time.monotonic() + _HOLD_S
        while not stub.released.is_set() and time.monotonic() < until:
            if select.select([self.connection], [], [], 0.01)[0]:
                stub.left_at[number] = time.monotonic()  # a client that waits sends nothing
                return

    def _reset(self) -> None:
        """Close with what is called a hard close: the client gets RST instead of an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        self.close_connection = True

    def _send_json(
        self,
        value: Message,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        is_cut: bool = False,
    ) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, content in (headers or {}).items():
            self.send_header(name, content)
        self.end_headers()
        self.wfile.write(text[: len(text) // 2] if is_cut else text)

    def _send_events(self, events: list[Event], *, is_cut: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for name, value in events:
            data = value if isinstance(value, str) else json.dumps(value)
            text = (f"event: {name}\n" if name else "") + f"data: {data}\n\n"
            self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
            self.wfile.flush()
        if not is_cut:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
