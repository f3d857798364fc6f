"""An agent's I/O to steps: every model request and every tool call of a durable run passes here.

Built on the public builder surface of `pydantic_ai.durable_exec`. The stock DBOS capability leaves
function tools unwrapped by design, so a finished tool would run again after a crash.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import anyio
from dbos import DBOS, StepReservation
from dbos import error as dbos_error
from pydantic_ai import Agent, RunContext
from pydantic_ai.agent.abstract import AbstractAgent
from pydantic_ai.capabilities.abstract import AbstractCapability, WrapRunHandler
from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    CallableOperationBackend,
    DurabilityEngineSpec,
    DurableOperationId,
    ModelRequestId,
    RoleBasedOperationConfig,
    ToolsetCallToolId,
    conversation_id_from_run_id,
)
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models import KnownModelName, Model, ModelResolutionContext
from pydantic_ai.run import AgentRunResult
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ExternalToolset

from agent_app.durability.clients import one_request_a_try, open_model
from agent_app.durability.identity import call_identity, tool_call_identity, tool_call_key
from agent_app.durability.naming import StepNamer
from agent_app.durability.outage import stopped_without_database
from agent_app.durability.policy import StepPolicies, StepPolicy
from agent_app.durability.scope import current_run, current_step, in_workflow_code
from agent_app.durability.step import StepCall, execute_step
from agent_app.durability.whole_answer import whole_answer
from agent_app.errors import ValueNotStorable

POLICY_KEY = "step"
"""Key of a tool's metadata: a StepPolicy's fields, or False for a tool that runs unrecorded."""


@dataclass(frozen=True)
class _Slot:
    """A tool call's place in the run, given out in call order."""

    reservation: StepReservation
    call_key: str
    of: str


_slot: ContextVar[_Slot | None] = ContextVar("agent_app_slot", default=None)


class StepBackend(CallableOperationBackend[StepPolicy]):
    """Executes one operation of Pydantic AI as one DBOS step."""

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Callable[[], Awaitable[object]],
        cache_key: tuple[object, ...],
        config: StepPolicy,
    ) -> object:
        """Return the recorded payload, or execute `body` and record what it returns."""
        context = _context_of(cache_key)
        is_tool = isinstance(operation_id, ToolsetCallToolId)
        slot = _slot.get() if is_tool else None
        call = StepCall(
            name=name,
            of=slot.of if slot else call_identity(operation_id, cache_key),
            policy=config if is_tool else _without_effect(config),
            call_key=slot.call_key if slot else None,
            subject=cache_key[1] if is_tool else None,
            rate_limit=_rate_limit_of(operation_id, context),
            reservation=slot.reservation if slot else None,
        )
        if isinstance(operation_id, ModelRequestId):
            body = whole_answer(body)
        payload, usage = await execute_step(call, body)
        if usage is not None and context is not None:
            context.usage.incr(usage)
        return payload


def _context_of(parameters: tuple[object, ...]) -> RunContext[Any] | None:
    return next((part for part in parameters if isinstance(part, RunContext)), None)


def _without_effect(policy: StepPolicy) -> StepPolicy:
    """Return the policy for what is no tool call: a model request has no intent, no transaction."""
    if policy.effect in ("pure", "idempotent"):
        return policy
    return replace(policy, effect="idempotent")


def _rate_limit_of(
    operation_id: DurableOperationId, context: RunContext[Any] | None
) -> tuple[str, str] | None:
    if context is None or not isinstance(operation_id, ModelRequestId):
        return None
    return context.model.system, context.model.model_name


@dataclass(init=False, kw_only=True)
class StepDurability(BaseDurabilityCapability[Any]):
    """Makes the runs of one agent durable inside a run of ours; elsewhere it changes nothing."""

    engine_spec = DurabilityEngineSpec(
        engine_name="agent_app",
        durable_unit_noun="step",
        durable_container_noun="run",
        codec=JSON_CODEC,
        serialization_failure=lambda error: ValueNotStorable("", _reason(error)),
        wrapped_toolset_kinds=frozenset({"function", "mcp", "dynamic"}),
        toolset_lifecycles={
            "function": "enter-always",
            "mcp": "enter-in-durable-unit",
            "dynamic": "enter-never",
        },
        unsupported_runtime_toolset_kinds=frozenset({"function", "mcp", "dynamic"}),
        journal_discovery=True,
        tool_config_key=POLICY_KEY,
        # DBOS ends a cancelled or lost run with these instead of CancelledError.
        cancellation_error_types=(
            dbos_error.DBOSWorkflowCancelledError,
            dbos_error.DBOSWorkflowConflictIDError,
        ),
    )

    def __init__(
        self,
        *,
        name: str,
        policies: StepPolicies,
        models: Mapping[str, Model] | None = None,
    ) -> None:
        super().__init__(name=name, models=models)
        self._policies = policies
        self._slots: dict[tuple[str, str | None, str], _Slot] = {}
        self._backend: StepBackend | None = None

    # -- engine

    @property
    def in_durable_context(self) -> bool:
        """Say whether calls made here become steps."""
        return in_workflow_code()

    def for_agent(self, agent: AbstractAgent[Any, Any]) -> AbstractCapability[Any]:
        """Bind to `agent` once; a run that brings the bound capability along keeps it."""
        return self if self._agent is agent else super().for_agent(agent)

    def _bind_to_agent(self, agent: AbstractAgent[Any, Any]) -> None:
        self._slots = {}
        self._backend = None
        super()._bind_to_agent(agent)

    def get_durable_operation_backend(self) -> StepBackend:
        """Return the backend, made on the first call after binding."""
        if self._backend is None:
            self._backend = StepBackend(
                namer=StepNamer(self.name),
                config=RoleBasedOperationConfig(
                    model=self._policies.model,
                    tool=self._policies.tool,
                    event=self._policies.tool,
                    capability=self._policies.tool,
                    resolve_tool=self._tool_policy,
                ),
            )
        return self._backend

    def _tool_policy(
        self, operation_id: DurableOperationId, tool: Any, tool_name: str
    ) -> StepPolicy | Literal[False]:
        definition = getattr(tool, "tool_def", None)
        change = ((definition.metadata if definition else None) or {}).get(POLICY_KEY)
        if change is False:
            return False
        return self._policies.tool.changed(self.name, change) if change else self._policies.tool

    def _reject_runtime_toolsets(self, toolset: AbstractToolset[Any]) -> None:
        """Reject what was added after binding; binding comes late, so decorated toolsets are in."""
        if not self.in_durable_context or self._agent is None:
            return
        known: set[int] = set()
        for own in self._agent.toolsets:
            own.apply(lambda leaf: known.add(id(leaf)))
        unknown: list[AbstractToolset[Any]] = []
        toolset.apply(lambda leaf: None if id(leaf) in known else unknown.append(leaf))
        if unknown:
            super()._reject_runtime_toolsets(toolset)

    # -- models

    async def resolve_model_id(
        self, ctx: ModelResolutionContext[Any], *, model_id: KnownModelName | str
    ) -> Model | None:
        """Return the agent's own model of that name, else in a run the one that all runs share."""
        own = await super().resolve_model_id(ctx, model_id=model_id)
        return own if own is not None or current_run() is None else await open_model(model_id)

    def get_model_settings(self) -> Callable[[RunContext[Any]], ModelSettings]:
        """Return what makes each try of a durable model request exactly one HTTP request."""
        return lambda ctx: one_request_a_try(ctx) if in_workflow_code() else ModelSettings()

    # -- identity and time of an agent run, the same in every life

    def get_default_run_id(self) -> str | None:
        """Return `{run}:{n}` for the n-th agent run of this run; None elsewhere."""
        run = current_run()
        if run is None or not self.in_durable_context:
            return None
        return f"{run.run_id}:{next(run.agent_run_numbers)}"

    def get_default_conversation_id(self, run_id: str) -> str | None:
        """Return an ID derived from the agent run's; None elsewhere."""
        return conversation_id_from_run_id(run_id) if self.in_durable_context else None

    def get_run_clock(self) -> Callable[[], datetime] | None:
        """Return a clock that stands still between two lives of the run.

        A replay is later than the limit, yet must let what ended in time end so again.
        """
        run = current_run()
        if run is None or not self.in_durable_context:
            return None
        return lambda: datetime.now(UTC) - run.behind

    async def get_run_start_time(self, run_id: str) -> datetime | None:
        """Return when the agent run first began, as a step."""
        run = current_run()
        if run is None or not self.in_durable_context:
            return None

        async def now() -> str:
            return datetime.now(UTC).isoformat()

        policy = replace(self._policies.tool, effect="pure")
        call = StepCall(f"{self.name}.run_start_time", "run_start_time", policy)
        payload, _ = await execute_step(call, now)
        start = datetime.fromisoformat(str(payload))
        run.behind = datetime.now(UTC) - start
        return start

    # -- toolsets and what their tools spend

    def _wrap_other_leaf_toolset(self, ts: AbstractToolset[Any]) -> None:
        if not isinstance(ts, ExternalToolset):
            raise UserError(
                f"the calls of {type(ts).__name__} {ts.id!r} would not be recorded; wrap it: "
                "DynamicToolset(lambda ctx: toolset, id='…')."
            )

    @contextmanager
    def _durable_run_context_scope(self, ctx: RunContext[Any]) -> Iterator[RunContext[Any]]:
        """Give the body a usage of its own: what it adds is recorded, so a replay adds it too."""
        step = current_step()
        with super()._durable_run_context_scope(ctx) as guarded:
            before = copy(ctx.usage)  # the run's own goes on counting while siblings end
            guarded.usage = copy(before)
            try:
                yield guarded
            finally:
                if step is not None and vars(guarded.usage) != vars(before):
                    step.usage.incr(guarded.usage - before)

    # -- order of steps

    async def prepare_tools(
        self, ctx: RunContext[Any], tool_defs: list[ToolDefinition]
    ) -> list[ToolDefinition]:
        """Force inline tools to run one at a time: their own steps would draw numbers by timing."""
        return [replace(tool, sequential=True) if _is_inline(tool) else tool for tool in tool_defs]

    async def after_tool_validate(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: Any
    ) -> Any:
        """Draw the call's step number here: validation goes in call order, execution does not."""
        run = current_run()
        if run is not None and self.in_durable_context and _becomes_step(tool_def):
            run.tool_calls[call.tool_call_id] += 1
            call_key = tool_call_key(call.tool_call_id, run.tool_calls[call.tool_call_id])
            key = (run.run_id, ctx.run_id, call.tool_call_id)
            self._slots[key] = _Slot(DBOS.reserve_step(), call_key, tool_call_identity(call))
        return args

    async def wrap_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: Any,
        handler: Callable[[Any], Awaitable[Any]],
    ) -> Any:
        """Hand the number on to the step."""
        run = current_run()
        key = (run.run_id if run else "", ctx.run_id, call.tool_call_id)
        token = _slot.set(self._slots.pop(key, None))
        try:
            return await handler(args)
        finally:
            _slot.reset(token)

    async def wrap_run(
        self, ctx: RunContext[Any], *, handler: WrapRunHandler
    ) -> AgentRunResult[Any]:
        """Run the agent loop with ordered events and durable waits."""
        if self._agent is None or not self.in_durable_context:
            return await handler()
        with (
            self._agent.parallel_tool_call_execution_mode("parallel_ordered_events"),
            Agent.using_sleep(_durable_sleep),
            self._without_leftovers(ctx.run_id),
        ):
            return await super().wrap_run(ctx, handler=handler)

    @contextmanager
    def _without_leftovers(self, agent_run_id: str | None) -> Iterator[None]:
        """Drop, at the end, the slots of calls that waited for an approval and never executed."""
        try:
            yield
        finally:
            for key in [key for key in self._slots if key[1] == agent_run_id]:
                del self._slots[key]


def _is_inline(tool: ToolDefinition) -> bool:
    return (tool.metadata or {}).get(POLICY_KEY) is False


def _becomes_step(tool: ToolDefinition) -> bool:
    return tool.kind in ("function", "unapproved") and not _is_inline(tool)


def _reason(error: Exception) -> str:
    """Return the line of a serialization error that says what is wrong; warnings come first."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[-1].strip(" ()").rstrip(".")


async def _durable_sleep(seconds: float) -> None:
    """Wait as a step of its own, so that recovery waits for the rest only."""
    run = current_run()
    if run is not None and in_workflow_code():
        with stopped_without_database(run):
            await DBOS.sleep_async(seconds)
    else:
        await anyio.sleep(max(seconds, 0))
