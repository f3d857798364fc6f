"""A run of an agent that this process does not know goes back to its queue, for another one."""

import logging
from functools import partial
from typing import Any

from dbos import _queue
from dbos._core import execute_dequeued_workflow

from agent_app.database.connect import Database
from agent_app.database.queue import put_back

_logger = logging.getLogger(__name__)
PUT_BACK_S = 30.0
"""Seconds before anybody may take such a run again: it must not go round and round."""


def put_back_unknown(database: Database) -> None:
    """Let this process keep no run from a queue of `database` whose agent it does not know.

    DBOS 3.4 logs an error and leaves such a run PENDING, held by a process that never executes it.
    What DBOS calls for each run that it has taken is a private name, replaced here only.
    """
    setattr(_queue, "execute_dequeued_workflow", partial(_execute_known, database))  # noqa: B010


def _execute_known(database: Database, dbos: Any, status: Any, owner_xid: str) -> Any:
    name, run_id = status["name"], status["workflow_uuid"]
    if name in dbos._registry.workflow_info_map:
        return execute_dequeued_workflow(dbos, status, owner_xid)
    put_back(database, run_id, owner_xid, PUT_BACK_S)
    _logger.warning(
        "Run %s waits another %d s: this process knows no agent %r (AGENT_APP_AGENTS).",
        run_id,
        PUT_BACK_S,
        name,
    )
    return None
