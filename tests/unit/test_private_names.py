"""Names that DBOS and Pydantic AI call private or may move: an upgrade must fail here first."""

import inspect

from dbos import DBOS, DBOSClient, StepReservation
from dbos import _core as dbos_core
from dbos import _queue as dbos_queue
from dbos import error as dbos_error
from dbos._context import current_owner_xid
from dbos._core import WorkflowHandleAsyncPolling
from dbos._serialization import DefaultSerializer
from dbos._sys_db import RecordedResult, SystemDatabase
from pydantic_ai import Agent
from pydantic_ai.durable_exec import (
    BaseDurabilityCapability,
    CallableOperationBackend,
    DurableOperationNamer,
)
from pydantic_ai.durable_exec._operation import DurableOperationId
from pydantic_ai.durable_exec._operation_names import DurableInvocationName

from agent_app.durability import step_check
from agent_app.durability.naming import StepNamer


def test_pickle_is_read_by_this_class() -> None:
    """DBOS unpickles through it, whatever serializer is configured; both methods are replaced."""
    assert DefaultSerializer().name() == "py_pickle"
    assert {"serialize", "deserialize"} <= set(vars(DefaultSerializer))


def test_a_reserved_step_executes_with_these_options() -> None:
    """A number is drawn with `reserve_step`, executed later, preemptible."""
    assert list(inspect.signature(DBOS.reserve_step).parameters) == []
    parameters = list(inspect.signature(StepReservation.run_async).parameters)
    assert parameters[:3] == ["self", "dbos_step_options", "func"]
    assert "step_id" in StepReservation.__annotations__ or hasattr(StepReservation, "step_id")


def test_a_process_can_begin_to_listen_to_a_queue_late() -> None:
    """DBOS keeps the names of the queues that a process listens to where we add one."""
    assert "self._listening_queues" in inspect.getsource(DBOS.__init__)
    assert callable(DBOS.listen_queues)


def test_a_taken_run_is_executed_by_this_function() -> None:
    """A queue's thread calls it by this name of its module; a run of an unknown agent goes back."""
    assert "execute_dequeued_workflow" in vars(dbos_queue)
    source = inspect.getsource(dbos_queue.queue_worker_thread)
    assert "execute_dequeued_workflow(dbos, status, owner_xid)" in source
    parameters = list(inspect.signature(dbos_core.execute_dequeued_workflow).parameters)
    assert parameters == ["dbos", "status", "owner_xid"]
    assert "workflow_info_map" in inspect.getsource(dbos_core.execute_dequeued_workflow)


def test_our_check_stands_where_dbos_asks_for_a_checkpoint() -> None:
    """It replaces this method, by name and arguments, and answers what DBOS takes apart."""
    check = step_check._own_check
    parameters = ["self", "workflow_id", "function_id", "function_name", "owner_key"]
    assert list(inspect.signature(check).parameters) == parameters
    assert "check_operation_execution(" in inspect.getsource(dbos_core.invoke_step)
    answer = {"output", "error", "serialization", "child_workflow_id", "child_shard_key"}
    assert set(RecordedResult.__annotations__) == answer
    assert "owner_xid" in inspect.getsource(current_owner_xid)


def test_a_replay_answers_where_dbos_asks_for_a_checkpoint() -> None:
    """Its own operations ask in two ways, and write nothing before they have asked."""
    inside = SystemDatabase._check_operation_execution_txn
    parameters = ["self", "workflow_id", "function_id", "function_name", "conn"]
    assert list(inspect.signature(inside).parameters) == parameters
    for method in ("recv_setup", "get_event_setup", "record_sleep", "call_function_as_step"):
        source = inspect.getsource(getattr(SystemDatabase, method))
        assert "self.check_operation_execution(" in source, method
    for method in ("set_event_from_workflow", "write_stream_from_workflow", "call_txn_as_step"):
        source = inspect.getsource(getattr(SystemDatabase, method))
        assert "self._check_operation_execution_txn(" in source, method


def test_a_client_begins_its_transactions_by_this_engine() -> None:
    """A joint commit puts another engine in its place."""
    assert "self._sys_db = " in inspect.getsource(DBOSClient.__init__)
    assert "self.engine.begin()" in inspect.getsource(SystemDatabase.fork_workflow)


def test_dbos_looks_for_cancelled_runs_as_often_as_we_say() -> None:
    """The interval is a name of the module, read anew at each look."""
    assert "_PREEMPTIBLE_POLL_INTERVAL_SEC" in vars(dbos_core)
    source = inspect.getsource(dbos_core._CancellationWatcher._poll)
    assert "_PREEMPTIBLE_POLL_INTERVAL_SEC" in source


def test_errors_of_dbos_have_these_shapes() -> None:
    """What we translate or let pass."""
    unexpected = dbos_error.DBOSUnexpectedStepError("r", 1, "asked", "recorded")
    assert unexpected.inputs == ("r", 1, "asked", "recorded")
    assert issubclass(dbos_error.DBOSAwaitedWorkflowCancelledError, Exception)
    assert issubclass(dbos_error.DBOSAwaitedWorkflowMaxRecoveryAttemptsExceeded, Exception)
    for signal in (dbos_error.DBOSWorkflowCancelledError, dbos_error.DBOSWorkflowConflictIDError):
        assert not issubclass(signal, Exception)


def test_an_attached_child_has_this_handle() -> None:
    """A handle of this class says that the run was there before."""
    assert {"get_status", "get_result"} <= set(dir(WorkflowHandleAsyncPolling))


def test_the_builder_surface_has_these_hooks() -> None:
    """Methods of the capability that we override or call, the underscored ones above all."""
    for name in (
        "_bind_to_agent",
        "_durable_run_context_scope",
        "_reject_runtime_toolsets",
        "_wrap_other_leaf_toolset",
        "after_tool_validate",
        "for_agent",
        "get_default_run_id",
        "get_run_clock",
        "get_run_start_time",
        "prepare_tools",
        "wrap_run",
        "wrap_tool_execute",
    ):
        assert callable(getattr(BaseDurabilityCapability, name)), name
    assert {"using_sleep", "parallel_tool_call_execution_mode", "iter"} <= set(dir(Agent))
    parameters = inspect.signature(CallableOperationBackend.execute).parameters
    assert set(parameters) == {"self", "operation_id", "name", "body", "cache_key", "config"}


def test_a_step_name_is_this_object() -> None:
    """A namer returns the class whose module is private."""
    assert DurableInvocationName("a.model").operation_name == "a.model"
    assert DurableOperationNamer in StepNamer.__mro__


def test_every_kind_of_operation_has_a_name() -> None:
    """A kind that a new version adds must be named here before it is recorded."""
    known = {
        "CapabilityOperationId",
        "EventStreamHandlerId",
        "ModelCancelSuspendedResponseId",
        "ModelCompactMessagesId",
        "ModelRequestId",
        "ToolsetCallToolId",
        "ToolsetGetInstructionsId",
        "ToolsetGetToolsId",
        "ToolsetValidateToolArgumentsId",
    }
    assert {kind.__name__ for kind in DurableOperationId.__args__} == known
