"""OpenAI's two APIs as a stub speaks them: chat completions and responses."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tests.doors.stub_player import Called, Heard, Said
from tests.doors.stub_server import Event, Message, Stub, serving

BROKEN = '{"question": "Is it'


@contextmanager
def openai_stub(*, responses: bool = False) -> Iterator[Stub]:
    """Yield a server that plays through chat completions, or through responses."""
    with serving(ResponsesApi() if responses else ChatApi(), "/v1") as stub:
        yield stub


class _OpenAI:
    def malformed(self, said: Said) -> Said:
        return replace(said, arguments={"broken": BROKEN})

    def fail(self, status: int) -> Message:
        return {"error": {"message": "try later", "type": "server_error", "code": None}}


class ChatApi(_OpenAI):
    """POST /v1/chat/completions."""

    def hear(self, body: Message) -> Heard:
        messages = body["messages"]
        answers = {m["tool_call_id"]: m["content"] for m in messages if m["role"] == "tool"}
        calls = [
            Called(
                call["function"]["name"],
                _load(call["function"]["arguments"]),
                answers[call["id"]],
            )
            for message in messages
            for call in message.get("tool_calls") or ()
        ]
        prompt = next(m["content"] for m in messages if m["role"] == "user")
        return Heard([tool["function"]["name"] for tool in body["tools"]], calls, prompt)

    def say(self, said: Said, body: Message, number: int) -> Message:
        message: Message = {"role": "assistant", "content": said.text or None}
        if said.tool:
            function = {"name": said.tool, "arguments": _dump(said)}
            call = {"id": f"call_{number}", "type": "function", "function": function}
            message["tool_calls"] = [call]
        finish = "tool_calls" if said.tool else "stop"
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return {**_chunk(body, "chat.completion"), "choices": [choice], "usage": _USAGE}

    def stream(self, said: Said, body: Message, number: int) -> list[Event]:
        head = _chunk(body, "chat.completion.chunk")

        def delta(finish: str | None = None, **parts: Any) -> Message:
            return {**head, "choices": [{"index": 0, "delta": parts, "finish_reason": finish}]}

        pieces = [delta(role="assistant", content=piece) for piece in _halves(said.text)]
        if said.tool:
            first, second = _halves(_dump(said))
            function = {"name": said.tool, "arguments": first}
            opened = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
            pieces = [
                delta(role="assistant", tool_calls=[opened]),
                delta(tool_calls=[{"index": 0, "function": {"arguments": second}}]),
            ]
        end = delta("tool_calls" if said.tool else "stop")
        usage = {**head, "choices": [], "usage": _USAGE}
        return [*((None, piece) for piece in (*pieces, end, usage)), (None, "[DONE]")]


class ResponsesApi(_OpenAI):
    """POST /v1/responses."""

    def hear(self, body: Message) -> Heard:
        items = body["input"]
        answers = {
            item["call_id"]: item["output"]
            for item in items
            if item.get("type") == "function_call_output"
        }
        calls = [
            Called(item["name"], _load(item["arguments"]), answers[item["call_id"]])
            for item in items
            if item.get("type") == "function_call"
        ]
        prompt = next(item["content"] for item in items if item.get("role") == "user")
        return Heard([tool["name"] for tool in body["tools"]], calls, prompt)

    def say(self, said: Said, body: Message, number: int) -> Message:
        return _response(body, number, "completed", [_item(said, number, "completed")])

    def stream(self, said: Said, body: Message, number: int) -> list[Event]:
        text = _dump(said) if said.tool else said.text
        kind = "response.function_call_arguments" if said.tool else "response.output_text"
        place = {"item_id": f"item_{number}", "output_index": 0}
        if not said.tool:
            place |= {"content_index": 0, "logprobs": []}
        opened = _item(replace(said, text="", arguments={}), number, "in_progress")
        if said.tool:
            opened["arguments"] = ""
        done = _item(said, number, "completed")
        events: list[Message] = [
            {"type": "response.created", "response": _response(body, number, "in_progress", [])},
            {"type": "response.output_item.added", "output_index": 0, "item": opened},
            *({"type": f"{kind}.delta", "delta": half, **place} for half in _halves(text)),
            {"type": f"{kind}.done", "arguments" if said.tool else "text": text, **place},
            {"type": "response.output_item.done", "output_index": 0, "item": done},
            {
                "type": "response.completed",
                "response": _response(body, number, "completed", [done]),
            },
        ]
        return [(e["type"], {**e, "sequence_number": place}) for place, e in enumerate(events)]


_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def _chunk(body: Message, kind: str) -> Message:
    return {"id": "completion", "object": kind, "created": 1_700_000_000, "model": body["model"]}


def _item(said: Said, number: int, status: str) -> Message:
    if said.tool:
        return {
            "type": "function_call",
            "id": f"item_{number}",
            "call_id": f"call_{number}",
            "name": said.tool,
            "arguments": _dump(said),
            "status": status,
        }
    content = [{"type": "output_text", "text": said.text, "annotations": []}] if said.text else []
    return {
        "type": "message",
        "id": f"item_{number}",
        "role": "assistant",
        "content": content,
        "status": status,
    }


def _response(body: Message, number: int, status: str, output: list[Message]) -> Message:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    }
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": body["model"],
        "status": status,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if status == "completed" else None,
    }


def _dump(said: Said) -> str:
    return BROKEN if "broken" in said.arguments else json.dumps(said.arguments)


def _load(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return None


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]
