"""When a process is to be killed: drawn at random, early enough for many kills in a short run."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agent_app.durability.journal import JournalLine
from agent_app.operations.chaos.tally import Death

_STARTUP_SHARE = 0.2
"""Share of the kills that strike whatever the process has come to by then."""
_STARTUP_S = 2.0
"""Seconds that a start takes, until one has been seen."""
_MAX_LINES = 5
_MAX_DELAY_S = 0.01
_WORK = frozenset({"attempt_started", "attempt_failed", "step_finished", "step_failed"})


@dataclass(frozen=True)
class Moment:
    """The end of one life."""

    line_count: int
    """Lines about work that come before it; 0 strikes while the process starts."""
    delay_s: float
    """Seconds after the last of them, or after the start."""

    def has_come(self, life: Sequence[JournalLine], age_s: float) -> bool:
        """Say whether a life of these lines and this age has come to it, but for the delay."""
        if self.line_count == 0:
            return age_s >= self.delay_s
        return sum(line.kind in _WORK for line in life) >= self.line_count


def draw_moment(draw: random.Random, deaths: Sequence[Death], startup_s: float | None) -> Moment:
    """Return when the next life ends: while it starts, or a few lines of work later.

    The longer no checkpoint has been added, the later: a try that fails in each life must not be
    all that the run ever comes to.
    """
    if draw.random() < _STARTUP_SHARE:
        return Moment(0, draw.uniform(0, startup_s or _STARTUP_S))
    return Moment(
        draw.randint(1, _MAX_LINES) + _count_barren(deaths), draw.uniform(0, _MAX_DELAY_S)
    )


def _count_barren(deaths: Sequence[Death]) -> int:
    """Return how many deaths have found no new checkpoint since the last one that did."""
    counts = [len(death.finished) for death in deaths]
    return max(sum(count == counts[-1] for count in counts) - 1, 0)
