"""A run while it goes on: its events in, lines on the terminal out."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.status import Status
from rich.text import Text

from agent_app.cli.printing import console, printable, shorten
from agent_app.durability.catalog import Catalog, Narrator
from agent_app.durability.events import RunEvent, observed_by

_ALWAYS_TOLD = ("attempt_failed", "step_parked", "step_undecided")
"""What a person wants to know in every case: why nothing goes on."""


class LiveLines:
    """Prints what happens in the watched runs and their children.

    A run with a narrator is told in its own words, any other step by step; `is_detailed` adds the
    steps in every case.
    """

    def __init__(self, catalog: Catalog, *, is_detailed: bool, is_silent: bool = False) -> None:
        self._catalog = catalog
        self._is_detailed = is_detailed
        self.is_silent = is_silent
        self._console = console()
        self._status: Status | None = None
        self._narrators: dict[str, Narrator | None] = {}
        self._watched: list[str] = []
        self._told: set[str] = set()

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Print while the block runs, with a spinner if this is a terminal."""
        if self.is_silent:
            yield
            return
        with observed_by(self._take):
            if not self._console.is_terminal:
                yield
                return
            with self._console.status("starting") as self._status:
                yield

    def stop(self) -> None:
        """End the spinner: a result is about to be printed."""
        if self._status is not None:
            self._status.stop()

    def watch(self, run_id: str, agent: str) -> None:
        """Print this run's events from now on."""
        narrator = self._catalog.find(agent).narrator
        self._narrators[run_id] = narrator() if narrator else None
        self._watched.append(run_id)

    def has_told(self, run_id: str) -> bool:
        """Say whether the run's end has been told in its own words."""
        return run_id in self._told

    def _take(self, event: RunEvent) -> None:
        root = self._root(event.run_id)
        if root is None:
            return
        if self._status is not None and event.kind == "step_started":
            self._status.update(Text(f"{event.name}  (step {event.step_number})"))
        prefix = f"{root}  " if len(self._watched) > 1 else ""
        narrator = self._narrators[root]
        told = narrator(event) if narrator and event.run_id == root else None
        if told is not None:
            self._print(prefix + told)
            if event.kind == "run_finished":
                self._told.add(root)
        line = _step_line(event, root)
        if line and (narrator is None or self._is_detailed or event.kind in _ALWAYS_TOLD):
            self._print(prefix + line)

    def _root(self, run_id: str) -> str | None:
        parents = (run for run in self._watched if run_id == run or run_id.startswith(f"{run}:"))
        return next(parents, None)

    def _print(self, line: str) -> None:
        # Rich answers a closed pipe with SystemExit, and is quiet from then on; the run goes on.
        with suppress(SystemExit):
            self._console.print(Text(printable(line)))


def _step_line(event: RunEvent, root: str) -> str | None:
    """Return the line of a step's event; a child's lines are indented."""
    depth = event.run_id[len(root) :].count(":")
    text = _describe(event) or _describe_trouble(event)
    return text and f"{'    ' * depth}{event.step_number or '':>4}  {event.name}  {text}"


def _describe(event: RunEvent) -> str | None:
    took = f"{event.duration_ms:.0f} ms" if event.duration_ms is not None else ""
    attempts = f", {event.attempt} attempts" if (event.attempt or 1) > 1 else ""
    match event.kind:
        case "step_started":
            return "…"
        case "step_finished":
            return f"{took}{attempts}"
        case "step_replayed":
            return "from its checkpoint"
        case "step_failed":
            return f"{took}{attempts}  {shorten(event.error, 200)}"
    return None


def _describe_trouble(event: RunEvent) -> str | None:
    match event.kind:
        case "attempt_failed":
            again = f"attempt {event.attempt} failed, the next in {event.wait_s:.1f} s"
            return f"{again}: {shorten(event.error, 200)}"
        case "fault_injected":
            return f"attempt {event.attempt} meets a fault on purpose: {event.value}"
        case "step_parked":
            return f"its model's rate limit is closed, for {event.wait_s:.1f} s"
        case "step_undecided":
            return describe_undecided(event)
    return None


def describe_undecided(event: RunEvent) -> str:
    """Return what a person has to know of a call that waits for a decision."""
    decide = f"agent-app resolve {event.run_id} {event.step_number}"
    return (
        f"Nobody knows whether {event.name} was called, with {shorten(event.subject, 100)}. "
        f"Decide by `{decide}` with --done JSON, --retry or --fail."
    )
