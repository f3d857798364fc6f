"""What a checkpoint is of: a short text that names the call, so that a replay notices a swap.

DBOS compares step names only; two calls of one tool that changed places would go unnoticed.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai.durable_exec import (
    DurableOperationId,
    ModelRequestId,
    ToolsetCallToolId,
    ToolsetValidateToolArgumentsId,
)
from pydantic_ai.messages import ModelMessage, ModelRequest, SystemPromptPart, ToolCallPart
from pydantic_core import PydanticSerializationError

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
_CONTENT = ("part_kind", "content", "tool_name", "tool_call_id", "args", "outcome")
"""The parts of a message that make it this message: no time, no ID drawn anew, no token count."""


def tool_call_identity(call: ToolCallPart) -> str:
    """Name a tool call: tool, call ID and digest of the arguments as the model gave them.

    Not as validated: a default may tell the time, and a set has its own order in each process.
    """
    return f"{call.tool_name} {call.tool_call_id} {digest(call.args)}"


def call_identity(operation_id: DurableOperationId, parameters: tuple[Any, ...]) -> str:
    """Name a call: tool call ID and arguments, or length and last message of a conversation.

    `parameters` are what Pydantic AI would key a cache by: (name, arguments, context, tool) for a
    tool, (model ID, messages, settings, parameters, context) for a model request.
    """
    match operation_id:
        case ToolsetCallToolId():
            name, arguments, context = parameters[0], parameters[1], parameters[2]
            return f"{name} {context.tool_call_id} {digest(arguments)}"
        case ToolsetValidateToolArgumentsId():
            return f"{parameters[0]} {parameters[2].tool_call_id}"
        case ModelRequestId():
            messages = parameters[1]
            return f"{len(messages)} messages {digest(_last_message(messages))}"
        case _:
            return type(operation_id).__name__


_PLAIN_CALL_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,79}")
_ODD_SIGN = re.compile(r"[^A-Za-z0-9_-]")


def tool_call_key(tool_call_id: str, times: int) -> str:
    """Return a tool call's part of its children's run IDs: unique in the run, and fit for one.

    An ID that is a bare number would be taken for a step's number, an odd one for no run ID.
    """
    key = tool_call_id
    if not _PLAIN_CALL_ID.fullmatch(tool_call_id):
        key = f"{_ODD_SIGN.sub('_', tool_call_id)[:40]}-{digest(tool_call_id)}"
    return key if times == 1 else f"{key}.{times}"


def digest(value: Any) -> str:
    """Return 12 hexadecimal digits over `value`, the same in every process.

    What has no order counts sorted; what JSON does not know counts by its text or its type.
    """
    return hashlib.sha256(_canonical(value).encode()).hexdigest()[:12]


def _canonical(value: Any) -> str:
    try:
        plain = value if isinstance(value, str) else _ANYTHING.dump_python(value)
        return json.dumps(plain, sort_keys=True, ensure_ascii=True, default=_replace_odd)
    except (PydanticSerializationError, TypeError, ValueError, RecursionError):
        return type(value).__name__


def _replace_odd(odd: Any) -> Any:
    if isinstance(odd, (set, frozenset)):
        return sorted(_canonical(item) for item in odd)
    if isinstance(odd, (bytes, bytearray)):
        return hashlib.sha256(odd).hexdigest()
    if isinstance(odd, Enum) or type(odd).__module__ in _TEXTUAL:
        return str(odd)
    return type(odd).__name__


_TEXTUAL = frozenset({"datetime", "decimal", "uuid", "pathlib", "ipaddress", "fractions"})
"""Modules whose values have a text that names them and no address."""


def _last_message(messages: Sequence[ModelMessage]) -> list[dict[str, Any]]:
    """Reduce the last message to what was said; a system prompt may tell the time."""
    if not messages:
        return []
    last = messages[-1]
    spoken = [
        part
        for part in last.parts
        if not (isinstance(last, ModelRequest) and isinstance(part, SystemPromptPart))
    ]
    return [
        {name: getattr(part, name) for name in _CONTENT if hasattr(part, name)} for part in spoken
    ]
