"""The shipped agents on providers' own clients, against local servers."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from pydantic_ai import models

from tests.doors import streaming
from tests.doors.conftest import Command
from tests.doors.providers import OLLAMA, PROVIDERS, Provider
from tests.doors.stub_server import Failure, Stub

by_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
GAME = ("run", "twenty-questions", "potato")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the clients keys, which the stubs ignore, and next to no waiting between tries."""
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", True)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "not-a-key")
    monkeypatch.setenv("AGENT_APP_RETRY_BACKOFF_S", "0.001")


@pytest.fixture
def stub(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Yield the provider's stub, which its client is pointed to."""
    with provider.stub() as stub:
        monkeypatch.setenv(provider.base_url_variable, stub.url)
        yield stub


@pytest.mark.parametrize("provider", [*PROVIDERS, OLLAMA], ids=lambda provider: provider.name)
def test_game_is_played_by_a_language_model(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch, provider: Provider, stub: Stub
) -> None:
    """With AGENT_APP_MODEL both agents ask through the client, are priced, and share it."""
    monkeypatch.setenv("AGENT_APP_MODEL", provider.model)
    record = agent_app(*GAME, "--json", "--id", "real").json()
    output, usage = record["output"], record["usage"]
    assert (output["found"], output["player"]) == (True, provider.model)
    assert len(stub.requests) == usage["requests"]
    assert output["input_tokens"] == usage["input_tokens"] == 10 * len(stub.requests)
    assert output["cost_usd"] == record["cost_usd"]
    assert (float(record["cost_usd"] or 0) > 0) is provider.has_price
    names = {step["name"] for step in agent_app("steps", "real", "--json").json()}
    assert names == {"questioner.model", "questioner.tool.ask", "questioner.tool.guess"}
    assert len(stub.connections) == 1


@by_provider
def test_each_try_is_one_request(agent_app: Command, provider: Provider, stub: Stub) -> None:
    """A 429, a 500 and spoilt arguments cost one request each, and `Retry-After` is obeyed."""
    stub.faults |= {2: Failure(429, {"Retry-After": "1"}), 5: Failure(500)}
    stub.faults |= {7: "malformed", 8: "malformed"}
    outcome = agent_app(*GAME, "--model", provider.model)
    failed = [line for line in outcome.stdout.splitlines() if "attempt 1 failed" in line]
    assert "Found in 5 turns: potato" in outcome.stdout
    assert len(failed) == 2
    assert "the next in 1.0 s" in failed[0]
    assert len(stub.requests) == len(stub.answered) + 2
    assert {headers["x-stainless-retry-count"] for headers in stub.headers} == {"0"}
    assert len(stub.requests) == 2 * 5 + 2 + 2


@by_provider
def test_a_streamed_answer_is_put_together(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch, provider: Provider, stub: Stub
) -> None:
    """A run whose questioner is heard as it speaks ends the same, also after errors."""
    monkeypatch.setenv("AGENT_APP_AGENTS", streaming.__name__)
    stub.faults |= {1: Failure(500), 4: "malformed"}
    streaming.heard.clear()
    record = agent_app("run", "heard-game", "potato", "--json", "--model", provider.model).json()
    assert record["output"] == "It is: potato."
    assert record["usage"]["input_tokens"] == 10 * len(stub.answered)
    asked = [body for body in stub.requests if "guess" in str(body.get("tools"))]
    assert len(asked) == 5 + 1 + 2
    assert all(body["stream"] for body in asked)
    assert streaming.heard["FunctionToolResultEvent"] == 5 + 1, streaming.heard


@pytest.mark.parametrize(
    ("provider", "killed_at"),
    list(zip(PROVIDERS, (1, 4, 7), strict=True)),
    ids=lambda value: value.name if isinstance(value, Provider) else str(value),
)
def test_no_answered_request_is_sent_again_after_a_kill(
    agent_app: Command, provider: Provider, stub: Stub, killed_at: int
) -> None:
    """After SIGKILL under a request, `resume` sends that one again and none that was answered."""
    stub.faults[killed_at] = "hold"
    command = [sys.executable, "-m", "agent_app", *GAME, "--model", provider.model, "--id", "k"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as life:
        assert stub.holding.wait(60)
        life.kill()
    stub.released.set()
    record = agent_app("resume", "k", "--json").json()
    assert (record["output"]["found"], record["output"]["turns"]) == (True, 5)
    assert stub.most_often_answered() == 1
    assert len(stub.answered) == record["usage"]["requests"] == 2 * 5
    assert len(stub.requests) == len(stub.answered) + 1
    assert stub.requests[killed_at - 1] == stub.requests[killed_at]


@pytest.mark.parametrize("provider", [PROVIDERS[0], OLLAMA], ids=lambda provider: provider.name)
def test_one_role_on_a_model_and_one_offline(
    agent_app: Command, provider: Provider, stub: Stub
) -> None:
    """--model questioner=… leaves the answerer offline."""
    record = agent_app(*GAME, "--json", "--model", f"questioner={provider.model}").json()
    assert record["output"]["player"] == provider.model
    assert record["output"]["answerer"] == "offline player, no language model"
    assert len(stub.requests) == record["output"]["turns"] + 1
    assert all("guess" in str(request["tools"]) for request in stub.requests)


def test_missing_key_is_named_before_anything_starts(
    agent_app: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose provider has no key is refused at the start, and no run is left behind."""
    monkeypatch.delenv("OPENAI_API_KEY")
    outcome = agent_app("run", "twenty-questions", "potato", "--model", "openai-chat:gpt-4o")
    assert outcome.code == 1
    assert "OPENAI_API_KEY" in outcome.stderr
    assert agent_app("list", "--json").json() == []
