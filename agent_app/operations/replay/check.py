"""Check recorded runs against the code of today, one after the other, in a process of their own."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agent_app.database.connect import Database
from agent_app.database.read import read_descendants
from agent_app.database.recording import Recording, find_recorded, read_recording
from agent_app.errors import FilterInvalid, RunNotFound
from agent_app.operations.read import RunFilter, check_filter
from agent_app.operations.replay.process import ReplayProcess
from agent_app.operations.replay.verdict import Finding, RunCheck, unchecked

_GRACE_S = 2.0
"""Seconds that an answer may come after the run's own limit."""


@dataclass(frozen=True)
class ReplayLimits:
    """How long a check may take."""

    run_s: float = 30.0
    total_s: float = 600.0


def select_runs(
    database: Database, run_ids: Sequence[str], wanted: RunFilter | None
) -> tuple[list[str], bool]:
    """Return the runs to check, and whether the filter's limit left some out.

    Named runs come with the runs below them; a run that is named twice comes once.
    Raises: RunNotFound; FilterInvalid (runs and a filter, or neither).
    """
    if bool(run_ids) == (wanted is not None):
        raise FilterInvalid(
            "Runs by their ID, or else some of --since, --agent and --status were expected; "
            "--since 7d means all runs of the last week."
        )
    if wanted is None:
        return _with_descendants(database, run_ids), False
    found = find_recorded(
        database,
        agent=wanted.agent,
        status=check_filter(wanted),
        created_after=wanted.created_after,
        limit=wanted.limit + 1,  # one more tells whether some are left out
    )
    return found[: wanted.limit], len(found) > wanted.limit


def _with_descendants(database: Database, run_ids: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for run_id in run_ids:
        if read_recording(database, run_id) is None:
            raise RunNotFound(run_id)
        found.update(dict.fromkeys([run_id, *read_descendants(database, run_id)]))
    return list(found)


def check_runs(
    database: Database,
    run_ids: Sequence[str],
    import_paths: Sequence[str],
    limits: ReplayLimits,
) -> Iterator[RunCheck]:
    """Yield what the code in these modules would do with each run.

    Nothing is written, and no step's body is executed. Each run is read as it stands when its turn
    comes; one that has been deleted meanwhile is left out.
    Raises: CatalogError; ReplayNotStarted; DatabaseError.
    """
    with tempfile.TemporaryDirectory(prefix="agent-app-replay-") as directory:
        work = _Work(import_paths, limits, Path(directory))
        try:
            work.start()
            for run_id in run_ids:
                recording = read_recording(database, run_id)
                if recording is not None:
                    yield work.check(recording)
        finally:
            work.end()


class _Work:
    """The process that replays runs for one command; a new one where it ends."""

    def __init__(self, import_paths: Sequence[str], limits: ReplayLimits, directory: Path) -> None:
        self._import_paths = import_paths
        self._limits = limits
        self._directory = directory
        self._deadline = time.monotonic() + limits.total_s
        self._process: ReplayProcess | None = None

    def start(self) -> ReplayProcess:
        """Return the process, started if there is none."""
        if self._process is None:
            scratch = Path(tempfile.mkdtemp(dir=self._directory))
            self._process = ReplayProcess()
            self._process.start(self._import_paths, scratch, self._limits.run_s)
        return self._process

    def end(self) -> int:
        """End the process and return its exit code."""
        process, self._process = self._process, None
        return process.end() if process else 0

    def check(self, recording: Recording) -> RunCheck:
        """Have one run replayed."""
        run_s, total_s = self._limits.run_s, self._limits.total_s
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            text = f"The {total_s:g} s for all runs were over."
            return unchecked(recording, "not_reached", text)
        try:
            answer = self.start().ask(asdict(recording), min(run_s + _GRACE_S, left_s))
        except TimeoutError:
            self.end()
            text = f"Its workflow code held the process up for {min(run_s, left_s):g} s."
            return unchecked(recording, "not_over", text)
        except EOFError:
            text = f"Its workflow code ended the process that replays, exit code {self.end()}."
            return unchecked(recording, "process_ended", text)
        finding = answer.pop("finding")
        return RunCheck(**answer, finding=None if finding is None else Finding(**finding))
