"""What the embedded server says: its log, and the one sentence in it that explains a failure."""

import os
import re
from pathlib import Path
from typing import BinaryIO

from agent_app.errors import DatabaseError, DataDirectoryUnusable, DiskFull, EmbeddedServerFailed

LOG_LIMIT_BYTES = 5_000_000
"""A log beyond this is set aside as server.log.1 at the next start."""
_TAIL_BYTES = 64_000
_FULL_BELOW_BYTES = 1 << 20
"""With less than this left the log itself may lack the words."""
_COMPLAINT = re.compile(r"(?:\] (?P<state>\w{5}) )?(?:FATAL|PANIC|ERROR):  (?P<text>.*)")
_NOT_A_CAUSE = ("57P01", "57P02", "57P03")
"""What clients are told while the server comes or goes."""
_FULL = ("No space left on device", "Disk quota exceeded")
_CORRUPT_STATES = ("XX001", "XX002", "58P01")
"""SQLSTATEs of broken and of missing files."""
_CORRUPT = ("incompatible with server", "incorrect checksum", "valid checkpoint record")
"""Corruption that Postgres (18) reports under general SQLSTATEs."""


def open_log(home: Path) -> BinaryIO:
    """Open server.log for appending; a symbolic link in its place is refused."""
    log = home / "server.log"
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(home / "server.log.1")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    return os.fdopen(os.open(log, flags, 0o600), "ab")


def measure_log(home: Path) -> int:
    """Return where the next word will stand, for `read_log`."""
    log = home / "server.log"
    size_bytes = log.stat().st_size if log.exists() else 0
    return 0 if size_bytes > LOG_LIMIT_BYTES else size_bytes


def read_log(home: Path, since_bytes: int) -> str:
    """Return what was said since then, at most its last 64 kB; empty where there is no log."""
    try:
        with (home / "server.log").open("rb") as log:
            end_bytes = log.seek(0, os.SEEK_END)
            log.seek(max(since_bytes, end_bytes - _TAIL_BYTES))
            return log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def explain(home: Path, said: str) -> DatabaseError:
    """Return the error for a server, or an initdb, that ended with these words."""
    if any(words in said for words in _FULL) or _free_bytes(home) < _FULL_BELOW_BYTES:
        return DiskFull(str(home))
    complaints = [m for m in _COMPLAINT.finditer(said) if m["state"] not in _NOT_A_CAUSE]
    if not complaints:
        lines = [line for line in said.splitlines() if line.strip()]
        last = lines[-1].strip() if lines else "it ended without a word in its log"
        return EmbeddedServerFailed(str(home), last.rstrip("."))
    text = complaints[-1]["text"].strip().rstrip(".")
    is_corrupt = any(complaint["state"] in _CORRUPT_STATES for complaint in complaints)
    if is_corrupt or any(words in text for words in _CORRUPT):
        return DataDirectoryUnusable(str(home), f"it is corrupt, Postgres says: {text}")
    return EmbeddedServerFailed(str(home), text)


def _free_bytes(home: Path) -> int:
    state = os.statvfs(home)
    return state.f_bavail * state.f_frsize
