"""A checkpoint that cannot be written: the run stops where it stands and stays unfinished."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dbos import error as dbos_error
from sqlalchemy.exc import DBAPIError

from agent_app.durability.scope import RunScope

_logger = logging.getLogger(__name__)


@contextmanager
def stopped_without_database(run: RunScope, of: type[Exception] = DBAPIError) -> Iterator[None]:
    """Stop the run here, PENDING, where DBOS cannot use its database: that is no error of the run.

    DBOS waits for a lost connection by itself. A full disk, or a server that only reads since its
    failover, it raises; recorded later, that would end the run for good. What is raised instead
    makes it wait for the outcome that a recovery records.
    `of` is the class of what the block raises then.
    Raises: DBOSWorkflowConflictIDError.
    """
    try:
        yield
    except of as error:
        reason = getattr(error, "orig", error)
        _logger.warning(
            "Run %s stops here until its checkpoints can be written: %s", run.run_id, reason
        )
        raise dbos_error.DBOSWorkflowConflictIDError(run.run_id) from error
