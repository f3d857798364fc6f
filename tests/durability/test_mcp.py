"""MCP servers and dynamic toolsets: listing, instructions and calls are steps, never repeated."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent, RunContext
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.toolsets import AbstractToolset, DynamicToolset, FunctionToolset

from agent_app.durability.catalog import durable, workflow
from agent_app.errors import AgentInvalid
from tests.durability.running import Engine, call, echoing, scripted


class Server:
    """A server in a process of its own, and the notes that it makes."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def toolset(self, server_id: str = "sums", **options: Any) -> MCPToolset[None]:
        """Return a toolset that starts it."""
        script = str(Path(__file__).with_name("sums_server.py"))
        transport = StdioTransport(sys.executable, [script, str(self.notes)])
        return MCPToolset(transport, id=server_id, **options)

    def calls(self) -> Counter[str]:
        """Return how often each request has come."""
        return Counter(self.notes.read_text().splitlines())


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """Return a server that nobody has started yet."""
    return Server(tmp_path / "notes")


async def test_an_mcp_server_is_asked_once(engine: Engine, server: Server) -> None:
    """Listing, instructions and calls come from checkpoints on replay, under these names."""
    toolset = server.toolset(include_instructions=True)
    model = echoing(call("add", "a", x=1, y=2), call("add", "b", x=3, y=4))
    durable(Agent(model, name="worker", toolsets=[toolset]))
    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert first["output"] == "a=3 b=7"
    assert server.calls() == {"started": 1, "add 1 2": 1, "add 3 4": 1}
    assert engine.names() == [
        "worker.mcp.sums.tools",
        "worker.mcp.sums.instructions",
        "worker.model",
        "worker.mcp.sums.add",
        "worker.mcp.sums.add",
        "worker.mcp.sums.instructions",
        "worker.model",
    ]
    calls = [step.value["result"] for step in engine.steps() if step.name.endswith(".add")]
    assert calls == [3, 7]
    assert "Add with care." in str(engine.steps()[1].value)


async def test_an_mcp_error_goes_to_the_model(engine: Engine, server: Server) -> None:
    """A tool of the server that fails is a retry for the model, recorded as one."""
    durable(
        Agent(scripted(call("refuse", "a"), "done"), name="worker", toolsets=[server.toolset()])
    )
    async with engine:
        first = await engine.record("worker", "go")
        assert await engine.replay() == first
    assert first["output"] == "done"
    assert server.calls()["refuse"] == 1
    refused = next(step for step in engine.steps() if step.name == "worker.mcp.sums.refuse")
    assert refused.value["kind"] == "model_retry"


async def test_several_servers_keep_their_order(engine: Engine, server: Server) -> None:
    """Toolsets are listed together; their steps have the same numbers in every life."""
    toolsets = [server.toolset(f"s{number}").prefixed(f"s{number}") for number in range(3)]
    durable(Agent(echoing(call("s1_add", "a", x=1, y=2)), name="worker", toolsets=toolsets))
    async with engine:
        first = await engine.record("worker", "go")
        for _ in range(3):
            assert await engine.replay() == first
    listed = [name for name in engine.names() if name.endswith(".tools")]
    assert listed == [f"worker.mcp.s{number}.tools" for number in range(3)]
    assert server.calls() == {"started": 3, "add 1 2": 1}


async def test_a_server_that_does_not_start_fails_the_run(engine: Engine) -> None:
    """The step that needs the server first fails, and a replay fails the same way."""
    toolset = MCPToolset[None](StdioTransport("/does/not/exist", []), id="sums")
    durable(Agent(scripted("done"), name="worker", toolsets=[toolset]))
    async with engine:
        with pytest.raises(Exception, match="exist") as first:
            await engine.run("worker", "go")
        with pytest.raises(type(first.value)) as again:
            await engine.replay()
    assert str(first.value) == str(again.value)
    assert engine.names() == ["worker.mcp.sums.tools"]


def double(x: int) -> int:
    """Return twice as much."""
    return 2 * x


@pytest.mark.parametrize("when", ["constructed", "decorated before", "decorated after"])
async def test_dynamic_toolsets_are_steps(engine: Engine, when: str) -> None:
    """It does not matter when a dynamic toolset joins the agent, if it is before the launch."""
    built: Counter[str] = Counter()

    def build(ctx: RunContext[None]) -> FunctionToolset[None]:
        built["times"] += 1
        return FunctionToolset([double])

    given = [DynamicToolset(build, id="late")] if when == "constructed" else []
    agent: Agent[None, str] = Agent(
        echoing(call("double", "a", x=4)), name="worker", toolsets=given
    )
    if when == "decorated before":
        agent.toolset(id="late")(build)
    durable(agent)
    if when == "decorated after":
        agent.toolset(id="late")(build)
    async with engine:
        first = await engine.record("worker", "go")
        times = built["times"]
        assert await engine.replay() == first
    assert first["output"] == "a=8"
    assert built["times"] == times
    assert engine.names() == [
        "worker.dynamic.late.tools",
        "worker.model",
        "worker.dynamic.late.double",
        "worker.dynamic.late.tools",
        "worker.model",
    ]


async def test_a_toolset_that_comes_with_a_run_is_refused(engine: Engine) -> None:
    """Tools that the launch has not seen would not be recorded."""
    agent = durable(Agent(echoing(call("double", "a", x=4)), name="worker"))

    @workflow("outer")
    async def outer(text: str) -> str:
        return (await agent.run(text, toolsets=[FunctionToolset([double], id="new")])).output

    async with engine:
        with pytest.raises(Exception, match="cannot be added at runtime"):
            await engine.run("outer", "go")


class Homemade(AbstractToolset[None]):
    """A toolset of the user's own class."""

    @property
    def id(self) -> str:
        return "home"

    async def get_tools(self, ctx: RunContext[None]) -> dict[str, Any]:
        """Return no tools."""
        return {}

    async def call_tool(self, name: str, tool_args: Any, ctx: Any, tool: Any) -> None:
        """Do nothing."""


async def test_a_toolset_of_an_unknown_class_is_refused(engine: Engine) -> None:
    """Its calls would run unrecorded, so the launch says how to wrap it."""
    durable(Agent(scripted("done"), name="worker", toolsets=[Homemade()]))
    with pytest.raises(AgentInvalid, match="DynamicToolset"):
        async with engine:
            pass


async def test_toolsets_need_an_id_each(engine: Engine) -> None:
    """No ID, or the same twice, is an error at the launch that names the agent."""
    durable(Agent(scripted("done"), name="worker", toolsets=[FunctionToolset([double])]))
    with pytest.raises(AgentInvalid, match=r"'worker'.*unique `id`"):
        async with engine:
            pass
