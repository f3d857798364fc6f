"""Models named by a string: one of each in a process, its HTTP client open while DBOS is launched.

Pydantic AI would build model, client and TLS context anew for every request of a durable run.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from pydantic_ai import RunContext
from pydantic_ai.models import Model, infer_model
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings


class ModelClients:
    """The models of one launch, by the string that names them."""

    def __init__(self) -> None:
        self._built: dict[str, Model] = {}
        self._entered: set[str] = set()
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()

    def build(self, name: str) -> Model:
        """Return the model of that name, which must be opened before it is asked.

        Raises: UserError, ValueError, ImportError (no such model, no key, no package).
        """
        if name not in self._built:
            self._built[name] = infer_model(name)
        return self._built[name]

    async def open(self, name: str) -> Model:
        """Return the model of that name, its client open until the end."""
        model = self.build(name)
        async with self._lock:
            if name not in self._entered:
                await self._stack.enter_async_context(model)
                self._entered.add(name)
        return model

    async def close(self) -> None:
        """Close every client, those of models that were never asked too."""
        for name in self._built:
            await self.open(name)
        await self._stack.aclose()


_clients: ModelClients | None = None


@asynccontextmanager
async def open_clients() -> AsyncIterator[None]:
    """Share models while the block lasts, and close their clients at its end."""
    global _clients
    _clients = clients = ModelClients()
    try:
        yield
    finally:
        _clients = None
        await clients.close()


def build_model(name: str) -> Model:
    """Return the shared model of that name, or one of its own where nothing is launched."""
    return infer_model(name) if _clients is None else _clients.build(name)


async def open_model(name: str) -> Model | None:
    """Return the shared model of that name, ready to be asked; None where nothing is launched."""
    return None if _clients is None else await _clients.open(name)


def one_request_a_try(ctx: RunContext[object]) -> ModelSettings:
    """Return settings that keep a provider's client from retrying: the step's policy does that.

    Else one try would be three requests, and a `Retry-After` would be waited for out of sight. What
    an agent sets by itself stays; a model that would warn of the setting makes no such retries.
    """
    model = ctx.model
    while isinstance(model, WrapperModel):
        model = model.wrapped
    is_set = "max_retries" in (ctx.model_settings or {})
    if is_set or "max_retries" in getattr(model, "unsupported_settings", ()):
        return ModelSettings()
    return ModelSettings(max_retries=0)
