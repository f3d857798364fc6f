"""Agents whose tools do what must not happen twice; imported through AGENT_APP_AGENTS."""

import asyncio
from collections.abc import Callable

import httpx2
from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app import CallOutcome, durable, idempotency_key, transaction
from agent_app.durability.effects import ExternalCall
from tests.crash.hooks import call_out, count_own_starts, reach


def calling(*tools: str, argument: str) -> FunctionModel:
    """Return a model that calls these tools in turn, the prompt for argument, and tells the end."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        parts = [part for m in messages if isinstance(m, ModelRequest) for part in m.parts]
        returns = [str(part.content) for part in parts if isinstance(part, ToolReturnPart)]
        if len(returns) == len(tools):
            return ModelResponse([TextPart(" ".join(returns))])
        prompt = next(str(part.content) for part in parts if isinstance(part, UserPromptPart))
        tool = tools[len(returns)]
        return ModelResponse([ToolCallPart(tool, {argument: prompt}, f"{tool}-{len(returns)}")])

    return FunctionModel(answer, model_name="offline")


async def pay(what: str) -> str:
    """Pay at a place that knows no keys: a second payment is a second payment."""
    call_out("pay", idempotency_key())
    return f"paid {what}"


def find_payment(call: ExternalCall) -> str | CallOutcome:
    """Say what became of a payment: its argument says what is to be said."""
    reach("reconcile")
    match call.arguments["what"]:
        case "made":
            return f"found {call.idempotency_key}"
        case "not made":
            return CallOutcome.NOT_MADE
        case "unknown":
            return CallOutcome.UNKNOWN
        case _:
            raise RuntimeError("the bank does not answer")


async def find_payment_soon(call: ExternalCall) -> str | CallOutcome:
    """Say the same, asynchronously."""
    await asyncio.sleep(0)
    return find_payment(call)


def payer(name: str, reconcile: Callable[..., object] | None = None) -> None:
    """Make an agent that pays once."""
    agent = durable(Agent(calling("pay", argument="what"), name=name))
    metadata = {"step": {"effect": "external", "reconcile": reconcile, "max_attempts": 2}}
    agent.tool_plain(metadata=metadata)(pay)


payer("payer")
payer("careful-payer", find_payment)
payer("async-payer", find_payment_soon)

clerk = durable(Agent(calling("book", argument="text"), name="clerk"))


@clerk.tool_plain(metadata={"step": {"effect": "transactional"}})
async def book(text: str) -> str:
    """Write three rows that nothing but the transaction keeps from being six."""
    for number in range(3):
        statement = "insert into public.entry (text, number) values (%s, %s)"
        await transaction().execute(statement, (text, number))
    cursor = await transaction().execute(
        "select count(*) from public.entry where text = %s", [text]
    )
    row = await cursor.fetchone()
    assert row is not None
    return f"{row['count']} rows of {text}"


walker = durable(Agent(calling("go", "go", "go", argument="place"), name="walker"))


@walker.tool_plain
async def go(place: str) -> str:
    """Take a step."""
    call_out("go")
    return f"on to {place}"


patient = durable(Agent(calling("fetch", argument="waits"), name="patient"))


@patient.tool_plain(metadata={"step": {"max_attempts": 3}})
async def fetch(waits: str) -> str:
    """Be sent away as often as there are words in `waits`: seconds to come back after."""
    call_out("fetch")
    number, seconds = count_own_starts(), waits.split()
    if number > len(seconds):
        return f"fetched at try {number}"
    response = httpx2.Response(503, headers={"retry-after": seconds[number - 1]})
    request = httpx2.Request("GET", "http://busy.example/")
    raise httpx2.HTTPStatusError(f"busy {number}", request=request, response=response)
