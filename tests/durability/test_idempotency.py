"""Keys that a tool's other side knows a call by: the same in every try, and in no other call."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from dbos import DBOS
from pydantic_ai import Agent

from agent_app import delegate, durable, http_client, idempotency_key
from agent_app.durability.storage import storage
from agent_app.failover.orphans import recover_orphans
from tests.durability.running import Engine, call, scripted

Heard = tuple[str, str, str | None]
"""Method, path and key of a request."""


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[Heard] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _answer(self) -> None:
        self.server.heard.append((self.command, self.path, self.headers["Idempotency-Key"]))
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response(307 if self.path == "/moved" else 200)
        self.send_header("Location", "/here")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    """Yield a server that notes who asks it for what, and with which key."""
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def go_on(engine: Engine, run_id: str = "r") -> Any:
    """Take a run over that an earlier life left, and return its output."""
    recover_orphans(
        engine.database,
        own_executor_id=storage().executor_id,
        application_version=engine.settings.application_version,
    )
    handle: Any = await DBOS.retrieve_workflow_async(run_id)
    return (await handle.get_result())["output"]


async def test_a_call_has_one_key_in_all_tries_and_lives(engine: Engine) -> None:
    """After a failed try and the end of the process the key is what it was."""
    keys: list[str] = []
    hangs = asyncio.Event()
    agent = durable(Agent(scripted(call("pay", "a"), "paid"), name="worker"))

    @agent.tool_plain
    async def pay() -> None:
        keys.extend((idempotency_key(), idempotency_key()))
        if len(keys) == 2:
            raise ConnectionError("lost")
        if len(keys) == 4:
            hangs.set()
            await asyncio.Event().wait()

    async with engine:
        await engine.start("worker", "go")
        await hangs.wait()
    async with engine:
        assert await go_on(engine) == "paid"
    assert keys == ["r:a"] * 6


async def test_each_call_has_its_own_key(engine: Engine) -> None:
    """Two calls, one whose ID comes again, a child's and another run's: no two keys are alike."""
    keys: list[str] = []
    child = durable(Agent(scripted(call("pay", "a"), "paid"), name="child"))
    turns = [call("pay", "a"), call("pay", "b")], call("pay", "a"), call("ask", "c"), "paid"
    parent = durable(Agent(scripted(*turns), name="worker"))

    @child.tool_plain
    @parent.tool_plain
    async def pay() -> None:
        keys.append(idempotency_key())

    @parent.tool_plain
    async def ask() -> str:
        keys.append(idempotency_key())
        answer: str = await delegate(child, "please")
        return answer

    async with engine:
        for run_id in ("r", "s"):
            await engine.run("worker", "go", run_id=run_id)
    own = {"r:a", "r:b", "r:a.2", "r:c", "r:c:a"}
    assert set(keys) == own | {f"s{key[1:]}" for key in own}
    assert len(keys) == len(set(keys))


async def test_a_synchronous_tool_has_the_key_too(engine: Engine) -> None:
    """A tool in a thread of its own knows its call."""
    keys: list[str] = []
    agent = durable(Agent(scripted(call("pay", "a"), "paid"), name="worker"))

    @agent.tool_plain
    def pay() -> None:
        keys.append(idempotency_key())
        if len(keys) < 3:
            raise ConnectionError("lost")

    async with engine:
        await engine.run("worker", "go")
    assert keys == ["r:a"] * 3


async def test_the_client_sends_the_key(engine: Engine, server: _Server) -> None:
    """Reads carry the bare key, each further change its number: in every try the same ones."""
    tries: list[int] = []
    agent = durable(Agent(scripted(call("pay", "a"), "paid"), name="worker"))

    @agent.tool_plain
    async def pay() -> None:
        tries.append(len(server.heard))
        async with http_client(base_url=server.url) as client:
            await client.get("/balance")
            await client.post("/pay", json={"amount": 1})
            await client.put("/note")
        async with http_client(base_url=server.url, headers={"X-Mine": "yes"}) as client:
            await client.head("/balance")
            await client.post("/pay", headers={"idempotency-key": "mine"})
            await client.delete("/note")
        if len(tries) < 2:
            raise ConnectionError("lost")

    async with engine:
        await engine.run("worker", "go")
    one_try = [
        ("GET", "/balance", "r:a"),
        ("POST", "/pay", "r:a"),
        ("PUT", "/note", "r:a:2"),
        ("HEAD", "/balance", "r:a"),
        ("POST", "/pay", "mine"),
        ("DELETE", "/note", "r:a:3"),
    ]
    assert server.heard == one_try * 2


async def test_a_header_of_the_clients_own_stays(engine: Engine, server: _Server) -> None:
    """What a tool gives the whole client goes before the call's key."""
    agent = durable(Agent(scripted(call("pay", "a"), "paid"), name="worker"))

    @agent.tool_plain
    async def pay() -> None:
        headers = {"Idempotency-Key": "mine"}
        async with http_client(base_url=server.url, headers=headers) as client:
            await client.post("/pay")

    async with engine:
        await engine.run("worker", "go")
    assert server.heard == [("POST", "/pay", "mine")]


async def test_a_redirect_keeps_the_key(engine: Engine, server: _Server) -> None:
    """Who is sent elsewhere is the same caller there."""
    agent = durable(Agent(scripted(call("pay", "a"), "paid"), name="worker"))

    @agent.tool_plain
    async def pay() -> None:
        async with http_client(base_url=server.url, follow_redirects=True) as client:
            await client.post("/pay")
            await client.post("/moved")

    async with engine:
        await engine.run("worker", "go")
    assert server.heard == [
        ("POST", "/pay", "r:a"),
        ("POST", "/moved", "r:a:2"),
        ("POST", "/here", "r:a:2"),
    ]


async def test_outside_a_run_a_tool_can_be_tested(server: _Server) -> None:
    """There each call of the function has a key of its own, and the client sends none."""
    assert len({idempotency_key() for _ in range(3)} - {""}) == 3
    async with http_client(base_url=server.url) as client:
        response = await client.post("/pay")
    assert response.status_code == 200
    assert server.heard == [("POST", "/pay", None)]
