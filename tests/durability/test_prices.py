"""What an answer has cost, where some of them do not say what they used."""

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from agent_app.durability.catalog import durable
from tests.durability.running import Engine


async def test_an_answer_without_usage_hides_no_later_price(engine: Engine) -> None:
    """One answer whose price cannot be known leaves those of the same model their own."""
    unknown = RequestUsage(unmeasured_requests=1)
    usages = iter((unknown, RequestUsage(input_tokens=1000, output_tokens=100)))

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart("hello")], usage=next(usages), provider_name="openai")

    durable(Agent(FunctionModel(answer, model_name="gpt-4.1-nano"), name="worker"))
    async with engine:
        await engine.run("worker", "go", run_id="first")
        record = await engine.record("worker", "go", run_id="second")
    costs = engine.sql("select cost_usd from agent_app.attempt order by run_id")
    assert [str(cost) for (cost,) in costs] == ["None", record["cost_usd"]]
    assert float(record["cost_usd"]) > 0
