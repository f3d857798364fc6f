"""Models named by a string: one for the process, and one HTTP request for each try."""

from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.capabilities import ResolveModelId
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from agent_app.durability import clients
from agent_app.durability.catalog import durable
from tests.durability.running import Engine


class Telling(FunctionModel):
    """A model that says which retries it was asked for, and counts how often it is closed."""

    def __init__(self) -> None:
        super().__init__(self._tell)
        self.users = 0
        self.closings = 0

    def _tell(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart(str((info.model_settings or {}).get("max_retries")))])

    async def __aenter__(self) -> "Telling":
        self.users += 1
        return self

    async def __aexit__(self, *exit: object) -> None:
        self.users -= 1
        self.closings += self.users == 0


class Unable(Telling):
    """A model that warns when it is asked for retries of its client."""

    unsupported_settings = frozenset({"max_retries"})


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Telling]:
    """Return the models that are built from strings from now on."""
    models: list[Telling] = []

    def build(name: str) -> Model:
        models.append(Telling())
        return models[-1]

    monkeypatch.setattr(clients, "infer_model", build)
    return models


async def test_a_model_string_has_one_client(engine: Engine, built: list[Telling]) -> None:
    """Runs of two agents share one model, which is closed at the end of the launch only."""
    durable(Agent(Unable(), name="first"))
    durable(Agent("some:model", name="second", defer_model_check=True))
    async with engine:
        for number, name in enumerate(["first", "second", "first"]):
            await engine.run(name, "hi", run_id=f"r{number}", models={name: "some:model"})
        assert [(model.closings, model.users) for model in built] == [(0, 1)]
    assert [(model.closings, model.users) for model in built] == [(1, 0)]


async def test_a_model_that_was_only_checked_is_closed_too(
    engine: Engine, built: list[Telling]
) -> None:
    """A model that a start of a run has looked at, and nobody asked, leaves no client open."""
    async with engine:
        assert clients.build_model("some:model") is clients.build_model("some:model")
    assert [model.closings for model in built] == [1]
    assert clients.build_model("some:model") is not built[0]


async def test_the_agents_own_resolver_goes_first(engine: Engine, built: list[Telling]) -> None:
    """A string that a capability of the agent's resolves is not taken for a provider's."""
    own = Telling()
    resolver: Any = ResolveModelId(lambda context, name: own if name == "house:one" else None)
    durable(Agent(Unable(), name="worker", capabilities=[resolver]))
    async with engine:
        await engine.run("worker", "hi", models={"worker": "house:one"})
    assert built == []


@pytest.mark.parametrize(
    ("model", "settings", "asked"),
    [
        (Telling(), None, "0"),
        (Telling(), ModelSettings(max_retries=5), "5"),
        (WrapperModel(Telling()), ModelSettings(temperature=0.1), "0"),
        (Unable(), None, "None"),
        (WrapperModel(Unable()), None, "None"),
    ],
)
async def test_a_client_makes_no_retries_of_its_own(
    engine: Engine, model: Model, settings: ModelSettings | None, asked: str
) -> None:
    """In a run the client's retries are off, unless the agent sets them; nobody is warned."""
    agent = durable(Agent(model, name="worker", model_settings=settings))
    async with engine:
        assert await engine.run("worker", "hi") == asked
    outside = await agent.run("hi")
    assert outside.output == str((settings or {}).get("max_retries"))
