"""The README's example, run as it is printed there, against a server of the test's own."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent_app.database.connect import Database
from agent_app.database.read import StepRow, read_run, read_steps

ROOT = Path(__file__).parents[2]
DRAFT = "Potatoes come from the Andes."
ANSWER = "The potato was first grown in the Andes."


@dataclass
class Web:
    """A provider of models and a page of the web, both on this machine."""

    url: str
    conversations: list[str] = field(default_factory=list)
    """Instructions of each model request, in order."""
    pages: list[str] = field(default_factory=list)
    """Paths that were fetched."""


class _Handler(BaseHTTPRequestHandler):
    """Speaks the Messages API; the writer fetches, delegates, and answers."""

    web: Web

    def do_GET(self) -> None:
        self.web.pages.append(self.path)
        self._send(DRAFT, "text/plain")

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        instructions = " ".join(part["text"] for part in request["system"])
        self.web.conversations.append(instructions)
        is_critic = "weakest" in instructions
        block = _text("All of it.") if is_critic else self._writer(len(request["messages"]))
        events = _as_events(block, request["model"])
        lines = (f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
        self._send("".join(lines), "text/event-stream")

    def _writer(self, message_count: int) -> dict[str, Any]:
        return {
            1: _tool("fetch", {"url": f"{self.web.url}/potato"}),
            3: _tool("ask_critic", {"draft": DRAFT}),
            5: _text(ANSWER),
        }[message_count]

    def _send(self, text: str, content_type: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _tool(name: str, arguments: dict[str, str]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": arguments}


def _as_events(block: dict[str, Any], model: str) -> list[dict[str, Any]]:
    """Return one answer as the events of a stream, in two halves as a stream would."""
    is_text = block["type"] == "text"
    whole = block["text"] if is_text else json.dumps(block["input"])
    kind, key = ("text_delta", "text") if is_text else ("input_json_delta", "partial_json")
    message = {"id": "msg", "type": "message", "role": "assistant", "model": model, "content": []}
    usage = {"input_tokens": 100, "output_tokens": 1}
    started = {**block, "text": ""} if is_text else {**block, "input": {}}
    half = len(whole) // 2
    reason = "end_turn" if is_text else "tool_use"
    return [
        {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": started},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": kind, key: part}}
            for part in (whole[:half], whole[half:])
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": {"output_tokens": 20},
        },
        {"type": "message_stop"},
    ]


@pytest.fixture
def web() -> Iterator[Web]:
    """Yield the local web while its server runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    _Handler.web = web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield web
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def finished(database: Database, web: Web, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Return the README's command, finished, with the README's module in its directory."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "my_agents.py").write_text(block)
    environment = os.environ | {
        "AGENT_APP_AGENTS": "my_agents",
        "AGENT_APP_DATABASE_URL": database.url,
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_BASE_URL": web.url,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
        "NO_PROXY": "127.0.0.1",
    }
    question = "Where do potatoes come from? Cite one page."
    return subprocess.run(
        [sys.executable, "-m", "agent_app", "run", "writer", question, "--id", "potato", "--json"],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def _names(steps: list[StepRow]) -> list[str]:
    return [step.name for step in steps]


def test_example_runs_as_it_is_printed(
    finished: subprocess.CompletedProcess[str], database: Database, web: Web
) -> None:
    """The writer fetches a page, delegates to the critic in a child run, and answers."""
    assert finished.returncode == 0, finished.stderr
    record = json.loads(finished.stdout)
    assert (record["agent"], record["status"], record["output"]) == ("writer", "SUCCESS", ANSWER)
    assert _names(read_steps(database, "potato")) == [
        "writer.model",
        "writer.tool.fetch",
        "writer.model",
        "writer.tool.ask_critic",
        "writer.model",
    ]
    child = read_run(database, "potato:toolu_ask_critic")
    assert child is not None
    assert (child.agent, child.parent_run_id) == ("critic", "potato")
    assert (child.input, child.output) == (DRAFT, "All of it.")
    assert _names(read_steps(database, child.run_id)) == ["critic.model"]
    assert web.pages == ["/potato"]
    assert ["weakest" in asked for asked in web.conversations] == [False, False, True, False]
    assert record["usage"]["requests"] == len(web.conversations)
