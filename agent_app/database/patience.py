"""Waiting with an end: a state is polled until a deadline, and a person is told why."""

import time
from collections.abc import Callable

Notify = Callable[[str], None]
"""Takes one sentence for the person who waits."""

NOTIFY_AFTER_S = 2.0
"""A wait below this needs no words."""


class Patience:
    """Counts down one wait that may have several reasons; each is told once, when it takes long."""

    def __init__(self, timeout_s: float, notify: Notify) -> None:
        self.timeout_s = timeout_s
        self.notify = notify
        self._began_at = time.monotonic()
        self._pause_s = 0.005
        self._told: set[str] = set()

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; negative beyond it."""
        return self._began_at + self.timeout_s - time.monotonic()

    @property
    def is_over(self) -> bool:
        """Say whether the deadline has passed."""
        return self.left_s <= 0

    def pause(self, reason: str) -> None:
        """Sleep for a moment, longer each time up to 50 ms; tell `reason` once it drags on."""
        waited_s = time.monotonic() - self._began_at
        if waited_s >= NOTIFY_AFTER_S and reason not in self._told:
            self._told.add(reason)
            self.notify(reason)
        time.sleep(max(0.0, min(self._pause_s, self.left_s)))
        self._pause_s = min(self._pause_s * 1.5, 0.05)
