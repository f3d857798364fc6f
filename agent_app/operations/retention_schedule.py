"""Pruning by schedule: a thread beside a worker's runs, which prunes when it has the turn."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from agent_app.database.connect import Database
from agent_app.database.retention import prune_turn
from agent_app.operations.prune import Pruned, choose_retention, prune_runs
from agent_app.settings import Settings

_logger = logging.getLogger(__name__)
_STOP_S = 1.0
"""Seconds that the end waits for the transaction that is under way; a process need not see it."""

Tell = Callable[[Pruned], None]


@contextmanager
def prune_schedule(database: Database, settings: Settings, tell: Tell) -> Iterator[None]:
    """Prune at once and then at intervals while the block lasts, where the settings say so.

    Of many processes on one database one does it at a time; the others leave it out until their
    next turn. An error is logged. `tell` is called from another thread, when something went.
    """
    if settings.prune_older_than is None:
        yield
        return
    schedule = _Schedule(database, settings.prune_older_than, settings.prune_interval_s, tell)
    schedule.start()
    try:
        yield
    finally:
        schedule.stop()


class _Schedule:
    """The thread: a daemon, so that a process ends without waiting for a server that hangs."""

    def __init__(self, database: Database, age: timedelta, interval_s: float, tell: Tell) -> None:
        self._database = database
        self._age = age
        self._interval_s = interval_s
        self._tell = tell
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="prune-schedule", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=_STOP_S)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                self._prune()
            except Exception as error:  # whatever it is, runs are executed on
                if not self._stopping.is_set():
                    _logger.warning("Pruning failed, next try in %g s: %s", self._interval_s, error)
            self._stopping.wait(self._interval_s)

    def _prune(self) -> None:
        with prune_turn(self._database) as turn:

            def goes_on() -> bool:
                turn.keep()
                return not self._stopping.is_set()

            if turn.is_ours:
                retention = choose_retention(self._age, (), datetime.now(UTC))
                pruned = prune_runs(self._database, retention, goes_on=goes_on)
                if pruned.run_count:
                    self._tell(pruned)
