"""When lives are to end: early, at random, and later where nothing else comes of them."""

import random
from collections import Counter

from agent_app.database.evidence import FinishedStep
from agent_app.durability.journal import JournalLine
from agent_app.operations.chaos.moments import Moment, draw_moment
from agent_app.operations.chaos.tally import Death


def deaths(*step_counts: int) -> list[Death]:
    """Return deaths at which so many steps had their checkpoints."""
    return [
        Death(1.0, 0, [FinishedStep("run", n, 0, 0, None) for n in range(count)])
        for count in step_counts
    ]


def drawn(*step_counts: int, startup_s: float | None = None) -> list[Moment]:
    """Return what a thousand seeds draw after these deaths."""
    seeds = (random.Random(seed) for seed in range(1000))
    return [draw_moment(seed, deaths(*step_counts), startup_s) for seed in seeds]


def test_a_kill_comes_after_a_few_lines_of_work_or_while_the_process_starts() -> None:
    """One in five strikes during the start, which others have shown the length of."""
    moments = drawn(3, startup_s=1.5)
    counts = Counter(moment.line_count for moment in moments)
    assert set(counts) == {0, 1, 2, 3, 4, 5}
    assert 150 < counts[0] < 250
    during_start = [moment.delay_s for moment in moments if moment.line_count == 0]
    assert 1.4 < max(during_start) < 1.5
    assert max(moment.delay_s for moment in moments if moment.line_count) < 0.01


def test_a_run_that_does_not_get_on_gets_more_time() -> None:
    """Each death without a new checkpoint puts the next kill off by a line."""
    assert max(moment.line_count for moment in drawn(2, 3, 3, 3)) == 5 + 2
    assert min(moment.line_count for moment in drawn(0, 0) if moment.line_count) == 1 + 1
    assert max(moment.line_count for moment in drawn(3, 4)) == 5


def test_the_seed_decides() -> None:
    """The same seed draws the same moment."""
    assert drawn(1) == drawn(1)
    assert len(set(drawn(1))) > 900


def test_only_work_counts() -> None:
    """Checkpoints that a new life reads bring no kill nearer; tries and their ends do."""
    kinds = ("run_started", "step_replayed", "attempt_started", "fault_injected", "step_finished")
    life = [JournalLine(1.0, kind, "run", 1) for kind in kinds]
    moment = Moment(2, 0.0)
    assert not moment.has_come(life[:4], 9.0)
    assert moment.has_come(life, 0.0)


def test_a_start_is_a_matter_of_age() -> None:
    """A kill during the start waits for no line."""
    moment = Moment(0, 0.5)
    assert not moment.has_come([], 0.4)
    assert moment.has_come([], 0.5)
