"""Start a run, or attach to the one that has its ID, and wait for its end."""

import asyncio
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dbos import DBOS, SetWorkflowAttributes, SetWorkflowID, WorkflowStatus
from dbos import error as dbos_error
from pydantic_ai.exceptions import UserError
from sqlalchemy.exc import DBAPIError

from agent_app.database.connect import Database
from agent_app.database.read import read_run
from agent_app.durability.catalog import EVERY_SHIPPED_AGENT, Catalog, Runnable
from agent_app.durability.chaos import Chaos
from agent_app.durability.clients import build_model
from agent_app.durability.events import describe_error
from agent_app.durability.identity import digest
from agent_app.durability.runtime import UNCHECKED, workflow_of
from agent_app.durability.storage import storage
from agent_app.errors import (
    ConfigurationInvalid,
    PayloadRefused,
    RunCancelled,
    RunFailed,
    RunIdInvalid,
    RunInputConflict,
    RunNotFound,
    RunNotResumable,
)
from agent_app.operations.attributes import check_attributes
from agent_app.settings import OFFLINE_MODEL, Settings

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
_POLL_S = 0.1


def new_run_id() -> str:
    """Return an ID that no run has: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def choose_models(
    catalog: Catalog, settings: Settings, changes: Mapping[str, str]
) -> dict[str, str]:
    """Return the model strings that a run is started with and keeps, by agent name.

    `changes` go before the settings; the key `*` stands for every shipped agent.
    Raises: AgentNotFound (no agent has a key's name); ConfigurationInvalid (no such model, or its
    provider lacks its key).
    """
    return check_models(
        catalog, {EVERY_SHIPPED_AGENT: settings.model, **settings.models, **changes}
    )


def check_models(catalog: Catalog, models: Mapping[str, str]) -> dict[str, str]:
    """Return the model strings as they are recorded, each of them one that can be used.

    Raises: as `choose_models`.
    """
    for agent, model in models.items():
        if agent != EVERY_SHIPPED_AGENT:
            catalog.find(agent)
        if model != OFFLINE_MODEL:
            try:
                build_model(model)
            except (UserError, ValueError, ImportError) as error:
                raise ConfigurationInvalid(f"Model {model!r} cannot be used: {error}") from error
    offline = (EVERY_SHIPPED_AGENT, OFFLINE_MODEL)  # what they are without any choice
    return {agent: model for agent, model in models.items() if (agent, model) != offline}


def check_run_id(run_id: str) -> None:
    """Refuse what cannot be a run's ID.

    Raises: RunIdInvalid.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise RunIdInvalid(run_id)


def choose_chaos(share: float | None, seed: int | None, run_id: str) -> Chaos | None:
    """Return the faults that a run is started with; without a seed, its ID chooses them.

    Raises: ConfigurationInvalid (a seed for no faults).
    """
    if share is None:
        if seed is not None:
            raise ConfigurationInvalid(
                "--seed chooses faults; --chaos with their share is missing."
            )
        return None
    return Chaos(share, int(digest(run_id), 16) % 1_000_000 if seed is None else seed, run_id)


@dataclass(frozen=True)
class RunOrder:
    """A run that may be started: everything of it is checked, nothing is stored."""

    run_id: str
    runnable: Runnable
    request: dict[str, Any]
    """What its workflow gets."""
    attributes: dict[str, str]

    @property
    def agent(self) -> str:
        """The name of what is run."""
        return self.runnable.name

    def check_stored(self, database: Database) -> None:
        """Refuse a run that is not there yet by what is, where its runnable does. It may block.

        Raises: what the runnable raises, such as RunNotFollowable.
        """
        check = self.runnable.check_stored
        if check is not None and read_run(database, self.run_id) is None:
            check(database, self.runnable.input_type.validate_python(self.request["input"]))


def order_run(
    catalog: Catalog,
    name: str,
    value: Any,
    *,
    run_id: str,
    models: Mapping[str, str],
    chaos: Chaos | None = None,
    attributes: Mapping[str, str] | None = None,
) -> RunOrder:
    """Return what is to be started.

    Raises: AgentNotFound; InputInvalid; RunIdInvalid; AttributeInvalid.
    """
    runnable = catalog.find(name)
    check_run_id(run_id)
    labels = check_attributes(attributes or {})
    request = {"input": runnable.parse(value, models), "models": dict(models)}
    if chaos is not None:
        request["chaos"] = chaos.as_json()
    return RunOrder(run_id, runnable, request, labels)


async def start_run(
    catalog: Catalog,
    name: str,
    value: Any,
    *,
    run_id: str,
    models: Mapping[str, str],
    chaos: Chaos | None = None,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """Start a run of `name` under `run_id`, durably; with the same input again, attach to it.

    With `chaos`, a share of its tries and of its children's fails on purpose. `attributes` are
    labels of a new run; one that is there keeps its own.
    Raises: AgentNotFound; InputInvalid; RunIdInvalid; AttributeInvalid; RunInputConflict (the ID
    belongs to another run, which is untouched); PayloadRefused (its row was not written by us);
    RunNotResumable (it belongs to another application version); what `RunOrder.check_stored` does.
    """
    order = order_run(
        catalog, name, value, run_id=run_id, models=models, chaos=chaos, attributes=attributes
    )
    await _refuse_foreign_row(order)
    await asyncio.to_thread(order.check_stored, storage().database)
    try:
        with SetWorkflowID(run_id), SetWorkflowAttributes(order.attributes or None):
            await DBOS.start_workflow_async(workflow_of(order.runnable), order.request)
    except dbos_error.DBOSConflictingWorkflowError as error:
        raise RunInputConflict(run_id, name) from error
    await _refuse_foreign_row(order)  # somebody may have been faster


async def _refuse_foreign_row(order: RunOrder) -> None:
    status = await DBOS.get_workflow_status_async(order.run_id)
    if status is None:
        return
    refuse_other_run(status, order)
    version = status.app_version
    if status.status in ("PENDING", "ENQUEUED") and version != DBOS.application_version:
        raise RunNotResumable(order.run_id, f"it belongs to application version {version!r}")


def refuse_other_run(status: WorkflowStatus, order: RunOrder) -> None:
    """Refuse a stored run that is not the one that is ordered, though it has its ID.

    Raises: RunInputConflict; PayloadRefused (its row was not written by us).
    """
    if not isinstance(status.input, dict):
        raise PayloadRefused("a format that is not ours")
    stored = next(iter(status.input["args"]), None)
    if isinstance(stored, dict):
        stored = {key: item for key, item in stored.items() if key != UNCHECKED}
    if status.name != order.agent or digest(stored) != digest(order.request):
        raise RunInputConflict(order.run_id, status.name)


async def wait_for_run(run_id: str) -> dict[str, Any]:
    """Return the finished run's record: `output`, `usage` and `cost_usd`, all JSON.

    Raises: RunNotFound; RunCancelled; RunFailed (with the run's own error as its cause);
    DBAPIError (the database cannot be read, and the run may be well).
    """
    try:
        handle: Any = await DBOS.retrieve_workflow_async(run_id)
        record: dict[str, Any] = await handle.get_result(polling_interval_sec=_POLL_S)
    except dbos_error.DBOSNonExistentWorkflowError as error:
        raise RunNotFound(run_id) from error
    except dbos_error.DBOSAwaitedWorkflowCancelledError as error:
        raise RunCancelled(run_id) from error
    except dbos_error.DBOSAwaitedWorkflowMaxRecoveryAttemptsExceeded as error:
        raise RunFailed(
            run_id, f"it was recovered too often and given up; `agent-app resume {run_id}` insists."
        ) from error
    except DBAPIError:
        raise  # the database's, which says nothing about the run
    except Exception as error:
        raise RunFailed(run_id, describe_error(error)) from error
    return record
