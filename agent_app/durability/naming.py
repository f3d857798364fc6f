"""Names of steps: contracts with the database and with people who read it; never renamed."""

from typing import Any

from pydantic_ai.durable_exec import (
    CapabilityOperationId,
    DurableOperationId,
    DurableOperationNamer,
    EventStreamHandlerId,
    ModelCancelSuspendedResponseId,
    ModelCompactMessagesId,
    ModelRequestId,
    ToolsetCallToolId,
    ToolsetGetInstructionsId,
    ToolsetGetToolsId,
    ToolsetValidateToolArgumentsId,
)
from pydantic_ai.durable_exec._operation_names import DurableInvocationName


class StepNamer(DurableOperationNamer):
    """`{agent}.model`, `{agent}.tool.{tool}`, `{agent}.mcp.{server}.{tool}`, and so on."""

    def __init__(self, agent: str) -> None:
        self._agent = agent

    def operation_name(self, operation_id: DurableOperationId) -> str:
        """Return the name of an operation, without the tool where one is called."""
        return f"{self._agent}.{_suffix(operation_id)}"

    def invocation_name(
        self, operation_id: DurableOperationId, *, label: str | None
    ) -> DurableInvocationName:
        """Return the name of one call; `label` is the tool's name."""
        name = self.operation_name(operation_id)
        return DurableInvocationName(f"{name}.{label}" if label else name)


_FIXED: dict[type[Any], str] = {
    ModelRequestId: "model",
    ModelCompactMessagesId: "model.compact",
    ModelCancelSuspendedResponseId: "model.cancel",
    EventStreamHandlerId: "event",
}


def _suffix(operation_id: DurableOperationId) -> str:
    match operation_id:
        case CapabilityOperationId(capability_id=capability_id, operation=operation):
            return f"capability.{capability_id}.{operation}"
        case ToolsetGetInstructionsId(toolset_id=toolset_id):
            return f"mcp.{toolset_id}.instructions"
        case ToolsetGetToolsId(toolset_kind=kind, toolset_id=toolset_id):
            return f"{_place(kind, toolset_id)}.tools"
        case ToolsetValidateToolArgumentsId(toolset_kind=kind, toolset_id=toolset_id):
            return f"{_place(kind, toolset_id)}.validate"
        case ToolsetCallToolId(toolset_kind=kind, toolset_id=toolset_id):
            return _place(kind, toolset_id)
        case _:
            return _FIXED[type(operation_id)]


def _place(kind: str, toolset_id: str) -> str:
    return "tool" if kind == "function" else f"{kind}.{toolset_id}"
