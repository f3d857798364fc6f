"""An agent's output type, in any form that Pydantic AI takes, to one that JSON can be read into."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Union, get_type_hints

from pydantic import TypeAdapter
from pydantic_ai.output import NativeOutput, PromptedOutput, TextOutput, ToolOutput


def output_adapter(output_type: Any) -> TypeAdapter[Any]:
    """Return what turns an output to JSON and back; a function counts by what it returns."""
    union: Any = Union[tuple(_members(output_type))]  # noqa: UP007 - built at run time
    return TypeAdapter(union)


def _members(output_type: Any) -> Iterator[Any]:
    match output_type:
        case ToolOutput():
            yield from _members(output_type.output)
        case NativeOutput() | PromptedOutput():
            yield from _members(output_type.outputs)
        case TextOutput():
            yield from _members(output_type.output_function)
        case Sequence() if not isinstance(output_type, str):
            for member in output_type:
                yield from _members(member)
        case _ if inspect.isroutine(output_type):
            yield get_type_hints(output_type).get("return", Any)
        case _:
            yield output_type
