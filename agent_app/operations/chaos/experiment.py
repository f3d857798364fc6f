"""Chaos: a run in child processes that are killed at random moments, and what it survived."""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from agent_app.database.connect import Database
from agent_app.database.evidence import (
    FinishedStep,
    read_finished_steps,
    read_open_questions,
    read_sessions,
    rename_version,
)
from agent_app.database.read import RunRow, read_descendants, read_run
from agent_app.durability.journal import Journal
from agent_app.operations.chaos.lives import Life
from agent_app.operations.chaos.moments import Moment, draw_moment
from agent_app.operations.chaos.plan import ChaosPlan
from agent_app.operations.chaos.silence import wait_for_silence
from agent_app.operations.chaos.tally import (
    ChaosReport,
    Death,
    count_attempts,
    count_faults,
    count_sent_again,
    lost_steps,
    price_restart,
    repeated_steps,
    sum_lost_s,
)
from agent_app.settings import Settings

_ENDED = ("SUCCESS", "ERROR", "CANCELLED")
_POLL_S = 0.002
_LOOK_S = 1.0
"""Seconds without a line of the journal after which the database is asked why."""
_START_S = 60.0
"""Seconds that a process may take to begin, at least."""
_SILENCE_S = 30.0

Tell = Callable[[str], None]


def run_chaos(
    database: Database, settings: Settings, plan: ChaosPlan, *, tell: Tell
) -> ChaosReport:
    """Run the plan to its end in processes that are killed, and count what came of it.

    Whatever happens, Ctrl-C too, no process is left behind, and the run stays in the database like
    any other: finished, or to be resumed. `tell` gets a line for each kill.
    Raises: DatabaseError.
    """
    with tempfile.TemporaryDirectory(prefix="agent-app-chaos-") as directory:
        experiment = _Experiment(database, plan, Path(directory), tell)
        try:
            experiment.conduct()
        except KeyboardInterrupt:
            experiment.stop()
        finally:
            experiment.end(settings.application_version)
        return experiment.report()


class _Experiment:
    """The lives of one run, one after the other."""

    def __init__(self, database: Database, plan: ChaosPlan, directory: Path, tell: Tell) -> None:
        self._database = database
        self._plan = plan
        self._directory = directory
        self._tell = tell
        self._draw = random.Random(plan.seed)
        self._journal = Journal(directory / "bodies.jsonl")
        self._life: Life | None = None
        self._others: frozenset[int] = frozenset()
        self._deaths: list[Death] = []
        self._startup_s: float | None = None
        self._problem: str | None = None
        self._started_at = self._ended_at = time.time()
        (directory / "input").write_bytes((plan.text or "").encode(errors="surrogateescape"))

    def conduct(self) -> None:
        """Let the run live and die until it ends, or until something is wrong."""
        while self._live():
            pass

    def stop(self) -> None:
        """Note that a person has had enough."""
        run_id = self._plan.run_id
        self._problem = f"Stopped before run {run_id!r} had begun."
        if self._row() is not None:
            self._problem = f"Stopped. `agent-app resume {run_id}` goes on."

    def end(self, application_version: str) -> None:
        """Leave no process behind, and the run in the version that all others have."""
        if self._life is not None and self._life.kill():
            wait_for_silence(self._database, self._others, timeout_s=_SILENCE_S)
        self._ended_at = time.time()
        self._journal.read_on()
        rename_version(
            self._database,
            self._family(),
            version=self._plan.version,
            new_version=application_version,
        )

    def report(self) -> ChaosReport:
        """Count what the lives and deaths came to."""
        plan, row = self._plan, self._row()
        lines, deaths = self._journal.lines, self._deaths
        finished = [(step.run_id, step.step_number) for step in self._finished()]
        return ChaosReport(
            run_id=plan.run_id,
            agent=plan.agent,
            status=row.status if row else None,
            problem=self._problem,
            rate=plan.rate,
            seed=plan.seed,
            step_count=len(finished),
            attempt_count=count_attempts(lines),
            fault_counts=count_faults(lines),
            kill_count=len(deaths),
            asked_kill_count=plan.kill_count,
            repeated_steps=repeated_steps(lines, deaths),
            lost_steps=lost_steps(deaths, finished),
            sent_again_count=count_sent_again(lines, deaths),
            duration_s=self._ended_at - self._started_at,
            lost_s=sum_lost_s(lines, deaths, self._ended_at),
            restart=price_restart(lines, deaths),
        )

    def _live(self) -> bool:
        """Let the run live once; False when there is to be no further life."""
        self._others = frozenset(read_sessions(self._database))
        life = self._life = self._start()
        trouble = self._watch(life, self._next_moment())
        was_killed = life.kill() and trouble is None
        killed_at = time.time()
        # What is not silent after the limit counts as a call in flight if it still commits.
        wait_for_silence(self._database, self._others, timeout_s=_SILENCE_S)
        self._journal.read_on()
        row = self._row()
        has_ended = row is not None and row.status in _ENDED
        if was_killed:
            self._note_death(killed_at, has_ended)
        if has_ended and row is not None:
            trouble = _describe_end(row)
        elif not was_killed:
            trouble = trouble or self._describe_exit(life)
        self._problem = trouble
        return was_killed and not has_ended

    def _start(self) -> Life:
        is_recorded = self._row() is not None  # a kill may have come before the run's first row
        return Life(
            self._plan.next_command if is_recorded else self._plan.first_command,
            stdin=self._directory / "input",
            stderr=self._directory / "stderr",
            environment={
                "AGENT_APP_BODY_JOURNAL": str(self._directory / "bodies.jsonl"),
                "AGENT_APP_APPLICATION_VERSION": self._plan.version,
                "PYTHONIOENCODING": "utf-8:surrogateescape",
            },
        )

    def _next_moment(self) -> Moment | None:
        """Draw when the next life is to be killed; None for the last one."""
        if len(self._deaths) >= self._plan.kill_count:
            return None
        return draw_moment(self._draw, self._deaths, self._startup_s)

    def _watch(self, life: Life, moment: Moment | None) -> str | None:
        """Return at the moment for a kill, at the life's end, or with what is wrong with it."""
        first, started_at = len(self._journal.lines), time.monotonic()
        sign_at = looked_at = started_at
        while life.exit_code is None:
            new, now = self._journal.read_on(), time.monotonic()
            if new:
                sign_at = looked_at = now
                self._startup_s = self._journal.lines[first].at - life.started_at
            if moment and moment.has_come(self._journal.lines[first:], now - started_at):
                time.sleep(moment.delay_s if moment.line_count else 0)
                return None
            if now - looked_at >= _LOOK_S:
                looked_at = now
                if trouble := self._find_trouble(now - sign_at, has_begun=sign_at > started_at):
                    return trouble
            time.sleep(_POLL_S)
        return None

    def _find_trouble(self, quiet_s: float, *, has_begun: bool) -> str | None:
        """Return why nothing happens; None while it may be that a call takes its time."""
        run_id = self._plan.run_id
        for asked in read_open_questions(self._database, self._family()):
            return (
                f"Run {asked.run_id!r} waits for a person: nobody knows whether its step "
                f"{asked.step_number} ({asked.step_name}) was made. `agent-app resolve "
                f"{asked.run_id} {asked.step_number}` says so, `agent-app resume {run_id}` goes on."
            )
        patience_s = self._plan.patience_s
        if quiet_s < (patience_s if has_begun else max(patience_s, _START_S)):
            return None
        return (
            f"The process of run {run_id!r} did nothing for {quiet_s:.0f} s and was ended. "
            f"`agent-app resume {run_id}` goes on."
        )

    def _describe_exit(self, life: Life) -> str:
        return (
            f"The process of run {self._plan.run_id!r} ended by itself with exit code "
            f"{life.exit_code}. It said: {life.last_words() or 'nothing'}"
        )

    def _note_death(self, killed_at: float, has_ended: bool) -> None:
        death = Death(killed_at, len(self._journal.lines), self._finished())
        self._deaths.append(death)
        count, asked = len(self._deaths), self._plan.kill_count
        steps = "1 step" if len(death.finished) == 1 else f"{len(death.finished)} steps"
        what_follows = "the run had ended" if has_ended else "it goes on"
        self._tell(f"Kill {count} of {asked} after {steps}; {what_follows}.")

    def _row(self) -> RunRow | None:
        return read_run(self._database, self._plan.run_id)

    def _family(self) -> list[str]:
        return [self._plan.run_id, *read_descendants(self._database, self._plan.run_id)]

    def _finished(self) -> list[FinishedStep]:
        return read_finished_steps(self._database, self._family())


def _describe_end(row: RunRow) -> str | None:
    """Return what is wrong with how the run ended."""
    match row.status:
        case "SUCCESS":
            return None
        case "CANCELLED":
            return f"Run {row.run_id!r} was cancelled."
    return f"Run {row.run_id!r} failed: {row.error}"
