"""What chaos came to: the journal's lines and what stood in the database at each death, counted."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from agent_app.database.evidence import FinishedStep
from agent_app.durability.chaos import PLACES
from agent_app.durability.journal import JournalLine, Step

_ENDS = frozenset({"attempt_failed", "step_finished", "step_failed"})
Lines = Sequence[JournalLine]


@dataclass(frozen=True)
class Death:
    """One kill, and where things stood when nothing of the dead process could commit any more."""

    at: float
    """Seconds since 1970."""
    line_count: int
    """Lines of the journal by then."""
    finished: Sequence[FinishedStep]

    @cached_property
    def steps(self) -> frozenset[Step]:
        """Return the steps that had their checkpoints."""
        return frozenset((step.run_id, step.step_number) for step in self.finished)


@dataclass(frozen=True)
class RestartCost:
    """What would have been paid again without checkpoints, each kill a restart from the start."""

    call_count: int
    """Tries of model requests and tools, the failed ones too."""
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    """Sum of the known prices; None where none is known."""
    duration_s: float
    """Time during which at least one of the calls went on."""


@dataclass(frozen=True)
class ChaosReport:
    """What a run met and what it lost; nothing, if all is well."""

    run_id: str
    agent: str
    status: str | None
    """None where the run was never recorded."""
    problem: str | None
    """Why the run did not succeed; None if it did."""
    rate: float
    seed: int
    step_count: int
    attempt_count: int
    fault_counts: Mapping[str, int]
    kill_count: int
    asked_kill_count: int
    """More than there were where the run ended before."""
    repeated_steps: Sequence[Step]
    lost_steps: Sequence[Step]
    sent_again_count: int
    """Calls in flight at a kill that were made again: at least once is what they are promised."""
    duration_s: float
    lost_s: float
    restart: RestartCost

    @property
    def is_sound(self) -> bool:
        """Say whether the run succeeded, and nothing complete was lost or executed again."""
        return self.problem is None and not self.repeated_steps and not self.lost_steps


def repeated_steps(lines: Lines, deaths: Iterable[Death]) -> list[Step]:
    """Return the steps that were executed again though they had their checkpoints; none, we hope.

    A body that began after the death of a process that had left its checkpoint is the offence.
    """
    return sorted(
        {step for death in deaths for step in _started(lines[death.line_count :]) & death.steps}
    )


def lost_steps(deaths: Iterable[Death], finished: Collection[Step]) -> list[Step]:
    """Return the steps that had a checkpoint at some death and have none in the end."""
    return sorted({step for death in deaths for step in death.steps}.difference(finished))


def count_sent_again(lines: Lines, deaths: Sequence[Death]) -> int:
    """Return how many calls in flight at a death were made again, as at-least-once allows."""
    return sum(
        len(set(_in_flight(life, death)) & _started(lines[death.line_count :]))
        for life, death in _lives(lines, deaths)
    )


def sum_lost_s(lines: Lines, deaths: Sequence[Death], ended_at: float) -> float:
    """Return the time that the kills cost: calls in flight, and the way to the next new one.

    Calls that went on at once count once; one that waits for a child run does not count.
    """
    begun = [line.at for line in lines if line.kind == "attempt_started"]
    moments = sorted([*begun, *(death.at for death in deaths), ended_at])
    total_s = 0.0
    for life, death in _lives(lines, deaths):
        starts = _without_waiting(life, _in_flight(life, death))
        next_at = next((at for at in moments if at > death.at), death.at)
        total_s += next_at - min(starts, default=death.at)
    return total_s


def price_restart(lines: Lines, deaths: Sequence[Death]) -> RestartCost:
    """Return what the calls behind checkpoints at each death would have cost once more."""
    finished = [step for death in deaths for step in death.finished]
    prices = [step.cost_usd for step in finished if step.cost_usd is not None]
    made = list(_finished_tries(lines))
    tries = [[tried for tried in made if tried.is_behind(death)] for death in deaths]
    return RestartCost(
        call_count=sum(map(len, tries)),
        input_tokens=sum(step.input_tokens for step in finished),
        output_tokens=sum(step.output_tokens for step in finished),
        cost_usd=sum(prices, Decimal()) if prices else None,
        duration_s=sum(map(_covered_s, tries)),
    )


def count_attempts(lines: Lines) -> int:
    """Return how many tries began, in all lives."""
    return sum(line.kind == "attempt_started" for line in lines)


def count_faults(lines: Lines) -> dict[str, int]:
    """Return how many tries met a fault, by its place; a kill may have come before its effect."""
    counts = Counter(line.place for line in lines if line.kind == "fault_injected")
    return {place: counts[place] for place in PLACES}


def _lives(lines: Lines, deaths: Sequence[Death]) -> Iterator[tuple[Lines, Death]]:
    """Yield each death with the lines of the life that it ended."""
    begin = 0
    for death in deaths:
        yield lines[begin : death.line_count], death
        begin = death.line_count


def _started(lines: Lines) -> set[Step]:
    return {line.step for line in lines if line.kind == "attempt_started"}


def _in_flight(life: Lines, death: Death) -> dict[Step, float]:
    """Return when each call began that had not come to a checkpoint or a failed try."""
    begun: dict[Step, float] = {}
    for line in life:
        if line.kind == "attempt_started":
            begun[line.step] = line.at
        elif line.kind == "attempt_failed":
            begun.pop(line.step, None)
    return {step: at for step, at in begun.items() if step not in death.steps}


def _without_waiting(life: Lines, in_flight: dict[Step, float]) -> list[float]:
    """Return when the calls began, without those whose child run did the work meanwhile."""
    return [
        begun_at
        for (run_id, _), begun_at in in_flight.items()
        if not any(line.run_id.startswith(f"{run_id}:") and line.at >= begun_at for line in life)
    ]


@dataclass(frozen=True)
class _Try:
    """One try that came to an end."""

    step: Step
    begun_at: float
    ended_at: float
    line_number: int
    has_waited: bool
    """Say whether a child run did its work."""

    def is_behind(self, death: Death) -> bool:
        return self.line_number < death.line_count and self.step in death.steps


def _finished_tries(lines: Lines) -> Iterator[_Try]:
    """Yield the tries that were not cut short, in the order of their ends."""
    begun: dict[Step, float] = {}
    waiting: set[Step] = set()
    for number, line in enumerate(lines):
        waiting.update(step for step in begun if line.run_id.startswith(f"{step[0]}:"))
        if line.kind == "attempt_started":
            begun[line.step] = line.at
            waiting.discard(line.step)
        elif line.kind in _ENDS and line.step in begun:
            yield _Try(
                line.step, begun.pop(line.step), line.at, number, has_waited=line.step in waiting
            )


def _covered_s(tries: Iterable[_Try]) -> float:
    """Return how long calls went on, those at once counted once and those that waited not at all.

    A tool that attaches to its child run after a kill may wait for it longer than it would have.
    """
    total_s, reached_at = 0.0, 0.0
    for tried in sorted(tries, key=lambda tried: tried.begun_at):
        if not tried.has_waited:
            total_s += max(0.0, tried.ended_at - max(tried.begun_at, reached_at))
            reached_at = max(reached_at, tried.ended_at)
    return total_s
