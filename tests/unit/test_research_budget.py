from decimal import Decimal

import pytest
from pydantic_ai.usage import RunUsage

from agent_app.agents.deep_research.budget import Budget, refuse_unpriced
from agent_app.agents.deep_research.models import (
    AttestedSource,
    Finding,
    PlannedSearch,
    Research,
    SearchOutcome,
)
from agent_app.agents.deep_research.notebook import Notebook
from agent_app.errors import InputInvalid


def test_the_first_limit_that_is_reached_is_named() -> None:
    """Searches, tokens and cost each stop the searching; under all of them it goes on."""
    wanted = Research(
        question="What is it?", max_searches=3, max_tokens=100, max_cost_usd=Decimal("0.5")
    )
    budget = Budget(wanted)
    assert budget.reached(RunUsage(input_tokens=99)) is None
    assert budget.reached(RunUsage(input_tokens=60, output_tokens=40)) == "max_tokens"
    assert budget.reached(RunUsage(cost=Decimal("0.5"))) == "max_cost"
    budget.spend_searches(3)
    assert budget.reached(RunUsage()) == "max_searches"


def test_a_limit_of_cost_needs_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose price nobody knows is refused before anything is spent; others are not."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    capped = Research(question="What is it?", max_cost_usd=Decimal(1))
    refuse_unpriced(capped, {})  # the offline model costs nothing
    refuse_unpriced(capped, {"*": "openai:gpt-5"})
    with pytest.raises(InputInvalid, match="'openai:made-up' is unknown"):
        refuse_unpriced(capped, {"*": "openai:gpt-5", "research-analyst": "openai:made-up"})
    refuse_unpriced(Research(question="What is it?"), {"*": "openai:made-up"})


def test_a_notebook_counts_new_sources() -> None:
    """A source that came before is not new, and neither is a failed search's nothing."""
    book = Notebook()
    planned = PlannedSearch(query="q")
    first = SearchOutcome(finding=Finding(), source_ids=["a", "b"])
    assert book.add(planned, first, round=1) == 2
    assert book.add(planned, "TimeoutError: none", round=1) == 0
    page = AttestedSource(url="https://example.org/")
    second = SearchOutcome(finding=Finding(), source_ids=["b"], attested=[page])
    assert book.add(planned, second, round=2) == 1
    assert [record.error for record in book.records] == [None, "TimeoutError: none", None]
    assert (book.source_ids, list(book.attested)) == (["a", "b"], ["https://example.org/"])
