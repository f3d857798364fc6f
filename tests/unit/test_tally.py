"""The account of a killed run: repeated, lost and re-sent steps, and what they cost."""

from decimal import Decimal

from agent_app.database.evidence import FinishedStep
from agent_app.durability.journal import JournalLine
from agent_app.operations.chaos.tally import (
    Death,
    RestartCost,
    count_attempts,
    count_faults,
    count_sent_again,
    lost_steps,
    price_restart,
    repeated_steps,
    sum_lost_s,
)

START, FAIL, END = "attempt_started", "attempt_failed", "step_finished"


def journal(*entries: tuple[float, str, int] | tuple[float, str, int, str]) -> list[JournalLine]:
    """Return lines out of moments, kinds and step numbers, of the run itself or of a child."""
    return [
        JournalLine(at, kind, f"run{''.join(child)}", 1, number)
        for at, kind, number, *child in entries
    ]


def death(at: float, line_count: int, *finished: int) -> Death:
    """Return a death at which these steps of the run had their checkpoints."""
    steps = [FinishedStep("run", number, 10 * number, number, None) for number in finished]
    return Death(at, line_count, steps)


def test_a_complete_step_that_begins_again_is_a_repetition() -> None:
    """A body that begins after the death that its checkpoint preceded is found, once."""
    lines = journal((1, START, 1), (2, END, 1), (3, START, 1), (4, END, 1), (5, START, 1))
    assert repeated_steps(lines, [death(2.5, 2, 1), death(4.5, 4, 1)]) == [("run", 1)]


def test_a_complete_step_of_a_child_counts_for_the_child_alone() -> None:
    """The same number in another run is another step."""
    lines = journal((1, START, 1, ":child"), (2, START, 1), (3, START, 2))
    assert repeated_steps(lines, [death(1.5, 1, 1)]) == [("run", 1)]
    assert repeated_steps(lines, [death(2.5, 2, 1)]) == []


def test_a_step_without_a_checkpoint_may_begin_again() -> None:
    """A call in flight at the death is no repetition; it counts as sent again, once."""
    lines = journal((1, START, 1), (2, START, 1), (3, END, 1), (4, START, 2))
    deaths = [death(1.5, 1), death(3.5, 3, 1)]
    assert repeated_steps(lines, deaths) == []
    assert count_sent_again(lines, deaths) == 1


def test_a_result_whose_checkpoint_was_not_written_is_sent_again() -> None:
    """A body that had ended, but for its checkpoint, counts as in flight."""
    lines = journal((1, START, 1), (2, END, 1), (3, START, 1))
    assert count_sent_again(lines, [death(2.5, 2)]) == 1


def test_a_retry_after_a_failed_try_was_not_in_flight() -> None:
    """A step that waits for its next try when the process dies sends nothing twice."""
    lines = journal((1, START, 1), (2, FAIL, 1), (3, START, 1), (4, END, 1))
    assert count_sent_again(lines, [death(2.5, 2)]) == 0


def test_a_call_in_flight_through_two_deaths_is_sent_again_once() -> None:
    """A life that is killed before it comes to the call does not send it."""
    lines = journal((1, START, 1), (4, START, 1))
    assert count_sent_again(lines, [death(1.5, 1), death(3, 1)]) == 1


def test_a_checkpoint_that_is_gone_in_the_end_is_lost() -> None:
    """What stood at some death must stand at the end."""
    deaths = [death(1, 0, 1, 2), death(2, 0, 1, 2, 3)]
    assert lost_steps(deaths, [("run", 1), ("run", 3), ("run", 4)]) == [("run", 2)]
    assert lost_steps(deaths, [("run", 1), ("run", 2), ("run", 3)]) == []


def test_time_lost_is_from_the_oldest_call_in_flight_to_the_next_new_call() -> None:
    """Calls at once count once, and a death on the way to the next call adds nothing twice."""
    lines = journal((1, START, 1), (2, START, 2), (9, START, 1), (10, END, 1))
    assert sum_lost_s(lines, [death(4, 2)], 11) == 9 - 1
    assert sum_lost_s(lines, [death(4, 2), death(6, 2)], 11) == 9 - 1
    assert sum_lost_s(lines, [death(10.5, 4, 1, 2)], 11) == 11 - 10.5


def test_a_tool_that_waits_for_its_child_run_loses_the_child_s_call_alone() -> None:
    """A delegate's finished steps are kept, so its caller's time is not lost."""
    lines = journal(
        (1, START, 1), (2, START, 1, ":child"), (3, END, 1, ":child"), (4, START, 2, ":child")
    )
    killed = Death(5, 4, [FinishedStep("run:child", 1, 0, 0, None)])
    assert sum_lost_s([*lines, *journal((7, START, 1))], [killed], 8) == 7 - 4


def test_a_restart_pays_for_every_call_behind_a_checkpoint_once_more() -> None:
    """At each kill all finished tries of complete steps count again, as do their tokens."""
    lines = journal(
        (1, START, 1), (2, FAIL, 1), (3, START, 1), (4, END, 1), (5, START, 2), (6, END, 2)
    )
    deaths = [death(4.5, 4, 1), death(6.5, 6, 1, 2)]
    assert price_restart(lines, deaths) == RestartCost(
        call_count=2 + 3,
        input_tokens=10 + 30,
        output_tokens=1 + 3,
        cost_usd=None,
        duration_s=2 + 3,
    )


def test_a_restart_makes_no_call_that_was_cut_short_or_not_recorded() -> None:
    """Tries without an end, and those of steps without a checkpoint, are no loss of a restart."""
    lines = journal((1, START, 1), (3, START, 1), (4, END, 1), (5, START, 2), (6, END, 2))
    cost = price_restart(lines, [death(6.5, 5, 1)])
    assert (cost.call_count, cost.duration_s) == (1, 1)


def test_calls_at_once_take_their_time_once() -> None:
    """The time of a restart is what the calls cover together."""
    lines = journal((1, START, 1), (2, START, 2), (3, END, 1), (4, END, 2))
    cost = price_restart(lines, [death(5, 4, 1, 2)])
    assert (cost.call_count, cost.duration_s) == (2, 3)


def test_a_tool_s_waiting_for_its_child_run_takes_the_child_s_time() -> None:
    """The child's calls count, and not how long the tool took to hear of their end."""
    lines = journal((1, START, 1), (2, START, 1, ":child"), (3, END, 1, ":child"), (9, END, 1))
    steps = [FinishedStep(run_id, 1, 0, 0, None) for run_id in ("run", "run:child")]
    cost = price_restart(lines, [Death(10, 4, steps)])
    assert (cost.call_count, cost.duration_s) == (2, 1)


def test_known_prices_are_summed() -> None:
    """A step without a price, a tool's for example, does not make the sum unknown."""
    steps = [FinishedStep("run", n, 0, 0, price) for n, price in ((1, Decimal("0.25")), (2, None))]
    assert price_restart([], [Death(1, 0, steps), Death(2, 0, steps)]).cost_usd == Decimal("0.5")


def test_attempts_and_faults_are_counted_by_place() -> None:
    """Every kind of fault is in the count, also one that did not come."""
    lines = [
        *journal((1, START, 1), (2, START, 1)),
        JournalLine(1, "fault_injected", "run", 1, 1, place="slow"),
    ]
    assert count_attempts(lines) == 2
    assert count_faults(lines) == {"before": 0, "after": 0, "slow": 1, "hung": 0}
