"""Language models that search the web by themselves, as stubs speak for them in a research.

Their planner plans one search; their searcher searches, may read pages, and quotes; their analyst
quotes the same words from where they were found.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.doors.anthropic_stub import MessagesApi
from tests.doors.openai_stub import ResponsesApi
from tests.doors.stub_player import Heard, Said
from tests.doors.stub_server import Event, Message, Stub, serving

CLAIM = "The potato comes from the Andes."


@dataclass
class Script:
    """What the models of a research do."""

    pages: list[str]
    """URLs that the provider's search names."""
    reads: list[str] = field(default_factory=list)
    """Pages that the searcher reads."""
    words: str = ""
    cited: str = ""
    """The source of the words: its ID or its URL."""

    def next(self, tool: Message, answers: list[str]) -> tuple[bool, list[tuple[str, Message]]]:
        """Return whether a search of its own comes first, and the calls after it.

        `tool` is the schema of the answer that is wanted, `answers` what tools returned so far.
        """
        wanted = set(tool["properties"])
        quotes = [{"source_id": self.cited, "words": self.words}]
        if wanted == {"searches"}:
            return False, [("final_result", {"searches": [{"query": "potato"}]})]
        if "missing" in wanted:
            return False, [("final_result", {})]
        if "claims" in wanted:
            claims = [{"text": CLAIM, "quotes": quotes}]
            return False, [("final_result", {"summary": CLAIM, "claims": claims})]
        if not answers and self.reads:
            calls = [("read", {"source": url, "about": "potato"}) for url in self.reads]
            return True, calls
        return not answers, [("final_result", {"summary": CLAIM, "quotes": quotes})]


class NativeResponses(ResponsesApi):
    """OpenAI's: a `web_search_call` whose sources were asked for by `include`."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def hear(self, body: Message) -> Heard:
        return Heard([], [], "")

    def say(self, said: Said, body: Message, number: int) -> Message:
        outputs = [i["output"] for i in body["input"] if i.get("type") == "function_call_output"]
        schema = next(t for t in body["tools"] if t.get("name") == "final_result")["parameters"]
        searches, calls = self._script.next(schema, outputs)
        output = [self._search(body, number)] if searches else []
        output += [
            {
                "type": "function_call",
                "id": f"item_{number}_{place}",
                "call_id": f"call_{number}_{place}",
                "name": name,
                "arguments": json.dumps(arguments),
                "status": "completed",
            }
            for place, (name, arguments) in enumerate(calls)
        ]
        return {**super().say(said, body, number), "output": output}

    def _search(self, body: Message, number: int) -> Message:
        assert any(tool["type"] == "web_search" for tool in body["tools"])
        action: Message = {"type": "search", "query": "potato"}
        if "web_search_call.action.sources" in body.get("include", ()):
            action["sources"] = [{"type": "url", "url": url} for url in self._script.pages]
        item = {"type": "web_search_call", "id": f"ws_{number}", "status": "completed"}
        return {**item, "action": action}


class NativeMessages(MessagesApi):
    """Anthropic's: a `server_tool_use` with its result in the same answer; JSON to a schema."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def hear(self, body: Message) -> Heard:
        return Heard([], [], "")

    def say(self, said: Said, body: Message, number: int) -> Message:
        blocks = [
            b for m in body["messages"] if isinstance(m["content"], list) for b in m["content"]
        ]
        answers = [b["content"] for b in blocks if b["type"] == "tool_result"]
        schema = body["output_config"]["format"]["schema"]
        searches, calls = self._script.next(schema, answers)
        content = self._search(body, number) if searches else []
        for place, (name, arguments) in enumerate(calls):
            use = {"type": "tool_use", "id": f"toolu_{number}_{place}", "name": name}
            text = {"type": "text", "text": json.dumps(arguments)}
            content.append(text if name == "final_result" else {**use, "input": arguments})
        reason = "tool_use" if content[-1]["type"] == "tool_use" else "end_turn"
        return {**super().say(said, body, number), "content": content, "stop_reason": reason}

    def _search(self, body: Message, number: int) -> list[Message]:
        assert any(tool["name"] == "web_search" for tool in body["tools"])
        use = {"type": "server_tool_use", "id": f"srvtoolu_{number}", "name": "web_search"}
        found = [
            {
                "type": "web_search_result",
                "url": url,
                "title": f"Page {place}",
                "encrypted_content": "EqgfCioIARgBIiQ3YTAwMjY1",
                "page_age": None,
            }
            for place, url in enumerate(self._script.pages)
        ]
        return [
            {**use, "input": {"query": "potato"}},
            {"type": "web_search_tool_result", "tool_use_id": use["id"], "content": found},
        ]

    def stream(self, said: Said, body: Message, number: int) -> list[Event]:
        message = self.say(said, body, number)
        started = {**message, "content": [], "stop_reason": None}
        end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
        events: list[Message] = [{"type": "message_start", "message": started}]
        for place, block in enumerate(message["content"]):
            events += _block_events(place, block)
        events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}})
        return [(event["type"], event) for event in (*events, {"type": "message_stop"})]


def _block_events(place: int, block: Message) -> list[Message]:
    start = {"type": "content_block_start", "index": place, "content_block": block}
    events = [start, {"type": "content_block_stop", "index": place}]
    if "input" in block:
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        start["content_block"] = {**block, "input": {}}
        events.insert(1, {"type": "content_block_delta", "index": place, "delta": delta})
    return events


@contextmanager
def native_stub(api: Any) -> Iterator[Stub]:
    """Yield a server that speaks the API of a research's models."""
    with serving(api, "/v1" if isinstance(api, ResponsesApi) else "") as stub:
        stub.text = ""  # what it says is its own affair
        yield stub
