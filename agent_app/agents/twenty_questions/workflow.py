"""The game: the questioner's agent loop, and what it amounts to."""

from collections.abc import Mapping
from contextlib import suppress

from pydantic_ai import capture_run_messages
from pydantic_ai.exceptions import UsageLimitExceeded
from pydantic_ai.usage import RunUsage, UsageLimits

from agent_app.agents.twenty_questions.agents import questioner
from agent_app.agents.twenty_questions.history import is_right_guess, played_turns
from agent_app.agents.twenty_questions.information import with_bits
from agent_app.agents.twenty_questions.models import Game, GameResult, PlayedTurn
from agent_app.agents.twenty_questions.narrator import GameNarrator
from agent_app.agents.twenty_questions.offline import PLAYER, player_of
from agent_app.agents.twenty_questions.person import PersonAsks
from agent_app.agents.twenty_questions.player import MAX_TURNS
from agent_app.agents.twenty_questions.prompts import START
from agent_app.agents.twenty_questions.table import find_thing, nearest_things
from agent_app.durability.catalog import workflow
from agent_app.durability.scope import current_run
from agent_app.errors import InputInvalid

NAME = "twenty-questions"
_LIMITS = UsageLimits(request_limit=3 * MAX_TURNS)
"""Against a model that never comes to an end; a game needs two requests a turn and one more."""


def refuse_unknown_secret(game: Game, models: Mapping[str, str]) -> None:
    """Refuse a thing that the offline answerer's table lacks; a language model may know it.

    Raises: InputInvalid, with the nearest things.
    """
    if player_of("answerer", models) == PLAYER and find_thing(game.secret) is None:
        nearest = ", ".join(repr(name) for name in nearest_things(game.secret))
        hint = f"the nearest are {nearest}." if nearest else "try 'potato' or 'bicycle'."
        raise InputInvalid(NAME, f"the {PLAYER}, does not know {game.secret!r}; {hint}")


@workflow(
    NAME,
    input=Game,
    output=GameResult,
    narrator=GameNarrator,
    check=refuse_unknown_secret,
    you_ask=PersonAsks,
)
async def play(game: Game) -> GameResult:
    """Two agents play twenty questions about a secret thing."""
    with capture_run_messages() as messages, suppress(UsageLimitExceeded):
        await questioner.run(START, deps=game, usage_limits=_LIMITS)
    return _judge(game, played_turns(messages))


def _judge(game: Game, turns: list[PlayedTurn]) -> GameResult:
    """Return how the game ended; a questioner that stopped, or never came to an end, has lost."""
    run = current_run()
    models = run.models if run else {}
    usage = run.usage if run else RunUsage()
    return GameResult(
        secret=game.secret,
        found=any(is_right_guess(turn) for turn in turns),
        turns=len(turns),
        history=with_bits(turns, game.secret),
        player=player_of("questioner", models),
        answerer=player_of("answerer", models),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=usage.cost,
    )
