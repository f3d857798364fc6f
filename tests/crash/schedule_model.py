"""What a schedule of faults and kills may leave behind: a model of tries, ledger and checkpoints.

A history is what was seen of a run, life by life: the tries that the world outside knows of, the
ledger's rows, the checkpoints. The model says of each step in each life which of them the schedule
allows. Rows are written behind the step and in order, so a killed process leaves the ledger in one
of the states that it went through a moment ago; the next life counts on from what it finds there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from typing import Any, Literal, get_args

MAX_ATTEMPTS = 3
LIMIT_S = 0.3
"""Time limit of a try whose call may hang."""
LATE_S = 1.0
"""Seconds after which a row must be in the ledger: 0.1 is what it takes, a busy machine is slow."""
BEGAN, ACTED = "began", "acted"
"""What a try tells the world: that it knows what to do, and that it has done it."""

Action = Literal["succeed", "slow", "lose", "lose_late", "refuse", "hang"]
"""Succeed at once or later; lose the connection before the effect or after it; say no; hang."""
ACTIONS: tuple[Action, ...] = get_args(Action)
_ERRORS: dict[Action, str] = {
    "lose": "ConnectionError",
    "lose_late": "ConnectionError",
    "refuse": "ValueError",
    "hang": "StepTimedOut",
}
_HAVE_EFFECT = frozenset({"succeed", "slow", "lose_late"})
_NEVER = float("inf")


@dataclass(frozen=True)
class Call:
    """One tool call, or one request to the model."""

    key: str
    script: tuple[Action, ...] = ()
    """What its tries do, counted over all lives by the world outside; further ones succeed."""

    @property
    def is_limited(self) -> bool:
        """Say whether a try of it has a time limit."""
        return "hang" in self.script

    def action(self, number: int) -> Action:
        """Return what the n-th try does."""
        return self.script[number - 1] if number <= len(self.script) else "succeed"

    def result(self, number: int) -> str:
        """Return what the n-th try returns if it succeeds."""
        return f"{self.key} at try {number}"


MODEL = Call("model")
"""A request to the model, which always succeeds."""


@dataclass(frozen=True)
class Schedule:
    """What is to happen to a run."""

    turns: tuple[tuple[Call, ...], ...]
    """Tool calls of each answer of the model; those of one answer are executed in parallel."""
    kills: tuple[tuple[str, int], ...] = ()
    """Where each life is killed: a place, and the how-manieth time that it is reached."""

    def groups(self) -> list[dict[int, Call]]:
        """Return the calls by step number; a group begins when the one before it has succeeded."""
        numbers = count(1)
        groups = []
        for turn in self.turns:
            groups += [{next(numbers): MODEL}, {next(numbers): call for call in turn}]
        return [*groups, {next(numbers): MODEL}]


@dataclass(frozen=True)
class Row:
    """One attempt in the ledger."""

    number: int
    outcome: str | None = None
    error_type: str | None = None


Rows = tuple[Row, ...]


@dataclass(frozen=True)
class Try:
    """One start of a body, as the world outside saw it."""

    at: float = 0.0
    has_begun: bool = True
    """False where it was stopped before it knew what to do."""
    has_acted: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """How a step ended."""

    error_type: str | None = None
    attempts: tuple[tuple[int, str], ...] = ()
    """Number and error of each failed try, as the recorded error names them; one needs no list."""


SUCCESS = Checkpoint()


@dataclass(frozen=True)
class Passage:
    """What one step did in one life, and what it had left behind at the end of it."""

    tries: tuple[Try, ...] = ()
    rows: Rows = ()
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Life:
    """One process."""

    steps: dict[int, Passage] = field(default_factory=dict)
    is_killed: bool = True
    last_sign_at: float = 0.0
    """When it did something that was seen, for the last time."""

    def of(self, number: int) -> Passage:
        """Return what became of a step."""
        return self.steps.get(number, Passage())


@dataclass(frozen=True)
class History:
    """All that was seen of a run."""

    lives: tuple[Life, ...]
    status: str
    results: dict[str, str] | None
    """What each tool call returned, by key; None where the run failed."""
    error: tuple[str, int] | None = None
    """Class of the run's error, and after how many attempts it came."""


def find_violations(schedule: Schedule, history: History) -> list[str]:
    """Return what should not have happened; empty where the history is one of those allowed."""
    return [
        *_find_in_lives(schedule, history),
        *_find_in_totals(history),
        *_find_in_outcome(schedule, history),
    ]


def _find_in_lives(schedule: Schedule, history: History) -> Iterator[str]:
    for life_number in range(1, len(history.lives) + 1):
        lives = history.lives[:life_number]
        for place in _places(schedule, lives):
            where = f"life {life_number}, step {place.number} ({place.call.key}): "
            yield from (where + text for text in place.find())


def _places(schedule: Schedule, lives: tuple[Life, ...]) -> Iterator["_Place"]:
    """Yield every step as it is in the last of these lives."""
    groups = schedule.groups()
    for index, group in enumerate(groups):
        earlier = [number for each in groups[:index] for number in each]
        later = [number for each in groups[index + 1 :] for number in each]
        for number, call in group.items():
            yield _Place(number, call, lives, earlier, later)


@dataclass(frozen=True)
class _Place:
    """One step in one life, with all that decides what it may leave behind."""

    number: int
    call: Call
    lives: tuple[Life, ...]
    """The life, and those before it."""
    earlier: list[int]
    """Steps that must have succeeded before this one begins."""
    later: list[int]
    """Steps that begin when it has ended."""

    @property
    def life(self) -> Life:
        """Return the process in question."""
        return self.lives[-1]

    @property
    def before(self) -> Passage:
        """Return what earlier lives left behind."""
        return self.lives[-2].of(self.number) if len(self.lives) > 1 else Passage()

    @property
    def after(self) -> Passage:
        """Return what this life did and left behind."""
        return self.life.of(self.number)

    def find(self) -> Iterator[str]:
        """Yield what is wrong."""
        if self.before.checkpoint is not None:
            if self.after.tries:
                yield "it was complete and was executed again"
            if self.after != replace(self.before, tries=self.after.tries):
                yield f"it was complete, yet {self.before} became {self.after}"
            return
        succeeded = [self.life.of(number).checkpoint == SUCCESS for number in self.earlier]
        if self.after != Passage() and not all(succeeded):
            yield "it began before an earlier step had succeeded"
        yield from self._find_in_tries()
        yield from self._find_in_checkpoint()
        allowed = self._allowed_rows()
        if self.after.rows not in allowed:
            yield f"the ledger has {self.after.rows}; allowed: {allowed}"

    @property
    def _first_number(self) -> int:
        """Return the number of this life's first try: a row that a crash lost frees its own."""
        return max((row.number for row in self.before.rows), default=0) + 1

    @property
    def _failures(self) -> list[tuple[int, str]]:
        """Return the failed tries of earlier lives that the ledger knows of."""
        return [(r.number, str(r.error_type)) for r in self.before.rows if r.outcome == "error"]

    @property
    def _seen_count(self) -> int:
        """Return how many tries the world has seen in earlier lives."""
        return sum(len(life.of(self.number).tries) for life in self.lives[:-1])

    def _endings(self) -> Rows:
        """Return the row of each try once it has ended; without an outcome where it cannot."""
        tries = enumerate(self.after.tries)
        return tuple(self._ending(index, each) for index, each in tries)

    def _ending(self, index: int, each: Try) -> Row:
        number = self._first_number + index
        if each.has_begun:
            error_type = _ERRORS.get(self.call.action(self._seen_count + index + 1))
            return Row(number, "success" if error_type is None else "error", error_type)
        return Row(number, "error", "StepTimedOut") if self.call.is_limited else Row(number)

    def _is_last(self, ending: Row) -> bool:
        """Say whether no try follows one that ends so; each life may make one at least."""
        left_count = max(MAX_ATTEMPTS - len(self._failures), 1)
        is_spent = ending.number - self._first_number + 1 >= left_count
        return is_spent or ending.outcome == "success" or ending.error_type == "ValueError"

    def _find_in_tries(self) -> Iterator[str]:
        for ending in self._endings()[:-1]:
            if ending.outcome is None:
                yield f"a try followed though {ending} had not ended"
            elif self._is_last(ending):
                yield f"a try followed though {ending} was the last one"
        for number, each in enumerate(self.after.tries, start=self._seen_count + 1):
            if each.has_acted and self.call.action(number) not in _HAVE_EFFECT:
                yield f"try {number} had an effect though it was to {self.call.action(number)}"

    def _find_in_checkpoint(self) -> Iterator[str]:
        found, expected = self.after.checkpoint, self._checkpoint()
        if found is None:
            if self.after.tries and not self.life.is_killed:
                yield "the run ended without its checkpoint"
        elif found != expected:
            yield f"its checkpoint is {found}; allowed: {expected}"
        elif found == SUCCESS and not self.after.tries[-1].has_acted:
            yield "it succeeded without its effect"

    def _checkpoint(self) -> Checkpoint | None:
        """Return what the step ends with if its last try does; None where another one follows."""
        endings = self._endings()
        if not endings or endings[-1].outcome is None or not self._is_last(endings[-1]):
            return None
        if endings[-1].outcome == "success":
            return SUCCESS
        failures = [*self._failures, *((row.number, str(row.error_type)) for row in endings)]
        return Checkpoint(failures[-1][1], tuple(failures) if len(failures) > 1 else ())

    def _allowed_rows(self) -> list[Rows]:
        """Return the states in which this life may leave the ledger."""
        is_followed = any(self.life.of(number).rows for number in self.later)
        if not self.life.is_killed or is_followed:  # rows are written in order
            return [(*self._closed, *self._endings()) if self.after.tries else self.before.rows]
        states = self._states()
        written_at = self.life.last_sign_at - LATE_S
        oldest = max(index for index, (at, _) in enumerate(states) if at <= written_at)
        return [rows for _, rows in states[oldest:]]

    def _states(self) -> list[tuple[float, Rows]]:
        """Return the ledger's states in this life, oldest first, each with when it was behind.

        A try that follows may have its row before the world sees anything of it.
        """
        begun_at = [*(each.at for each in self.after.tries), _NEVER]
        states = [(-_NEVER, self.before.rows), (begun_at[0], self._closed)]
        for ending, (at, next_at) in zip(self._endings(), pairwise(begun_at), strict=True):
            rows = states[-1][1]
            states.append((at, (*rows, Row(ending.number))))
            if ending.outcome is None:
                return states
            states.append((next_at, (*rows, ending)))
        if self._checkpoint() is None:
            next_row = Row(self._first_number + len(self.after.tries))
            states.append((_NEVER, (*states[-1][1], next_row)))
        return states

    @property
    def _closed(self) -> Rows:
        """Return what earlier lives left, once this one has said what was lost."""
        rows = self.before.rows
        return tuple(row if row.outcome else replace(row, outcome="lost") for row in rows)


def _find_in_totals(history: History) -> Iterator[str]:
    """Yield the bounds that a step's rows break; they hold whatever happened in between."""
    kill_count = sum(life.is_killed for life in history.lives)
    for number, passage in history.lives[-1].steps.items():
        outcomes = [row.outcome for row in passage.rows]
        if [row.number for row in passage.rows] != list(range(1, len(outcomes) + 1)):
            yield f"step {number}: numbers are missing in {passage.rows}"
        if outcomes.count("success") > 1 + kill_count:
            yield f"step {number}: more successes than lives in {passage.rows}"
        if outcomes.count("error") > MAX_ATTEMPTS + kill_count:
            yield f"step {number}: more failures than tries and kills in {passage.rows}"
        if outcomes.count("lost") + outcomes.count(None) > kill_count:
            yield f"step {number}: more lost attempts than kills in {passage.rows}"


def _find_in_outcome(schedule: Schedule, history: History) -> Iterator[str]:
    """Yield in what the run's end is not what its steps say."""
    last = history.lives[-1]
    calls = {number: call for group in schedule.groups() for number, call in group.items()}
    if unknown := set(last.steps) - set(calls):
        yield f"steps {sorted(unknown)} are none of the schedule's"
    found = (history.status, history.results, history.error)
    expected: tuple[Any, ...] = ("SUCCESS", _results(calls, history), None)
    for group in schedule.groups():
        ends = [last.of(number).checkpoint for number in group]
        if None in ends:
            yield f"the run ended before steps {list(group)} had"
        # Siblings end in their own time, the first one in call order gives the run its error.
        failures = [end for end in ends if end is not None and end != SUCCESS]
        if failures:
            error = str(failures[0].error_type), max(len(failures[0].attempts), 1)
            expected = ("ERROR", None, error)
            break
    if found != expected:
        yield f"the run ended with {found}; expected: {expected}"


def _results(calls: dict[int, Call], history: History) -> dict[str, str]:
    """Return what each tool call's last try in the world outside has returned."""
    tries = {n: sum(len(life.of(n).tries) for life in history.lives) for n in calls}
    return {call.key: call.result(tries[n]) for n, call in calls.items() if call.key != MODEL.key}
