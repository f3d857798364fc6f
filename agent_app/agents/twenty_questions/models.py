"""What goes into a game, passes between its two agents, and comes out."""

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, Field

from agent_app.agents.twenty_questions.table import Answer


class Game(BaseModel):
    """A game to be played."""

    secret: str = Field(min_length=1, max_length=200)
    """The thing to be found; the questioner never sees it."""


class Asked(BaseModel):
    """What the answerer is told."""

    secret: str
    question: str = Field(min_length=1, max_length=2000)


class Reply(BaseModel):
    """What the answerer says."""

    answer: Answer | None = None
    """None when it cannot tell."""
    remark: str = ""
    """Why it cannot tell, or who answers where that is no language model; empty otherwise."""

    def as_text(self) -> str:
        """Return the answer, or the remark where there is none."""
        return self.answer.value if self.answer else self.remark


class PlayedTurn(BaseModel):
    """One question or guess with its answer."""

    number: int
    kind: Literal["question", "guess"]
    text: str
    answer: str
    bits: float | None = None
    """Information that it brought: below 0 after a surprise; None where the table cannot tell."""


class GameResult(BaseModel):
    """How a game ended."""

    secret: str
    found: bool
    turns: int
    """Questions and guesses that were made, 20 at most."""
    history: list[PlayedTurn]
    player: str
    """Who asked: a model's name, what the offline player says of itself, or `person`."""
    answerer: str = ""
    """Who answered."""
    input_tokens: int = 0
    """Of both agents, as all that follows."""
    output_tokens: int = 0
    cost_usd: Decimal | None = None
    """None where the price of a model is unknown, and for the offline player."""
