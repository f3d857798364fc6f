"""A conversation as the agents' own code reads it."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from pydantic_ai.messages import ModelMessage, UserPromptPart

PartT = TypeVar("PartT")


def parts_of(messages: Sequence[ModelMessage], kind: type[PartT]) -> Iterator[PartT]:
    """Yield the parts of one kind, in order."""
    return (part for message in messages for part in message.parts if isinstance(part, kind))


def prompts_of(messages: Sequence[ModelMessage]) -> list[str]:
    """Return what the agent was asked, in order."""
    return [str(part.content) for part in parts_of(messages, UserPromptPart)]
