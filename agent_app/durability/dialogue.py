"""A person takes one side of what agents do alone: a line in, the other side's word out."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

RunAgent = Callable[[str, Any], Awaitable[dict[str, Any]]]
"""Runs an agent, given its name and input, as a durable run of its own; returns its record."""


class Dialogue(Protocol):
    """One conversation with a person; made anew for each, it keeps where the conversation is."""

    opening: str
    """What the person is told first."""

    @property
    def prompt(self) -> str:
        """Return what stands before the person's next line."""

    @property
    def is_over(self) -> bool:
        """Say whether no further line is wanted."""

    async def reply(self, line: str, run_agent: RunAgent) -> str:
        """Return the answer to a line that is not empty."""

    def close(self) -> tuple[str, Any]:
        """Return the last sentence and the result, as JSON; the person may have stopped early."""


MakeDialogue = Callable[[Any, str, Mapping[str, str]], Dialogue]
"""Makes a dialogue from the validated input, None for none, the run's ID, and its models."""
