"""Durable agents on a provider's own client, in a launched DBOS, against the provider's stub."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from pydantic_ai import Agent, RunContext, models
from pydantic_ai.messages import AgentStreamEvent

from agent_app.database.connect import Database
from agent_app.durability.catalog import durable, fresh_catalog, workflow
from agent_app.durability.policy import StepPolicies, StepPolicy
from agent_app.settings import Settings
from tests.doors.providers import PROVIDERS, Provider
from tests.doors.stub_server import Stub
from tests.durability.running import Engine
from tests.helpers import wait_until

CHAT = PROVIDERS[0]
SOON = StepPolicy(max_attempts=4, backoff_s=0.001, timeout_s=30)
"""Hardly any wait between two tries."""


@contextmanager
def answering(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, text: str | None = "at last"
) -> Iterator[Stub]:
    """Yield the provider's stub, which its client is pointed to, with a key that it ignores."""
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", True)
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "not-a-key")
    with provider.stub() as stub:
        stub.text = text
        monkeypatch.setenv(provider.base_url_variable, stub.url)
        yield stub


@asynccontextmanager
async def launched(
    database: Database, *, policy: StepPolicy = SOON, **model_names: str
) -> AsyncIterator[Engine]:
    """Yield a launched engine with an agent for each model, under the name that is given to it.

    The workflow `heard` hears the answer of the agent `worker` piece by piece.
    """
    with fresh_catalog() as catalog:
        for name, model in model_names.items():
            agent = Agent(model, name=name, defer_model_check=True)
            durable(agent, policies=StepPolicies(model=policy))

        @workflow("heard")
        async def listen(prompt: str) -> str:
            worker = catalog.find("worker").agent
            assert worker is not None
            result = await worker.run(prompt, event_stream_handler=_hear)
            return str(result.output)

        async with Engine(database, catalog, Settings(_env_file=None)) as engine:
            yield engine


async def _hear(ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
    async for _ in events:
        pass


async def until(predicate: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait until something is true, while the event loop goes on."""
    await asyncio.to_thread(wait_until, predicate, timeout_s)
