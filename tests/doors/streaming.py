"""A game whose questioner is heard while it speaks; AGENT_APP_AGENTS names this module."""

from collections import Counter
from collections.abc import AsyncIterable
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.messages import AgentStreamEvent

from agent_app import workflow
from agent_app.agents.twenty_questions.agents import questioner
from agent_app.agents.twenty_questions.models import Game

heard: Counter[str] = Counter()
"""Events by class, in this process."""


async def _hear(ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
    async for event in events:
        heard[type(event).__name__] += 1


@workflow("heard-game", input=Game, output=str)
async def heard_game(game: Game) -> str:
    """Play with a handler that hears every event of the questioner."""
    result = await questioner.run("Find it.", deps=game, event_stream_handler=_hear)
    return result.output
