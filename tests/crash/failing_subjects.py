"""An agent that fails with its child, whose tool fails once; imported through AGENT_APP_AGENTS."""

from pydantic_ai import Agent

from agent_app import delegate, durable
from tests.crash.hooks import count_own_starts
from tests.durability.running import call, scripted

owner = durable(Agent(scripted([call("plan", "p"), call("ask", "a")], "end"), name="owner"))
digger = durable(Agent(scripted(call("measure", "m"), call("dig", "d"), "dug"), name="clumsy"))


@owner.tool_plain
async def plan() -> str:
    """Finish beside the call that fails."""
    return "planned"


@owner.tool_plain
async def ask() -> str:
    """Fail with the child."""
    return str(await delegate(digger, "dig"))


@digger.tool_plain
async def measure() -> str:
    """Finish before the call that fails."""
    return "measured"


@digger.tool_plain
async def dig() -> str:
    """Fail the first time, in a way that no further try mends."""
    if count_own_starts() == 1:
        raise ValueError("the spade broke")
    return "dug"
