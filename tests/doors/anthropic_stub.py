"""Anthropic's Messages API as a stub speaks it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tests.doors.stub_player import Called, Heard, Said
from tests.doors.stub_server import Event, Message, Stub, serving


@contextmanager
def anthropic_stub() -> Iterator[Stub]:
    """Yield a server that plays through POST /v1/messages."""
    with serving(MessagesApi()) as stub:
        yield stub


class MessagesApi:
    """POST /v1/messages."""

    def hear(self, body: Message) -> Heard:
        blocks = [
            (message["role"], block)
            for message in body["messages"]
            for block in _blocks(message["content"])
        ]
        answers = {
            block["tool_use_id"]: _text(block["content"])
            for _, block in blocks
            if block["type"] == "tool_result"
        }
        calls = [
            Called(block["name"], block["input"], answers[block["id"]])
            for _, block in blocks
            if block["type"] == "tool_use"
        ]
        prompts = [b["text"] for role, b in blocks if role == "user" and b["type"] == "text"]
        return Heard([tool["name"] for tool in body.get("tools", ())], calls, prompts[0])

    def say(self, said: Said, body: Message, number: int) -> Message:
        return {**_message(said, body, number), "content": [_block(said, number)]}

    def stream(self, said: Said, body: Message, number: int) -> list[Event]:
        text = json.dumps(said.arguments) if said.tool else said.text
        kind, key = ("input_json_delta", "partial_json") if said.tool else ("text_delta", "text")
        halves = text[: len(text) // 2], text[len(text) // 2 :]
        start = {**_message(said, body, number), "content": [], "stop_reason": None}
        opened = _block(replace(said, text="", arguments={}), number)
        end = {"stop_reason": _stop_reason(said), "stop_sequence": None}
        events: list[Message] = [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": opened},
            *(
                {"type": "content_block_delta", "index": 0, "delta": {"type": kind, key: half}}
                for half in halves
            ),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        ]
        return [(event["type"], event) for event in events]

    def malformed(self, said: Said) -> Said:
        return replace(said, text="no JSON" if said.text else "", arguments={"wrong": 1})

    def fail(self, status: int) -> Message:
        kind = "rate_limit_error" if status == 429 else "api_error"
        return {"type": "error", "error": {"type": kind, "message": "try later"}}


def _message(said: Said, body: Message, number: int) -> Message:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "stop_reason": _stop_reason(said),
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def _stop_reason(said: Said) -> str:
    return "tool_use" if said.tool else "end_turn"


def _block(said: Said, number: int) -> Message:
    if said.tool:
        name, arguments = said.tool, said.arguments
        return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": arguments}
    return {"type": "text", "text": said.text}


def _blocks(content: Any) -> list[Message]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text(content: Any) -> str:
    return "".join(block["text"] for block in _blocks(content))
