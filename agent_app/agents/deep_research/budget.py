"""What a research may cost: counted after each round, and the searches one by one."""

from collections.abc import Mapping

from genai_prices import Usage, calc_price
from pydantic_ai.usage import RunUsage

from agent_app.agents.deep_research.models import Research, StopReason
from agent_app.durability.catalog import model_of
from agent_app.durability.clients import build_model
from agent_app.errors import InputInvalid
from agent_app.settings import OFFLINE_MODEL

AGENTS = (
    "research-planner",
    "research-searcher",
    "research-native-searcher",
    "research-reviewer",
    "research-analyst",
)


class Budget:
    """What is left of a research's limits; all it counts comes from checkpoints."""

    def __init__(self, wanted: Research) -> None:
        self._wanted = wanted
        self.searches_left = wanted.max_searches

    def spend_searches(self, count: int) -> None:
        """Count searches that were made."""
        self.searches_left -= count

    def reached(self, usage: RunUsage) -> StopReason | None:
        """Return the limit that is reached, None where there is room for another search."""
        if self.searches_left <= 0:
            return "max_searches"
        max_tokens, max_cost = self._wanted.max_tokens, self._wanted.max_cost_usd
        if max_tokens is not None and usage.total_tokens >= max_tokens:
            return "max_tokens"
        if max_cost is not None and usage.cost is not None and usage.cost >= max_cost:
            return "max_cost"
        return None


def refuse_unpriced(wanted: Research, models: Mapping[str, str]) -> None:
    """Refuse a limit of cost that could not be kept: a model's price is unknown.

    Raises: InputInvalid.
    """
    if wanted.max_cost_usd is None:
        return
    for name in sorted({model_of(agent, models) for agent in AGENTS} - {OFFLINE_MODEL}):
        if not _has_price(name):
            raise InputInvalid(
                "deep-research",
                f"the price of model {name!r} is unknown, so max_cost_usd cannot be kept; "
                "max_tokens can.",
            )


def _has_price(name: str) -> bool:
    model = build_model(name)
    try:
        calc_price(Usage(input_tokens=1), model.model_name, provider_id=model.system)
    except LookupError:
        return False
    return True
