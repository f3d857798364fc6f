"""The silence after a process has died: from then on, none of its statements can commit."""

import time
from collections.abc import Collection
from dataclasses import dataclass

from agent_app.database.connect import Database
from agent_app.database.evidence import Session, read_sessions

_REST_S = 0.5
"""Seconds after which a session that rests cannot be a dead process's: its end is read at once."""
_MAX_CHANGES = 4
"""A dead process's session ends a statement, and begins and ends the one that was sent, at most."""
_POLL_S = 0.02


@dataclass
class _Seen:
    """What was seen of one session since the death."""

    session: Session
    since: float
    change_count: int = 0

    def see(self, session: Session, now: float) -> None:
        if session != self.session:
            self.session, self.since = session, now
            self.change_count += 1

    def is_somebody_elses(self, now: float) -> bool:
        is_resting = self.session.is_at_rest and now - self.since >= _REST_S
        return is_resting or self.change_count > _MAX_CHANGES


def wait_for_silence(database: Database, others: Collection[int], *, timeout_s: float) -> None:
    """Wait until the server has noticed a death, for `timeout_s` at most.

    The dead process's sessions are among those that are not `others`, which were there before it.
    One that stays and rests, or goes on to work, is somebody else's.
    """
    deadline = time.monotonic() + timeout_s
    known: dict[int, _Seen] = {}
    while time.monotonic() < deadline:
        now, sessions = time.monotonic(), read_sessions(database)
        suspects = {pid: session for pid, session in sessions.items() if pid not in others}
        for process_id, session in suspects.items():
            known.setdefault(process_id, _Seen(session, now)).see(session, now)
        if all(known[process_id].is_somebody_elses(now) for process_id in suspects):
            return
        time.sleep(_POLL_S)
