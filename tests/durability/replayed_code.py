"""An agent whose tool holds its run up; a process that replays imports this module."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from pydantic_ai import Agent

from agent_app.durability.catalog import durable
from tests.durability.running import call, echoing


def define(wait: Callable[[], Awaitable[object]]) -> None:
    """Define the agent; its tool returns when the waiting is over."""
    agent = durable(Agent(echoing(call("hold", "a")), name="holder"))

    @agent.tool_plain
    async def hold() -> bool:
        await wait()
        return True


if "pytest" not in sys.modules:
    define(asyncio.Event().wait)
