"""What the bodies of a process's steps did: a line each, in a file that outlives SIGKILL."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent_app.durability.events import RunEvent, observed_by
from agent_app.errors import ConfigurationInvalid

Step = tuple[str, int]
"""A run's ID and the number of a step in it."""
_KINDS = frozenset(
    {
        "run_started",
        "run_finished",
        "attempt_started",
        "fault_injected",
        "attempt_failed",
        "step_finished",
        "step_failed",
        "step_replayed",
    }
)


@dataclass(frozen=True)
class JournalLine:
    """One event, as it is written; what a kind does not have is None."""

    at: float
    """Seconds since 1970."""
    kind: str
    run_id: str
    process_id: int
    step_number: int | None = None
    name: str | None = None
    attempt: int | None = None
    place: str | None = None
    """Where a fault struck."""

    @property
    def step(self) -> Step:
        """Return which step it is about; of a run's own line, the number is 0."""
        return self.run_id, self.step_number or 0


@contextmanager
def journal_to(path: Path | None) -> Iterator[None]:
    """Append what happens to steps' bodies to the file while the block runs; None: nowhere.

    A line is with the kernel before the event goes on: SIGKILL loses none, a power cut may.
    Raises: ConfigurationInvalid (the file cannot be written).
    """
    if path is None:
        yield
        return
    handle = _open(path)
    try:
        with observed_by(lambda event: _append(handle, event)):
            yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(handle, b"\n")  # ends a line that an earlier process died in
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationInvalid(
            f"AGENT_APP_BODY_JOURNAL names {str(path)!r}, which cannot be written: {reason}. "
            "Name a file in a directory of yours, or unset it."
        ) from error
    return handle


def _append(handle: int, event: RunEvent) -> None:
    if event.kind not in _KINDS or event.at is None:
        return
    line = JournalLine(
        at=event.at.timestamp(),
        kind=event.kind,
        run_id=event.run_id,
        process_id=os.getpid(),
        step_number=event.step_number,
        name=event.name,
        attempt=event.attempt,
        place=event.value if event.kind == "fault_injected" else None,
    )
    os.write(handle, (json.dumps(asdict(line)) + "\n").encode())


class Journal:
    """A journal that is read while others write it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self.lines: list[JournalLine] = []
        """All whole lines so far, in the order in which they were written."""

    def read_on(self) -> list[JournalLine]:
        """Return the lines that have come since the last call; none where there is no file."""
        new = [line for text in self._read_whole() if (line := _parse(text)) is not None]
        self.lines += new
        return new

    def _read_whole(self) -> list[bytes]:
        """Return the new lines that have their end; the rest is read the next time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read_bytes)
                whole, end, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._read_bytes += len(whole) + len(end)
        return whole.split(b"\n")


def _parse(text: bytes) -> JournalLine | None:
    """Return the line; None for an empty one, and for one that its writer died in."""
    try:
        parts: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return JournalLine(**parts)
