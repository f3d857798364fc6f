"""The two agents: one that asks and guesses, and one that it delegates every question to."""

from pydantic_ai import Agent, RunContext, ToolFailed

from agent_app.agents.twenty_questions.history import is_right_guess, played_turns, turns_before
from agent_app.agents.twenty_questions.models import Asked, Game, Reply
from agent_app.agents.twenty_questions.naming import is_same_thing
from agent_app.agents.twenty_questions.offline import ANSWERER_MODEL, QUESTIONER_MODEL
from agent_app.agents.twenty_questions.player import MAX_TURNS
from agent_app.agents.twenty_questions.prompts import ANSWERER, QUESTIONER
from agent_app.agents.twenty_questions.table import Answer
from agent_app.durability.catalog import durable
from agent_app.durability.delegation import delegate

_RETRIES = 3
"""How often a model may mend a malformed call or answer, one after another."""

answerer = durable(
    Agent(
        ANSWERER_MODEL,
        name="answerer",
        description="Answers one question of a game of twenty questions.",
        output_type=Reply,
        instructions=ANSWERER,
        retries=_RETRIES,
    ),
    input=Asked,
    takes_default_model=True,
)

questioner: Agent[Game, str] = Agent(
    QUESTIONER_MODEL,
    name="questioner",
    description="Asks the questions of a game of twenty questions.",
    deps_type=Game,
    instructions=QUESTIONER,
    retries=_RETRIES,
)


@questioner.tool
async def ask(ctx: RunContext[Game], question: str) -> str:
    """Ask one yes-or-no question about the thing."""
    _refuse_late_turn(ctx)
    reply: Reply = await delegate(answerer, Asked(secret=ctx.deps.secret, question=question))
    return reply.as_text()


@questioner.tool
async def guess(ctx: RunContext[Game], thing: str) -> str:
    """Guess what the thing is: yes or no."""
    _refuse_late_turn(ctx)
    return Answer.YES if is_same_thing(thing, ctx.deps.secret) else Answer.NO


def _refuse_late_turn(ctx: RunContext[Game]) -> None:
    if any(is_right_guess(turn) for turn in played_turns(ctx.messages)):
        raise ToolFailed("The thing is found: the game is over. Say what it is.")
    if turns_before(ctx.messages, ctx.tool_call_id) >= MAX_TURNS:
        raise ToolFailed("No turn is left: the game is over. Say what you think the thing is.")


durable(
    questioner,
    input=Game,
    deps=lambda game: game,
    prompt=lambda game: "Find my thing.",
    takes_default_model=True,
)
