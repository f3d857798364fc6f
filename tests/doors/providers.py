"""The providers whose clients the tests drive, each with the stub that stands in for it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from tests.doors.anthropic_stub import anthropic_stub
from tests.doors.openai_stub import openai_stub
from tests.doors.stub_server import Stub


@dataclass(frozen=True)
class Provider:
    """A model string and what its client needs to reach the stub."""

    name: str
    model: str
    stub: Callable[[], AbstractContextManager[Stub]]
    base_url_variable: str
    has_price: bool = True


PROVIDERS = [
    Provider("chat", "openai-chat:gpt-4o", openai_stub, "OPENAI_BASE_URL"),
    Provider("responses", "openai:gpt-4o", partial(openai_stub, responses=True), "OPENAI_BASE_URL"),
    Provider("messages", "anthropic:claude-sonnet-5-5", anthropic_stub, "ANTHROPIC_BASE_URL"),
]
OLLAMA = Provider("ollama", "ollama:llama3.2", openai_stub, "OLLAMA_BASE_URL", has_price=False)
